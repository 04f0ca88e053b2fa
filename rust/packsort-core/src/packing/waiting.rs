//! Sequences that wait in input order, and the first of them that fits some room.
//!
//! ```text
//! leaves   the room that each sequence takes, in input order; what is taken out leaves a hole
//! above    the least of each 16 values below
//! search   from the top, each time into the first of 16 that fits
//! ```
//!
//! Sequences are added behind the last leaf. When all leaves are used, the holes are squeezed out, and there are twice as
//! many leaves if half of them were no holes.
//!
//! Cost: O(log sequences that wait) for each sequence that is added or taken out.

use crate::Error;
use crate::memory::filled;

/// Sequences that wait, in input order.
#[derive(Clone, Debug)]
pub(crate) struct Waiting<T> {
    levels: Vec<Vec<u32>>, // the leaves first, the top last; each a whole number of blocks
    numbers: Vec<T>,       // (leaves,): the number of each sequence
    end: usize,            // leaves in use, holes included
    len: usize,
}

/// Values of a block. 16 are compared at once.
const FAN: usize = 16;
/// A leaf without a sequence: no room is as large.
const HOLE: u32 = u32::MAX;
const WAITING: &str = "sequences that wait";

impl<T: Copy + Default> Waiting<T> {
    /// Nothing waits.
    pub fn new() -> Self {
        Self { levels: vec![], numbers: vec![], end: 0, len: 0 }
    }

    /// Number of sequences that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Add a sequence behind all others. What it takes is below `u32::MAX`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn push(&mut self, number: T, taken: u32) -> Result<(), Error> {
        if self.end == self.numbers.len() {
            self.squeeze()?;
        }
        self.numbers[self.end] = number;
        let mut at = self.end;
        for level in &mut self.levels {
            if level[at] <= taken {
                break; // it is the least of its block already, and of all above
            }
            level[at] = taken;
            at /= FAN;
        }
        self.end += 1;
        self.len += 1;
        Ok(())
    }

    /// Take out the first sequence that takes at most `room`; returns its number and what it takes.
    pub fn take(&mut self, room: u32) -> Option<(T, u32)> {
        let mut at = 0;
        for level in self.levels.iter().rev() {
            at = at * FAN + first_within(&level[at * FAN..], room)?;
        }
        let leaves = self.levels.first_mut()?;
        let found = (self.numbers[at], std::mem::replace(&mut leaves[at], HOLE));
        for level in 1..self.levels.len() {
            let block = at / FAN * FAN;
            let least = self.levels[level - 1][block..block + FAN].iter().copied().min().unwrap_or(HOLE);
            at /= FAN;
            if std::mem::replace(&mut self.levels[level][at], least) == least {
                break;
            }
        }
        self.len -= 1;
        Some(found)
    }

    /// Squeeze the holes out, and make more leaves if few of them are holes.
    fn squeeze(&mut self) -> Result<(), Error> {
        let mut leaves = self.numbers.len();
        let mut kept = 0;
        if let Some(taken) = self.levels.first_mut() {
            for at in 0..self.end {
                if taken[at] != HOLE {
                    (taken[kept], self.numbers[kept]) = (taken[at], self.numbers[at]);
                    kept += 1;
                }
            }
            taken[kept..].fill(HOLE);
        }
        if 2 * kept >= leaves {
            leaves = (2 * leaves).max(FAN);
            let mut numbers = filled(WAITING, leaves, T::default())?;
            numbers[..kept].copy_from_slice(&self.numbers[..kept]);
            let mut taken = filled(WAITING, leaves, HOLE)?;
            if let Some(known) = self.levels.first() {
                taken[..kept].copy_from_slice(&known[..kept]);
            }
            (self.numbers, self.levels) = (numbers, vec![taken]);
            while leaves > FAN {
                leaves = leaves.div_ceil(FAN);
                self.levels.push(filled(WAITING, leaves.next_multiple_of(FAN), HOLE)?);
            }
        }
        for level in 1..self.levels.len() {
            let (below, above) = self.levels.split_at_mut(level);
            for (least, block) in above[0].iter_mut().zip(below[level - 1].chunks_exact(FAN)) {
                *least = block.iter().copied().min().unwrap_or(HOLE);
            }
        }
        self.end = kept;
        Ok(())
    }
}

/// The first value of a block that is at most `room`.
#[inline]
fn first_within(block: &[u32], room: u32) -> Option<usize> {
    let mut within = 0_u32;
    for (bit, &taken) in block[..FAN].iter().enumerate() {
        within |= u32::from(taken <= room) << bit;
    }
    (within != 0).then(|| within.trailing_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_that_fits_is_that_of_a_list(
            steps in prop::collection::vec((any::<bool>(), 0_u32..40), 0..3000),
        ) {
            let (mut waiting, mut list) = (Waiting::new(), vec![]);
            for (number, (adds, size)) in steps.into_iter().enumerate() {
                if adds {
                    waiting.push(number, size).unwrap();
                    list.push((number, size));
                } else {
                    let first = list.iter().position(|&(_, taken)| taken <= size);
                    prop_assert_eq!(waiting.take(size), first.map(|at| list.remove(at)));
                }
                prop_assert_eq!(waiting.len(), list.len());
            }
        }
    }
}
