//! Give the sequences of a plan to a search for fewer packs, and take the packs found back.
//!
//! Several lengths may take the same room, where sequences are padded to a multiple. The search knows sizes only. So
//! packs found are handed out again: of the lengths that take a size, each pack gets the longest that are left.

use crate::error::PlanFault;
use crate::memory::{collected, push};
use crate::optimal::SizePatterns;
use crate::plan::patterned::Patterned;
use crate::{Classes, Error, Patterns, Plan, Slot};

/// The room that the sequences of a group take: a histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSizes {
    /// The distinct sizes, ascending: tokens of room that a sequence takes, padding and separator included.
    pub sizes: Vec<u32>,
    /// Number of sequences of each size.
    pub counts: Vec<u64>,
    /// Number of packs of the group in the plan.
    pub packs: u64,
    /// A lower bound on the packs of the group in any plan.
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

    /// The sizes of a group; `None` if each of its sequences has a pack of its own, so that there is nothing to search.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn sizes(&self, group: usize) -> Result<Option<GroupSizes>, Error> {
        let patterned = self.with_group(group)?;
        if patterned.is_alone(group) {
            return Ok(None);
        }
        let bound = patterned.group_bound(group, &self.options())?;
        let taken = patterned.classes.histogram(group, patterned.room)?;
        let used = || (0..).zip(&taken).filter(|&(_, &count)| count > 0);
        let sizes = collected(SIZES, used().map(|(units, _): (u32, _)| units * patterned.room.multiple()))?;
        let counts = collected(SIZES, used().map(|(_, &count)| count))?;
        Ok(Some(GroupSizes { sizes, counts, packs: patterned.group_packs(group), bound }))
    }

    fn with_group(&self, group: usize) -> Result<&Patterned, Error> {
        let missing = Error::NoSuchGroup { group: group as u64, groups: self.num_groups() as u64 };
        self.patterned().filter(|_| group < self.num_groups()).map(|patterned| &**patterned).ok_or(missing)
    }

    /// Put the same sequences into other packs.
    ///
    /// `found` holds, for each group, patterns over its [`sizes`](Self::sizes) and the number of packs of each; `None`
    /// keeps the packs of a group. `bound` is a proven lower bound on the packs of any plan. Packs are split until their
    /// number is a multiple of `num_packs_multiple_of`.
    ///
    /// # Errors
    /// Patterns that do not hold the sequences of their group, or more than fits a pack; fewer sequences than packs
    /// needed.
    ///
    /// # Complexity
    /// O(patterns x log patterns + classes).
    pub fn with_packs(&self, found: &[Option<(SizePatterns, Vec<u64>)>], bound: u64) -> Result<Self, Error> {
        let (groups, given) = (self.num_groups() as u64, found.len() as u64);
        let Some(plan) = self.patterned().filter(|_| given == groups) else {
            return Err(Error::ArrayLength { array: "packs by group", found: given, expected: groups });
        };
        let mut patterns = Patterns::default();
        for (group, found) in found.iter().enumerate() {
            match found {
                Some((found, repeats)) => plan.hand_out(group, found, repeats, &mut patterns)?,
                None => {
                    for p in plan.group_patterns(group) {
                        patterns.add(plan.patterns.slots_of(p), plan.patterns.repeats[p])?;
                    }
                }
            }
        }
        let options = self.options();
        patterns.split_to_multiple(&plan.classes, options.num_packs_multiple_of.into())?;
        patterns.check(&plan.classes, plan.room, false)?.map_err(Error::Patterns)?;
        let (cuts, classes, items) = (plan.cuts.copied()?, plan.classes.copied()?, plan.items.copied()?);
        let mut other = Patterned::new(plan.rows, plan.room, plan.grouping, cuts, classes, patterns, items)?;
        other.proven = bound;
        Self::from_patterned(options, self.left_out(), self.seed(), self.epoch(), other.into())
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

    /// Turn patterns of sizes into patterns of classes. Of the classes that take a size, each pack gets the longest that
    /// are left.
    fn hand_out(&self, group: usize, sizes: &SizePatterns, repeats: &[u64], out: &mut Patterns) -> Result<(), Error> {
        let (given, expected) = (repeats.len() as u64, sizes.len() as u64);
        if given != expected {
            return Err(Error::Patterns(PlanFault::ArrayLength { array: "repeats", found: given, expected }));
        }
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
                for (item, mut wanted) in sizes.pattern(p) {
                    let first = if item == 0 { 0 } else { last.get(item - 1).ok_or_else(short)? + 1 };
                    let longest = next.get_mut(item).ok_or_else(short)?;
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
                push(&mut found, "patterns", (slots, alike))?;
                packs -= alike;
            }
        }
        // Packs of nearly the same lengths follow each other, as in first-fit decreasing.
        found.sort_by(|a, b| b.0.iter().map(|s| (s.class, s.copies)).cmp(a.0.iter().map(|s| (s.class, s.copies))));
        for (slots, repeat) in found {
            out.add(&slots, repeat)?;
        }
        Ok(())
    }
}

const SIZES: &str = "distinct sizes";

/// The longest class of each size, as an index among the classes of the group.
fn last_of_sizes(classes: &Classes, own: std::ops::Range<usize>, taken: impl Fn(u32) -> u32) -> Vec<usize> {
    let sizes: Vec<u32> = classes.lengths[own].iter().map(|&length| taken(length)).collect();
    (0..sizes.len()).filter(|&class| sizes.get(class + 1) != Some(&sizes[class])).collect()
}
