//! Hybrid packing: sequences that are not splittable stay whole, and splittable ones fill the room that is left.
//!
//! The goal is the fewest packs that whole sequences and tokens allow, with few cuts:
//!
//! ```text
//! for each group:
//!     goal = max(tokens / capacity, packs of the whole sequences alone)
//!     if first-fit decreasing reaches the goal: keep its packs, nothing is cut
//!     dissolve its emptiest packs that hold splittable sequences only, until the goal is reached
//!         (too few of those: pack the whole sequences alone, and put in the splittable ones that fit)
//!     for each sequence left, longest first:
//!         put it in whole if it fits; otherwise cut it, into the packs with the most room first
//! ```
//!
//! Cutting for the largest rooms first gives the fewest pieces. Cost: O((patterns + lengths + cuts) x log max_length)
//! for each group, and O(1) for each cut sequence.

use crate::ids::{Id, with_ids};
use crate::packing::first_fit::Scratch;
use crate::packing::open_packs::OpenPacks;
use crate::packing::room::Room;
use crate::plan::build::SortedItems;
use crate::{Classes, Error, Patterns, Slot};

/// Packs with cut sequences.
pub(crate) struct Hybrid {
    /// The patterns of each group. Their slots hold lengths as classes.
    pub packs: Vec<Patterns>,
    /// The row of each cut sequence, and the lengths of all its pieces but the last.
    pub cuts: Vec<(u64, Vec<u32>)>,
}

/// Sequences of one class that are cut alike.
struct Cut {
    class: usize,
    sequences: u64,
    pieces: Vec<u32>, // lengths of all pieces but the last
}

/// Cut sequences where that saves packs over `greedy`, the patterns of first-fit decreasing. `None` if it saves no packs in
/// any group.
pub(crate) fn pack(
    sorted: &SortedItems,
    greedy: &Patterns,
    splittable: &[bool],
    room: Room,
    max_sequences: u64,
    last_alone: bool,
) -> Option<Hybrid> {
    let classes = &sorted.classes;
    let groups = classes.num_groups();
    let mut found = Hybrid { packs: Vec::with_capacity(groups), cuts: vec![] };
    let mut scratch = Scratch::for_groups(classes);
    let mut next = 0;
    let mut better = false;
    for group in 0..groups {
        let first = next;
        while next < greedy.len() && (greedy.slots_of(next)[0].class as usize) < classes.groups[group + 1] {
            next += 1;
        }
        let alone = last_alone && group + 1 == groups;
        let own = Group { sorted, greedy, patterns: first..next, group, splittable, room, max_sequences };
        match (!alone).then(|| own.pack(&mut scratch)).flatten() {
            Some((packs, cuts)) => {
                better = true;
                found.packs.push(packs);
                found.cuts.extend(own.cut_rows(cuts));
            }
            None => found.packs.push(own.unchanged()),
        }
    }
    better.then_some(found)
}

/// Replace the lengths that slots hold by classes.
///
/// # Errors
/// A length has no class, or a class another number of sequences: lengths changed since they were cut.
pub(crate) fn lengths_to_classes(groups: &[Patterns], classes: &Classes) -> Result<Patterns, Error> {
    let mut patterns = Patterns::default();
    for (group, packs) in groups.iter().enumerate() {
        let own = classes.of_group(group);
        let lengths = &classes.lengths[own.clone()];
        for (p, &repeat) in packs.repeats.iter().enumerate() {
            for slot in packs.slots_of(p) {
                let class = lengths.binary_search(&slot.class).map_err(|_| Error::LengthsChanged)?;
                patterns.slots.push(Slot { class: (own.start + class) as u32, copies: slot.copies });
            }
            patterns.push(repeat);
        }
    }
    Ok(patterns)
}

/// The sequences of one group, and its patterns by first-fit decreasing.
struct Group<'a> {
    sorted: &'a SortedItems,
    greedy: &'a Patterns,
    patterns: std::ops::Range<usize>,
    group: usize,
    splittable: &'a [bool],
    room: Room,
    max_sequences: u64,
}

impl Group<'_> {
    fn pack(&self, scratch: &mut Scratch) -> Option<(Patterns, Vec<Cut>)> {
        let classes = &self.sorted.classes;
        let own = classes.of_group(self.group);
        let greedy: u64 = self.greedy.repeats[self.patterns.clone()].iter().sum();
        let counts = || own.clone().map(|class| classes.count(class));
        let taken: u128 = own
            .clone()
            .map(|class| u128::from(self.room.taken(classes.lengths[class])) * u128::from(classes.count(class)))
            .sum();
        let fewest = (taken.div_ceil(self.room.capacity().into()) as u64)
            .max(counts().sum::<u64>().div_ceil(self.max_sequences));
        if greedy <= fewest {
            return None;
        }
        let splittable: Vec<u64> = own.clone().map(|class| self.splittable_of(class).count() as u64).collect();
        let whole = counts().zip(&splittable).map(|(all, splittable)| all - splittable).collect();
        let mut alone = Patterns::default();
        alone.add_first_fit(classes, self.group, whole, self.room, self.max_sequences, scratch);
        let goal = fewest.max(alone.num_packs());
        if greedy <= goal {
            return None;
        }
        let (mut packs, left) = self
            .dissolve(greedy - goal, &splittable)
            .unwrap_or_else(|| self.around_whole(&alone, goal, splittable.clone()));
        let cuts = self.cut(&mut packs, left);
        (packs.len() < greedy).then(|| {
            let mut patterns = Patterns::default();
            packs.add_to(&mut patterns);
            (patterns, cuts)
        })
    }

    /// Iterate over the splittable sequences of a class. Only the last piece of a sequence can be cut further.
    fn splittable_of(&self, class: usize) -> impl Iterator<Item = u64> {
        let (first, end) = (self.sorted.classes.first[class] as usize, self.sorted.classes.first[class + 1] as usize);
        let item = move |place: usize| with_ids!(&self.sorted.items, items => items[place].to_u64());
        (first..end).map(item).filter(|&item| self.splittable.get(item as usize).is_some_and(|&flag| flag))
    }

    /// Dissolve the `number` emptiest packs that hold splittable sequences only. Returns the other packs, and the number of
    /// sequences of each class that were in dissolved packs; `None` if there are too few such packs.
    fn dissolve(&self, mut number: u64, splittable: &[u64]) -> Option<(OpenPacks, Vec<u64>)> {
        let classes = &self.sorted.classes;
        let start = classes.of_group(self.group).start;
        let taken = |p: usize| -> u32 {
            let slots = self.greedy.slots_of(p).iter();
            slots.map(|slot| self.room.taken(classes.lengths[slot.class as usize]) * slot.copies).sum()
        };
        let mut order: Vec<(u32, usize)> = self.patterns.clone().map(|p| (taken(p), p)).collect();
        order.sort_by_key(|&(taken, p)| (taken, std::cmp::Reverse(p)));
        let mut left = vec![0; splittable.len()];
        let mut repeats = self.greedy.repeats[self.patterns.clone()].to_vec();
        for &(_, p) in &order {
            let slots = self.greedy.slots_of(p);
            let allowed = slots.iter().map(|slot| {
                let class = slot.class as usize - start;
                (splittable[class] - left[class]) / u64::from(slot.copies)
            });
            let packs = allowed.min().unwrap_or(0).min(self.greedy.repeats[p]).min(number);
            for slot in slots {
                left[slot.class as usize - start] += packs * u64::from(slot.copies);
            }
            repeats[p - self.patterns.start] -= packs;
            number -= packs;
            if number == 0 {
                break;
            }
        }
        if number > 0 {
            return None;
        }
        let mut packs = OpenPacks::new(self.room.capacity(), self.max_sequences);
        for (p, &repeat) in self.patterns.clone().zip(&repeats).filter(|(_, repeat)| **repeat > 0) {
            packs.add(&self.with_lengths(self.greedy.slots_of(p)), taken(p), repeat);
        }
        Some((packs, left))
    }

    /// Put the splittable sequences that fit whole into `goal` packs: those of the whole sequences alone, and empty ones.
    /// Returns the packs, and the number of sequences of each class that did not fit.
    fn around_whole(&self, alone: &Patterns, goal: u64, mut left: Vec<u64>) -> (OpenPacks, Vec<u64>) {
        let lengths = &self.sorted.classes.lengths;
        let mut packs = OpenPacks::new(self.room.capacity(), self.max_sequences);
        for p in 0..alone.len() {
            let slots = alone.slots_of(p);
            let taken = slots.iter().map(|slot| self.room.taken(lengths[slot.class as usize]) * slot.copies).sum();
            packs.add(&self.with_lengths(slots), taken, alone.repeats[p]);
        }
        if goal > packs.len() {
            packs.add(&[], 0, goal - packs.len());
        }
        for (class, left) in self.sorted.classes.of_group(self.group).zip(&mut left).rev() {
            let (length, taken) = (lengths[class], self.room.taken(lengths[class]));
            while *left > 0 {
                let Some(placed) = packs.place(length, taken, *left) else { break };
                *left -= placed;
            }
        }
        (packs, left)
    }

    /// Put the sequences left into packs, longest first, whole where they fit and otherwise in pieces.
    fn cut(&self, packs: &mut OpenPacks, left: Vec<u64>) -> Vec<Cut> {
        let mut cuts = vec![];
        for (class, left) in self.sorted.classes.of_group(self.group).zip(left).rev() {
            let mut rests = vec![(self.sorted.classes.lengths[class], left, vec![])];
            while let Some((length, sequences, pieces)) = rests.pop() {
                if sequences == 0 {
                    continue;
                }
                let taken = self.room.taken(length);
                let most = packs.most_room().map_or(0, |most| self.room.longest_in(most));
                if most == 0 || most >= length {
                    let placed = packs.place(length, taken, sequences);
                    let placed = placed.unwrap_or_else(|| packs.open(length, taken, sequences));
                    rests.push((length, sequences - placed, pieces.clone()));
                    if !pieces.is_empty() {
                        cuts.push(Cut { class, sequences: placed, pieces });
                    }
                } else {
                    let placed = packs.place_in_most_room(most, self.room.taken(most), sequences);
                    rests.push((length, sequences - placed, pieces.clone()));
                    rests.push((length - most, placed, [pieces, vec![most]].concat()));
                }
            }
        }
        cuts
    }

    /// Choose the rows to cut: the first ones of each class in input order.
    fn cut_rows(&self, cuts: Vec<Cut>) -> impl Iterator<Item = (u64, Vec<u32>)> {
        cuts.into_iter()
            .scan((usize::MAX, None), |(class, items), cut| {
                if *class != cut.class {
                    (*class, *items) = (cut.class, Some(self.splittable_of(cut.class)));
                }
                let items = items.as_mut().into_iter().flatten().take(cut.sequences as usize);
                Some(items.map(|item| (item, cut.pieces.clone())).collect::<Vec<_>>())
            })
            .flatten()
    }

    /// The patterns of first-fit decreasing, with lengths as classes.
    fn unchanged(&self) -> Patterns {
        let mut patterns = Patterns::default();
        for p in self.patterns.clone() {
            patterns.slots.extend(self.with_lengths(self.greedy.slots_of(p)));
            patterns.push(self.greedy.repeats[p]);
        }
        patterns
    }

    fn with_lengths(&self, slots: &[Slot]) -> Vec<Slot> {
        let lengths = &self.sorted.classes.lengths;
        slots.iter().map(|slot| Slot { class: lengths[slot.class as usize], ..*slot }).collect()
    }
}
