//! Sequence ids sorted by length, equal lengths in input order.
//!
//! A counting sort, in parallel over the shares of [`count`](super::count):
//!
//! ```text
//! turn the counts into positions: bin after bin, and in each bin share after share
//! for each share, for each row: ids[position[length]++] = row
//! ```
//!
//! Cost: one pass over the lengths, and `shares x top` additions.
#![allow(unsafe_code)]

use rayon::prelude::*;

use crate::histogram::count::Share;
use crate::ids::Id;
use crate::lengths::{Length, Lengths, read_once, with_slice};
use crate::memory::copied;
use crate::parallel::Scatter;
use crate::{Error, Overlong};

/// Rows between a write and asking for its cache line. Stores wait for their lines one after another: asking ahead takes
/// a tenth off the processor time of a plan of a million sequences.
const AHEAD: usize = 24;

/// Sort the rows of `lengths`, which were counted into `shares`.
///
/// # Errors
/// Lengths are others than when they were counted.
pub(crate) fn sort<I: Id>(lengths: &Lengths, mut shares: Vec<Share<I>>, overlong: Overlong) -> Result<Vec<I>, Error> {
    let Some(first) = shares.first() else { return Ok(vec![]) };
    let top = first.bins.len() - 2;
    // The last bin counts rows over max_length. Truncated ones join the bin of max_length, others are left out.
    let last_bin = if overlong == Overlong::Truncate { top } else { top + 1 };
    let planned = counts_to_positions(&mut shares, top, last_bin);
    let sorted = Scatter::new("sequence ids", planned)?;
    let ends = shares
        .par_iter()
        .map(|share| {
            let mut next = copied("positions by length", &share.bins)?;
            for (first_row, chunk) in lengths.stretches(share.rows.clone()) {
                with_slice!(chunk, s => place(s, first_row, last_bin, top, &mut next, &sorted));
            }
            Ok(next)
        })
        .collect::<Result<Vec<Vec<I>>, Error>>()?;
    if !is_filled(&shares, &ends, top, planned) {
        return Err(Error::LengthsChanged);
    }
    // SAFETY: the shares divided `0..planned` into one range for each of their bins, one after another, and `is_filled`
    // found that each of these ranges was written from its beginning to its end.
    Ok(unsafe { sorted.finish() })
}

/// Replace each count by the position of the bin's first id; returns the number of planned rows.
fn counts_to_positions<I: Id>(shares: &mut [Share<I>], top: usize, last_bin: usize) -> usize {
    let mut position = 0_usize;
    for bin in 1..=top {
        for share in &mut *shares {
            let mut count = share.bins[bin].to_usize();
            if bin == last_bin {
                count += share.bins[top + 1].to_usize();
            }
            share.bins[bin] = I::from_index(position);
            position += count;
        }
    }
    position
}

/// Whether every bin of every share ends where the next one starts.
fn is_filled<I: Id>(shares: &[Share<I>], ends: &[Vec<I>], top: usize, planned: usize) -> bool {
    let mut expected = I::from_index(0);
    for bin in 1..=top {
        for (share, ends) in shares.iter().zip(ends) {
            if share.bins[bin] != expected {
                return false;
            }
            expected = ends[bin];
        }
    }
    expected.to_usize() == planned
}

#[inline]
fn place<L: Length, I: Id>(
    lengths: &[L],
    first_row: usize,
    last_bin: usize,
    top: usize,
    next: &mut [I],
    sorted: &Scatter<I>,
) {
    let bin_of = |length: L| length.wrapped().min(last_bin as u64) as usize;
    for (index, (row, length)) in (first_row..).zip(lengths).enumerate() {
        if let Some(&ahead) = lengths.get(index + AHEAD) {
            sorted.prefetch(next[bin_of(ahead)].to_usize());
        }
        let bin = bin_of(read_once(length));
        // Bin 0 counts sequences of no tokens, which are left out.
        if bin.wrapping_sub(1) < top {
            let at = next[bin];
            // Counting gave this share a range of its own in each bin. If lengths have changed since, it may write outside:
            // stores are atomic, and `is_filled` finds it.
            sorted.store_inside(at.to_usize(), I::from_index(row));
            next[bin] = at.plus(1);
        }
    }
}
