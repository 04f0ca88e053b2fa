//! A number of packs that divides evenly among ranks, without dropping a sequence.
//!
//! ```text
//! while the number of packs is no multiple:
//!     take a pattern whose packs hold the most sequences
//!     split as many of its packs as are wanted: each sequence to the half with fewer tokens, longest first
//! ```
//!
//! Cost: O(patterns x slots x log patterns); at most `multiple - 1` packs are split.

use std::collections::BinaryHeap;

use crate::memory::collected;
use crate::{Classes, Error, Patterns, Slot};

/// A pattern whose packs can be split, ordered by when.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Splittable {
    sequences: u64, // packs with the most sequences are split first
    pattern: std::cmp::Reverse<usize>,
}

impl Patterns {
    /// Split packs in two until their number is a multiple of `multiple`. The halves come last in their group.
    ///
    /// # Errors
    /// There are fewer sequences than packs needed; [`Error::OutOfMemory`].
    pub(crate) fn split_to_multiple(&mut self, classes: &Classes, multiple: u64) -> Result<(), Error> {
        let packs = self.num_packs();
        let goal = packs.next_multiple_of(multiple);
        let sequences = classes.num_sequences();
        if goal > sequences {
            return Err(Error::TooFewSequences { sequences, packs: goal, multiple });
        }
        let mut wanted = goal - packs;
        let mut heap: BinaryHeap<Splittable> = (0..self.len()).filter_map(|pattern| self.splittable(pattern)).collect();
        while wanted > 0 {
            let Some(Splittable { pattern: std::cmp::Reverse(pattern), .. }) = heap.pop() else { break };
            let taken = self.repeats[pattern].min(wanted);
            for half in halves(self.slots_of(pattern), classes) {
                self.add(&half, taken)?;
                heap.extend(self.splittable(self.len() - 1));
            }
            self.repeats[pattern] -= taken;
            wanted -= taken;
        }
        self.tidy(classes)
    }

    fn splittable(&self, pattern: usize) -> Option<Splittable> {
        let sequences = self.slots_of(pattern).iter().map(|slot| u64::from(slot.copies)).sum();
        (sequences > 1).then_some(Splittable { sequences, pattern: std::cmp::Reverse(pattern) })
    }

    /// Remove patterns without packs, and restore the order of groups.
    fn tidy(&mut self, classes: &Classes) -> Result<(), Error> {
        let mut used = collected("patterns", (0..self.len()).filter(|&pattern| self.repeats[pattern] > 0))?;
        if classes.groups.len() > 2 {
            used.sort_by_cached_key(|&pattern| classes.group_of(self.slots_of(pattern)[0].class as usize));
        }
        let mut kept = Self::default();
        for pattern in used {
            kept.add(self.slots_of(pattern), self.repeats[pattern])?;
        }
        *self = kept;
        Ok(())
    }
}

/// Divide the sequences of a pack into two halves, each sequence to the half with fewer tokens, longest first.
fn halves(slots: &[Slot], classes: &Classes) -> [Vec<Slot>; 2] {
    let mut parts = [vec![], vec![]];
    let mut tokens = [0_u64; 2];
    for slot in slots {
        let length = u64::from(classes.lengths[slot.class as usize]);
        let mut copies = [slot.copies / 2; 2];
        let lighter = usize::from(tokens[1] < tokens[0]);
        copies[lighter] += slot.copies % 2;
        for part in 0..2 {
            tokens[part] += length * u64::from(copies[part]);
            if copies[part] > 0 {
                parts[part].push(Slot { class: slot.class, copies: copies[part] });
            }
        }
    }
    parts
}
