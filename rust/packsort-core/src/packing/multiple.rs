//! A number of packs that divides evenly among ranks, without dropping a sequence.

use std::collections::BinaryHeap;

use crate::{Classes, Error, Patterns, Slot};

/// Packs alike that could be split.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Many {
    sequences: u64, // the fullest of sequences are split first
    pattern: std::cmp::Reverse<usize>,
}

impl Patterns {
    /// Splits packs in two until their number is a multiple of `multiple`: those with the most sequences first, into
    /// halves of about as many tokens. The new packs come last.
    ///
    /// # Errors
    /// There are too few sequences for as many packs.
    pub(crate) fn split_to_multiple(&mut self, classes: &Classes, multiple: u64) -> Result<(), Error> {
        let packs: u64 = self.repeats.iter().sum();
        let goal = packs.next_multiple_of(multiple);
        if goal > classes.sequences() {
            return Err(Error::TooFewSequences { sequences: classes.sequences(), packs: goal, multiple });
        }
        let mut wanted = goal - packs;
        let mut many: BinaryHeap<Many> = (0..self.len()).filter_map(|pattern| self.many(pattern)).collect();
        while wanted > 0 {
            let Some(Many { pattern: std::cmp::Reverse(pattern), .. }) = many.pop() else { break };
            let taken = self.repeats[pattern].min(wanted);
            for half in halves(self.slots_of(pattern), classes) {
                self.slots.extend(half);
                self.add(taken);
                many.extend(self.many(self.len() - 1));
            }
            self.repeats[pattern] -= taken;
            wanted -= taken;
        }
        self.tidy(classes);
        Ok(())
    }

    fn many(&self, pattern: usize) -> Option<Many> {
        let sequences = self.slots_of(pattern).iter().map(|slot| u64::from(slot.copies)).sum();
        (sequences > 1).then_some(Many { sequences, pattern: std::cmp::Reverse(pattern) })
    }

    /// Leaves out patterns that no pack has any more, and puts the others in the order of their groups again.
    fn tidy(&mut self, classes: &Classes) {
        let mut used: Vec<usize> = (0..self.len()).filter(|&pattern| self.repeats[pattern] > 0).collect();
        if classes.groups.len() > 2 {
            used.sort_by_cached_key(|&pattern| classes.group_of(self.slots_of(pattern)[0].class as usize));
        }
        let mut kept = Self::default();
        for pattern in used {
            kept.slots.extend_from_slice(self.slots_of(pattern));
            kept.add(self.repeats[pattern]);
        }
        *self = kept;
    }
}

/// A pack's sequences in two parts, each sequence to the one that has fewer tokens, longest first.
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
