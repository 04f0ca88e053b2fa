//! Step 4: which sequences go into which pack.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::count::{count, split};
use crate::lengths::Lengths;
use crate::memory::zeroed;
use crate::order::{Id, Order, sort};
use crate::permutation::{Permutation, key};
use crate::{Counts, Error, Overlong, Patterns, lower_bound};

/// Which sequences share a pack. Holds no tokens; cheap to clone, and to look at from another seed or epoch.
#[derive(Clone, Debug)]
pub struct Plan {
    body: Arc<Body>,
    seed: Option<u64>,
    epoch: u64,
    shuffle: Option<Arc<Shuffle>>,
}

/// What all epochs of a plan share.
#[derive(Debug)]
struct Body {
    max_length: u32,
    overlong: Overlong,
    rows: u64,
    counts: Counts,
    patterns: Patterns,
    order: Order,
    first_pack: Vec<u64>,  // (patterns + 1,): packs before each pattern
    first_id: Vec<u64>,    // (patterns + 1,): sequences before each pattern
    slot_source: Vec<u64>, // (slots,): where in `order` the slot's ids start
    first_of: Vec<u64>,    // (lengths + 1,): where in `order` a length's ids start
    bound: OnceLock<u64>,
}

/// The shuffles of one epoch.
#[derive(Debug)]
struct Shuffle {
    packs: Permutation,
    ids: Vec<Permutation>, // by length
}

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
    /// First-fit decreasing. Without a seed it is the textbook's, id for id: packs in the order in which they are
    /// opened, equal lengths in input order. A seed shuffles equal lengths and the order of packs, each epoch anew.
    ///
    /// # Errors
    /// A `max_length` of 0 or above `i32::MAX`; a length that is zero or negative; one over `max_length` where
    /// `overlong` says so.
    ///
    /// # Complexity
    /// Two passes over the lengths and O(max_length) between them.
    pub fn first_fit_decreasing(
        lengths: &Lengths,
        max_length: u32,
        overlong: Overlong,
        seed: Option<u64>,
        epoch: u64,
    ) -> Result<Self, Error> {
        if max_length == 0 || max_length > i32::MAX as u32 {
            return Err(Error::MaxLength(max_length.into()));
        }
        let (counts, order) = if lengths.len() <= u32::MAX as usize {
            let (counts, shares) = count::<u32>(lengths, max_length, overlong)?;
            let order = Order::U32(sort(lengths, &counts.by_length, shares, overlong));
            (counts, order)
        } else {
            let (counts, shares) = count::<i64>(lengths, max_length, overlong)?;
            let order = Order::I64(sort(lengths, &counts.by_length, shares, overlong));
            (counts, order)
        };
        let patterns = Patterns::first_fit_decreasing(&counts.by_length, max_length);
        let body = Body::new(max_length, overlong, lengths.len() as u64, counts, patterns, order);
        Ok(Self::of(Arc::new(body), seed, epoch))
    }

    /// A plan from its parts, as a file holds them.
    ///
    /// # Errors
    /// Parts that do not fit each other: a pattern over `max_length`, ids missing or given twice.
    #[allow(clippy::too_many_arguments)]
    pub fn from_parts(
        max_length: u32,
        overlong: Overlong,
        rows: u64,
        overlong_sequences: u64,
        tokens_lost: u64,
        patterns: Patterns,
        order: Order,
        seed: Option<u64>,
        epoch: u64,
    ) -> Result<Self, Error> {
        if max_length == 0 || max_length > i32::MAX as u32 {
            return Err(Error::MaxLength(max_length.into()));
        }
        let by_length = patterns.counts(max_length)?;
        let counts = Counts { by_length, overlong: overlong_sequences, tokens_lost };
        if counts.sequences() != order.len() as u64 {
            return Err(Error::Inconsistent("the patterns hold another number of sequences than there are ids"));
        }
        match &order {
            Order::U32(ids) => each_once(ids, rows)?,
            Order::I64(ids) => each_once(ids, rows)?,
        }
        Ok(Self::of(Arc::new(Body::new(max_length, overlong, rows, counts, patterns, order)), seed, epoch))
    }

    fn of(body: Arc<Body>, seed: Option<u64>, epoch: u64) -> Self {
        let key_seed = match seed {
            None if epoch == 0 => None,
            seed => Some(seed.unwrap_or(0)),
        };
        let shuffle = key_seed.map(|seed| Arc::new(Shuffle::new(&body, seed, epoch)));
        Self { body, seed, epoch, shuffle }
    }

    /// The same packs by length, with other ids and in another order. A plan without a seed is shuffled as by seed 0
    /// in every epoch but the first.
    pub fn with_epoch(&self, epoch: u64) -> Self {
        Self::of(self.body.clone(), self.seed, epoch)
    }

    /// The most tokens a pack may hold.
    pub fn max_length(&self) -> u32 {
        self.body.max_length
    }

    /// What became of sequences over `max_length`.
    pub fn overlong(&self) -> Overlong {
        self.body.overlong
    }

    /// The seed it was made with.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// Its epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Rows of the source, planned or not.
    pub fn rows(&self) -> u64 {
        self.body.rows
    }

    /// Number of packs.
    pub fn num_packs(&self) -> u64 {
        self.body.first_pack[self.body.patterns.len()]
    }

    /// Number of planned sequences.
    pub fn num_sequences(&self) -> u64 {
        self.body.order.len() as u64
    }

    /// Number of planned tokens.
    pub fn num_tokens(&self) -> u64 {
        self.body.counts.tokens()
    }

    /// The histogram, and what became of sequences over `max_length`.
    pub fn counts(&self) -> &Counts {
        &self.body.counts
    }

    /// Which lengths share a pack.
    pub fn patterns(&self) -> &Patterns {
        &self.body.patterns
    }

    /// Ids of planned sequences by length, before any shuffle.
    pub fn order(&self) -> &Order {
        &self.body.order
    }

    /// Packs that any plan of these lengths needs; see [`lower_bound`].
    pub fn lower_bound(&self) -> u64 {
        let body = &self.body;
        *body.bound.get_or_init(|| lower_bound(&body.counts.by_length, body.max_length))
    }

    /// Pack `index` alone, in O(its sequences + log patterns); `None` outside the plan.
    pub fn pack(&self, index: u64) -> Option<Pack> {
        (index < self.num_packs()).then(|| {
            let (pattern, copy) = self.locate(index);
            let mut ids = vec![];
            match &self.body.order {
                Order::U32(order) => self.deal(order, pattern, copy, |id| ids.push(id.to_u64())),
                Order::I64(order) => self.deal(order, pattern, copy, |id| ids.push(id.to_u64())),
            }
            let slots = self.body.patterns.slots_of(pattern);
            let lengths = slots.iter().flat_map(|s| std::iter::repeat_n(s.length, s.copies as usize));
            Pack { ids, lengths: lengths.collect() }
        })
    }

    /// Packs `range`, listed in parallel. The range is cut at the number of packs.
    pub fn list(&self, range: Range<u64>) -> Listing {
        let range = range.start.min(self.num_packs())..range.end.min(self.num_packs());
        let (offsets, found) = self.offsets(&range);
        let ids = match &self.body.order {
            Order::U32(order) => Order::U32(self.ids(order, &range, &offsets, &found)),
            Order::I64(order) => Order::I64(self.ids(order, &range, &offsets, &found)),
        };
        Listing { offsets, ids }
    }

    /// Tokens of each sequence of packs `range`, in the order of [`Plan::list`].
    pub fn list_lengths(&self, range: Range<u64>) -> Vec<i32> {
        let range = range.start.min(self.num_packs())..range.end.min(self.num_packs());
        let (offsets, found) = self.offsets(&range);
        let mut lengths = zeroed::<i32>(offsets[offsets.len() - 1] as usize);
        self.for_each_share(&range, &mut lengths, &offsets, |packs, out| {
            let mut at = 0;
            for pack in packs {
                for slot in self.body.patterns.slots_of(found[pack] as usize) {
                    out[at..at + slot.copies as usize].fill(slot.length as i32);
                    at += slot.copies as usize;
                }
            }
        });
        lengths
    }

    /// The pattern of pack `index`, and the how-manieth of its packs it is.
    fn locate(&self, index: u64) -> (usize, u64) {
        let opened = match &self.shuffle {
            None => index,
            Some(shuffle) => shuffle.packs.get(index),
        };
        let pattern = self.body.first_pack.partition_point(|&first| first <= opened) - 1;
        (pattern, opened - self.body.first_pack[pattern])
    }

    /// Where each pack of `range` starts, and its pattern.
    fn offsets(&self, range: &Range<u64>) -> (Vec<i64>, Vec<u32>) {
        let packs = (range.end - range.start) as usize;
        let mut found = zeroed::<u32>(packs);
        let each = packs.div_ceil(rayon::current_num_threads()).max(MIN_PACKS_A_WORKER);
        found.par_chunks_mut(each).enumerate().for_each(|(w, found)| {
            let first = range.start + (w * each) as u64;
            if self.shuffle.is_some() {
                for (pattern, index) in found.iter_mut().zip(first..) {
                    *pattern = self.locate(index).0 as u32;
                }
            } else {
                let mut at = self.locate(first).0;
                for (pattern, index) in found.iter_mut().zip(first..) {
                    at += usize::from(self.body.first_pack[at + 1] <= index);
                    *pattern = at as u32;
                }
            }
        });
        let mut offsets = zeroed::<i64>(packs + 1);
        let mut at = 0;
        for (offset, &pattern) in offsets[1..].iter_mut().zip(&found) {
            at += self.body.sequences_of(pattern as usize) as i64;
            *offset = at;
        }
        (offsets, found)
    }

    fn ids<I: Id>(&self, order: &[I], range: &Range<u64>, offsets: &[i64], found: &[u32]) -> Vec<I> {
        let mut ids = zeroed::<I>(offsets[offsets.len() - 1] as usize);
        self.for_each_share(range, &mut ids, offsets, |packs, out| {
            let mut out = out.iter_mut();
            for pack in packs {
                let index = range.start + pack as u64;
                let pattern = found[pack] as usize;
                let opened = self.shuffle.as_ref().map_or(index, |s| s.packs.get(index));
                let copy = opened - self.body.first_pack[pattern];
                self.deal(order, pattern, copy, |id| {
                    if let Some(place) = out.next() {
                        *place = id;
                    }
                });
            }
        });
        ids
    }

    /// Cuts `out` where packs start and gives each worker the packs (counted from 0) and places that are its own.
    fn for_each_share<T: Send>(
        &self,
        range: &Range<u64>,
        out: &mut [T],
        offsets: &[i64],
        work: impl Fn(Range<usize>, &mut [T]) + Sync,
    ) {
        let packs = (range.end - range.start) as usize;
        let workers = rayon::current_num_threads().min(packs / MIN_PACKS_A_WORKER + 1);
        let mut rest = out;
        rayon::scope(|scope| {
            for w in 0..workers {
                let packs = split(packs, workers, w);
                let places = (offsets[packs.end] - offsets[packs.start]) as usize;
                let (own, others) = std::mem::take(&mut rest).split_at_mut(places);
                rest = others;
                let work = &work;
                scope.spawn(move |_| work(packs, own));
            }
        });
    }

    /// The ids of one pack, in the pattern's order.
    #[inline]
    fn deal<I: Id>(&self, order: &[I], pattern: usize, copy: u64, mut take: impl FnMut(I)) {
        let body = &*self.body;
        let slots = body.patterns.slot_offsets[pattern]..body.patterns.slot_offsets[pattern + 1];
        for (slot, source) in body.patterns.slots[slots.clone()].iter().zip(&body.slot_source[slots]) {
            let start = source + copy * u64::from(slot.copies);
            match &self.shuffle {
                None => {
                    for &id in &order[start as usize..(start + u64::from(slot.copies)) as usize] {
                        take(id);
                    }
                }
                Some(shuffle) => {
                    let first = body.first_of[slot.length as usize];
                    let places = &shuffle.ids[slot.length as usize];
                    for place in start - first..start - first + u64::from(slot.copies) {
                        take(order[(first + places.get(place)) as usize]);
                    }
                }
            }
        }
    }
}

/// Fewer packs than this a worker are listed faster than a thread is woken.
const MIN_PACKS_A_WORKER: usize = 2048;

impl Body {
    fn new(max_length: u32, overlong: Overlong, rows: u64, counts: Counts, patterns: Patterns, order: Order) -> Self {
        let mut first_of = vec![0; counts.by_length.len() + 1];
        for (length, count) in counts.by_length.iter().enumerate() {
            first_of[length + 1] = first_of[length] + count;
        }
        let mut next = first_of.clone();
        let (mut packs, mut ids) = (0, 0);
        let (mut first_pack, mut first_id) = (vec![0], vec![0]);
        let mut slot_source = Vec::with_capacity(patterns.slots.len());
        for (p, &repeat) in patterns.repeats.iter().enumerate() {
            for slot in patterns.slots_of(p) {
                slot_source.push(next[slot.length as usize]);
                next[slot.length as usize] += repeat * u64::from(slot.copies);
                ids += repeat * u64::from(slot.copies);
            }
            packs += repeat;
            first_pack.push(packs);
            first_id.push(ids);
        }
        let bound = OnceLock::new();
        Self { max_length, overlong, rows, counts, patterns, order, first_pack, first_id, slot_source, first_of, bound }
    }

    fn sequences_of(&self, pattern: usize) -> u64 {
        (self.first_id[pattern + 1] - self.first_id[pattern]) / self.patterns.repeats[pattern]
    }
}

impl Shuffle {
    fn new(body: &Body, seed: u64, epoch: u64) -> Self {
        let packs = body.first_pack[body.patterns.len()];
        let ids = body.counts.by_length.iter().zip(0..);
        Self {
            packs: Permutation::new(packs, key([seed, epoch, 0])), // no sequence has length 0
            ids: ids.map(|(&count, length)| Permutation::new(count, key([seed, epoch, length]))).collect(),
        }
    }
}

/// Each id at most once and below `rows`.
fn each_once<I: Id>(ids: &[I], rows: u64) -> Result<(), Error> {
    if ids.len() as u64 > rows {
        return Err(Error::Inconsistent("there are more ids than rows"));
    }
    let mut seen =
        vec![0_u64; ids.iter().map(|id| id.to_usize() / 64 + 1).max().unwrap_or(0).min(rows as usize / 64 + 1)];
    for id in ids {
        let id = id.to_u64();
        if id >= rows {
            return Err(Error::Inconsistent("an id is not below the number of rows"));
        }
        let word = &mut seen[(id / 64) as usize];
        if *word & 1 << (id % 64) != 0 {
            return Err(Error::Inconsistent("an id is there twice"));
        }
        *word |= 1 << (id % 64);
    }
    Ok(())
}
