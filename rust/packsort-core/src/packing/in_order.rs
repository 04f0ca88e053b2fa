//! Next-fit in input order, with a bounded look-ahead.
//!
//! ```text
//! until nothing waits:
//!     the first sequence that waits opens a pack
//!     for each sequence behind it, in input order:
//!         it fits: it goes into the pack
//!         it does not fit, and fewer than `window` were passed over: it is passed over
//!         otherwise: the pack is closed
//! ```
//!
//! With a window of 0 this is next-fit. A sequence is taken forward past `window` others at most, and packs come in the
//! order of their first sequences. Whether a sequence fits is asked again and again while it waits, so those that were
//! passed over stand in a tree ([`waiting`](super::waiting)).
//!
//! Sequences come one at a time, so a stream of them is packed like a list, in memory for `window` of them and a pack.
//!
//! Cost: O(log window) for each sequence.

use crate::memory::push;
use crate::packing::waiting::Waiting;
use crate::{Error, Room};

const PACKS: &str = "packs in input order";

/// Packs of sequences that come one at a time.
///
/// # Examples
/// ```
/// use packsort_core::{InOrder, Options};
///
/// let mut packs = InOrder::new(Options::new(10).room()?, u64::MAX, 1);
/// for (number, length) in [6, 5, 4, 9].into_iter().enumerate() {
///     packs.add(number as u64, length)?;
/// }
/// assert_eq!(packs.take_closed(), Some(vec![0, 2])); // 5 does not fit beside 6; 4 does, and 9 closes the pack
/// packs.close()?;
/// assert_eq!(packs.take_closed(), Some(vec![1]));
/// # Ok::<(), packsort_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct InOrder<T = u64> {
    room: Room,
    max_sequences: u64,
    window: u32,
    numbers: Vec<T>,     // of the closed packs, and of the open one behind them
    ends: Vec<usize>,    // (closed packs + 1,): where each pack begins, and the open one
    left: u32,           // room of the open pack
    waiting: Waiting<T>, // sequences that were passed over
}

impl<T: Copy + Default> InOrder<T> {
    /// Pack nothing yet.
    pub fn new(room: Room, max_sequences: u64, window: u32) -> Self {
        let left = room.capacity();
        Self { room, max_sequences, window, numbers: vec![], ends: vec![0], left, waiting: Waiting::new() }
    }

    /// Add the next sequence, of at most [`Room::longest`] tokens. That may close a pack.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn add(&mut self, number: T, length: u32) -> Result<(), Error> {
        let taken = self.room.taken(length);
        if !self.fits(taken) && self.waiting.len() >= self.window as usize {
            self.close()?;
        }
        if self.fits(taken) { self.put(number, taken) } else { self.waiting.push(number, taken) }
    }

    /// Close the open pack, if there is one, and open the next with sequences that wait. It is empty if none does.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn close(&mut self) -> Result<(), Error> {
        if self.num_open() > 0 {
            push(&mut self.ends, PACKS, self.numbers.len())?;
            self.left = self.room.capacity();
            while (self.num_open() as u64) < self.max_sequences
                && let Some((number, taken)) = self.waiting.take(self.left)
            {
                self.put(number, taken)?;
            }
        }
        Ok(())
    }

    /// Forget the closed pack that was closed first; returns its sequences. `None` if no pack is closed.
    pub fn take_closed(&mut self) -> Option<Vec<T>> {
        let &[_, end, ..] = &self.ends[..] else { return None };
        self.ends.remove(0);
        self.ends.iter_mut().for_each(|other| *other -= end);
        Some(self.numbers.drain(..end).collect())
    }

    /// Close all packs; returns the sequences of all of them, and where each pack ends.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn finish(mut self) -> Result<(Vec<T>, Vec<usize>), Error> {
        while self.num_open() > 0 {
            self.close()?;
        }
        Ok((self.numbers, self.ends))
    }

    fn num_open(&self) -> usize {
        self.numbers.len() - self.ends.last().copied().unwrap_or(0)
    }

    fn fits(&self, taken: u32) -> bool {
        taken <= self.left && (self.num_open() as u64) < self.max_sequences
    }

    fn put(&mut self, number: T, taken: u32) -> Result<(), Error> {
        self.left -= taken;
        push(&mut self.numbers, PACKS, number)
    }
}
