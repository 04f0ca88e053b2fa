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
use crate::memory::{collected, copied, push, with_room, zeros};
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

const PACKS: &str = "packs of cut sequences";

/// Sequences of one class that are cut alike.
struct Cut {
    class: usize,
    sequences: u64,
    pieces: Vec<u32>, // lengths of all pieces but the last
}

/// Cut sequences where that saves packs over `greedy`, the patterns of first-fit decreasing. `None` if it saves no packs in
/// any group.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn pack(
    sorted: &SortedItems,
    greedy: &Patterns,
    splittable: &[bool],
    room: Room,
    max_sequences: u64,
    last_alone: bool,
) -> Result<Option<Hybrid>, Error> {
    let classes = &sorted.classes;
    let groups = classes.num_groups();
    let mut found = Hybrid { packs: with_room(PACKS, groups)?, cuts: vec![] };
    let mut scratch = Scratch::for_groups(classes)?;
    let mut next = 0;
    let mut better = false;
    for group in 0..groups {
        let first = next;
        while next < greedy.len() && (greedy.slots_of(next)[0].class as usize) < classes.groups[group + 1] {
            next += 1;
        }
        let alone = last_alone && group + 1 == groups;
        let own = Group { sorted, greedy, patterns: first..next, group, splittable, room, max_sequences };
        match if alone { None } else { own.pack(&mut scratch)? } {
            Some((packs, cuts)) => {
                better = true;
                found.packs.push(packs);
                for cut in own.cut_rows(cuts) {
                    push(&mut found.cuts, PACKS, cut)?;
                }
            }
            None => found.packs.push(own.unchanged()?),
        }
    }
    Ok(better.then_some(found))
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
                push(&mut patterns.slots, PACKS, Slot { class: (own.start + class) as u32, copies: slot.copies })?;
            }
            patterns.end_pattern(repeat)?;
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
    fn pack(&self, scratch: &mut Scratch) -> Result<Option<(Patterns, Vec<Cut>)>, Error> {
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
            return Ok(None);
        }
        let splittable = collected(PACKS, own.clone().map(|class| self.splittable_of(class).count() as u64))?;
        let whole = collected(PACKS, counts().zip(&splittable).map(|(all, splittable)| all - splittable))?;
        let mut alone = Patterns::default();
        alone.add_first_fit(classes, self.group, whole, self.room, self.max_sequences, scratch)?;
        let goal = fewest.max(alone.num_packs());
        if greedy <= goal {
            return Ok(None);
        }
        let (mut packs, left) = match self.dissolve(greedy - goal, &splittable)? {
            Some(dissolved) => dissolved,
            None => self.around_whole(&alone, goal, splittable)?,
        };
        let cuts = self.cut(&mut packs, left)?;
        if packs.len() >= greedy {
            return Ok(None);
        }
        let mut patterns = Patterns::default();
        packs.add_to(&mut patterns)?;
        Ok(Some((patterns, cuts)))
    }

    /// Iterate over the splittable sequences of a class. Only the last piece of a sequence can be cut further.
    fn splittable_of(&self, class: usize) -> impl Iterator<Item = u64> {
        let (first, end) = (self.sorted.classes.first[class] as usize, self.sorted.classes.first[class + 1] as usize);
        let item = move |place: usize| with_ids!(&self.sorted.items, items => items[place].to_u64());
        (first..end).map(item).filter(|&item| self.splittable.get(item as usize).is_some_and(|&flag| flag))
    }

    /// Dissolve the `number` emptiest packs that hold splittable sequences only. Returns the other packs, and the number of
    /// sequences of each class that were in dissolved packs; `None` if there are too few such packs.
    fn dissolve(&self, mut number: u64, splittable: &[u64]) -> Result<Option<(OpenPacks, Vec<u64>)>, Error> {
        let classes = &self.sorted.classes;
        let start = classes.of_group(self.group).start;
        let taken = |p: usize| -> u32 {
            let slots = self.greedy.slots_of(p).iter();
            slots.map(|slot| self.room.taken(classes.lengths[slot.class as usize]) * slot.copies).sum()
        };
        let mut order = collected(PACKS, self.patterns.clone().map(|p| (taken(p), p)))?;
        order.sort_unstable_by_key(|&(taken, p)| (taken, std::cmp::Reverse(p)));
        let mut left = zeros::<u64>(PACKS, splittable.len())?;
        let mut repeats = copied(PACKS, &self.greedy.repeats[self.patterns.clone()])?;
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
            return Ok(None);
        }
        let mut packs = OpenPacks::new(self.room.capacity(), self.max_sequences);
        for (p, &repeat) in self.patterns.clone().zip(&repeats).filter(|(_, repeat)| **repeat > 0) {
            packs.add(&self.with_lengths(self.greedy.slots_of(p)), taken(p), repeat)?;
        }
        Ok(Some((packs, left)))
    }

    /// Put the splittable sequences that fit whole into `goal` packs: those of the whole sequences alone, and empty ones.
    /// Returns the packs, and the number of sequences of each class that did not fit.
    fn around_whole(&self, alone: &Patterns, goal: u64, mut left: Vec<u64>) -> Result<(OpenPacks, Vec<u64>), Error> {
        let lengths = &self.sorted.classes.lengths;
        let mut packs = OpenPacks::new(self.room.capacity(), self.max_sequences);
        for p in 0..alone.len() {
            let slots = alone.slots_of(p);
            let taken = slots.iter().map(|slot| self.room.taken(lengths[slot.class as usize]) * slot.copies).sum();
            packs.add(&self.with_lengths(slots), taken, alone.repeats[p])?;
        }
        if goal > packs.len() {
            packs.add(&[], 0, goal - packs.len())?;
        }
        for (class, left) in self.sorted.classes.of_group(self.group).zip(&mut left).rev() {
            let (length, taken) = (lengths[class], self.room.taken(lengths[class]));
            while *left > 0 {
                let Some(placed) = packs.place(length, taken, *left)? else { break };
                *left -= placed;
            }
        }
        Ok((packs, left))
    }

    /// Put the sequences left into packs, longest first, whole where they fit and otherwise in pieces.
    fn cut(&self, packs: &mut OpenPacks, left: Vec<u64>) -> Result<Vec<Cut>, Error> {
        let mut cuts = vec![];
        for (class, left) in self.sorted.classes.of_group(self.group).zip(left).rev() {
            let mut rests = vec![(self.sorted.classes.lengths[class], left, vec![])];
            while let Some((length, sequences, mut pieces)) = rests.pop() {
                if sequences == 0 {
                    continue;
                }
                let taken = self.room.taken(length);
                let most = packs.most_room().map_or(0, |most| self.room.longest_in(most));
                let is_whole = most == 0 || most >= length;
                let placed = if !is_whole {
                    packs.place_in_most_room(most, self.room.taken(most), sequences)?
                } else if let Some(placed) = packs.place(length, taken, sequences)? {
                    placed
                } else {
                    packs.open(length, taken, sequences)?
                };
                if placed < sequences {
                    push(&mut rests, PACKS, (length, sequences - placed, copied(PACKS, &pieces)?))?;
                }
                if !is_whole {
                    push(&mut pieces, PACKS, most)?;
                    push(&mut rests, PACKS, (length - most, placed, pieces))?;
                } else if !pieces.is_empty() {
                    push(&mut cuts, PACKS, Cut { class, sequences: placed, pieces })?;
                }
            }
        }
        Ok(cuts)
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
    fn unchanged(&self) -> Result<Patterns, Error> {
        let mut patterns = Patterns::default();
        for p in self.patterns.clone() {
            patterns.add(&self.with_lengths(self.greedy.slots_of(p)), self.greedy.repeats[p])?;
        }
        Ok(patterns)
    }

    fn with_lengths(&self, slots: &[Slot]) -> Vec<Slot> {
        let lengths = &self.sorted.classes.lengths;
        slots.iter().map(|slot| Slot { class: lengths[slot.class as usize], ..*slot }).collect()
    }
}
