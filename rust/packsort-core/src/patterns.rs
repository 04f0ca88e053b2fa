//! Steps 2 and 3: which lengths share a pack, and how many packs are alike.

use rayon::prelude::*;

use crate::count::split;
use crate::length_set::LengthSet;
use crate::room::Room;
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
                let mut scratch = Scratch::new(classes);
                for group in split(groups, shares, share) {
                    match strategy {
                        Strategy::Padding => found.add_padding(classes, group),
                        _ if last_alone && group + 1 == groups => found.add_padding(classes, group),
                        Strategy::FirstFit | Strategy::Hybrid => {
                            let counts = classes.of_group(group).map(|class| classes.count(class)).collect();
                            found.add_first_fit(classes, group, counts, room, max_sequences, &mut scratch)
                        }
                        Strategy::BestFit => found.add_best_fit(classes, group, room, max_sequences),
                    }
                }
                found
            })
            .collect();
        let mut all = Self::default();
        for part in parts {
            let slots = all.slots.len();
            all.repeats.extend(part.repeats);
            all.slot_offsets.extend(part.slot_offsets[1..].iter().map(|offset| offset + slots));
            all.slots.extend(part.slots);
        }
        all
    }

    fn add_padding(&mut self, classes: &Classes, group: usize) {
        for class in classes.of_group(group).rev() {
            self.slots.push(Slot { class: class as u32, copies: 1 });
            self.add(classes.count(class));
        }
    }

    /// First-fit decreasing on counts.
    ///
    /// A pack takes the longest length left, then the longest that still fits, as many copies as fit and are left;
    /// the next packs are the same while those lengths last. Johnson (1973) has the algorithm on items; filling
    /// pack after pack with the longest that fits gives the same packs.
    ///
    /// # Complexity
    /// O(patterns x slots a pattern) steps, whatever the number of sequences; patterns are at most about twice the
    /// distinct lengths, since each uses up the last copies of a length or more.
    ///
    /// `left` are the sequences of each class of the group.
    pub(crate) fn add_first_fit(
        &mut self,
        classes: &Classes,
        group: usize,
        mut left: Vec<u64>,
        room: Room,
        max_sequences: u64,
        scratch: &mut Scratch,
    ) {
        let own = classes.of_group(group);
        let lengths = &classes.lengths[own.clone()];
        let Scratch { set, class_of } = scratch;
        for (class, &length) in lengths.iter().enumerate().filter(|&(class, _)| left[class] > 0) {
            class_of[length as usize] = class as u32;
            set.insert(length as usize);
        }
        let Some(&top) = lengths.last() else { return };
        let mut longest = top as usize;
        while let Some(first) = set.largest_up_to(longest) {
            longest = first;
            let start = self.slots.len();
            let mut free = room.capacity();
            let mut more = max_sequences;
            let mut repeat = u64::MAX;
            let mut next = Some(first);
            while let Some(length) = next {
                let class = class_of[length] as usize;
                let taken = room.taken(length as u32);
                // most classes of a small group have one sequence left, and a division takes longer than all else here
                let copies = if left[class] == 1 { 1 } else { u64::from(free / taken).min(left[class]).min(more) };
                self.slots.push(Slot { class: (own.start + class) as u32, copies: copies as u32 });
                if repeat > 1 {
                    repeat = repeat.min(left[class] / copies);
                }
                free -= taken * copies as u32;
                more -= copies;
                next = match (room.longest_in(free) as usize).min(length - 1) {
                    0 => None,
                    _ if more == 0 => None,
                    fits => set.largest_up_to(fits),
                };
            }
            for slot in &self.slots[start..] {
                let class = slot.class as usize - own.start;
                left[class] -= repeat * u64::from(slot.copies);
                if left[class] == 0 {
                    set.remove(lengths[class] as usize);
                }
            }
            self.add(repeat);
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
            let group = |slot: &Slot| classes.groups.partition_point(|&first| first <= slot.class as usize);
            if taken > room.capacity().into()
                || self.slots_of(p).iter().any(|s| group(s) != group(&self.slots_of(p)[0]))
            {
                return bad("a pattern holds more tokens than max_length, or sequences of several groups");
            }
        }
        if (0..classes.len()).any(|class| used[class] != classes.count(class)) {
            return bad("the patterns hold another number of sequences than there are ids");
        }
        Ok(())
    }
}

/// Tables of one worker, by length, left as they were found: a table for each of many small groups would cost more than
/// what it is for.
pub(crate) struct Scratch {
    set: LengthSet,
    class_of: Vec<u32>,
}

impl Scratch {
    pub(crate) fn new(classes: &Classes) -> Self {
        let top = classes.lengths.iter().copied().max().unwrap_or(0) as usize;
        Self { set: LengthSet::new(top), class_of: vec![0; top + 1] }
    }
}
