//! Step 4: plans are made. Long sequences are cut, lengths counted, ids sorted, patterns found.

use rayon::prelude::*;

use crate::histogram::count::count;
use crate::histogram::cuts::Long;
use crate::histogram::grouped_sort::sort_grouped;
use crate::histogram::sort::{Id, Order, sort};
use crate::packing::hybrid;
use crate::plan::{Excess, Groups, Options, Parts, Sequences};
use crate::{Classes, Cuts, Error, Lengths, Overlong, Patterns, Plan, Room, Strategy};

impl Plan {
    /// Plans sequences, those of each group for themselves.
    ///
    /// Without a seed, first-fit decreasing is the textbook's, id for id: packs in the order in which they are opened,
    /// equal lengths in input order. A seed shuffles equal lengths and the order of packs, each epoch anew.
    ///
    /// Of [`Strategy::Optimal`] this is the beginning: first-fit decreasing, in whatever number of packs, from which the
    /// search for fewer goes on (see [`optimal`](crate::optimal)).
    ///
    /// # Errors
    /// A `max_length` of 0 or above `i32::MAX`, or a multiple above it; a length that is zero or negative; one over
    /// `max_length` where `overlong` says so; groups, flags or starts of another number of rows.
    ///
    /// # Complexity
    /// Two passes over the lengths, two more where there are groups, and O(max_length) a group between them. Where
    /// sequences are cut, twice that.
    pub fn new(sequences: &Sequences, options: Options, seed: Option<u64>, epoch: u64) -> Result<Self, Error> {
        let room = options.room()?;
        let rows = sequences.lengths.len();
        if sequences.groups.is_some_and(|g| {
            g.of.len() != rows || g.of.par_iter().with_min_len(1 << 15).any(|&group| group as usize >= g.count)
        }) {
            return Err(Error::Inconsistent("groups are not one for each length"));
        }
        if sequences.splittable.is_some_and(|flags| flags.len() != rows) {
            return Err(Error::Inconsistent("flags of what is splittable are not one for each length"));
        }
        let last_alone = sequences.groups.is_some_and(|g| g.last_alone);
        let (cuts, cut_excess) = cut(sequences, options, room)?;
        let mut sorted = Sorted::new(sequences, cuts, options, room)?;
        let mut patterns = Patterns::of_groups(options.strategy, &sorted.classes, room, options.most(), last_alone);
        if let (Strategy::Hybrid, Some(splittable)) = (options.strategy, sequences.splittable)
            && let Some(better) = hybrid::pack(&sorted, &patterns, splittable, room, options.most(), last_alone)
        {
            let cuts = sorted.cuts.further(better.cuts.into_iter());
            sorted = Sorted::new(sequences, cuts, options, room)?;
            patterns = hybrid::as_patterns(&better.packs, &sorted.classes)?;
        }
        if options.packs_multiple > 1 && options.strategy != Strategy::Optimal {
            patterns.split_to_multiple(&sorted.classes, options.packs_multiple.into())?;
        }
        let Sorted { cuts, classes, order, excess } = sorted;
        let excess = if sequences.starts.is_some() {
            cut_excess
        } else {
            Excess { sequences: excess.sequences + cut_excess.sequences, tokens: excess.tokens + cut_excess.tokens }
        };
        let rows = rows as u64;
        let parts = Parts { options, rows, excess, last_alone, cuts, classes, patterns, proven: 0, order, seed, epoch };
        Ok(Self::of_parts(parts, room))
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
        Self::new(&lengths.clone().into(), Options { overlong, ..Options::new(max_length) }, seed, epoch)
    }
}

/// What is cut before anything is planned, and what that leaves out.
fn cut(sequences: &Sequences, options: Options, room: Room) -> Result<(Cuts, Excess), Error> {
    let Sequences { lengths, splittable, starts, .. } = sequences;
    let whole = match options.overlong {
        Overlong::Split => Long::Split,
        Overlong::Truncate if options.keep_end => Long::KeepEnd,
        _ => Long::Keep,
    };
    match (starts, splittable) {
        (Some(starts), _) => Cuts::at(lengths, room.longest(), *starts),
        (None, Some(splittable)) => {
            Cuts::long(lengths, room.longest(), |row| if splittable[row] { Long::Split } else { whole })
        }
        (None, None) if whole != Long::Keep => Cuts::long(lengths, room.longest(), |_| whole),
        _ => Ok(Default::default()),
    }
}

/// Items (see [`Cuts`]) by group and length.
pub(crate) struct Sorted {
    pub cuts: Cuts,
    pub classes: Classes,
    pub order: Order,
    excess: Excess,
}

impl Sorted {
    fn new(sequences: &Sequences, cuts: Cuts, options: Options, room: Room) -> Result<Self, Error> {
        let Sequences { lengths, groups, starts, .. } = sequences;
        let items = if cuts.rows.is_empty() && starts.is_none() { vec![] } else { cuts.items(lengths) };
        let lengths = if items.is_empty() { lengths.clone() } else { Lengths::from(&items[..]) };
        let item_groups = groups.filter(|_| !cuts.piece_rows.is_empty()).map(|g| cuts.groups(g.of));
        let groups = groups.map(|g| Groups { of: item_groups.as_deref().unwrap_or(g.of), ..g });
        // what is cut beforehand fits, but for rows of no tokens, which are left out
        let overlong = if starts.is_some() { Overlong::Drop } else { options.overlong };
        let (classes, order, excess) = if lengths.len() <= u32::MAX as usize {
            let (classes, ids, excess) = sorted::<u32>(&lengths, groups, options, overlong, room)?;
            (classes, Order::U32(ids), excess)
        } else {
            let (classes, ids, excess) = sorted::<i64>(&lengths, groups, options, overlong, room)?;
            (classes, Order::I64(ids), excess)
        };
        Ok(Self { cuts, classes, order, excess })
    }
}

/// Classes, ids by class, and what is left out.
fn sorted<I: Id>(
    lengths: &Lengths,
    groups: Option<Groups>,
    options: Options,
    overlong: Overlong,
    room: Room,
) -> Result<(Classes, Vec<I>, Excess), Error> {
    let in_multiples = |error| match error {
        Error::TooLong { row, length, .. } if room.longest() < options.max_length => {
            let (max_length, multiple) = (options.max_length, options.pad_multiple);
            Error::TooLongForMultiple { row, length, max_length, multiple }
        }
        error => error,
    };
    let (counts, shares) = count::<I>(lengths, room.longest(), overlong).map_err(in_multiples)?;
    let excess = Excess { sequences: counts.overlong, tokens: counts.tokens_lost };
    let (ids, classes) = match groups {
        None => {
            let ids = sort(lengths, &counts.by_length, shares, overlong, I::from_row);
            (ids, Classes::of_lengths(&counts.by_length))
        }
        Some(groups) => sort_grouped(lengths, groups, counts.by_length.len() as u32 - 1, overlong),
    };
    Ok((classes, ids, excess))
}
