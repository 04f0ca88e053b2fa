//! Between a plan and the search for its fewest packs: what a group's sequences take, and whole packs of them.

use super::Columns;
use crate::error::PlanFault;
use crate::plan::patterned::Patterned;
use crate::{Classes, Error, Patterns, Plan, Slot};

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
    /// Number of groups; 1 for a plan without groups, 0 for strategy [`Random`](crate::Strategy::Random).
    pub fn num_groups(&self) -> usize {
        self.classes().map_or(0, Classes::num_groups)
    }

    /// Number of packs of a group.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn group_packs(&self, group: usize) -> Result<u64, Error> {
        Ok(self.with_group(group)?.group_packs(group))
    }

    /// What the sequences of a group take; `None` where each has a pack of its own, of which there is no choice.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn sizes(&self, group: usize) -> Result<Option<Sizes>, Error> {
        let patterned = self.with_group(group)?;
        if patterned.is_alone(group) {
            return Ok(None);
        }
        let bound = patterned.group_bound(group, &self.options());
        let taken = patterned.classes.histogram(group, patterned.room);
        let (sizes, counts) = (0..).zip(taken).filter(|&(_, count)| count > 0).unzip();
        Ok(Some(Sizes { sizes, counts, packs: patterned.group_packs(group), bound }))
    }

    fn with_group(&self, group: usize) -> Result<&Patterned, Error> {
        let missing = Error::NoSuchGroup { group: group as u64, groups: self.num_groups() as u64 };
        self.patterned().filter(|_| group < self.num_groups()).map(|patterned| &**patterned).ok_or(missing)
    }

    /// The same sequences in other packs: `found` has those of each group, over its [`Sizes`], and how many are alike;
    /// `None` where they stay. `bound` is what any plan needs, proven; the number of packs is made a multiple of what it
    /// is to be.
    ///
    /// # Errors
    /// Packs that do not hold the sequences of their group, or are over full.
    pub fn with_packs(&self, found: &[Option<(Columns, Vec<u64>)>], bound: u64) -> Result<Self, Error> {
        let (groups, given) = (self.num_groups() as u64, found.len() as u64);
        let Some(plan) = self.patterned().filter(|_| given == groups) else {
            return Err(Error::ArrayLength { array: "packs by group", found: given, expected: groups });
        };
        let mut patterns = Patterns::default();
        for (group, found) in found.iter().enumerate() {
            match found {
                Some((columns, repeats)) => plan.hand_out(group, columns, repeats, &mut patterns)?,
                None => {
                    for p in plan.group_patterns(group) {
                        patterns.slots.extend_from_slice(plan.patterns.slots_of(p));
                        patterns.push(plan.patterns.repeats[p]);
                    }
                }
            }
        }
        let options = self.options();
        patterns.split_to_multiple(&plan.classes, options.num_packs_multiple_of.into())?;
        patterns.check(&plan.classes, plan.room).map_err(Error::Patterns)?;
        let (cuts, classes, items) = (plan.cuts.clone(), plan.classes.clone(), plan.items.clone());
        let mut other = Patterned::new(plan.rows, plan.room, plan.last_alone, cuts, classes, patterns, items);
        other.proven = bound;
        Ok(Self::from_patterned(options, self.left_out(), self.seed(), self.epoch(), other.into()))
    }
}

impl Patterned {
    fn group_patterns(&self, group: usize) -> std::ops::Range<usize> {
        let own = self.classes.of_group(group);
        self.patterns.first_of_group_at(own.start)..self.patterns.first_of_group_at(own.end)
    }

    fn group_packs(&self, group: usize) -> u64 {
        self.patterns.repeats[self.group_patterns(group)].iter().sum()
    }

    /// Patterns of classes from those of sizes, longest first: of the classes that take as much, each pack gets the
    /// longest that are left.
    fn hand_out(&self, group: usize, columns: &Columns, repeats: &[u64], out: &mut Patterns) -> Result<(), Error> {
        let classes = &self.classes;
        let own = classes.of_group(group);
        let last = last_of_sizes(classes, own.clone(), |length| self.room.taken(length));
        let mut left: Vec<u64> = own.clone().map(|class| classes.count(class)).collect();
        let mut next = last.clone();
        let mut found: Vec<(Vec<Slot>, u64)> = vec![];
        for (p, &repeat) in repeats.iter().enumerate() {
            let short = || Error::Patterns(PlanFault::Short { pattern: p as u64 });
            let mut packs = repeat;
            while packs > 0 {
                let mut slots: Vec<Slot> = vec![];
                let mut alike = packs;
                for (row, mut wanted) in columns.pattern(p) {
                    let first = if row == 0 { 0 } else { last.get(row - 1).ok_or_else(short)? + 1 };
                    let longest = next.get_mut(row).ok_or_else(short)?;
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
                        class = class.checked_sub(1).filter(|&class| class >= first).ok_or_else(short)?;
                    }
                }
                if slots.is_empty() {
                    return Err(short());
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
            out.push(repeat);
        }
        Ok(())
    }
}

/// The longest class of each size, counted from the group's first.
fn last_of_sizes(classes: &Classes, own: std::ops::Range<usize>, taken: impl Fn(u32) -> u32) -> Vec<usize> {
    let sizes: Vec<u32> = classes.lengths[own].iter().map(|&length| taken(length)).collect();
    (0..sizes.len()).filter(|&class| sizes.get(class + 1) != Some(&sizes[class])).collect()
}
