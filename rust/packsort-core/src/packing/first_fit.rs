//! First-fit decreasing on counts.
//!
//! First-fit decreasing (Johnson, 1973, "Near-optimal bin packing algorithms") gives the same packs as filling one pack
//! after another with the longest sequence that still fits. So it is decided on the counts of lengths:
//!
//! ```text
//! while sequences are left:
//!     pattern = []
//!     take the longest length left, then the longest that fits the remaining room, until nothing fits:
//!         pattern += (length, as many copies as fit and are left)
//!     repeat = min over the pattern of counts[length] / copies
//!     emit (pattern, repeat); subtract repeat x copies from the counts
//! ```
//!
//! Cost: O(patterns x slots), whatever the number of sequences. Each pattern uses up the last copies of a length or
//! more, so there are at most about twice as many patterns as distinct lengths. The next shorter length that is left
//! comes from a set of bits, and the longest that fits a room from the ranks of lengths.

use crate::memory::{make_room, push, zeros};
use crate::packing::balanced::{Effort, capped};
use crate::packing::bits::Bits;
use crate::packing::room::Room;
use crate::{Classes, Error, Patterns, Slot};

impl Patterns {
    /// Add the patterns of a group, by first-fit decreasing of `left` sequences of each of its classes; balanced where a
    /// cap on sequences makes these packs fewer.
    pub(crate) fn add_first_fit(
        &mut self,
        classes: &Classes,
        group: usize,
        mut left: Vec<u64>,
        room: Room,
        max_sequences: u64,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let own = classes.of_group(group);
        let first = own.start as u32;
        let lengths = &classes.lengths[own];
        let Scratch { ranks, left: present, slots } = scratch;
        ranks.set(lengths);
        let limits = Limits { lengths, ranks, room, max_sequences };
        let mut add = |slots: &[Slot], repeat| {
            make_room(&mut self.slots, SLOTS, slots.len())?;
            self.slots.extend(slots.iter().map(|slot| Slot { class: first + slot.class, ..*slot }));
            self.end_pattern(repeat)
        };
        if max_sequences < u64::MAX {
            let found = capped(&limits, &left, Effort::Quick)?;
            (0..found.len()).try_for_each(|p| add(found.slots_of(p), found.repeats[p]))?;
        } else {
            first_fit(&limits, &mut left, present, slots, add)?;
        }
        ranks.clear(lengths);
        Ok(())
    }
}

/// The lengths of a group, which ascend, and what a pack of them can hold.
pub(crate) struct Limits<'a> {
    pub lengths: &'a [u32],
    pub ranks: &'a Ranks, // of these lengths
    pub room: Room,
    pub max_sequences: u64,
}

/// Pack `left` sequences of each length by first-fit decreasing.
///
/// Calls `take` with the slots of each pattern, longest first, and its repeats. Slots hold indices of lengths as classes.
/// Nothing is left afterwards. `lengths_left` has room for all classes and is empty; `slots` is scratch.
pub(crate) fn first_fit(
    limits: &Limits,
    left: &mut [u64],
    lengths_left: &mut Bits,
    slots: &mut Vec<Slot>,
    mut take: impl FnMut(&[Slot], u64) -> Result<(), Error>,
) -> Result<(), Error> {
    let &Limits { lengths, ranks, room, max_sequences } = limits;
    lengths_left.insert_below(lengths.len());
    (0..lengths.len()).filter(|&class| left[class] == 0).for_each(|class| lengths_left.remove(class));
    let mut longest = lengths.len();
    while let Some(first) = lengths_left.below(longest).next() {
        longest = first + 1;
        slots.clear();
        let mut free = room.capacity();
        let mut more = max_sequences;
        let mut repeat = u64::MAX;
        let mut class = first;
        let mut shorter = lengths_left.below(first);
        loop {
            let taken = room.taken(lengths[class]);
            // Mostly all sequences that are left fit, and a division takes longer than everything else here.
            let copies = match left[class].min(more) {
                few if few * u64::from(taken) <= free.into() => few,
                many => u64::from(free / taken).min(many),
            };
            push(slots, SLOTS, Slot { class: class as u32, copies: copies as u32 })?;
            if repeat > 1 {
                repeat = repeat.min(left[class] / copies);
            }
            free -= taken * copies as u32;
            more -= copies;
            let fits = room.longest_in(free);
            if more == 0 || fits == 0 {
                break;
            }
            // Mostly the next shorter length fits. Only where it does not is the rank of `fits` looked up.
            let Some(next) = shorter.next() else { break };
            class = next;
            if lengths[next] > fits {
                shorter = lengths_left.below(ranks.up_to(fits));
                let Some(next) = shorter.next() else { break };
                class = next;
            }
        }
        for slot in &slots[..] {
            let class = slot.class as usize;
            left[class] -= repeat * u64::from(slot.copies);
            if left[class] == 0 {
                lengths_left.remove(class);
            }
        }
        take(slots, repeat)?;
    }
    Ok(())
}

const SLOTS: &str = "patterns";

/// The tables of one thread, reused from group to group: building them anew for many small groups would cost more than
/// packing them.
pub(crate) struct Scratch {
    pub ranks: Ranks,
    pub left: Bits,       // classes with sequences left
    pub slots: Vec<Slot>, // of one pattern
}

impl Scratch {
    /// Build tables that are large enough for every group.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn for_groups(classes: &Classes) -> Result<Self, Error> {
        let groups = || (0..classes.num_groups()).map(|group| &classes.lengths[classes.of_group(group)]);
        let most = groups().map(<[u32]>::len).max().unwrap_or(0);
        Self::new(most, groups().filter_map(|lengths| lengths.last()).copied().max().unwrap_or(0))
    }

    /// Build tables for up to `most` distinct lengths, none above `top`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn new(most: usize, top: u32) -> Result<Self, Error> {
        Ok(Self { ranks: Ranks::new(top)?, left: Bits::new(most)?, slots: vec![] })
    }
}

/// Ranks in an ascending list of lengths: one bit for each length, and the number of lengths before each word.
pub(crate) struct Ranks {
    words: Vec<u64>,
    before: Vec<u32>,
    len: usize,
}

impl Ranks {
    /// Build an empty list of lengths up to `top`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(top: u32) -> Result<Self, Error> {
        let words = top as usize / 64 + 1;
        Ok(Self { words: zeros(SLOTS, words)?, before: zeros(SLOTS, words)?, len: 0 })
    }

    /// Set the list, which ascends.
    pub fn set(&mut self, lengths: &[u32]) {
        lengths.iter().for_each(|&length| self.words[length as usize / 64] |= 1 << (length % 64));
        self.len = 0;
        for (word, before) in self.words.iter().zip(&mut self.before) {
            *before = self.len as u32;
            self.len += word.count_ones() as usize;
        }
    }

    pub fn clear(&mut self, lengths: &[u32]) {
        lengths.iter().for_each(|&length| self.words[length as usize / 64] = 0);
    }

    /// The number of lengths up to `length`.
    pub fn up_to(&self, length: u32) -> usize {
        let word = length as usize / 64;
        match self.words.get(word) {
            None => self.len,
            Some(bits) => self.before[word] as usize + (bits & (u64::MAX >> (63 - length % 64))).count_ones() as usize,
        }
    }
}
