//! Packing under a cap on sequences, decided on counts.
//!
//! Longest first fills early packs with few long sequences, and leaves so many short ones that the last packs reach the
//! cap with most of their room empty. Here a pack of long sequences gets short ones as well:
//!
//! ```text
//! while sequences are left:
//!     places = the number of sequences that this pack aims at
//!     take the longest left
//!     while more than two places are to be filled:
//!         take the longest that leaves room for average sequences in the other places; if none does, the shortest
//!     for the last two places: take the two that fill the room best, of a few pairs
//!     beyond the places: take the longest that fits, while there is one and the cap allows it
//!     repeat this pattern while its sequences last
//! ```
//!
//! There are several [aims](rest::AIMS). First-fit decreasing and these run side by side; see [`Effort`]. A run stops
//! when it cannot be the one that counts: then its packs and the fewest that the rest needs are too many.
//!
//! Cost: O(patterns x sequences of a pack), whatever the number of sequences. As in [`first_fit`](super::first_fit),
//! there are about as many patterns as distinct lengths.

mod filling;
mod rest;

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::memory::{collected, copied};
use crate::packing::bits::Bits;
use crate::packing::first_fit::{Limits, first_fit};
use crate::{Error, Patterns};
use filling::Balancing;
use rest::{AIMS, Rest};

const PATTERNS: &str = "balanced patterns";

/// First-fit decreasing, and each aim.
const WAYS: usize = 1 + AIMS.len();
/// With fewer distinct lengths, a run takes less time than a thread to wake up.
const MIN_LENGTHS_FOR_THREADS: usize = 128;

/// How much work the packs are worth.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Effort {
    /// First-fit decreasing and two aims. The first that comes near the fewest packs possible counts; if none does, the
    /// best.
    Quick,
    /// First-fit decreasing and all aims. The best counts.
    Full,
}

impl Effort {
    /// The ways, in the order in which threads begin them.
    fn ways(self) -> &'static [usize] {
        match self {
            Self::Quick => &[1, 0, 2],
            Self::Full => &[1, 0, 2, 3, 4],
        }
    }
}

/// Pack `counts` sequences of each length by first-fit decreasing, or balanced where that takes fewer packs. Slots hold
/// indices of lengths as classes.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn capped(limits: &Limits, counts: &[u64], effort: Effort) -> Result<Patterns, Error> {
    let rest = Rest::new(limits, counts);
    let taken = collected(PATTERNS, limits.lengths.iter().map(|&length| limits.room.taken(length)))?;
    let near = if effort == Effort::Quick { rest.near() } else { rest.fewest_packs() };
    let race = Race { near, best: AtomicU64::new(u64::MAX) };
    let run = |&way: &usize| {
        let found = match way {
            0 => Some(longest_first(limits, counts)?),
            _ if race.is_lost(way, 0) => None,
            _ => Balancing::new(limits, &taken, counts, rest)?.run(AIMS[way - 1], |packs| race.is_lost(way, packs))?,
        };
        found.iter().for_each(|found| race.finish(way, found.num_packs()));
        Ok(found)
    };
    let ways = effort.ways();
    let together = if limits.lengths.len() < MIN_LENGTHS_FOR_THREADS { WAYS } else { 1 };
    let found: Vec<_> = ways.par_iter().with_min_len(together).map(run).collect::<Result<_, Error>>()?;
    let place = ways.iter().position(|&way| way == race.winner());
    Ok(place.and_then(|place| found.into_iter().nth(place)).flatten().unwrap_or_default())
}

fn longest_first(limits: &Limits, counts: &[u64]) -> Result<Patterns, Error> {
    let mut found = Patterns::default();
    let (mut left, mut present) = (copied(PATTERNS, counts)?, Bits::new(counts.len())?);
    first_fit(limits, &mut left, &mut present, &mut vec![], |slots, repeat| found.add(slots, repeat))?;
    Ok(found)
}

/// The fewest packs found so far, and the first of the ways that found them, as one number: `packs * WAYS + way`.
///
/// What it is in the end does not depend on who is faster.
struct Race {
    near: u64, // fewer packs are no better
    best: AtomicU64,
}

impl Race {
    fn number(&self, way: usize, packs: u64) -> u64 {
        packs.max(self.near).saturating_mul(WAYS as u64).saturating_add(way as u64)
    }

    fn finish(&self, way: usize, packs: u64) {
        self.best.fetch_min(self.number(way, packs), Ordering::Relaxed);
    }

    /// Return whether a way that takes at least this many packs cannot be the one that counts.
    fn is_lost(&self, way: usize, packs: u64) -> bool {
        self.number(way, packs) > self.best.load(Ordering::Relaxed)
    }

    fn winner(&self) -> usize {
        (self.best.load(Ordering::Relaxed) % WAYS as u64) as usize
    }
}
