//! Plans written out: the sequences of one pack, or of all packs of a range.
#![allow(unsafe_code)]

use std::ops::Range;

use rayon::prelude::*;

use crate::histogram::count::split;
use crate::histogram::sort::{Id, Order};
use crate::memory::{Buffer, prefetch};
use crate::parallel::Disjoint;
use crate::plan::{Plan, Shuffle};

/// One pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// Rows of the source.
    pub ids: Vec<u64>,
    /// Tokens of each.
    pub lengths: Vec<u32>,
}

/// Packs `range` of a plan, listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Pack `i` of the range holds `ids[offsets[i]..offsets[i + 1]]`.
    pub offsets: Vec<i64>, // (packs + 1,)
    /// Rows of the source.
    pub ids: Order, // (sequences,)
}

impl Plan {
    /// Pack `index` alone, in O(its sequences + log patterns); `None` outside the plan.
    pub fn pack(&self, index: u64) -> Option<Pack> {
        (index < self.num_packs()).then(|| {
            let opened = self.shuffle.as_ref().map_or(index, |s| s.packs.get(index));
            let pattern = self.pattern_of(opened);
            let copy = opened - self.body.first_pack[pattern];
            let mut ids = vec![];
            self.deal(pattern, copy, |place| {
                let item = match &self.body.order {
                    Order::U32(order) => order[place].to_u64(),
                    Order::I64(order) => order[place].to_u64(),
                };
                ids.push(self.body.cuts.locate(item, self.body.rows).0);
            });
            let slots = self.body.patterns.slots_of(pattern);
            let lengths = slots
                .iter()
                .flat_map(|s| std::iter::repeat_n(self.body.classes.lengths[s.class as usize], s.copies as usize));
            Pack { ids, lengths: lengths.collect() }
        })
    }

    /// Packs `range`, listed in parallel. The range is cut at the number of packs.
    pub fn list(&self, range: Range<u64>) -> Listing {
        let items = self.list_items(range);
        Listing { ids: self.body.cuts.rows_of(items.ids, self.body.rows), ..items }
    }

    /// First token of each piece of packs `range` in its sequence, in the order of [`Plan::list`].
    pub fn list_starts(&self, range: Range<u64>) -> Vec<i32> {
        if self.body.cuts.rows.is_empty() {
            let turns = self.turns(range);
            return vec![0; self.offsets(&turns)[turns.len()] as usize];
        }
        self.body.cuts.starts_of(&self.list_items(range).ids, self.body.rows)
    }

    fn list_items(&self, range: Range<u64>) -> Listing {
        let turns = self.turns(range);
        let offsets = self.offsets(&turns);
        let ids = match &self.body.order {
            Order::U32(order) => Order::U32(self.ids(order, &turns, &offsets)),
            Order::I64(order) => Order::I64(self.ids(order, &turns, &offsets)),
        };
        Listing { offsets, ids }
    }

    /// Tokens of each sequence of packs `range`, in the order of [`Plan::list`].
    pub fn list_lengths(&self, range: Range<u64>) -> Vec<i32> {
        let turns = self.turns(range);
        let offsets = self.offsets(&turns);
        let mut lengths = Buffer::new(offsets[turns.len()] as usize);
        let out = lengths.places();
        self.for_each_block(&turns, |packs| {
            for pack in packs {
                let mut at = offsets[pack.place] as usize;
                for slot in self.body.patterns.slots_of(pack.pattern) {
                    for _ in 0..slot.copies {
                        // SAFETY: each place comes once, and what is between its offsets is its own.
                        unsafe { out.write(at, self.body.classes.lengths[slot.class as usize] as i32) };
                        at += 1;
                    }
                }
            }
        });
        // SAFETY: all packs of the range have been dealt.
        unsafe { lengths.written() }
    }

    fn turns(&self, range: Range<u64>) -> Turns {
        let range = range.start.min(self.num_packs())..range.end.min(self.num_packs());
        let Some(shuffle) = &self.shuffle else { return Turns::Unshuffled(range) };
        let packs = (range.end - range.start) as usize;
        let mut turns = vec![(0, 0); packs];
        if packs as u64 == self.num_packs() {
            let out = Disjoint::new(&mut turns);
            (0..packs).into_par_iter().with_min_len(MIN_PACKS_A_SHARE).for_each(|place| {
                let opened = shuffle.packs.get(place as u64);
                // SAFETY: a permutation takes each value once.
                unsafe { out.write(opened as usize, (opened, place)) };
            });
        } else {
            for (turn, (index, place)) in turns.iter_mut().zip(range.zip(0..)) {
                *turn = (shuffle.packs.get(index), place);
            }
            turns.par_sort_unstable();
        }
        Turns::Shuffled(turns)
    }

    fn pattern_of(&self, opened: u64) -> usize {
        self.body.first_pack.partition_point(|&first| first <= opened) - 1
    }

    /// Where each pack starts.
    fn offsets(&self, turns: &Turns) -> Vec<i64> {
        let mut offsets = Buffer::new(turns.len() + 1);
        let sizes = offsets.places();
        // SAFETY: no other thread is there yet.
        unsafe { sizes.write(0, 0) };
        self.for_each_block(turns, |packs| {
            for pack in packs {
                // SAFETY: each place comes once.
                unsafe { sizes.write(pack.place + 1, self.body.sequences_of(pack.pattern) as i64) }
            }
        });
        // SAFETY: each pack of the range has a place.
        let mut offsets = unsafe { offsets.written() };
        let mut end = 0;
        for offset in &mut offsets {
            end += *offset;
            *offset = end;
        }
        offsets
    }

    fn ids<I: Id>(&self, order: &[I], turns: &Turns, offsets: &[i64]) -> Vec<I> {
        let mut ids = Buffer::new(offsets[turns.len()] as usize);
        let out = ids.places();
        self.for_each_block(turns, |packs| match &self.shuffle {
            None => {
                for pack in packs {
                    let mut at = offsets[pack.place] as usize;
                    let last = offsets[pack.place + 1] as usize - 1;
                    for (slot, source) in self.body.slots_of(pack.pattern) {
                        let copies = slot.copies as usize;
                        let first = source as usize + pack.copy as usize * copies;
                        // mostly there are one or two: a loop whose end is chance would be guessed wrong
                        let second = (first + 1).min(order.len() - 1);
                        // SAFETY: each place comes once, and what is between its offsets is its own; what the second
                        // writes too early is written over.
                        unsafe {
                            out.write((at + 1).min(last), order[second]);
                            out.write(at, order[first]);
                        }
                        for more in 2..copies {
                            // SAFETY: as above.
                            unsafe { out.write(at + more, order[first + more]) };
                        }
                        at += copies;
                    }
                }
            }
            Some(shuffle) => {
                packs.iter().for_each(|pack| prefetch(&offsets[pack.place..=pack.place]));
                let places = self.shuffled_places(shuffle, packs);
                places.iter().for_each(|&place| prefetch(&order[place..=place]));
                let mut places = places.into_iter();
                for pack in packs {
                    let range = offsets[pack.place] as usize..offsets[pack.place + 1] as usize;
                    for (at, place) in range.zip(&mut places) {
                        // SAFETY: each place comes once, and what is between its offsets is its own.
                        unsafe { out.write(at, order[place]) };
                    }
                }
            }
        });
        // SAFETY: as above.
        unsafe { ids.written() }
    }

    /// What [`Self::deal`] gives for these packs. The steps of all walks are taken together, because a loop that ends
    /// after one step or two, as chance has it, is foreseen so badly that it takes a third longer.
    fn shuffled_places(&self, shuffle: &Shuffle, packs: &[Turn]) -> Vec<usize> {
        let body = &*self.body;
        let sequences = packs.iter().map(|pack| body.sequences_of(pack.pattern) as usize).sum();
        let mut places = Vec::with_capacity(sequences);
        let mut classes = Vec::with_capacity(sequences);
        let mut walking = vec![0; sequences + 1]; // one more than can be: it is written before it is counted
        let mut walks = 0;
        for pack in packs {
            for (slot, source) in body.slots_of(pack.pattern) {
                let class = slot.class as usize;
                let start = source + pack.copy * u64::from(slot.copies) - body.classes.first[class];
                for place in start..start + u64::from(slot.copies) {
                    let place = shuffle.ids[class].step(place);
                    walking[walks] = places.len();
                    walks += usize::from(!shuffle.ids[class].has(place));
                    places.push(place as usize);
                    classes.push(class as u32);
                }
            }
        }
        while walks > 0 {
            for w in 0..std::mem::take(&mut walks) {
                let walker = walking[w];
                let permutation = &shuffle.ids[classes[walker] as usize];
                let place = permutation.step(places[walker] as u64);
                places[walker] = place as usize;
                walking[walks] = walker;
                walks += usize::from(!permutation.has(place));
            }
        }
        for (place, &class) in places.iter_mut().zip(&classes) {
            *place += body.classes.first[class as usize] as usize;
        }
        places
    }

    /// Hands all packs of `turns` to `work`, in parallel, a block at a time.
    fn for_each_block(&self, turns: &Turns, work: impl Fn(&[Turn]) + Sync) {
        let first_pack = &self.body.first_pack;
        let shares = (rayon::current_num_threads() * 8).min(turns.len() / MIN_PACKS_A_SHARE + 1);
        (0..shares).into_par_iter().for_each(|w| {
            let share = split(turns.len(), shares, w);
            let mut pattern = if share.is_empty() { 0 } else { self.pattern_of(turns.get(share.start).0) };
            let mut block = Vec::with_capacity(BLOCK);
            for turn in share.clone() {
                let (opened, place) = turns.get(turn);
                while first_pack[pattern + 1] <= opened {
                    pattern += 1;
                }
                block.push(Turn { pattern, copy: opened - first_pack[pattern], place });
                if block.len() == BLOCK || turn + 1 == share.end {
                    work(&block);
                    block.clear();
                }
            }
        });
    }

    /// Where in `order` the ids of one pack are, in the pattern's order.
    #[inline]
    fn deal(&self, pattern: usize, copy: u64, mut take: impl FnMut(usize)) {
        let body = &*self.body;
        let slots = body.slots_of(pattern).map(|(slot, source)| (slot, source + copy * u64::from(slot.copies)));
        match &self.shuffle {
            None => {
                for (slot, start) in slots {
                    (start..start + u64::from(slot.copies)).for_each(|place| take(place as usize));
                }
            }
            Some(shuffle) => {
                for (slot, start) in slots {
                    let first = body.classes.first[slot.class as usize];
                    let places = &shuffle.ids[slot.class as usize];
                    for place in start - first..start - first + u64::from(slot.copies) {
                        take((first + places.get(place)) as usize);
                    }
                }
            }
        }
    }
}

struct Turn {
    pattern: usize,
    copy: u64,
    place: usize,
}

/// Packs whose sequences are looked up together, so that the processor waits for many at once.
const BLOCK: usize = 32;

/// Packs of a range in the order in which they were opened, each with its place in the range.
///
/// Packs opened one after another hold sequences of nearly the same lengths, so the ids that a shuffle reaches for stay
/// in the cache. Packs in their shuffled order reach all over the plan: 10 M sequences take 20 times as long.
enum Turns {
    Unshuffled(Range<u64>),
    Shuffled(Vec<(u64, usize)>),
}

impl Turns {
    fn len(&self) -> usize {
        match self {
            Self::Unshuffled(range) => (range.end - range.start) as usize,
            Self::Shuffled(turns) => turns.len(),
        }
    }

    #[inline]
    fn get(&self, turn: usize) -> (u64, usize) {
        match self {
            Self::Unshuffled(range) => (range.start + turn as u64, turn),
            Self::Shuffled(turns) => turns[turn],
        }
    }
}

/// Fewer packs than this a share are listed faster than a thread is woken.
const MIN_PACKS_A_SHARE: usize = 2048;
