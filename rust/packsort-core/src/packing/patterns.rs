//! Steps 2 and 3: which lengths share a pack, and how many packs are alike.
#![allow(unsafe_code)]

use rayon::prelude::*;

use crate::histogram::count::split;
use crate::memory::Buffer;
use crate::packing::first_fit::Scratch;
use crate::packing::room::Room;
use crate::{Classes, Error};

/// So many sequences of one class in a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Which class, see [`Classes`].
    pub class: u32,
    /// How many a pack holds.
    pub copies: u32,
}

/// How sequences are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Longest first, into the first open pack with room.
    FirstFit,
    /// Longest first, into the open pack with the least room that is enough.
    BestFit,
    /// One sequence a pack.
    Padding,
    /// First-fit decreasing, and splittable sequences cut to fill the room left where that takes fewer packs.
    Hybrid,
    /// As few packs as are found, and proven to be near the fewest.
    Optimal,
}

/// All patterns of a plan, group after group, in the order in which their packs are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patterns {
    /// Packs alike, by pattern.
    pub repeats: Vec<u64>,
    /// Slots of pattern `p`: `slots[slot_offsets[p]..slot_offsets[p + 1]]`.
    pub slot_offsets: Vec<usize>, // (patterns + 1,)
    /// The slots of all patterns.
    pub slots: Vec<Slot>,
}

impl Default for Patterns {
    fn default() -> Self {
        Self { repeats: vec![], slot_offsets: vec![0], slots: vec![] }
    }
}

impl Patterns {
    /// The patterns of all groups; those of the last hold one sequence each where it is `last_alone`.
    pub(crate) fn of_groups(
        strategy: Strategy,
        classes: &Classes,
        room: Room,
        max_sequences: u64,
        last_alone: bool,
    ) -> Self {
        let groups = classes.groups.len() - 1;
        let shares = (rayon::current_num_threads() * 4).min(groups / 16 + 1);
        let parts: Vec<Self> = (0..shares)
            .into_par_iter()
            .map(|share| {
                let mut found = Self::default();
                let mut scratch = Scratch::of_groups(classes);
                for group in split(groups, shares, share) {
                    match strategy {
                        Strategy::Padding => found.add_padding(classes, group),
                        _ if last_alone && group + 1 == groups => found.add_padding(classes, group),
                        Strategy::FirstFit | Strategy::Hybrid | Strategy::Optimal => {
                            let counts = classes.of_group(group).map(|class| classes.count(class)).collect();
                            found.add_first_fit(classes, group, counts, room, max_sequences, &mut scratch)
                        }
                        Strategy::BestFit => found.add_best_fit(classes, group, room, max_sequences),
                    }
                }
                found
            })
            .collect();
        Self::joined(parts)
    }

    /// All that are in `parts`, in their order.
    fn joined(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 {
            return parts.pop().unwrap_or_default();
        }
        let (mut firsts, mut patterns, mut slots) = (vec![], 0, 0);
        for part in &parts {
            firsts.push((patterns, slots));
            patterns += part.len();
            slots += part.slots.len();
        }
        let (mut all_repeats, mut all_offsets, mut all_slots) =
            (Buffer::new(patterns), Buffer::new(patterns + 1), Buffer::new(slots));
        let (repeats, offsets, places) = (all_repeats.places(), all_offsets.places(), all_slots.places());
        parts.into_par_iter().zip(firsts).for_each(|(part, (pattern, slot))| {
            // SAFETY: parts are laid out one after another.
            unsafe {
                repeats.copy(pattern, &part.repeats);
                places.copy(slot, &part.slots);
                for (at, offset) in (pattern..).zip(&part.slot_offsets[..part.len()]) {
                    offsets.write(at, slot + offset);
                }
            }
        });
        // SAFETY: the last offset is written here, all else above.
        unsafe {
            offsets.write(patterns, slots);
            Self { repeats: all_repeats.written(), slot_offsets: all_offsets.written(), slots: all_slots.written() }
        }
    }

    /// The first pattern of the group whose first class this is, or of one after it.
    pub(crate) fn first_from(&self, class: usize) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            if (self.slots[self.slot_offsets[middle]].class as usize) < class {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn add_padding(&mut self, classes: &Classes, group: usize) {
        for class in classes.of_group(group).rev() {
            self.slots.push(Slot { class: class as u32, copies: 1 });
            self.add(classes.count(class));
        }
    }

    /// Makes a pattern of the slots that were pushed since the last.
    pub(crate) fn add(&mut self, repeat: u64) {
        self.repeats.push(repeat);
        self.slot_offsets.push(self.slots.len());
    }

    /// Number of patterns.
    pub fn len(&self) -> usize {
        self.repeats.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.repeats.is_empty()
    }

    /// The slots of pattern `p`.
    pub fn slots_of(&self, p: usize) -> &[Slot] {
        &self.slots[self.slot_offsets[p]..self.slot_offsets[p + 1]]
    }

    /// Checks patterns that come from a file: that they use up the classes exactly, each pattern those of one group,
    /// and that no pack is over full.
    pub(crate) fn check(&self, classes: &Classes, room: Room) -> Result<(), Error> {
        let bad = |what| Err(Error::Inconsistent(what));
        if self.slot_offsets.len() != self.repeats.len() + 1
            || self.slot_offsets.first() != Some(&0)
            || self.slot_offsets.last() != Some(&self.slots.len())
            || self.slot_offsets.windows(2).any(|w| w[0] >= w[1])
        {
            return bad("slot offsets do not divide the slots into patterns");
        }
        let mut used = vec![0_u64; classes.len()];
        let mut first_class = 0; // of the group that patterns are of by now
        for (p, &repeat) in self.repeats.iter().enumerate() {
            let mut taken = 0_u64;
            for slot in self.slots_of(p) {
                let class = slot.class as usize;
                if class >= classes.len() || slot.copies == 0 || repeat == 0 {
                    return bad("a pattern has no copies, no repeat, or an unknown class");
                }
                if classes.lengths[class] > room.longest() {
                    return bad("a sequence is longer than a pack");
                }
                taken += u64::from(room.taken(classes.lengths[class])) * u64::from(slot.copies);
                match repeat.checked_mul(slot.copies.into()).and_then(|n| used[class].checked_add(n)) {
                    Some(sum) => used[class] = sum,
                    None => return bad("a pattern repeats more often than there are numbers"),
                }
            }
            let group = classes.group_of(self.slots_of(p)[0].class as usize);
            let own = classes.of_group(group);
            if taken > room.capacity().into() || self.slots_of(p).iter().any(|s| !own.contains(&(s.class as usize))) {
                return bad("a pattern holds more tokens than max_length, or sequences of several groups");
            }
            if own.start < first_class {
                return bad("the patterns do not come group after group");
            }
            first_class = own.start;
        }
        if (0..classes.len()).any(|class| used[class] != classes.count(class)) {
            return bad("the patterns hold another number of sequences than there are ids");
        }
        Ok(())
    }
}
