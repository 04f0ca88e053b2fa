//! Sequence ids sorted by group, and by length within each: two counting sorts.
#![allow(unsafe_code)]

use rayon::prelude::*;

use crate::count::split;
use crate::disjoint::Disjoint;
use crate::lengths::{Length, Lengths, with_slice};
use crate::memory::zeroed;
use crate::order::Id;
use crate::plan::Groups;
use crate::{Classes, Overlong};

/// Sorts the rows of `lengths`, which have been counted, so none is longer than `top` but those that `overlong` is
/// about. Ids come by group, then by length, then in input order.
///
/// By group first: the rows of a group then fit the cache, where sorting them by length is cheap.
pub(crate) fn sort_grouped<I: Id>(
    lengths: &Lengths,
    groups: Groups,
    top: u32,
    overlong: Overlong,
) -> (Vec<I>, Classes) {
    let workers = rayon::current_num_threads().min(lengths.len() / (groups.count * 4).max(1 << 15) + 1);
    let kept = Kept { top, truncate: overlong == Overlong::Truncate };
    let mut next: Vec<Vec<usize>> = (0..workers)
        .into_par_iter()
        .map(|w| {
            let mut counts = vec![0; groups.count];
            kept.for_each(lengths, groups.of, split(lengths.len(), workers, w), |group, _, _| counts[group] += 1);
            counts
        })
        .collect();
    let mut first = vec![0];
    for group in 0..groups.count {
        let mut at = first[group];
        for counts in &mut next {
            at += std::mem::replace(&mut counts[group], at);
        }
        first.push(at);
    }
    let rows = first[groups.count];
    let mut pairs = zeroed::<(I, u32)>(rows);
    let out = Disjoint::new(&mut pairs);
    next.into_par_iter().enumerate().for_each(|(w, mut next)| {
        kept.for_each(lengths, groups.of, split(lengths.len(), workers, w), |group, row, length| {
            // SAFETY: counting gave this worker a range of its own in each group, as long as its count.
            unsafe { out.write(next[group], (I::from_row(row), length)) };
            next[group] += 1;
        });
    });

    let mut order = zeroed::<I>(rows);
    let mut work = Vec::with_capacity(groups.count);
    let (mut pairs, mut rest) = (&mut pairs[..], &mut order[..]);
    for group in 0..groups.count {
        let (own, others) = pairs.split_at_mut(first[group + 1] - first[group]);
        let (ids, more) = rest.split_at_mut(own.len());
        work.push((own, ids));
        (pairs, rest) = (others, more);
    }
    let half = (u32::BITS - top.leading_zeros()).div_ceil(2);
    let runs: Vec<Vec<(u32, u64)>> = work
        .into_par_iter()
        .with_min_len(16)
        .map_init(Vec::new, |spare, (pairs, ids)| sort_group(pairs, ids, spare, half))
        .collect();
    let mut classes = Classes { lengths: vec![], first: vec![0], groups: vec![0] };
    let mut next = 0;
    for run in runs {
        for (length, count) in run {
            next += count;
            classes.lengths.push(length);
            classes.first.push(next);
        }
        classes.groups.push(classes.lengths.len());
    }
    (order, classes)
}

/// Which rows are planned, and with how many tokens.
#[derive(Clone, Copy)]
struct Kept {
    top: u32,
    truncate: bool,
}

impl Kept {
    /// Calls `take` with group, row and length of each planned row.
    #[inline]
    fn for_each(
        self,
        lengths: &Lengths,
        group_of: &[u32],
        rows: std::ops::Range<usize>,
        mut take: impl FnMut(usize, usize, u32),
    ) {
        for (first_row, chunk) in lengths.pieces(rows) {
            with_slice!(chunk, s => for (row, (&length, &group)) in (first_row..).zip(s.iter().zip(&group_of[first_row..])) {
                let length = length.wrapped();
                if length <= u64::from(self.top) || self.truncate {
                    take(group as usize, row, length.min(self.top.into()) as u32);
                }
            })
        }
    }
}

/// Sorts one group by length into `ids`; returns each length and how often it comes.
///
/// Two counting sorts by the lower and the upper half of the length's bits: a table of all lengths would take longer to
/// look through than a small group takes to sort.
fn sort_group<I: Id>(pairs: &mut [(I, u32)], ids: &mut [I], spare: &mut Vec<(I, u32)>, half: u32) -> Vec<(u32, u64)> {
    if pairs.len() < 64 {
        pairs.sort_by_key(|&(_, length)| length);
    } else {
        spare.clear();
        spare.extend_from_slice(pairs);
        let mask = (1 << half) - 1;
        sort_by_digit(spare, pairs, 1 << half, |length| length & mask);
        spare.copy_from_slice(pairs);
        sort_by_digit(spare, pairs, 1 << half, |length| length >> half);
    }
    ids.iter_mut().zip(&*pairs).for_each(|(id, pair)| *id = pair.0);
    pairs.chunk_by(|a, b| a.1 == b.1).map(|run| (run[0].1, run.len() as u64)).collect()
}

/// A stable counting sort of `from` into `to` by a digit below `digits`.
fn sort_by_digit<I: Id>(from: &[(I, u32)], to: &mut [(I, u32)], digits: usize, digit: impl Fn(u32) -> u32) {
    let mut next = vec![0_usize; digits];
    for pair in from {
        next[digit(pair.1) as usize] += 1;
    }
    let mut at = 0;
    for place in &mut next {
        at += std::mem::replace(place, at);
    }
    for &pair in from {
        let place = &mut next[digit(pair.1) as usize];
        to[*place] = pair;
        *place += 1;
    }
}
