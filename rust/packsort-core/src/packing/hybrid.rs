//! Hybrid packing: what is not splittable stays whole, and what is fills the room that is left.
//!
//! As few packs as whole sequences and tokens allow; among plans of so many packs, few splits. First-fit decreasing of
//! all sequences whole is taken as it is where it reaches that number. Otherwise its emptiest packs that hold splittable
//! sequences alone are dissolved, or, where those are too few, all whole sequences are packed first; what then fits
//! nowhere whole is cut, into the largest rooms first, so that each takes the fewest pieces.

use crate::histogram::sort::Order;
use crate::packing::first_fit::Scratch;
use crate::packing::open_packs::OpenPacks;
use crate::packing::room::Room;
use crate::plan::build::Sorted;
use crate::{Classes, Error, Patterns, Slot};

/// Better packs, and the cuts they take.
pub(crate) struct Hybrid {
    /// By group; slots have lengths in the place of classes.
    pub packs: Vec<Patterns>,
    /// Rows and the tokens of all pieces but their last.
    pub cuts: Vec<(u64, Vec<u32>)>,
}

/// Sequences alike that are cut alike.
struct Cut {
    class: usize,
    sequences: u64,
    pieces: Vec<u32>, // tokens of all but the last
}

/// Cuts sequences where that takes fewer packs than `greedy`; `None` where it does in no group.
pub(crate) fn pack(
    sorted: &Sorted,
    greedy: &Patterns,
    splittable: &[bool],
    room: Room,
    max_sequences: u64,
    last_alone: bool,
) -> Option<Hybrid> {
    let classes = &sorted.classes;
    let groups = classes.groups.len() - 1;
    let mut found = Hybrid { packs: Vec::with_capacity(groups), cuts: vec![] };
    let mut scratch = Scratch::of_groups(classes);
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
                found.cuts.extend(own.rows_of(cuts));
            }
            None => found.packs.push(own.as_they_are()),
        }
    }
    better.then_some(found)
}

/// Patterns whose slots have lengths, as patterns of classes.
pub(crate) fn as_patterns(groups: &[Patterns], classes: &Classes) -> Result<Patterns, Error> {
    let mut patterns = Patterns::default();
    for (group, packs) in groups.iter().enumerate() {
        let own = classes.of_group(group);
        let lengths = &classes.lengths[own.clone()];
        for (p, &repeat) in packs.repeats.iter().enumerate() {
            for slot in packs.slots_of(p) {
                let class = lengths.binary_search(&slot.class).map_err(|_| Error::Inconsistent("a piece is lost"))?;
                patterns.slots.push(Slot { class: (own.start + class) as u32, copies: slot.copies });
            }
            patterns.add(repeat);
        }
    }
    Ok(patterns)
}

/// One group's sequences and its greedy packs.
struct Group<'a> {
    sorted: &'a Sorted,
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
        let goal = fewest.max(alone.repeats.iter().sum());
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

    /// The splittable items of a class: last pieces of rows that may be cut.
    fn splittable_of(&self, class: usize) -> impl Iterator<Item = u64> {
        let (first, end) = (self.sorted.classes.first[class] as usize, self.sorted.classes.first[class + 1] as usize);
        let item = move |place| match &self.sorted.order {
            Order::U32(order) => u64::from(order[place]),
            Order::I64(order) => order[place] as u64,
        };
        (first..end).map(item).filter(|&item| self.splittable.get(item as usize).is_some_and(|&flag| flag))
    }

    /// The greedy packs but for the `number` emptiest of splittable sequences alone, and what was in these, by class;
    /// `None` where there are not so many.
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

    /// `goal` packs: those of whole sequences alone, and empty ones, with what of the splittable ones fits in whole;
    /// and what does not, by class.
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

    /// Puts what is left into the packs, longest first, whole where it fits, else in pieces.
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

    /// Which rows are cut: of each class the first in input order.
    fn rows_of(&self, cuts: Vec<Cut>) -> impl Iterator<Item = (u64, Vec<u32>)> {
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

    /// The greedy packs, with lengths in the place of classes.
    fn as_they_are(&self) -> Patterns {
        let mut patterns = Patterns::default();
        for p in self.patterns.clone() {
            patterns.slots.extend(self.with_lengths(self.greedy.slots_of(p)));
            patterns.add(self.greedy.repeats[p]);
        }
        patterns
    }

    fn with_lengths(&self, slots: &[Slot]) -> Vec<Slot> {
        let lengths = &self.sorted.classes.lengths;
        slots.iter().map(|slot| Slot { class: lengths[slot.class as usize], ..*slot }).collect()
    }
}
