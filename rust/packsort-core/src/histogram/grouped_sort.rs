//! Sequence ids sorted by group, and by length within each.
//!
//! Rows are first dealt out to some hundred batches of groups, few enough that the places where each is written stay in
//! the cache; then each batch is sorted, in the cache as well.
#![allow(unsafe_code)]

use std::ops::Range;

use rayon::prelude::*;

use crate::histogram::count::split;
use crate::histogram::sort::Id;
use crate::lengths::{Length, Lengths, with_slice};
use crate::memory::{Buffer, zeroed};
use crate::parallel::Disjoint;
use crate::plan::Groups;
use crate::{Classes, Overlong};

/// Sorts the rows of `lengths`, which have been counted, so none is longer than `top` but those that `overlong` is
/// about. Ids come by group, then by length, then in input order.
pub(crate) fn sort_grouped<I: Id>(
    lengths: &Lengths,
    groups: Groups,
    top: u32,
    overlong: Overlong,
) -> (Vec<I>, Classes) {
    let keys = Keys::new(groups.count, top, overlong);
    let (mut rows, firsts) = deal::<I>(lengths, groups.of, &keys);
    let mut batches = Vec::with_capacity(keys.batches());
    let mut rest = &mut rows[..];
    for ends in firsts.windows(2) {
        let (own, others) = rest.split_at_mut(ends[1] - ends[0]);
        batches.push(own);
        rest = others;
    }
    let classes: Vec<usize> = batches
        .par_iter_mut()
        .with_min_len(keys.batches() / (rayon::current_num_threads() * 4) + 1)
        .map_init(Vec::new, |spare, rows| {
            keys.sort(rows, spare);
            rows.windows(2).filter(|pair| pair[0].key != pair[1].key).count() + usize::from(!rows.is_empty())
        })
        .collect();
    let mut first_classes = vec![0];
    first_classes.extend(classes.iter().scan(0, |end, number| {
        *end += number;
        Some(*end)
    }));

    let number = first_classes[keys.batches()];
    let mut order = Buffer::new(rows.len());
    let mut class_lengths = Buffer::new(number);
    let mut class_first = Buffer::new(number + 1);
    let mut group_first = zeroed::<usize>(groups.count + 1);
    let (ids, lengths, ends) = (order.places(), class_lengths.places(), class_first.places());
    let group_ends = Disjoint::new(&mut group_first[1..]);
    // SAFETY: no other thread is there yet.
    unsafe { ends.write(0, 0) };
    (0..keys.batches()).into_par_iter().with_min_len(4).for_each(|batch| {
        let mut class = first_classes[batch];
        let mut last = None;
        for (row, place) in rows[firsts[batch]..firsts[batch + 1]].iter().zip(firsts[batch]..) {
            class += usize::from(last != Some(row.key));
            last = Some(row.key);
            // what all rows of a class and of a group write, the last writes for good: a test whether a row is the last
            // would be guessed wrong half of the time
            // SAFETY: batches have groups of their own, and so places, and as many classes as were counted.
            unsafe {
                ids.write(place, row.id);
                lengths.write(class - 1, keys.length(row.key));
                ends.write(class, place as u64 + 1);
                group_ends.write(keys.group(batch, row.key), class);
            }
        }
    });
    // groups of no rows end where the one before does
    let mut end = 0;
    for first in &mut group_first {
        end = end.max(*first);
        *first = end;
    }
    // SAFETY: so many rows and classes there are.
    unsafe {
        let classes = Classes { lengths: class_lengths.written(), first: class_first.written(), groups: group_first };
        (order.written(), classes)
    }
}

/// The most batches, unless keys do not fit: each is written to by each worker, and as many lines fit the nearest cache.
const BATCHES: usize = 256;

/// A row that is planned.
#[derive(Clone, Copy)]
struct Row<I> {
    id: I,
    key: u32, // see `Keys`
}

/// Batches of groups, and the order of the rows in one: by group, then by length.
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

    fn group(&self, batch: usize, key: u32) -> usize {
        batch << self.group_bits | (u64::from(key) >> self.length_bits) as usize
    }

    fn length(&self, key: u32) -> u32 {
        (u64::from(key) & ((1 << self.length_bits) - 1)) as u32
    }

    /// Calls `take` with the batch of each planned row, and the row.
    #[inline]
    fn for_each<I: Id>(
        &self,
        lengths: &Lengths,
        group_of: &[u32],
        rows: Range<usize>,
        mut take: impl FnMut(usize, Row<I>),
    ) {
        let mask = (1_u64 << self.group_bits) - 1;
        for (first_row, chunk) in lengths.pieces(rows) {
            with_slice!(chunk, s => for (row, (&length, &group)) in (first_row..).zip(s.iter().zip(&group_of[first_row..])) {
                let length = length.wrapped();
                if length <= u64::from(self.top) || self.truncate {
                    let key = (u64::from(group) & mask) << self.length_bits | length.min(self.top.into());
                    take(group as usize >> self.group_bits, Row { id: I::from_row(row), key: key as u32 });
                }
            })
        }
    }

    /// Sorts the rows of a batch: counting sorts by some bits of the key after one another, since a table of all keys
    /// would take longer to look through than a small batch takes to sort.
    fn sort<I: Id>(&self, rows: &mut [Row<I>], spare: &mut Vec<Row<I>>) {
        if rows.len() < FEW {
            rows.sort_by_key(|row| row.key);
            return;
        }
        spare.clear();
        spare.extend_from_slice(rows);
        let bits = self.length_bits + self.group_bits;
        let digits = bits.div_ceil(MOST_BITS);
        let digit = bits.div_ceil(digits);
        let (mut from, mut to) = if digits.is_multiple_of(2) { (rows, &mut spare[..]) } else { (&mut spare[..], rows) };
        for shift in 0..digits {
            sort_by_digit(from, to, digit, |row| row.key >> (shift * digit));
            (from, to) = (to, from);
        }
    }
}

const MOST_BITS: u32 = 9;
/// Fewer rows are faster sorted by comparing them.
const FEW: usize = 64;

/// A stable counting sort of `from` into `to` by the lowest `bits` of what `digit` gives.
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

/// Planned rows by batch, in input order, and where each batch begins.
fn deal<I: Id>(lengths: &Lengths, group_of: &[u32], keys: &Keys) -> (Vec<Row<I>>, Vec<usize>) {
    let workers = rayon::current_num_threads().min(lengths.len() / (1 << 15) + 1);
    let share = |w| split(lengths.len(), workers, w);
    let mut next: Vec<Vec<usize>> = (0..workers)
        .into_par_iter()
        .map(|w| {
            let mut counts = vec![0; keys.batches()];
            keys.for_each::<I>(lengths, group_of, share(w), |batch, _| counts[batch] += 1);
            counts
        })
        .collect();
    let mut firsts = vec![0];
    let mut end = 0;
    for batch in 0..keys.batches() {
        for counts in &mut next {
            end += std::mem::replace(&mut counts[batch], end);
        }
        firsts.push(end);
    }
    let mut rows = Buffer::new(end);
    let out = rows.places();
    next.into_par_iter().enumerate().for_each(|(w, mut next)| {
        keys.for_each::<I>(lengths, group_of, share(w), |batch, row| {
            // SAFETY: counting gave this worker a range of its own in each batch, as long as its count.
            unsafe { out.write(next[batch], row) };
            next[batch] += 1;
        });
    });
    // SAFETY: the ranges are all there is.
    (unsafe { rows.written() }, firsts)
}
