//! Sequence ids sorted by length: a counting sort, each length's ids in input order.
#![allow(unsafe_code)]

use rayon::prelude::*;

use crate::Overlong;
use crate::histogram::count::Share;
use crate::lengths::{Length, Lengths, with_slice};
use crate::memory::Buffer;
use crate::parallel::Disjoint;

/// An integer that numbers sequences: `u32` where there are few enough, for half the memory, else `i64`.
pub trait Id: Copy + Default + Send + Sync + PartialEq + std::fmt::Debug {
    /// From a row; the caller sees to it that it fits.
    fn from_row(row: usize) -> Self;
    /// As a number.
    fn to_u64(self) -> u64;
    /// As an index.
    #[inline(always)]
    fn to_usize(self) -> usize {
        self.to_u64() as usize
    }
    /// `self + more`.
    #[inline(always)]
    fn plus(self, more: usize) -> Self {
        Self::from_row(self.to_usize() + more)
    }
}

impl Id for u32 {
    #[inline(always)]
    fn from_row(row: usize) -> Self {
        row as u32
    }
    #[inline(always)]
    fn to_u64(self) -> u64 {
        self.into()
    }
}

impl Id for i64 {
    #[inline(always)]
    fn from_row(row: usize) -> Self {
        row as i64
    }
    #[inline(always)]
    fn to_u64(self) -> u64 {
        self as u64
    }
}

/// Ids of all planned sequences, shortest first, equal lengths in input order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Fewer than 2^32 rows.
    U32(Vec<u32>),
    /// More.
    I64(Vec<i64>),
}

impl Order {
    /// Number of ids.
    pub fn len(&self) -> usize {
        match self {
            Self::U32(ids) => ids.len(),
            Self::I64(ids) => ids.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `item` of each row of `lengths`, by length. `by_length` is the plan's histogram, `shares` what counting left.
pub(crate) fn sort<I: Id, T: Copy + Send>(
    lengths: &Lengths,
    by_length: &[u64],
    mut shares: Vec<Share<I>>,
    overlong: Overlong,
    item: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let top = by_length.len() - 1;
    // in each share, a bin's count becomes the position of its next id
    let mut next = 0_usize;
    for bin in 1..=top {
        for share in &mut shares {
            let mut count = share.bins[bin].to_usize();
            if bin == top && overlong == Overlong::Truncate {
                count += share.bins[top + 1].to_usize();
            }
            share.bins[bin] = I::from_row(next);
            next += count;
        }
    }
    let mut order = Buffer::new(next);
    let out = order.places();
    let last_bin = if overlong == Overlong::Truncate { top } else { top + 1 };
    shares.into_par_iter().for_each(|mut share| {
        for (first_row, chunk) in lengths.pieces(share.rows.clone()) {
            with_slice!(chunk, s => place(s, first_row, last_bin, top, &mut share.bins, &out, &item));
        }
    });
    // SAFETY: `next` places were handed out, one to each row that was counted.
    unsafe { order.written() }
}

#[inline]
fn place<L: Length, I: Id, T: Copy>(
    lengths: &[L],
    first_row: usize,
    last_bin: usize,
    top: usize,
    next: &mut [I],
    out: &Disjoint<T>,
    item: impl Fn(usize) -> T,
) {
    for (row, &length) in lengths.iter().enumerate() {
        let bin = length.wrapped().min(last_bin as u64) as usize;
        if bin <= top {
            let at = next[bin];
            // SAFETY: counting gave this share a range of its own in each bin, as long as the bin's count.
            unsafe { out.write(at.to_usize(), item(first_row + row)) };
            next[bin] = at.plus(1);
        }
    }
}
