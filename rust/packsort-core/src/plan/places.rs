//! The packs of sequences: the way back from an item to the pack that holds it.
//!
//! ```text
//! item -> its class, and its rank there
//! rank -> the place in the class that the shuffle gives it
//! place -> the slot that takes it, and the copy of the slot's pattern
//! pack in the order of opening -> its place in the shuffle
//! ```
//!
//! Slots take the places of a class in turn, so the slot of a place is found by bisection.

use rayon::prelude::*;

use crate::Error;
use crate::memory::{collected, reserved, with_room};
use crate::permutation::Inverse;
use crate::plan::patterned::Patterned;
use crate::plan::shuffle::Shuffle;

const PLACES: &str = "packs of sequences";

/// The slots of all patterns in the order of the places they take.
#[derive(Debug)]
pub(crate) struct SlotsByPlace {
    first: Vec<u64>,            // (slots,): the first place that each slot takes
    slots: Vec<(u32, u32)>,     // (slots,): its pattern, and its copies
    first_of_class: Vec<usize>, // (classes + 1,): the first slot of each class
}

impl SlotsByPlace {
    fn new(patterned: &Patterned) -> Result<Self, Error> {
        let Patterned { patterns, classes, .. } = patterned;
        let mut sorted = with_room(PLACES, patterns.slots.len())?;
        for pattern in 0..patterns.len() {
            sorted.extend(patterned.slots_of(pattern).map(|(slot, first)| (first, (pattern as u32, slot.copies))));
        }
        sorted.par_sort_unstable();
        let first = collected(PLACES, sorted.iter().map(|slot| slot.0))?;
        let slots = collected(PLACES, sorted.iter().map(|slot| slot.1))?;
        let starts = classes.first.iter().map(|&start| first.partition_point(|&place| place < start));
        Ok(Self { first_of_class: collected(PLACES, starts)?, first, slots })
    }

    /// The pattern that takes a place of a class, and the copy of it that does.
    #[inline]
    fn find(&self, class: usize, place: u64) -> (usize, u64) {
        let (start, end) = (self.first_of_class[class], self.first_of_class[class + 1]);
        let slot = start + self.first[start..end].partition_point(|&first| first <= place) - 1;
        let (pattern, copies) = self.slots[slot];
        (pattern as usize, (place - self.first[slot]) / u64::from(copies))
    }
}

/// The inverse of a shuffle.
struct Unshuffle {
    packs: Inverse,
    ids: Vec<Inverse>, // (classes,)
}

impl Unshuffle {
    fn new(shuffle: &Shuffle) -> Result<Self, Error> {
        let ids = collected(PLACES, shuffle.ids.iter().map(|ids| ids.inverse()))?;
        Ok(Self { packs: shuffle.packs.inverse(), ids })
    }
}

/// Fewer sequences than this are found faster than a thread wakes up.
const MIN_PER_SHARE: usize = 1 << 12;

impl Patterned {
    /// Find the packs of items; -1 stays -1.
    pub fn places(&self, shuffle: Option<&Shuffle>, items: &[i64]) -> Result<Vec<i64>, Error> {
        let sequences = self.classes.num_sequences();
        let outside = |&&item: &&i64| item < -1 || item >= sequences as i64;
        if let Some(&number) = items.iter().find(outside) {
            return Err(Error::NoSuchSequence { number, sequences });
        }
        let slots = match self.slots_by_place.get() {
            Some(known) => known,
            None => {
                let slots = SlotsByPlace::new(self)?;
                self.slots_by_place.get_or_init(|| slots)
            }
        };
        let unshuffle = shuffle.map(Unshuffle::new).transpose()?;
        let mut places = reserved(PLACES, items.len())?;
        let found = items.par_iter().with_min_len(MIN_PER_SHARE).map(|&item| match u64::try_from(item) {
            Err(_) => -1,
            Ok(item) => self.place_of(slots, unshuffle.as_ref(), item) as i64,
        });
        found.collect_into_vec(&mut places);
        Ok(places)
    }

    #[inline]
    fn place_of(&self, slots: &SlotsByPlace, unshuffle: Option<&Unshuffle>, item: u64) -> u64 {
        let class = self.classes.first.partition_point(|&first| first <= item) - 1;
        let first = self.classes.first[class];
        let place = unshuffle.map_or(item, |unshuffle| first + unshuffle.ids[class].at(item - first));
        let (pattern, copy) = slots.find(class, place);
        let opened = self.first_pack[pattern] + copy;
        unshuffle.map_or(opened, |unshuffle| unshuffle.packs.at(opened))
    }
}
