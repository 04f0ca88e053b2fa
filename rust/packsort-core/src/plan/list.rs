//! Packs of patterned plans, listed in parallel.
//!
//! ```text
//! sort the packs of the range by the order in which they were opened
//! cut them into shares, a few for each thread
//! offsets: for each pack, the number of its sequences; then their cumulative sums
//! ids: for each block of 32 packs, find the positions of all its ids, then copy the ids; where nothing is shuffled, copy
//!     those of 32 copies of a pattern, slot by slot
//! ```
//!
//! A shuffle sends neighbouring packs to places far apart. But packs opened one after another hold sequences of nearly
//! the same lengths, so the ids that they reach for stay in cache. Listing 10 M shuffled sequences in the order of packs
//! instead takes 20 times as long.
//!
//! Cost: O(pieces), over all threads.
#![allow(unsafe_code)]

use std::ops::Range;

use rayon::prelude::*;

use crate::histogram::count::split;
use crate::ids::Id;
use crate::memory::{collected, prefetch, reserved, with_room, zeros};
use crate::parallel::Scatter;
use crate::plan::items::{ByPlace, Items, OwnPlaces};
use crate::plan::packs::{Pack, PackList};
use crate::plan::patterned::Patterned;
use crate::plan::shuffle::Shuffle;
use crate::{Error, SequenceIds};

const IDS: &str = "a list of sequence ids";
const PACKS: &str = "a list of packs";

impl Patterned {
    /// Find one pack, which is inside the plan.
    pub fn pack(&self, shuffle: Option<&Shuffle>, index: u64) -> Pack {
        let opened = shuffle.map_or(index, |shuffle| shuffle.packs.at(index));
        let pattern = self.pattern_of(opened);
        let copy = opened - self.first_pack[pattern];
        let mut pack = Pack::default();
        for (slot, source) in self.slots_of(pattern) {
            let class = slot.class as usize;
            let (first, copies) = (self.classes.first[class], u64::from(slot.copies));
            for place in source + copy * copies..source + (copy + 1) * copies {
                let place = shuffle.map_or(place, |shuffle| first + shuffle.ids[class].at(place - first));
                let (row, start) = self.cuts.locate(self.items.at(place), self.rows);
                pack.ids.push(row);
                pack.starts.push(start);
                pack.lengths.push(self.classes.lengths[class]);
            }
        }
        pack
    }

    /// List the rows of packs `range`, which is inside the plan.
    pub fn list_packs(&self, shuffle: Option<&Shuffle>, range: Range<u64>) -> Result<PackList, Error> {
        let (offsets, items) = self.list_items(shuffle, range)?;
        Ok(PackList { offsets, ids: self.cuts.items_to_rows(items, self.rows) })
    }

    /// List the first tokens of the pieces of packs `range`, which is inside the plan.
    pub fn list_starts(&self, shuffle: Option<&Shuffle>, range: Range<u64>) -> Result<Vec<i32>, Error> {
        if self.has_starts() {
            return self.cuts.item_starts(&self.list_items(shuffle, range)?.1, self.rows);
        }
        let packs = PacksToList::new(shuffle, range, self.num_packs())?;
        zeros("a list of starts", self.offsets(&packs)?[packs.len()] as usize)
    }

    /// List the lengths of the pieces of packs `range`, which is inside the plan.
    pub fn list_lengths(&self, shuffle: Option<&Shuffle>, range: Range<u64>) -> Result<Vec<i32>, Error> {
        let packs = PacksToList::new(shuffle, range, self.num_packs())?;
        let offsets = self.offsets(&packs)?;
        let lengths = Scatter::new("a list of lengths", offsets[packs.len()] as usize)?;
        self.for_each_block(&packs, |block| {
            for pack in block {
                let mut at = offsets[pack.place] as usize;
                for slot in self.patterns.slots_of(pack.pattern) {
                    for _ in 0..slot.copies {
                        // SAFETY: every pack is in one block, and the places between its offsets are its own.
                        unsafe { lengths.write(at, self.classes.lengths[slot.class as usize] as i32) };
                        at += 1;
                    }
                }
            }
            Ok(())
        })?;
        // SAFETY: the blocks cover all packs of the range, and every pack wrote one length for each of its sequences,
        // from its own offset to the next.
        Ok(unsafe { lengths.finish() })
    }

    fn list_items(&self, shuffle: Option<&Shuffle>, range: Range<u64>) -> Result<(Vec<i64>, SequenceIds), Error> {
        let packs = PacksToList::new(shuffle, range.clone(), self.num_packs())?;
        let offsets = self.offsets(&packs)?;
        let items = match &self.items {
            Items::Listed(SequenceIds::U32(items)) => {
                SequenceIds::U32(self.copy(&items[..], range, shuffle, &packs, &offsets)?)
            }
            Items::Listed(SequenceIds::I64(items)) => {
                SequenceIds::I64(self.copy(&items[..], range, shuffle, &packs, &offsets)?)
            }
            Items::Counted(len) => SequenceIds::I64(self.copy(&OwnPlaces(*len), range, shuffle, &packs, &offsets)?),
        };
        Ok((offsets, items))
    }

    /// The position of each pack's first piece, and the number of all pieces.
    fn offsets(&self, packs: &PacksToList) -> Result<Vec<i64>, Error> {
        if let PacksToList::Unshuffled(range) = packs {
            return self.offsets_in_order(range.clone());
        }
        let offsets = Scatter::new(PACKS, packs.len() + 1)?;
        // SAFETY: no other thread writes yet, and later none writes to index 0: packs write behind their own place.
        unsafe { offsets.write(0, 0) };
        self.for_each_block(packs, |block| {
            for pack in block {
                // SAFETY: every pack is in one block, and has a place of its own.
                unsafe { offsets.write(pack.place + 1, self.sequences_in(pack.pattern) as i64) }
            }
            Ok(())
        })?;
        // SAFETY: the blocks cover all packs, whose places are those of the range, and index 0 was written first.
        let mut offsets = unsafe { offsets.finish() };
        let mut end = 0;
        for offset in &mut offsets {
            end += *offset;
            *offset = end;
        }
        Ok(offsets)
    }

    fn offsets_in_order(&self, range: Range<u64>) -> Result<Vec<i64>, Error> {
        let mut offsets = reserved(PACKS, (range.end - range.start) as usize + 1)?;
        let mut end = 0;
        offsets.push(end);
        for (pattern, copies) in self.copies_in(range) {
            let sequences = self.sequences_in(pattern) as i64;
            offsets.extend(copies.map(|_| {
                end += sequences;
                end
            }));
        }
        Ok(offsets)
    }

    /// The patterns of packs that were opened one after another, each with the copies of it that are among them.
    fn copies_in(&self, opened: Range<u64>) -> impl Iterator<Item = (usize, Range<u64>)> {
        let first = if opened.is_empty() { self.patterns.len() } else { self.pattern_of(opened.start) };
        (first..self.patterns.len()).map_while(move |pattern| {
            let (start, end) = (self.first_pack[pattern], self.first_pack[pattern + 1]);
            (start < opened.end).then(|| (pattern, opened.start.max(start) - start..opened.end.min(end) - start))
        })
    }

    fn copy<I: Id>(
        &self,
        items: &(impl ByPlace<I> + ?Sized),
        range: Range<u64>,
        shuffle: Option<&Shuffle>,
        packs: &PacksToList,
        offsets: &[i64],
    ) -> Result<Vec<I>, Error> {
        match shuffle {
            None => self.copy_in_order(items, range, offsets),
            Some(shuffle) => self.copy_shuffled(items, shuffle, packs, offsets),
        }
    }

    /// Copy the items of packs that are not shuffled: of a few copies of a pattern, slot by slot.
    fn copy_in_order<I: Id>(
        &self,
        items: &(impl ByPlace<I> + ?Sized),
        range: Range<u64>,
        offsets: &[i64],
    ) -> Result<Vec<I>, Error> {
        let packs = (range.end - range.start) as usize;
        let listed = Scatter::new(IDS, offsets[packs] as usize)?;
        for_each_share(packs, |share| {
            let mut next = offsets[share.start] as usize;
            let opened = range.start + share.start as u64..range.start + share.end as u64;
            for (pattern, copies) in self.copies_in(opened) {
                let sequences = self.sequences_in(pattern) as usize;
                for start in copies.clone().step_by(BLOCK) {
                    let few = (copies.end - start).min(BLOCK as u64) as usize;
                    let mut first_place = next;
                    for (slot, source) in self.slots_of(pattern) {
                        let copies = slot.copies as usize;
                        for copy in 0..few {
                            let at = first_place + copy * sequences;
                            let last = next + (copy + 1) * sequences - 1;
                            let first = source as usize + (start as usize + copy) * copies;
                            // Mostly a slot has one copy or two, and a loop of random length is mispredicted. So two
                            // items are always written; a second one too many is overwritten by the next slot, or is
                            // the pack's last.
                            let second = (first + 1).min(items.last());
                            // SAFETY: every pack is in one share, and both places lie between the pack's offsets, which
                            // are its own. Index `at` is written last, so it holds its own item even where both places
                            // are the same.
                            unsafe {
                                listed.write((at + 1).min(last), items.item(second));
                                listed.write(at, items.item(first));
                            }
                            for more in 2..copies {
                                // SAFETY: every pack is in one share, and the slots of a pack fill the places between
                                // its offsets, which are its own, with as many items as they have copies.
                                unsafe { listed.write(at + more, items.item(first + more)) };
                            }
                        }
                        first_place += copies;
                    }
                    next += few * sequences;
                }
            }
            Ok(())
        })?;
        // SAFETY: the shares cover all packs of the range, and the slots of each pack fill the places from its offset to
        // the next.
        Ok(unsafe { listed.finish() })
    }

    /// Copy the items of shuffled packs.
    fn copy_shuffled<I: Id>(
        &self,
        items: &(impl ByPlace<I> + ?Sized),
        shuffle: &Shuffle,
        packs: &PacksToList,
        offsets: &[i64],
    ) -> Result<Vec<I>, Error> {
        let listed = Scatter::new(IDS, offsets[packs.len()] as usize)?;
        self.for_each_block(packs, |block| {
            block.iter().for_each(|pack| prefetch(&offsets[pack.place..=pack.place]));
            let sources = self.shuffled_sources(shuffle, block)?;
            sources.iter().for_each(|&source| items.prefetch(source));
            let mut sources = sources.into_iter();
            for pack in block {
                let range = offsets[pack.place] as usize..offsets[pack.place + 1] as usize;
                for (at, source) in range.zip(&mut sources) {
                    // SAFETY: every pack is in one block, and the places between its offsets are its own.
                    unsafe { listed.write(at, items.item(source)) };
                }
            }
            Ok(())
        })?;
        // SAFETY: the blocks cover all packs of the range, and each pack has as many sources as there are places from its
        // offset to the next.
        Ok(unsafe { listed.finish() })
    }

    /// Find the positions in the items of all sequences of a block of packs.
    ///
    /// The walks of [`Permutation`](crate::Permutation) take their steps together: a loop that ends after one step or
    /// two at random is mispredicted so often that it takes a third longer.
    fn shuffled_sources(&self, shuffle: &Shuffle, block: &[PackToList]) -> Result<Vec<usize>, Error> {
        let sequences = block.iter().map(|pack| self.sequences_in(pack.pattern) as usize).sum();
        let mut sources = with_room(IDS, sequences)?;
        let mut classes = with_room::<u32>(IDS, sequences)?;
        let mut walking = zeros::<usize>(IDS, sequences + 1)?; // one more than can be, because it is written before it is counted
        let mut walks = 0;
        for pack in block {
            for (slot, source) in self.slots_of(pack.pattern) {
                let class = slot.class as usize;
                let start = source + pack.copy * u64::from(slot.copies) - self.classes.first[class];
                for place in start..start + u64::from(slot.copies) {
                    let place = shuffle.ids[class].step(place);
                    walking[walks] = sources.len();
                    walks += usize::from(!shuffle.ids[class].has(place));
                    sources.push(place as usize);
                    classes.push(class as u32);
                }
            }
        }
        while walks > 0 {
            for w in 0..std::mem::take(&mut walks) {
                let walker = walking[w];
                let permutation = &shuffle.ids[classes[walker] as usize];
                let place = permutation.step(sources[walker] as u64);
                sources[walker] = place as usize;
                walking[walks] = walker;
                walks += usize::from(!permutation.has(place));
            }
        }
        for (source, &class) in sources.iter_mut().zip(&classes) {
            *source += self.classes.first[class as usize] as usize;
        }
        Ok(sources)
    }

    /// Call `work` with blocks of packs, in parallel. Every pack is in one block.
    fn for_each_block(
        &self,
        packs: &PacksToList,
        work: impl Fn(&[PackToList]) -> Result<(), Error> + Sync,
    ) -> Result<(), Error> {
        let first_pack = &self.first_pack;
        for_each_share(packs.len(), |share| {
            let mut pattern = if share.is_empty() { 0 } else { self.pattern_of(packs.get(share.start).0) };
            let mut block = Vec::with_capacity(BLOCK);
            for index in share.clone() {
                let (opened, place) = packs.get(index);
                while first_pack[pattern + 1] <= opened {
                    pattern += 1;
                }
                block.push(PackToList { pattern, copy: opened - first_pack[pattern], place });
                if block.len() == BLOCK || index + 1 == share.end {
                    work(&block)?;
                    block.clear();
                }
            }
            Ok(())
        })
    }
}

/// Call `work` with shares of the packs, in parallel.
fn for_each_share(packs: usize, work: impl Fn(Range<usize>) -> Result<(), Error> + Sync) -> Result<(), Error> {
    let shares = (rayon::current_num_threads() * 8).min(packs / MIN_PACKS_PER_SHARE + 1);
    (0..shares).into_par_iter().try_for_each(|share| work(split(packs, shares, share)))
}

/// A pack: copy `copy` of a pattern, at place `place` of the list.
struct PackToList {
    pattern: usize,
    copy: u64,
    place: usize,
}

/// Packs whose ids are looked up together, so that the processor waits for many cache misses at once.
const BLOCK: usize = 32;

/// Fewer packs than this are listed faster than a thread wakes up.
const MIN_PACKS_PER_SHARE: usize = 2048;

/// The packs of a range in the order in which they were opened, each with its place in the range.
enum PacksToList {
    Unshuffled(Range<u64>),
    /// All packs of a plan: their places, by the number under which each was opened. Numbers would add a seventh of a
    /// column of lengths to the memory of a shuffled plan.
    AllShuffled(Vec<usize>),
    Shuffled(Vec<(u64, usize)>),
}

impl PacksToList {
    fn new(shuffle: Option<&Shuffle>, range: Range<u64>, all_packs: u64) -> Result<Self, Error> {
        let Some(shuffle) = shuffle else { return Ok(Self::Unshuffled(range)) };
        let packs = (range.end - range.start) as usize;
        if packs as u64 == all_packs {
            let places = Scatter::new(PACKS, packs)?;
            (0..packs).into_par_iter().with_min_len(MIN_PACKS_PER_SHARE).for_each(|place| {
                let number = shuffle.packs.at(place as u64);
                // SAFETY: a permutation of all packs gives every number once.
                unsafe { places.write(number as usize, place) };
            });
            // SAFETY: a permutation of all packs gives every number.
            return Ok(Self::AllShuffled(unsafe { places.finish() }));
        }
        let mut opened = collected(PACKS, range.zip(0..).map(|(index, place)| (shuffle.packs.at(index), place)))?;
        opened.par_sort_unstable();
        Ok(Self::Shuffled(opened))
    }

    fn len(&self) -> usize {
        match self {
            Self::Unshuffled(range) => (range.end - range.start) as usize,
            Self::AllShuffled(places) => places.len(),
            Self::Shuffled(opened) => opened.len(),
        }
    }

    /// The number under which a pack was opened, and its place.
    #[inline]
    fn get(&self, index: usize) -> (u64, usize) {
        match self {
            Self::Unshuffled(range) => (range.start + index as u64, index),
            Self::AllShuffled(places) => (index as u64, places[index]),
            Self::Shuffled(opened) => opened[index],
        }
    }
}
