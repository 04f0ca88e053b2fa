//! Sequence ids sorted by group, then by length, then in input order.
//!
//! A counting sort over all pairs of group and length would need a table of `groups x max_length`. Two cheaper sorts:
//!
//! ```text
//! scatter the rows to at most 256 batches of neighbouring groups: few enough that the places written to stay in cache
//! for each batch, in cache: sort its rows by (group, length), with counting sorts on a few bits at a time
//! write ids, classes and the ends of groups, batch after batch
//! ```
//!
//! Cost: two passes over the lengths, and about two over the rows of each batch.
#![allow(unsafe_code)]

use std::ops::Range;

use rayon::prelude::*;

use crate::histogram::count::split;
use crate::ids::Id;
use crate::lengths::{Length, Lengths, read_once, with_slice};
use crate::memory::{make_room, reserved, zeroed, zeros};
use crate::parallel::{Scatter, Store, split_at_lengths};
use crate::{Classes, Error, Groups, Overlong};

/// Sort the rows of `lengths`, and find their classes. Rows longer than `top` are truncated or left out.
///
/// # Errors
/// Lengths are others than when they were counted.
pub(crate) fn sort_grouped<I: Id>(
    lengths: &Lengths,
    groups: Groups,
    top: u32,
    overlong: Overlong,
) -> Result<(Vec<I>, Classes), Error> {
    let num_groups = groups.num_groups;
    let keys = Keys::new(num_groups, top, overlong);
    let (mut rows, firsts) = scatter_to_batches::<I>(lengths, groups.group_of, &keys)?;
    let mut batches = Vec::with_capacity(keys.batches());
    let mut rest = &mut rows[..];
    for ends in firsts.windows(2) {
        let (own, others) = rest.split_at_mut(ends[1] - ends[0]);
        batches.push(own);
        rest = others;
    }
    let classes = batches
        .par_iter_mut()
        .with_min_len(keys.batches() / (rayon::current_num_threads() * 4) + 1)
        .map_init(Vec::new, |spare, rows| {
            keys.sort(rows, spare)?;
            Ok(rows.windows(2).filter(|pair| pair[0].key != pair[1].key).count() + usize::from(!rows.is_empty()))
        })
        .collect::<Result<Vec<usize>, Error>>()?;
    let mut first_classes = vec![0];
    first_classes.extend(classes.iter().scan(0, |end, number| {
        *end += number;
        Some(*end)
    }));
    let number = first_classes[keys.batches()];
    let row_counts: Vec<usize> = firsts.windows(2).map(|ends| ends[1] - ends[0]).collect();
    let group_counts: Vec<usize> = (0..keys.batches()).map(|batch| keys.groups_of(batch).len()).collect();
    let mut sorted = reserved::<I>(IDS, rows.len())?;
    let mut class_lengths = reserved::<u32>("classes of lengths", number)?;
    let mut class_first = reserved::<u64>("classes of lengths", number + 1)?;
    class_first.push(0);
    let mut group_first = zeroed::<usize>(GROUPS, num_groups + 1)?;
    let parts = split_at_lengths(sorted.spare_capacity_mut(), &row_counts)
        .into_par_iter()
        .zip(split_at_lengths(class_lengths.spare_capacity_mut(), &classes))
        .zip(split_at_lengths(class_first.spare_capacity_mut(), &classes))
        .zip(split_at_lengths(&mut group_first[1..], &group_counts));
    parts.enumerate().with_min_len(4).for_each(|(batch, (((ids, lengths), class_ends), group_ends))| {
        let first_group = keys.groups_of(batch).start;
        let mut class = 0;
        let mut last = None;
        for (i, row) in rows[firsts[batch]..firsts[batch + 1]].iter().enumerate() {
            class += usize::from(last != Some(row.key));
            last = Some(row.key);
            ids[i].write(row.id);
            // Every row writes the length and the ends of its class and group, and the last row's values stay. A test
            // for the last row would be mispredicted half of the time.
            lengths[class - 1].write(keys.length(row.key));
            class_ends[class - 1].write((firsts[batch] + i) as u64 + 1);
            group_ends[keys.group(batch, row.key) - first_group] = first_classes[batch] + class;
        }
    });
    // A group of no rows ends where the group before it ends.
    let mut end = 0;
    for first in &mut group_first {
        end = end.max(*first);
        *first = end;
    }
    // SAFETY: the batches hold all rows, and each wrote an id for every row. A batch numbers its classes in steps of one,
    // as many as were counted for it, and wrote length and end of each; all batches together have `number` classes. The
    // first element of `class_first` was pushed.
    unsafe {
        sorted.set_len(rows.len());
        class_lengths.set_len(number);
        class_first.set_len(number + 1);
    }
    Ok((sorted, Classes { lengths: class_lengths, first: class_first, groups: group_first }))
}

const IDS: &str = "sequence ids by group";
const GROUPS: &str = "groups";

/// The most batches, unless keys would need more than 32 bits. Every thread writes to every batch, and that many cache
/// lines fit the nearest cache.
const BATCHES: usize = 256;

/// A planned row.
#[derive(Clone, Copy)]
struct Row<I> {
    id: I,
    key: u32, // group within the batch and length, see `Keys`
}

impl<I: Id> Store for Row<I> {
    #[inline(always)]
    unsafe fn store(place: *mut Self, value: Self) {
        // SAFETY: by contract the place is aligned and valid, and accessed by atomic operations only; so are its fields.
        unsafe {
            I::store(&raw mut (*place).id, value.id);
            u32::store(&raw mut (*place).key, value.key);
        }
    }
}

/// The batches of groups, and the keys by which the rows of a batch are sorted: group bits, then length bits.
struct Keys {
    group_bits: u32,
    length_bits: u32,
    groups: usize,
    top: u32,
    truncate: bool,
}

impl Keys {
    fn new(groups: usize, top: u32, overlong: Overlong) -> Self {
        let length_bits = u32::BITS - top.leading_zeros();
        let group_bits = groups.div_ceil(BATCHES).next_power_of_two().trailing_zeros().min(u32::BITS - length_bits);
        Self { group_bits, length_bits, groups, top, truncate: overlong == Overlong::Truncate }
    }

    fn batches(&self) -> usize {
        self.groups.div_ceil(1 << self.group_bits)
    }

    /// The groups of a batch.
    fn groups_of(&self, batch: usize) -> Range<usize> {
        let first = |batch: usize| (batch << self.group_bits).min(self.groups);
        first(batch)..first(batch + 1)
    }

    fn group(&self, batch: usize, key: u32) -> usize {
        batch << self.group_bits | (u64::from(key) >> self.length_bits) as usize
    }

    fn length(&self, key: u32) -> u32 {
        (u64::from(key) & ((1 << self.length_bits) - 1)) as u32
    }

    /// Call `take` with each planned row and its batch.
    #[inline]
    fn for_each<I: Id>(
        &self,
        lengths: &Lengths,
        group_of: &[u32],
        rows: Range<usize>,
        mut take: impl FnMut(usize, Row<I>),
    ) {
        let mask = (1_u64 << self.group_bits) - 1;
        for (first_row, chunk) in lengths.stretches(rows) {
            with_slice!(chunk, s => for (row, (length, &group)) in (first_row..).zip(s.iter().zip(&group_of[first_row..])) {
                let length = read_once(length).wrapped();
                // A sequence of no tokens is left out.
                if length.wrapping_sub(1) < u64::from(self.top) || (self.truncate && length > 0) {
                    let key = (u64::from(group) & mask) << self.length_bits | length.min(self.top.into());
                    take(group as usize >> self.group_bits, Row { id: I::from_index(row), key: key as u32 });
                }
            })
        }
    }

    /// Sort the rows of a batch by some bits of the key at a time. Looking through a table of all keys would take longer
    /// than sorting a small batch.
    fn sort<I: Id>(&self, rows: &mut [Row<I>], spare: &mut Vec<Row<I>>) -> Result<(), Error> {
        if rows.len() < FEW {
            rows.sort_by_key(|row| row.key);
            return Ok(());
        }
        spare.clear();
        make_room(spare, IDS, rows.len())?;
        spare.extend_from_slice(rows);
        let bits = self.length_bits + self.group_bits;
        let digits = bits.div_ceil(MOST_BITS);
        let digit = bits.div_ceil(digits);
        let (mut from, mut to) = if digits.is_multiple_of(2) { (rows, &mut spare[..]) } else { (&mut spare[..], rows) };
        for shift in 0..digits {
            sort_by_digit(from, to, digit, |row| row.key >> (shift * digit));
            (from, to) = (to, from);
        }
        Ok(())
    }
}

const MOST_BITS: u32 = 9;
/// Fewer rows than this are sorted faster by comparing them.
const FEW: usize = 64;

/// Sort `from` into `to` by the lowest `bits` of the digit of each item: a stable counting sort.
fn sort_by_digit<T: Copy>(from: &[T], to: &mut [T], bits: u32, digit: impl Fn(&T) -> u32) {
    let mut next = [0_usize; 1 << MOST_BITS];
    let mask = (1 << bits) - 1;
    for item in from {
        next[(digit(item) & mask) as usize] += 1;
    }
    let mut at = 0;
    for place in &mut next[..1 << bits] {
        at += std::mem::replace(place, at);
    }
    for &item in from {
        let place = &mut next[(digit(&item) & mask) as usize];
        to[*place] = item;
        *place += 1;
    }
}

/// Copy the planned rows to their batches, in input order; returns where each batch begins as well.
fn scatter_to_batches<I: Id>(
    lengths: &Lengths,
    group_of: &[u32],
    keys: &Keys,
) -> Result<(Vec<Row<I>>, Vec<usize>), Error> {
    let threads = rayon::current_num_threads().min(lengths.len() / (1 << 15) + 1);
    let share = |thread| split(lengths.len(), threads, thread);
    let mut starts = (0..threads)
        .into_par_iter()
        .map(|thread| {
            let mut counts = zeros::<usize>(GROUPS, keys.batches())?;
            keys.for_each::<I>(lengths, group_of, share(thread), |batch, _| counts[batch] += 1);
            Ok(counts)
        })
        .collect::<Result<Vec<Vec<usize>>, Error>>()?;
    let mut firsts = vec![0];
    let mut end = 0;
    for batch in 0..keys.batches() {
        for counts in &mut starts {
            end += std::mem::replace(&mut counts[batch], end);
        }
        firsts.push(end);
    }
    let rows = Scatter::new(IDS, end)?;
    let ends: Vec<Vec<usize>> = starts
        .par_iter()
        .enumerate()
        .map(|(thread, starts)| {
            let mut next = starts.clone();
            keys.for_each::<I>(lengths, group_of, share(thread), |batch, row| {
                // Counting gave this thread a range of its own in each batch. If lengths have changed since, it may write
                // outside: stores are atomic, and it is found below.
                rows.store_inside(next[batch], row);
                next[batch] += 1;
            });
            next
        })
        .collect();
    let mut expected = 0;
    for batch in 0..keys.batches() {
        for (starts, ends) in starts.iter().zip(&ends) {
            if starts[batch] != expected {
                return Err(Error::LengthsChanged);
            }
            expected = ends[batch];
        }
    }
    if expected != end {
        return Err(Error::LengthsChanged);
    }
    // SAFETY: the ranges of all threads and batches follow each other from 0 to `end`, and each was just found to be
    // written from its beginning to its end.
    Ok((unsafe { rows.finish() }, firsts))
}
