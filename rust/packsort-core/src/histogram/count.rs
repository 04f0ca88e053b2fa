//! Step 1: the histogram of lengths, counted in parallel over row ranges.

use std::ops::Range;

use rayon::prelude::*;

use crate::Error;
use crate::histogram::sort::Id;
use crate::lengths::{Length, Lengths, with_slice};

/// What becomes of a sequence longer than `max_length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlong {
    /// It is an error, which names the first one.
    Error,
    /// It is left out of the plan.
    Drop,
    /// It keeps its first `max_length` tokens.
    Truncate,
    /// It is cut into pieces of `max_length` tokens and what is left.
    Split,
}

/// How many sequences there are of each length, and what became of those over `max_length`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// `by_length[l]` sequences take `l` tokens; index 0 is always 0.
    pub by_length: Vec<u64>,
    /// Sequences longer than `max_length`: dropped or truncated.
    pub overlong: u64,
    /// Tokens of those that are not in the plan.
    pub tokens_lost: u64,
}

/// Rows handled by one worker, and how many of each bin it met: lengths 0 to `top`, and one bin for all above.
pub(crate) struct Share<I> {
    pub rows: Range<usize>,
    pub bins: Vec<I>, // (top + 2,)
}

/// Fewer rows than this a worker are counted faster than a thread is woken.
const MIN_ROWS_A_WORKER: usize = 1 << 15;
/// Up to this `max_length` a table of all lengths is small; above it the longest length there is is looked up first.
const SMALL_TABLE: usize = 1 << 17;

/// The longest sequence that is planned: tables go up to it, and take a gigabyte then.
pub(crate) const LONGEST: usize = 1 << 26;

/// Counts lengths; each share also serves to hand out positions to its rows, see `order`.
pub(crate) fn count<I: Id>(
    lengths: &Lengths,
    max_length: u32,
    overlong: Overlong,
) -> Result<(Counts, Vec<Share<I>>), Error> {
    let rows = lengths.len();
    let top = table_top(lengths, max_length, overlong);
    if top > LONGEST {
        return Err(longer_than_planned(lengths, max_length, overlong)?);
    }
    let workers = rayon::current_num_threads().min(rows / MIN_ROWS_A_WORKER.max(top / 4) + 1).max(1);
    let shares: Vec<Share<I>> = (0..workers)
        .into_par_iter()
        .map(|w| {
            let rows = split(rows, workers, w);
            let mut bins = vec![I::default(); top + 2];
            for (_, chunk) in lengths.pieces(rows.clone()) {
                with_slice!(chunk, s => count_slice(s, &mut bins));
            }
            Share { rows, bins }
        })
        .collect();

    let mut by_length = vec![0_u64; top + 2];
    for share in &shares {
        for (sum, &n) in by_length.iter_mut().zip(&share.bins) {
            *sum += n.to_u64();
        }
    }
    let over = by_length.pop().unwrap_or(0);
    let mut counts = Counts { by_length, overlong: 0, tokens_lost: 0 };
    if over > 0 || counts.by_length[0] > 0 {
        let misfits = misfits(lengths, max_length, overlong)?;
        counts.overlong = over;
        counts.tokens_lost = misfits;
        if overlong == Overlong::Truncate {
            counts.tokens_lost -= over * u64::from(max_length);
            counts.by_length[top] += over; // a length over max_length was met, so top is max_length
        }
    }
    Ok((counts, shares))
}

/// The `w`th of `parts` nearly equal ranges of `0..len`.
pub(crate) fn split(len: usize, parts: usize, w: usize) -> Range<usize> {
    let at = |w: usize| (len as u128 * w as u128 / parts as u128) as usize;
    at(w)..at(w + 1)
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
    let workers = rayon::current_num_threads();
    let planned = |length: u64| match length <= limit {
        true => length,
        false if overlong == Overlong::Truncate => limit,
        false => 0,
    };
    let longest_of = |(_, chunk)| with_slice!(chunk, s => s.iter().map(|l| planned(l.wrapped())).max().unwrap_or(0));
    let longest = (0..workers)
        .into_par_iter()
        .map(|w| lengths.pieces(split(lengths.len(), workers, w)).map(longest_of).max().unwrap_or(0));
    longest.max().unwrap_or(0) as usize
}

/// Names the first length that is not allowed; otherwise the tokens of all that are over `max_length`.
fn misfits(lengths: &Lengths, max_length: u32, overlong: Overlong) -> Result<u64, Error> {
    let mut tokens = 0;
    for (first_row, chunk) in lengths.pieces(0..lengths.len()) {
        with_slice!(chunk, s => for (&length, row) in s.iter().zip(first_row as u64..) {
            if let Some(length) = length.not_positive() {
                return Err(Error::NotPositive { row, length });
            }
            let length = length.wrapped();
            if length > u64::from(max_length) {
                if overlong == Overlong::Error {
                    return Err(Error::TooLong { row, length, max_length });
                }
                tokens += length;
            }
        })
    }
    Ok(tokens)
}

/// Names the first sequence that is longer than is planned, unless something is wrong with another.
fn longer_than_planned(lengths: &Lengths, max_length: u32, overlong: Overlong) -> Result<Error, Error> {
    misfits(lengths, max_length, overlong)?;
    for (first_row, chunk) in lengths.pieces(0..lengths.len()) {
        with_slice!(chunk, s => for (&length, row) in s.iter().zip(first_row as u64..) {
            let length = length.wrapped();
            if length > LONGEST as u64 && (length <= max_length.into() || overlong == Overlong::Truncate) {
                return Ok(Error::Unplannable { row, length });
            }
        })
    }
    Ok(Error::Inconsistent("a length is more than can be planned"))
}
