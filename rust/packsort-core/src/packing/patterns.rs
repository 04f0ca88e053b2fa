//! Patterns: which lengths share a pack, and how many packs are alike.
//!
//! Groups are planned in parallel, each by the strategy's own file ([`first_fit`](super::first_fit),
//! [`best_fit`](super::best_fit)), and their patterns are joined in the order of the groups. Under a cap on sequences both
//! strategies are [`balanced`](super::balanced).
#![allow(unsafe_code)]

use rayon::prelude::*;

use crate::error::PlanFault;
use crate::histogram::count::split;
use crate::memory::{collected, make_room, push, reserved, zeros};
use crate::packing::first_fit::Scratch;
use crate::packing::room::Room;
use crate::parallel::split_at_lengths;
use crate::{Classes, Error, Strategy};

const PATTERNS: &str = "patterns";

/// Sequences of one class in a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The class, an index into [`Classes`].
    pub class: u32,
    /// Number of sequences of the class in each pack.
    pub copies: u32,
}

/// The patterns of a plan, group after group, in the order in which their packs are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patterns {
    /// Number of packs of each pattern.
    pub repeats: Vec<u64>, // (patterns,)
    /// Pattern `p` holds `slots[slot_offsets[p]..slot_offsets[p + 1]]`.
    pub slot_offsets: Vec<usize>, // (patterns + 1,)
    /// The slots of all patterns, longest sequences first within a pattern.
    pub slots: Vec<Slot>,
}

impl Default for Patterns {
    fn default() -> Self {
        Self { repeats: vec![], slot_offsets: vec![0], slots: vec![] }
    }
}

impl Patterns {
    /// Find the patterns of all groups. Those of the last group hold one sequence each where it is `last_alone`.
    pub(crate) fn find(
        strategy: Strategy,
        classes: &Classes,
        room: Room,
        max_sequences: u64,
        last_alone: bool,
    ) -> Result<Self, Error> {
        let groups = classes.num_groups();
        let shares = (rayon::current_num_threads() * 4).min(groups / 16 + 1);
        let parts = (0..shares)
            .into_par_iter()
            .map(|share| {
                let mut found = Self::default();
                let mut scratch = Scratch::for_groups(classes)?;
                for group in split(groups, shares, share) {
                    let own = classes.of_group(group);
                    match strategy {
                        Strategy::Padding => found.add_padding(classes, group)?,
                        _ if last_alone && group + 1 == groups => found.add_padding(classes, group)?,
                        Strategy::BestFit if max_sequences == u64::MAX => found.add_best_fit(classes, group, room)?,
                        // `in_order` needs the ids, and `random` has no patterns: neither comes here.
                        _ => {
                            let left = collected(PATTERNS, own.map(|class| classes.count(class)))?;
                            found.add_first_fit(classes, group, left, room, max_sequences, &mut scratch)?;
                        }
                    }
                }
                Ok(found)
            })
            .collect::<Result<Vec<Self>, Error>>()?;
        Self::joined(parts)
    }

    /// Concatenate patterns.
    fn joined(mut parts: Vec<Self>) -> Result<Self, Error> {
        if parts.len() == 1 {
            return Ok(parts.pop().unwrap_or_default());
        }
        let pattern_counts: Vec<usize> = parts.iter().map(Self::len).collect();
        let slot_counts: Vec<usize> = parts.iter().map(|part| part.slots.len()).collect();
        let (patterns, slots) = (pattern_counts.iter().sum(), slot_counts.iter().sum());
        let first_slots: Vec<usize> =
            slot_counts.iter().scan(0, |end, count| Some(std::mem::replace(end, *end + count))).collect();
        let mut joined = Self {
            repeats: reserved(PATTERNS, patterns)?,
            slot_offsets: reserved(PATTERNS, patterns + 1)?,
            slots: reserved(PATTERNS, slots)?,
        };
        joined.slot_offsets.push(0);
        parts
            .into_par_iter()
            .zip(split_at_lengths(joined.repeats.spare_capacity_mut(), &pattern_counts))
            .zip(split_at_lengths(joined.slot_offsets.spare_capacity_mut(), &pattern_counts))
            .zip(split_at_lengths(joined.slots.spare_capacity_mut(), &slot_counts))
            .zip(first_slots)
            .for_each(|((((part, repeats), ends), slots), first_slot)| {
                for (p, (repeat, end)) in repeats.iter_mut().zip(ends).enumerate() {
                    repeat.write(part.repeats[p]);
                    end.write(first_slot + part.slot_offsets[p + 1]);
                }
                for (to, &slot) in slots.iter_mut().zip(&part.slots) {
                    to.write(slot);
                }
            });
        // SAFETY: the arrays were cut into one stretch for each part, as long as the part has patterns and slots, and
        // every stretch was written to its end: `part.repeats` and `part.slots` have as many elements, and
        // `part.slot_offsets` one more. The first offset was pushed.
        unsafe {
            joined.repeats.set_len(patterns);
            joined.slot_offsets.set_len(patterns + 1);
            joined.slots.set_len(slots);
        }
        Ok(joined)
    }

    /// Find the first pattern of the group that begins at `class`, or of a later group where it has none.
    pub(crate) fn first_of_group_at(&self, class: usize) -> usize {
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

    fn add_padding(&mut self, classes: &Classes, group: usize) -> Result<(), Error> {
        for class in classes.of_group(group).rev() {
            self.add(&[Slot { class: class as u32, copies: 1 }], classes.count(class))?;
        }
        Ok(())
    }

    /// Add a pattern.
    pub(crate) fn add(&mut self, slots: &[Slot], repeat: u64) -> Result<(), Error> {
        make_room(&mut self.slots, PATTERNS, slots.len())?;
        self.slots.extend_from_slice(slots);
        self.end_pattern(repeat)
    }

    /// Turn the slots added since the last pattern into a pattern.
    pub(crate) fn end_pattern(&mut self, repeat: u64) -> Result<(), Error> {
        push(&mut self.repeats, PATTERNS, repeat)?;
        push(&mut self.slot_offsets, PATTERNS, self.slots.len())
    }

    /// Number of patterns.
    pub fn len(&self) -> usize {
        self.repeats.len()
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.repeats.is_empty()
    }

    /// Number of packs of all patterns.
    pub fn num_packs(&self) -> u64 {
        self.repeats.iter().sum()
    }

    /// The slots of a pattern.
    ///
    /// # Panics
    /// There is no such pattern.
    pub fn slots_of(&self, pattern: usize) -> &[Slot] {
        &self.slots[self.slot_offsets[pattern]..self.slot_offsets[pattern + 1]]
    }

    /// Check patterns from a file or a search: they use up the classes exactly, never mix groups, come group after
    /// group unless they are those of `in_order`, and fit a pack. The inner result says whether they do.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn check(&self, classes: &Classes, room: Room, in_order: bool) -> Result<Result<(), PlanFault>, Error> {
        let used = zeros::<u64>(PATTERNS, classes.len())?;
        Ok(self.check_offsets().and_then(|()| self.check_slots(classes, room, in_order, used)))
    }

    /// Check slots, adding up the sequences of each class in `used`.
    fn check_slots(&self, classes: &Classes, room: Room, in_order: bool, mut used: Vec<u64>) -> Result<(), PlanFault> {
        let mut first_class = 0; // of the current group
        for (p, &repeat) in self.repeats.iter().enumerate() {
            let (slots, pattern) = (self.slots_of(p), p as u64);
            let mut taken = 0_u64;
            for slot in slots {
                let class = slot.class as usize;
                if class >= classes.len() || slot.copies == 0 || repeat == 0 {
                    return Err(PlanFault::Slot { pattern });
                }
                let (length, copies) = (classes.lengths[class], u64::from(slot.copies));
                let capacity = u64::from(room.capacity());
                if length > room.longest() {
                    return Err(PlanFault::OverFull { pattern, taken: length.into(), capacity });
                }
                taken = taken.saturating_add(u64::from(room.taken(length)).saturating_mul(copies));
                if taken > capacity {
                    return Err(PlanFault::OverFull { pattern, taken, capacity });
                }
                let sum = repeat.checked_mul(copies).and_then(|sequences| used[class].checked_add(sequences));
                used[class] = sum.ok_or(PlanFault::Overflow)?;
            }
            let own = classes.of_group(classes.group_of(slots[0].class as usize));
            if (own.start < first_class && !in_order) || slots.iter().any(|slot| !own.contains(&(slot.class as usize)))
            {
                return Err(PlanFault::Groups { pattern });
            }
            first_class = own.start;
        }
        for (class, &found) in used.iter().enumerate() {
            let expected = classes.count(class);
            if found != expected {
                return Err(PlanFault::Sequences { class: class as u64, found, expected });
            }
        }
        Ok(())
    }

    fn check_offsets(&self) -> Result<(), PlanFault> {
        let (found, expected) = (self.slot_offsets.len() as u64, self.repeats.len() as u64 + 1);
        if found != expected {
            return Err(PlanFault::ArrayLength { array: "slot_offsets", found, expected });
        }
        let out_of_order = |index: usize| Err(PlanFault::OutOfOrder { array: "slot_offsets", index: index as u64 });
        if self.slot_offsets[0] != 0 {
            return out_of_order(0);
        }
        if let Some(at) = self.slot_offsets.windows(2).position(|pair| pair[0] >= pair[1]) {
            return out_of_order(at + 1);
        }
        if self.slot_offsets.last() != Some(&self.slots.len()) {
            return out_of_order(self.repeats.len());
        }
        Ok(())
    }
}
