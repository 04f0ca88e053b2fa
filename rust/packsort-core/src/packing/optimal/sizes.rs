//! Between a plan and the search for its fewest packs: what a group's sequences take, and whole packs of them.

use super::Columns;
use crate::{Classes, Error, Patterns, Plan, Slot, lower_bound};

/// What the sequences of a group take of a pack's room; several lengths may take as much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Ascending, each once.
    pub sizes: Vec<u32>,
    /// Sequences of each.
    pub counts: Vec<u64>,
    /// Packs that the group has in the plan.
    pub packs: u64,
    /// Packs that it needs in any.
    pub bound: u64,
}

impl Plan {
    /// Number of groups: 1 where there are none.
    pub fn num_groups(&self) -> usize {
        self.classes().groups.len() - 1
    }

    /// Packs of a group.
    pub fn group_packs(&self, group: usize) -> u64 {
        let own = self.classes().of_group(group);
        self.patterns().repeats[self.patterns().first_from(own.start)..self.patterns().first_from(own.end)].iter().sum()
    }

    /// What the sequences of a group take; `None` where each has a pack of its own, of which there is no choice.
    pub fn sizes(&self, group: usize) -> Option<Sizes> {
        if self.body.last_alone && group + 1 == self.num_groups() {
            return None;
        }
        let (room, classes) = (self.body.room, self.classes());
        let taken = classes.histogram(group, room);
        let sequences: u64 = taken.iter().sum();
        let bound = lower_bound(&taken, room.capacity()).max(sequences.div_ceil(self.options().most()));
        let (sizes, counts) = (0..).zip(taken).filter(|&(_, count)| count > 0).unzip();
        Some(Sizes { sizes, counts, packs: self.group_packs(group), bound })
    }

    /// The same sequences in other packs: `found` has those of each group, over its [`Sizes`], and how many are alike;
    /// `None` where they stay. `bound` is what any plan needs, proven; the number of packs is made a multiple of what it
    /// is to be.
    ///
    /// # Errors
    /// Packs that do not hold the sequences of their group, or are over full.
    pub fn with_packs(&self, found: &[Option<(Columns, Vec<u64>)>], bound: u64) -> Result<Self, Error> {
        if found.len() != self.num_groups() {
            return Err(Error::Inconsistent("there are packs of another number of groups"));
        }
        let mut parts = self.parts();
        let mut patterns = Patterns::default();
        for (group, found) in found.iter().enumerate() {
            let own = parts.classes.of_group(group);
            match found {
                Some((columns, repeats)) => self.hand_out(group, columns, repeats, &mut patterns)?,
                None => {
                    for p in parts.patterns.first_from(own.start)..parts.patterns.first_from(own.end) {
                        patterns.slots.extend_from_slice(parts.patterns.slots_of(p));
                        patterns.add(parts.patterns.repeats[p]);
                    }
                }
            }
        }
        patterns.split_to_multiple(&parts.classes, parts.options.packs_multiple.max(1).into())?;
        patterns.check(&parts.classes, self.body.room)?;
        parts.patterns = patterns;
        parts.proven = bound;
        Ok(Self::of_parts(parts, self.body.room))
    }

    /// Patterns of classes from those of sizes, longest first: of the classes that take as much, each pack gets the
    /// longest that are left.
    fn hand_out(&self, group: usize, columns: &Columns, repeats: &[u64], out: &mut Patterns) -> Result<(), Error> {
        const SHORT: Error = Error::Inconsistent("the packs found hold other sequences than there are");
        let classes = self.classes();
        let own = classes.of_group(group);
        let last = last_of_sizes(classes, own.clone(), |length| self.body.room.taken(length));
        let mut left: Vec<u64> = own.clone().map(|class| classes.count(class)).collect();
        let mut next = last.clone();
        let mut found: Vec<(Vec<Slot>, u64)> = vec![];
        for (p, &repeat) in repeats.iter().enumerate() {
            let mut packs = repeat;
            while packs > 0 {
                let mut slots: Vec<Slot> = vec![];
                let mut alike = packs;
                for (row, mut wanted) in columns.pattern(p) {
                    let first = if row == 0 { 0 } else { last.get(row - 1).ok_or(SHORT)? + 1 };
                    let longest = next.get_mut(row).ok_or(SHORT)?;
                    while left[*longest] == 0 && *longest > first {
                        *longest -= 1;
                    }
                    let mut class = *longest;
                    loop {
                        let taken = left[class].min(wanted);
                        if let Some(packs) = left[class].checked_div(taken) {
                            alike = alike.min(packs);
                            slots.push(Slot { class: (own.start + class) as u32, copies: taken as u32 });
                        }
                        wanted -= taken;
                        if wanted == 0 {
                            break;
                        }
                        class = class.checked_sub(1).filter(|&class| class >= first).ok_or(SHORT)?;
                    }
                }
                if slots.is_empty() {
                    return Err(SHORT);
                }
                for slot in &slots {
                    left[slot.class as usize - own.start] -= alike * u64::from(slot.copies);
                }
                slots.sort_unstable_by_key(|slot| std::cmp::Reverse(slot.class));
                found.push((slots, alike));
                packs -= alike;
            }
        }
        // packs with sequences of nearly the same length follow each other, as those of first-fit decreasing do
        found.sort_by(|a, b| b.0.iter().map(|s| (s.class, s.copies)).cmp(a.0.iter().map(|s| (s.class, s.copies))));
        for (slots, repeat) in found {
            out.slots.extend(slots);
            out.add(repeat);
        }
        Ok(())
    }
}

/// The longest class of each size, counted from the group's first.
fn last_of_sizes(classes: &Classes, own: std::ops::Range<usize>, taken: impl Fn(u32) -> u32) -> Vec<usize> {
    let sizes: Vec<u32> = classes.lengths[own].iter().map(|&length| taken(length)).collect();
    (0..sizes.len()).filter(|&class| sizes.get(class + 1) != Some(&sizes[class])).collect()
}
