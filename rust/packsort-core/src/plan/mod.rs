//! What a plan is, and what it tells of itself.
#![allow(unsafe_code)]

pub mod build;
pub mod concatenation;
pub mod packs;

use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::histogram::count::split;
use crate::histogram::sort::{Id, Order};
use crate::lengths::Lengths;
use crate::memory::Buffer;
use crate::permutation::{Permutation, key};
use crate::{Classes, Cuts, Error, Overlong, Patterns, Room, Slot, Strategy, lower_bound};

/// Which sequences share a pack. Holds no tokens; cheap to clone, and to look at from another seed or epoch.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) body: Arc<Body>,
    seed: Option<u64>,
    epoch: u64,
    pub(crate) shuffle: Option<Arc<Shuffle>>,
}

/// What a plan is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most tokens a pack may hold.
    pub max_length: u32,
    /// How sequences are put together.
    pub strategy: Strategy,
    /// What becomes of sequences over `max_length`.
    pub overlong: Overlong,
    /// Whether a truncated sequence keeps its end, not its beginning.
    pub keep_end: bool,
    /// The most sequences a pack may hold; 0 for any number.
    pub max_sequences: u32,
    /// Of what the number of packs is a multiple.
    pub packs_multiple: u32,
    /// Of what each sequence takes a multiple.
    pub pad_multiple: u32,
    /// Whether a token stands between any two sequences.
    pub separated: bool,
}

impl Options {
    /// First-fit decreasing of whole sequences, with no constraint.
    pub fn new(max_length: u32) -> Self {
        Self {
            max_length,
            strategy: Strategy::FirstFit,
            overlong: Overlong::Error,
            keep_end: false,
            max_sequences: 0,
            packs_multiple: 1,
            pad_multiple: 1,
            separated: false,
        }
    }

    /// The room of a pack.
    ///
    /// # Errors
    /// As [`Room::new`].
    pub fn room(&self) -> Result<Room, Error> {
        Room::new(self.max_length, self.pad_multiple, self.separated)
    }

    /// `max_sequences` as a number of sequences.
    pub(crate) fn most(&self) -> u64 {
        if self.max_sequences == 0 { u64::MAX } else { self.max_sequences.into() }
    }
}

/// What is planned.
#[derive(Clone, Debug)]
pub struct Sequences<'a> {
    /// Tokens of each.
    pub lengths: Lengths<'a>, // (rows,)
    /// Which may share a pack.
    pub groups: Option<Groups<'a>>,
    /// Whether each may be cut, where the strategy cuts.
    pub splittable: Option<&'a [bool]>, // (rows,)
    /// Where each is cut beforehand.
    pub starts: Option<Starts<'a>>,
}

impl<'a> From<Lengths<'a>> for Sequences<'a> {
    fn from(lengths: Lengths<'a>) -> Self {
        Self { lengths, groups: None, splittable: None, starts: None }
    }
}

/// Where each sequence is cut beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Starts<'a> {
    /// Row `i` is cut at `values[offsets[i]..offsets[i + 1]]`.
    pub offsets: &'a [i64], // (rows + 1,)
    /// The first token of each piece; the first of a row is 0.
    pub values: &'a [i32],
}

/// Which sequences may share a pack: those of one group.
#[derive(Clone, Copy, Debug)]
pub struct Groups<'a> {
    /// The group of each row.
    pub of: &'a [u32], // (rows,)
    /// Number of groups.
    pub count: usize,
    /// Whether those of the last group share with nobody: a pack for each.
    pub last_alone: bool,
}

/// What all epochs of a plan share.
#[derive(Debug)]
pub(crate) struct Body {
    options: Options,
    pub rows: u64,
    excess: Excess,
    pub last_alone: bool,
    pub room: Room,
    pub cuts: Cuts,
    pub classes: Classes,
    pub patterns: Patterns,
    pub order: Order,          // of items, see `Cuts`; where nothing is cut, of rows
    pub first_pack: Vec<u64>,  // (patterns + 1,): packs before each pattern
    first_id: Vec<u64>,        // (patterns + 1,): sequences before each pattern
    pub slot_source: Vec<u64>, // (slots,): where in `order` the slot's ids start
    tokens: u64,
    proven: u64,
    bound: OnceLock<u64>,
}

/// Sequences that are dropped or truncated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Excess {
    /// How many.
    pub sequences: u64,
    /// Tokens of them that are not in the plan.
    pub tokens: u64,
}

/// All that makes a plan, as a file holds it.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What the plan is.
    pub options: Options,
    /// Rows of the source, planned or not.
    pub rows: u64,
    /// What is not in the plan.
    pub excess: Excess,
    /// Whether each sequence of the last group has a pack of its own.
    pub last_alone: bool,
    /// Which sequences are cut.
    pub cuts: Cuts,
    /// Lengths and groups.
    pub classes: Classes,
    /// Which share a pack.
    pub patterns: Patterns,
    /// Packs that any plan needs, where more was proven than [`Plan::lower_bound`] finds; else 0.
    pub proven: u64,
    /// Ids by class.
    pub order: Order,
    /// The seed.
    pub seed: Option<u64>,
    /// The epoch.
    pub epoch: u64,
}

/// The shuffles of one epoch.
#[derive(Debug)]
pub(crate) struct Shuffle {
    pub packs: Permutation,
    pub ids: Vec<Permutation>, // (classes,)
}

impl Plan {
    /// A plan from its parts.
    ///
    /// # Errors
    /// Parts that do not fit each other: a pattern over `max_length`, ids missing or given twice.
    pub fn from_parts(parts: Parts) -> Result<Self, Error> {
        let room = parts.options.room()?;
        parts.cuts.check(parts.rows)?;
        parts.classes.check()?;
        parts.patterns.check(&parts.classes, room)?;
        if parts.classes.sequences() != parts.order.len() as u64 {
            return Err(Error::Inconsistent("the classes hold another number of sequences than there are ids"));
        }
        match &parts.order {
            Order::U32(ids) => each_once(ids, parts.rows + parts.cuts.piece_rows.len() as u64)?,
            Order::I64(ids) => each_once(ids, parts.rows + parts.cuts.piece_rows.len() as u64)?,
        }
        Ok(Self::of_parts(parts, room))
    }

    /// A plan from parts that are sound.
    pub(crate) fn of_parts(parts: Parts, room: Room) -> Self {
        let (seed, epoch) = (parts.seed, parts.epoch);
        Self::of(Arc::new(Body::new(parts, room)), seed, epoch)
    }

    /// What [`Plan::from_parts`] takes.
    pub fn parts(&self) -> Parts {
        let body = &*self.body;
        Parts {
            options: body.options,
            rows: body.rows,
            excess: body.excess,
            last_alone: body.last_alone,
            cuts: body.cuts.clone(),
            classes: body.classes.clone(),
            patterns: body.patterns.clone(),
            proven: body.proven,
            order: body.order.clone(),
            seed: self.seed,
            epoch: self.epoch,
        }
    }

    pub(crate) fn of(body: Arc<Body>, seed: Option<u64>, epoch: u64) -> Self {
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

    /// What the plan is.
    pub fn options(&self) -> Options {
        self.body.options
    }

    /// How many sequences are dropped or truncated.
    pub fn excess(&self) -> Excess {
        self.body.excess
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
        (self.body.order.len() - self.body.cuts.piece_rows.len()) as u64
    }

    /// Number of sequences that are in more than one piece.
    pub fn num_split(&self) -> u64 {
        self.body.cuts.num_split()
    }

    /// The rows that are in more than one piece, ascending.
    pub fn split_rows(&self) -> Vec<u64> {
        self.body.cuts.split_rows().collect()
    }

    /// Whether any piece does not begin with the first token of its sequence.
    pub fn has_starts(&self) -> bool {
        !self.body.cuts.rows.is_empty()
    }

    /// Tokens of all packs that are of no sequence: separators, and padding.
    pub fn fillers(&self) -> (u64, u64) {
        let Body { room, classes, patterns, .. } = &*self.body;
        let (mut separators, mut padding) = (0, 0);
        if room.multiple() == 1 && !room.separated() {
            return (0, 0);
        }
        for (p, &repeat) in patterns.repeats.iter().enumerate() {
            let slots = patterns.slots_of(p);
            let length = |slot: &Slot| classes.lengths[slot.class as usize];
            let sequences: u64 = slots.iter().map(|slot| u64::from(slot.copies)).sum();
            let between = if room.separated() { sequences - 1 } else { 0 };
            separators += repeat * between;
            let after = |slot: &Slot| u64::from(room.padding_after(length(slot))) * u64::from(slot.copies);
            let last = slots.last().map_or(0, length);
            let pad: u64 = slots.iter().map(after).sum::<u64>() - u64::from(room.padding_after(last));
            padding += repeat * (pad + u64::from(room.padding_at_end(last)));
        }
        (separators, padding)
    }

    /// Number of planned tokens.
    pub fn num_tokens(&self) -> u64 {
        self.body.tokens
    }

    /// Lengths and groups.
    pub fn classes(&self) -> &Classes {
        &self.body.classes
    }

    /// Which lengths share a pack.
    pub fn patterns(&self) -> &Patterns {
        &self.body.patterns
    }

    /// Ids of planned sequences by length, before any shuffle.
    pub fn order(&self) -> &Order {
        &self.body.order
    }

    /// Packs that any plan of these sequences under these constraints needs: what was proven, or for each group the best
    /// of [`lower_bound`] and what `max_sequences` asks for. Where sequences may be cut, for the pieces there are.
    pub fn lower_bound(&self) -> u64 {
        let body = &*self.body;
        *body.bound.get_or_init(|| {
            let groups = 0..body.classes.groups.len() - 1;
            groups
                .map(|group| {
                    let taken = body.classes.histogram(group, body.room);
                    let sequences: u64 = taken.iter().sum();
                    if body.last_alone && group + 2 == body.classes.groups.len() {
                        return sequences;
                    }
                    lower_bound(&taken, body.room.capacity()).max(sequences.div_ceil(body.options.most()))
                })
                .sum::<u64>()
                .max(body.proven)
                .next_multiple_of(body.options.packs_multiple.max(1).into())
        })
    }
}

impl Body {
    pub fn new(parts: Parts, room: Room) -> Self {
        let Parts { options, rows, excess, last_alone, cuts, classes, patterns, proven, order, .. } = parts;
        let ((slot_source, mut first_id), tokens) =
            rayon::join(|| slot_sources(&classes, &patterns), || classes.tokens());
        let mut first_pack = Vec::with_capacity(patterns.len() + 1);
        let (mut packs, mut ids) = (0, 0);
        for (p, &repeat) in patterns.repeats.iter().enumerate() {
            first_pack.push(packs);
            packs += repeat;
            let sequences = std::mem::replace(&mut first_id[p], ids);
            ids += repeat * sequences;
        }
        first_pack.push(packs);
        first_id.push(ids);
        let bound = OnceLock::new();
        Self {
            options,
            rows,
            excess,
            last_alone,
            room,
            cuts,
            classes,
            patterns,
            order,
            first_pack,
            first_id,
            slot_source,
            tokens,
            proven,
            bound,
        }
    }

    /// What a pattern holds, and where in `order` the ids of each slot start.
    #[inline]
    pub fn slots_of(&self, pattern: usize) -> impl Iterator<Item = (Slot, u64)> {
        let slots = self.patterns.slot_offsets[pattern]..self.patterns.slot_offsets[pattern + 1];
        self.patterns.slots[slots.clone()].iter().copied().zip(self.slot_source[slots].iter().copied())
    }

    pub fn sequences_of(&self, pattern: usize) -> u64 {
        match (self.first_id[pattern + 1] - self.first_id[pattern], self.patterns.repeats[pattern]) {
            (all, 1) => all, // in small groups most: a division takes longer than all else here
            (all, repeat) => all / repeat,
        }
    }
}

/// Where in the order the ids of each slot start, and the sequences of a pack of each pattern.
///
/// Some groups at a time: their patterns follow each other.
fn slot_sources(classes: &Classes, patterns: &Patterns) -> (Vec<u64>, Vec<u64>) {
    let groups = classes.groups.len() - 1;
    let shares = (rayon::current_num_threads() * 4).min(groups / 16 + 1);
    let mut sources = Buffer::new(patterns.slots.len());
    let mut sequences = Buffer::new(patterns.len());
    let (source_of, sequences_of) = (sources.places(), sequences.places());
    (0..shares).into_par_iter().for_each(|share| {
        let share = split(groups, shares, share);
        let own = classes.groups[share.start]..classes.groups[share.end];
        let mut next = classes.first[own.clone()].to_vec();
        for p in patterns.first_from(own.start)..patterns.first_from(own.end) {
            let mut sequences = 0;
            for (slot, place) in patterns.slots_of(p).iter().zip(patterns.slot_offsets[p]..) {
                let next = &mut next[slot.class as usize - own.start];
                // SAFETY: each pattern is in one share.
                unsafe { source_of.write(place, *next) };
                *next += patterns.repeats[p] * u64::from(slot.copies);
                sequences += u64::from(slot.copies);
            }
            // SAFETY: as above.
            unsafe { sequences_of.write(p, sequences) };
        }
    });
    // SAFETY: the patterns of all groups are all patterns, and their slots all slots.
    unsafe { (sources.written(), sequences.written()) }
}

impl Shuffle {
    fn new(body: &Body, seed: u64, epoch: u64) -> Self {
        let packs = body.first_pack[body.patterns.len()];
        let mut ids = Vec::with_capacity(body.classes.len());
        for group in 0..body.classes.groups.len() - 1 {
            for class in body.classes.of_group(group) {
                let stream = (group as u64) << 32 | u64::from(body.classes.lengths[class]);
                ids.push(Permutation::new(body.classes.count(class), key([seed, epoch, stream])));
            }
        }
        Self { packs: Permutation::new(packs, key([seed, epoch, 0])), ids } // no sequence has length 0
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
