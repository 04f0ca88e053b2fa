//! Step 4: which sequences go into which pack.

use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::count::count;
use crate::grouped::sort_grouped;
use crate::lengths::Lengths;
use crate::order::{Id, Order, sort};
use crate::permutation::{Permutation, key};
use crate::{Classes, Cuts, Error, Overlong, Patterns, Slot, Strategy, lower_bound};

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
    /// The most sequences a pack may hold; 0 for any number.
    pub max_sequences: u32,
    /// Of what the number of packs is a multiple.
    pub multiple: u32,
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
    last_alone: bool,
    pub cuts: Cuts,
    pub classes: Classes,
    pub patterns: Patterns,
    pub order: Order,          // of items, see `Cuts`; where nothing is cut, of rows
    pub first_pack: Vec<u64>,  // (patterns + 1,): packs before each pattern
    first_id: Vec<u64>,        // (patterns + 1,): sequences before each pattern
    pub slot_source: Vec<u64>, // (slots,): where in `order` the slot's ids start
    bound: OnceLock<u64>,
}

/// Sequences longer than `max_length`: dropped, truncated or split.
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
    /// Plans lengths, those of each group for themselves.
    ///
    /// Without a seed, first-fit decreasing is the textbook's, id for id: packs in the order in which they are opened,
    /// equal lengths in input order. A seed shuffles equal lengths and the order of packs, each epoch anew.
    ///
    /// # Errors
    /// A `max_length` of 0 or above `i32::MAX`; a length that is zero or negative; one over `max_length` where
    /// `overlong` says so; groups of another number of rows.
    ///
    /// # Complexity
    /// Two passes over the lengths, two more where there are groups, and O(max_length) a group between them.
    pub fn new(
        lengths: &Lengths,
        groups: Option<Groups>,
        options: Options,
        seed: Option<u64>,
        epoch: u64,
    ) -> Result<Self, Error> {
        if options.max_length == 0 || options.max_length > i32::MAX as u32 {
            return Err(Error::MaxLength(options.max_length.into()));
        }
        let rows = lengths.len();
        if groups.is_some_and(|g| {
            g.of.len() != rows || g.of.par_iter().with_min_len(1 << 15).any(|&group| group as usize >= g.count)
        }) {
            return Err(Error::Inconsistent("groups are not one for each length"));
        }
        let (cuts, items) = match options.overlong {
            Overlong::Split => Cuts::of(lengths, options.max_length)?,
            _ => Default::default(),
        };
        let items = if items.is_empty() { lengths.clone() } else { Lengths::from(&items[..]) };
        let item_groups = groups.filter(|_| !cuts.rows.is_empty()).map(|g| cuts.groups(g.of));
        let groups = groups.map(|g| Groups { of: item_groups.as_deref().unwrap_or(g.of), ..g });
        let (classes, order, mut excess) = if items.len() <= u32::MAX as usize {
            let (classes, ids, excess) = sorted::<u32>(&items, groups, options)?;
            (classes, Order::U32(ids), excess)
        } else {
            let (classes, ids, excess) = sorted::<i64>(&items, groups, options)?;
            (classes, Order::I64(ids), excess)
        };
        excess.sequences += cuts.rows.len() as u64;
        let last_alone = groups.is_some_and(|g| g.last_alone);
        let most = most(options.max_sequences);
        let mut patterns = Patterns::of_groups(options.strategy, &classes, options.max_length, most, last_alone);
        if options.multiple > 1 {
            patterns.split_to_multiple(&classes, options.multiple.into())?;
        }
        let rows = rows as u64;
        let parts = Parts { options, rows, excess, last_alone, cuts, classes, patterns, order, seed, epoch };
        Ok(Self::of(Arc::new(Body::new(parts)), seed, epoch))
    }

    /// First-fit decreasing of all lengths together.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn first_fit_decreasing(
        lengths: &Lengths,
        max_length: u32,
        overlong: Overlong,
        seed: Option<u64>,
        epoch: u64,
    ) -> Result<Self, Error> {
        let options = Options { max_length, strategy: Strategy::FirstFit, overlong, max_sequences: 0, multiple: 1 };
        Self::new(lengths, None, options, seed, epoch)
    }

    /// A plan from its parts.
    ///
    /// # Errors
    /// Parts that do not fit each other: a pattern over `max_length`, ids missing or given twice.
    pub fn from_parts(parts: Parts) -> Result<Self, Error> {
        let max_length = parts.options.max_length;
        if max_length == 0 || max_length > i32::MAX as u32 {
            return Err(Error::MaxLength(max_length.into()));
        }
        parts.cuts.check(parts.rows)?;
        parts.classes.check()?;
        parts.patterns.check(&parts.classes, max_length)?;
        if parts.classes.sequences() != parts.order.len() as u64 {
            return Err(Error::Inconsistent("the classes hold another number of sequences than there are ids"));
        }
        match &parts.order {
            Order::U32(ids) => each_once(ids, parts.rows + parts.cuts.full_rows.len() as u64)?,
            Order::I64(ids) => each_once(ids, parts.rows + parts.cuts.full_rows.len() as u64)?,
        }
        let (seed, epoch) = (parts.seed, parts.epoch);
        Ok(Self::of(Arc::new(Body::new(parts)), seed, epoch))
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
            order: body.order.clone(),
            seed: self.seed,
            epoch: self.epoch,
        }
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

    /// What the plan is.
    pub fn options(&self) -> Options {
        self.body.options
    }

    /// What became of sequences over `max_length`.
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
        (self.body.order.len() - self.body.cuts.full_rows.len()) as u64
    }

    /// Number of sequences that are in more than one piece.
    pub fn num_split(&self) -> u64 {
        self.body.cuts.rows.len() as u64
    }

    /// Number of planned tokens.
    pub fn num_tokens(&self) -> u64 {
        self.body.classes.tokens()
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

    /// Packs that any plan of these sequences under these constraints needs: for each group the best of
    /// [`lower_bound`] and what `max_sequences` asks for.
    pub fn lower_bound(&self) -> u64 {
        let body = &*self.body;
        *body.bound.get_or_init(|| {
            let groups = 0..body.classes.groups.len() - 1;
            groups
                .map(|group| {
                    let counts = body.classes.histogram(group);
                    let sequences: u64 = counts.iter().sum();
                    if body.last_alone && group + 2 == body.classes.groups.len() {
                        return sequences;
                    }
                    let most = most(body.options.max_sequences);
                    lower_bound(&counts, body.options.max_length).max(sequences.div_ceil(most))
                })
                .sum::<u64>()
                .next_multiple_of(body.options.multiple.max(1).into())
        })
    }
}

/// `max_sequences` as a number of sequences.
fn most(max_sequences: u32) -> u64 {
    if max_sequences == 0 { u64::MAX } else { max_sequences.into() }
}

/// Classes, ids by class, and what is left out.
fn sorted<I: Id>(
    lengths: &Lengths,
    groups: Option<Groups>,
    options: Options,
) -> Result<(Classes, Vec<I>, Excess), Error> {
    let (counts, shares) = count::<I>(lengths, options.max_length, options.overlong)?;
    let excess = Excess { sequences: counts.overlong, tokens: counts.tokens_lost };
    let (ids, classes) = match groups {
        None => {
            let ids = sort(lengths, &counts.by_length, shares, options.overlong);
            (ids, Classes::of_lengths(&counts.by_length))
        }
        Some(groups) => sort_grouped(lengths, groups, counts.by_length.len() as u32 - 1, options.overlong),
    };
    Ok((classes, ids, excess))
}

impl Body {
    fn new(parts: Parts) -> Self {
        let Parts { options, rows, excess, last_alone, cuts, classes, patterns, order, .. } = parts;
        let mut next = classes.first.clone();
        let (mut packs, mut ids) = (0, 0);
        let (mut first_pack, mut first_id) = (vec![0], vec![0]);
        let mut slot_source = Vec::with_capacity(patterns.slots.len());
        for (p, &repeat) in patterns.repeats.iter().enumerate() {
            for slot in patterns.slots_of(p) {
                let taken = repeat * u64::from(slot.copies);
                slot_source.push(next[slot.class as usize]);
                next[slot.class as usize] += taken;
                ids += taken;
            }
            packs += repeat;
            first_pack.push(packs);
            first_id.push(ids);
        }
        let bound = OnceLock::new();
        Self {
            options,
            rows,
            excess,
            last_alone,
            cuts,
            classes,
            patterns,
            order,
            first_pack,
            first_id,
            slot_source,
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
        (self.first_id[pattern + 1] - self.first_id[pattern]) / self.patterns.repeats[pattern]
    }
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
