//! Turn the fractions of a linear program into whole packs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::bin_slack::BinSlack;
use super::{Knapsack, Search, SizePatterns, pack_few};
use crate::Error;
use crate::error::PlanFault;
use crate::memory::{collected, copied, push, with_room};
use crate::packing::balanced::{Effort, capped};
use crate::packing::first_fit::{Limits, Ranks};
use crate::packing::room::Room;

/// A packing that is being built: packs so far, and the sequences left.
///
/// # Examples
/// ```
/// use packsort_core::optimal::{Knapsack, Packing, SizePatterns};
///
/// let knapsack = Knapsack::new(&[4, 6], 10, u64::MAX)?;
/// let mut packing = Packing::new(&knapsack, &[3, 1])?;
/// packing.take(&SizePatterns::new(vec![0, 2], vec![0, 1], vec![1, 1])?, &[1])?; // 4 + 6
/// assert_eq!((packing.num_packs(), packing.left()), (1, &[2, 0][..]));
/// packing.finish_first_fit()?; // 4 + 4
/// assert_eq!(packing.num_packs(), 2);
/// # Ok::<(), packsort_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Packing {
    sizes: Vec<u32>,
    capacity: u32,
    max_sequences: u64,
    left: Vec<u64>,
    patterns: SizePatterns,
    repeats: Vec<u64>,
    num_packs: u64,
}

impl Packing {
    /// Start without packs, with `counts` sequences of each size.
    ///
    /// # Errors
    /// Counts that are not one for each size, or add up to more than 63 bits hold.
    pub fn new(knapsack: &Knapsack<'_>, counts: &[u64]) -> Result<Self, Error> {
        knapsack.check_counts(counts)?;
        Ok(Self {
            sizes: knapsack.sizes().to_vec(),
            capacity: knapsack.capacity(),
            max_sequences: knapsack.max_sequences(),
            left: counts.to_vec(),
            patterns: SizePatterns::default(),
            repeats: vec![],
            num_packs: 0,
        })
    }

    /// Number of sequences of each size that are in no pack.
    pub fn left(&self) -> &[u64] {
        &self.left
    }

    /// Number of packs so far.
    pub fn num_packs(&self) -> u64 {
        self.num_packs
    }

    /// The patterns so far, each once, in the order in which they were first taken, and the number of packs of each.
    pub fn patterns(&self) -> (SizePatterns, Vec<u64>) {
        let mut patterns = SizePatterns::default();
        let mut repeats: Vec<u64> = vec![];
        let mut number = HashMap::new();
        for (p, &repeat) in self.repeats.iter().enumerate() {
            let own = self.patterns.offsets()[p]..self.patterns.offsets()[p + 1];
            match number.entry((&self.patterns.items()[own.clone()], &self.patterns.copies()[own])) {
                Entry::Occupied(same) => repeats[*same.get()] += repeat,
                Entry::Vacant(new) => {
                    new.insert(repeats.len());
                    patterns.push(self.patterns.pattern(p));
                    repeats.push(repeat);
                }
            }
        }
        (patterns, repeats)
    }

    /// Take up to `repeats` packs of each pattern.
    ///
    /// First come all packs that hold exactly their pattern. Where sequences of a size have run out, their places go to
    /// the longest sequences that fit: the program lets long places serve short sequences.
    ///
    /// # Errors
    /// Repeats that are not one for each pattern; a pattern of unknown items, or of more than a pack may hold.
    pub fn take(&mut self, patterns: &SizePatterns, repeats: &[u64]) -> Result<(), Error> {
        self.check(patterns, repeats)?;
        let rest: Vec<u64> = (0..patterns.len())
            .map(|p| {
                let whole = patterns.pattern(p).map(|(item, copies)| self.left[item] / copies).min().unwrap_or(0);
                let repeat = whole.min(repeats[p]);
                if repeat > 0 {
                    self.add(patterns.pattern(p), repeat);
                }
                repeats[p] - repeat
            })
            .collect();
        for (p, mut rest) in rest.into_iter().enumerate() {
            while rest > 0 {
                let similar = self.similar(patterns.pattern(p));
                let Some(whole) = similar.iter().map(|&(item, copies)| self.left[item] / copies).min() else { break };
                let repeat = whole.min(rest);
                self.add(similar.iter().copied(), repeat);
                rest -= repeat;
            }
        }
        Ok(())
    }

    fn check(&self, patterns: &SizePatterns, repeats: &[u64]) -> Result<(), Error> {
        let (found, expected) = (repeats.len() as u64, patterns.len() as u64);
        if found != expected {
            return Err(Error::Patterns(PlanFault::ArrayLength { array: "repeats", found, expected }));
        }
        for p in 0..patterns.len() {
            let pattern = p as u64;
            let (mut taken, mut sequences) = (0_u64, 0_u64);
            for (item, copies) in patterns.pattern(p) {
                let size = self.sizes.get(item).ok_or(Error::Patterns(PlanFault::Slot { pattern }))?;
                taken = taken.saturating_add(u64::from(*size) * copies);
                sequences += copies;
            }
            let capacity = u64::from(self.capacity);
            if taken > capacity {
                return Err(Error::Patterns(PlanFault::OverFull { pattern, taken, capacity }));
            }
            if sequences > self.max_sequences {
                let limit = self.max_sequences;
                return Err(Error::TooMany { what: "sequences in a pattern", found: sequences, limit });
            }
        }
        Ok(())
    }

    /// The pack nearest to a pattern among the sequences left, as items and copies. Each place of the pattern, longest
    /// first, goes to the longest sequence that fits it; then the longest sequences that fit fill the room left over.
    fn similar(&self, pattern: impl DoubleEndedIterator<Item = (usize, u64)>) -> Vec<(usize, u64)> {
        let mut taken: Vec<(usize, u64)> = vec![];
        let mut room = self.capacity;
        let mut more = self.max_sequences;
        let mut take = |from: usize, mut places: u64| {
            let mut item = from;
            loop {
                let size = self.sizes[item];
                let used = taken.iter().find(|&&(other, _)| other == item).map_or(0, |&(_, copies)| copies);
                let copies = (self.left[item] - used).min(places).min((room / size).into()).min(more);
                if copies > 0 {
                    room -= size * copies as u32;
                    more -= copies;
                    places -= copies;
                    match taken.iter_mut().find(|(other, _)| *other == item) {
                        Some(slot) => slot.1 += copies,
                        None => taken.push((item, copies)),
                    }
                }
                let fitting = self.sizes[..item].partition_point(|&size| size <= room);
                if places == 0 || more == 0 || fitting == 0 {
                    return;
                }
                item = fitting - 1;
            }
        };
        for (item, copies) in pattern.rev() {
            take(item, copies);
        }
        take(self.sizes.len() - 1, u64::MAX);
        taken.sort_unstable();
        taken
    }

    fn add(&mut self, pattern: impl Iterator<Item = (usize, u64)> + Clone, repeat: u64) {
        for (item, copies) in pattern.clone() {
            self.left[item] -= copies * repeat;
        }
        self.patterns.push(pattern);
        self.repeats.push(repeat);
        self.num_packs += repeat;
    }

    /// Pack all sequences left by first-fit decreasing, or balanced where a cap on sequences makes these packs fewer.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// # Complexity
    /// O(distinct sizes x sequences of a pack).
    pub fn finish_first_fit(&mut self) -> Result<(), Error> {
        let room = Room::plain(self.capacity);
        let mut ranks = Ranks::new(self.sizes.last().copied().unwrap_or(0))?;
        ranks.set(&self.sizes);
        let limits = Limits { lengths: &self.sizes, ranks: &ranks, room, max_sequences: self.max_sequences };
        let found = capped(&limits, &self.left, Effort::Full)?;
        for (p, &repeat) in found.repeats.iter().enumerate() {
            let slots = found.slots_of(p).iter().rev().map(|slot| (slot.class as usize, slot.copies.into()));
            self.add(slots, repeat);
        }
        Ok(())
    }

    /// Pack all sequences left, each pack as full as a search of `steps` steps finds.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// # Complexity
    /// O(steps x log sizes) for each pack.
    pub fn finish_full(&mut self, steps: u64) -> Result<(), Error> {
        let mut left = copied(SIZES, &self.left)?;
        let mut search = BinSlack::new(&self.sizes, &mut left)?;
        let mut packs = vec![];
        while let Some(mut pack) = search.next(self.capacity, self.max_sequences, steps) {
            pack.reverse();
            push(&mut packs, SIZES, pack)?;
        }
        for pack in packs {
            let slots: Vec<_> = pack.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u64)).collect();
            self.add(slots.iter().copied(), 1);
        }
        Ok(())
    }

    /// Pack all sequences left into at most `packs` packs, if a search of `steps` steps finds a way. Otherwise nothing
    /// is packed.
    ///
    /// More than 2^24 sequences are too many for this search: it counts as out of steps.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// # Complexity
    /// O(steps x packs).
    pub fn finish_within(&mut self, packs: u64, steps: u64) -> Result<Search<()>, Error> {
        let sequences = self.left.iter().sum::<u64>();
        if sequences > MOST_SEQUENCES {
            return Ok(Search::OutOfSteps);
        }
        let mut items = with_room(SEQUENCES, sequences as usize)?;
        for (item, &left) in self.left.iter().enumerate().rev() {
            items.extend(std::iter::repeat_n(item as u32, left as usize));
        }
        let sizes = collected(SEQUENCES, items.iter().map(|&item| self.sizes[item as usize]))?;
        Ok(match pack_few(&sizes, self.capacity, self.max_sequences, packs, steps) {
            Search::Found(found) => {
                for pack in found {
                    let pack = SizePatterns::of_slots(vec![pack.into_iter().map(|i| (items[i], 1)).collect()]);
                    self.add(pack.pattern(0), 1);
                }
                Search::Found(())
            }
            Search::Impossible => Search::Impossible,
            Search::OutOfSteps => Search::OutOfSteps,
        })
    }
}

const SIZES: &str = "distinct sizes";
const SEQUENCES: &str = "sequences to search";

/// The most sequences that are searched for a packing one by one.
const MOST_SEQUENCES: u64 = 1 << 24;
