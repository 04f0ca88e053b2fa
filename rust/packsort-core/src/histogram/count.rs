//! The histogram of lengths.
//!
//! ```text
//! cut the rows into one share for each thread
//! for each share: counts[min(length, top + 1)] += 1
//! add up the shares
//! if any sequence is refused or is counted at top + 1: find those sequences one by one
//! ```
//!
//! A negative length wraps to a huge one, so the last bin counts every length that needs a closer look. The shares are
//! kept: from them [`sort`](super::sort) knows where each thread places its ids.
//!
//! Cost: one pass over the lengths, and `top` additions for each thread.

use std::ops::Range;

use rayon::prelude::*;

use crate::ids::Id;
use crate::lengths::{Length, Lengths, with_slice};
use crate::memory::zeros;
use crate::{EmptySequences, Error, Overlong};

/// The histogram of planned lengths, and the sequences over `max_length`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// `by_length[l]` planned sequences have `l` tokens; index 0 is always 0.
    pub by_length: Vec<u64>,
    /// Number of sequences of no tokens, which are dropped.
    pub empty: u64,
    /// Number of sequences longer than `max_length`, which are dropped or truncated.
    pub overlong: u64,
    /// Number of their tokens that are not in the plan.
    pub tokens_lost: u64,
}

/// A range of rows, counted by one thread.
pub(crate) struct Share<I> {
    pub rows: Range<usize>,
    /// Number of rows of each length up to `top`; the last bin counts all longer ones.
    pub bins: Vec<I>, // (top + 2,)
}

/// Fewer rows than this are counted faster than a thread wakes up.
const MIN_ROWS_PER_THREAD: usize = 1 << 15;
/// Up to this `max_length` the table has a bin for every length. Above it, the longest length is looked up first.
const SMALL_TABLE: usize = 1 << 17;

const BY_LENGTH: &str = "counts by length";

/// The longest sequence that is planned. A table of lengths up to it takes half a gigabyte.
pub(crate) const LONGEST: usize = 1 << 26;

/// Count lengths; returns the histogram, and the counts of each thread.
pub(crate) fn count<I: Id>(
    lengths: &Lengths,
    max_length: u32,
    overlong: Overlong,
    empty: EmptySequences,
) -> Result<(Counts, Vec<Share<I>>), Error> {
    let rows = lengths.len();
    let top = table_top(lengths, max_length, overlong);
    if top > LONGEST {
        return Err(name_unplannable(lengths, max_length, overlong, empty)?);
    }
    // One share for each thread. With two or four shares for each, a busy core delays a plan less, but threads then write
    // ids to the same cache lines: planning a million lengths takes a quarter longer.
    let threads = rayon::current_num_threads().min(rows / MIN_ROWS_PER_THREAD.max(top / 4) + 1).max(1);
    let shares = (0..threads)
        .into_par_iter()
        .map(|thread| {
            let rows = split(rows, threads, thread);
            let mut bins = zeros::<I>(BY_LENGTH, top + 2)?;
            for (_, chunk) in lengths.stretches(rows.clone()) {
                with_slice!(chunk, s => count_slice(s, &mut bins));
            }
            Ok(Share { rows, bins })
        })
        .collect::<Result<Vec<_>, Error>>()?;

    let mut by_length = zeros::<u64>(BY_LENGTH, top + 2)?;
    for share in &shares {
        for (sum, &n) in by_length.iter_mut().zip(&share.bins) {
            *sum += n.to_u64();
        }
    }
    let over = by_length.pop().unwrap_or(0);
    let zeros = std::mem::take(&mut by_length[0]);
    let mut counts = Counts { by_length, empty: zeros, overlong: 0, tokens_lost: 0 };
    let zeros_refused = zeros > 0 && empty == EmptySequences::Error;
    if over > 0 || zeros_refused {
        let (found, tokens) = find_overlong(lengths, max_length, overlong, empty)?;
        if found != over || zeros_refused {
            return Err(Error::LengthsChanged);
        }
        counts.overlong = over;
        counts.tokens_lost = tokens;
        if overlong == Overlong::Truncate {
            counts.tokens_lost -= over * u64::from(max_length);
            counts.by_length[top] += over; // a length over max_length was found, so top is max_length
        }
    }
    Ok((counts, shares))
}

/// The range `index` of `parts` nearly equal ranges of `0..len`.
pub(crate) fn split(len: usize, parts: usize, index: usize) -> Range<usize> {
    let start = |index: usize| (len as u128 * index as u128 / parts as u128) as usize;
    start(index)..start(index + 1)
}

#[inline]
fn count_slice<L: Length, I: Id>(lengths: &[L], bins: &mut [I]) {
    let last = bins.len() - 1;
    for &length in lengths {
        let bin = &mut bins[length.wrapped().min(last as u64) as usize];
        *bin = bin.plus(1);
    }
}

/// The largest length that needs a bin of its own.
fn table_top(lengths: &Lengths, max_length: u32, overlong: Overlong) -> usize {
    let limit = u64::from(max_length);
    if max_length as usize <= SMALL_TABLE {
        return max_length as usize;
    }
    let threads = rayon::current_num_threads();
    let planned = |length: u64| match length <= limit {
        true => length,
        false if overlong == Overlong::Truncate => limit,
        false => 0,
    };
    let longest_of = |(_, chunk)| with_slice!(chunk, s => s.iter().map(|l| planned(l.wrapped())).max().unwrap_or(0));
    let longest = (0..threads).into_par_iter().map(|thread| {
        let rows = split(lengths.len(), threads, thread);
        lengths.stretches(rows).map(longest_of).max().unwrap_or(0)
    });
    longest.max().unwrap_or(0) as usize
}

/// Find the first length that is refused; otherwise the number of sequences over `max_length`, and their tokens.
fn find_overlong(
    lengths: &Lengths,
    max_length: u32,
    overlong: Overlong,
    empty: EmptySequences,
) -> Result<(u64, u64), Error> {
    let (mut sequences, mut tokens) = (0, 0_u64);
    for (first_row, chunk) in lengths.stretches(0..lengths.len()) {
        with_slice!(chunk, s => for (&length, row) in s.iter().zip(first_row as u64..) {
            if let Some(length) = length.refused(empty) {
                return Err(Error::NotPositive { row, length });
            }
            let length = length.wrapped();
            if length > u64::from(max_length) {
                if overlong == Overlong::Error {
                    return Err(Error::TooLong { row, length, max_length });
                }
                sequences += 1;
                tokens = tokens.saturating_add(length);
            }
        })
    }
    Ok((sequences, tokens))
}

/// Name the first sequence over [`LONGEST`], unless another length is refused.
fn name_unplannable(
    lengths: &Lengths,
    max_length: u32,
    overlong: Overlong,
    empty: EmptySequences,
) -> Result<Error, Error> {
    find_overlong(lengths, max_length, overlong, empty)?;
    for (first_row, chunk) in lengths.stretches(0..lengths.len()) {
        with_slice!(chunk, s => for (&length, row) in s.iter().zip(first_row as u64..) {
            let length = length.wrapped();
            if length > LONGEST as u64 && (length <= max_length.into() || overlong == Overlong::Truncate) {
                return Ok(Error::Unplannable { row, length, limit: LONGEST as u64 });
            }
        })
    }
    Ok(Error::LengthsChanged)
}
