//! Build plans.
//!
//! ```text
//! cut sequences that are too long, or at given starts
//! count lengths and sort ids, by group and length
//! find the patterns of each group; in_order: those of all packs, in input order
//! hybrid: cut further where that saves packs, then count and sort again
//! split packs until their number is a multiple
//! ```

use std::sync::Arc;

use crate::histogram::count::count;
use crate::histogram::cuts::{Cuts, TooLong};
use crate::histogram::grouped_sort::sort_grouped;
use crate::histogram::sort::sort;
use crate::ids::Id;
use crate::packing::hybrid;
use crate::plan::concatenated::Concatenated;
use crate::plan::in_order;
use crate::plan::items::Items;
use crate::plan::patterned::{Grouping, Patterned};
use crate::plan::{Content, LeftOut};
use crate::{
    Classes, EmptySequences, Error, Groups, Lengths, Options, Overlong, Patterns, Plan, Room, SequenceIds, Sequences,
    Strategy, TruncationSide,
};

impl Plan {
    /// Plan sequences.
    ///
    /// Without a seed, first-fit decreasing gives the packs of textbooks, id for id: packs in the order in which they
    /// are opened, equal lengths in input order, pieces where their sequences stand. A seed shuffles equal lengths and the
    /// order of packs, anew for each epoch; of [`Strategy::InOrder`], the order of packs alone.
    ///
    /// For [`Strategy::Optimal`] this is the beginning: the packs of first-fit decreasing, in any number, from which the
    /// search for fewer packs starts (see [`optimal`](crate::optimal)).
    ///
    /// # Errors
    /// An option out of range, [`Strategy::Given`], or one that does not go with [`Strategy::Random`]; a length that is negative,
    /// zero under [`EmptySequences::Error`], or over `max_length` under [`Overlong::Error`]; groups, flags or piece starts of another number than the lengths.
    ///
    /// # Complexity
    /// Two passes over the lengths, two more with groups, and O(max_length) for each group between them. Twice that
    /// where sequences are cut. [`Strategy::InOrder`] takes O(sequences x log window) more.
    ///
    /// # Examples
    /// ```
    /// use packsort_core::{Lengths, Options, Plan, Strategy};
    ///
    /// let sequences = Lengths::from(&[4_i32, 4, 3, 3][..]).into();
    /// let options = Options { strategy: Strategy::BestFit, ..Options::new(8) };
    /// let plan = Plan::new(&sequences, options, None, 0)?;
    /// assert_eq!(plan.num_packs(), 2);
    /// # Ok::<(), packsort_core::Error>(())
    /// ```
    pub fn new(sequences: &Sequences, options: Options, seed: Option<u64>, epoch: u64) -> Result<Self, Error> {
        let room = options.check()?;
        if options.strategy == Strategy::Given {
            return Err(Error::Clash { option: "planning lengths", strategy: options.strategy.as_str() });
        }
        if options.strategy == Strategy::Random {
            return concatenate(sequences, options, seed, epoch);
        }
        sequences.check()?;
        let last_alone = sequences.groups.is_some_and(|groups| groups.last_alone);
        let most_sequences = options.most_sequences();
        let (cuts, before) = cut(sequences, options, room)?;
        let mut sorted = SortedItems::new(sequences, cuts, before.empty, options, room)?;
        let rows = sequences.lengths.len() as u64;
        let in_order = options.strategy == Strategy::InOrder;
        let mut patterns = if in_order {
            let (patterns, items) = in_order::pack(&sorted, rows, &options, room, last_alone)?;
            sorted.items = items;
            patterns
        } else {
            Patterns::find(options.strategy, &sorted.classes, room, most_sequences, last_alone)?
        };
        if let (Strategy::Hybrid, Some(splittable)) = (options.strategy, sequences.splittable)
            && let Some(better) = hybrid::pack(&sorted, &patterns, splittable, room, most_sequences, last_alone)?
        {
            let cuts = sorted.cuts.cut_further(better.cuts.into_iter())?;
            sorted = SortedItems::new(sequences, cuts, before.empty, options, room)?;
            patterns = hybrid::lengths_to_classes(&better.packs, &sorted.classes)?;
            // Lengths are read again to sort the pieces, and may have changed in the meantime.
            patterns.check(&sorted.classes, room, false)?.map_err(|_| Error::LengthsChanged)?;
        }
        if options.num_packs_multiple_of > 1 && !in_order && options.strategy != Strategy::Optimal {
            patterns.split_to_multiple(&sorted.classes, options.num_packs_multiple_of.into())?;
        }
        let SortedItems { cuts, classes, items, left_out: dropped } = sorted;
        let left_out = match sequences.piece_starts {
            // A sequence without pieces was too long, and none of it is left.
            Some(_) => LeftOut { sequences: before.empty, ..LeftOut::default() },
            None => LeftOut {
                sequences: before.sequences + dropped.sequences,
                tokens: before.tokens.saturating_add(dropped.tokens),
                empty: dropped.empty,
            },
        };
        let grouping = Grouping { last_alone, in_order };
        let patterned = Patterned::new(rows, room, grouping, cuts, classes, patterns, Items::Listed(items))?;
        Self::from_patterned(options, left_out, seed, epoch, Arc::new(patterned))
    }

    /// Plan lengths by first-fit decreasing, without other constraints.
    ///
    /// # Errors
    /// A `max_length` outside 1 to `i32::MAX`; a length that is zero or negative, or over `max_length` under
    /// [`Overlong::Error`].
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

/// Plan by [`Strategy::Random`], which knows lengths only.
fn concatenate(sequences: &Sequences, options: Options, seed: Option<u64>, epoch: u64) -> Result<Plan, Error> {
    let given = [
        ("groups", sequences.groups.is_some()),
        ("splittable", sequences.splittable.is_some()),
        ("piece_starts", sequences.piece_starts.is_some()),
    ];
    if let Some((option, _)) = given.into_iter().find(|&(_, given)| given) {
        return Err(Error::Clash { option, strategy: options.strategy.as_str() });
    }
    let (concatenated, left_out) = Concatenated::new(&sequences.lengths, &options, seed, epoch)?;
    Ok(Plan { options, left_out, seed, epoch, content: Content::Concatenated(concatenated) })
}

/// Cut sequences before anything is counted; returns the sequences that this truncates or leaves out as well.
fn cut(sequences: &Sequences, options: Options, room: Room) -> Result<(Cuts, LeftOut), Error> {
    let Sequences { lengths, splittable, piece_starts, .. } = sequences;
    let whole = too_long(options);
    let limit = room.longest();
    match (piece_starts, splittable) {
        (Some(starts), _) => Cuts::at_starts(lengths, limit, *starts),
        (None, Some(splittable)) => {
            Cuts::of_too_long(lengths, limit, options.empty, |row| if splittable[row] { TooLong::Split } else { whole })
        }
        (None, None) if whole != TooLong::LeaveToCount => Cuts::of_too_long(lengths, limit, options.empty, |_| whole),
        _ => Ok(Default::default()),
    }
}

/// The treatment of sequences that are too long and not splittable.
fn too_long(options: Options) -> TooLong {
    match (options.overlong, options.truncation_side) {
        (Overlong::Split, _) => TooLong::Split,
        (Overlong::Truncate, TruncationSide::Left) => TooLong::KeepEnd,
        _ => TooLong::LeaveToCount,
    }
}

/// Items (see [`Cuts`]) sorted by group and length.
pub(crate) struct SortedItems {
    pub cuts: Cuts,
    pub classes: Classes,
    pub items: SequenceIds,
    left_out: LeftOut,
}

impl SortedItems {
    /// Sort the items of sequences that were cut, of which `empty` had no tokens.
    fn new(sequences: &Sequences, cuts: Cuts, empty: u64, options: Options, room: Room) -> Result<Self, Error> {
        let Sequences { lengths, groups, piece_starts, .. } = sequences;
        let whole = cuts.rows.is_empty() && piece_starts.is_none();
        let cuts_all = piece_starts.is_some() || too_long(options) != TooLong::LeaveToCount;
        let item_lengths = if whole { vec![] } else { cuts.item_lengths(lengths)? };
        let lengths = if whole { lengths.clone() } else { Lengths::from(&item_lengths[..]) };
        let item_groups = groups.filter(|_| !cuts.piece_rows.is_empty()).map(|g| cuts.item_groups(g.group_of));
        let item_groups = item_groups.transpose()?;
        let groups = groups.map(|g| Groups { group_of: item_groups.as_deref().unwrap_or(g.group_of), ..g });
        // Given pieces fit a pack; sequences of no tokens have none.
        let options = if piece_starts.is_some() { Options { empty: EmptySequences::Drop, ..options } } else { options };
        let (classes, mut items, left_out) = if lengths.len() <= u32::MAX as usize {
            let (classes, ids, left_out) = sort_items::<u32>(&lengths, groups, options, room)?;
            (classes, SequenceIds::U32(ids), left_out)
        } else {
            let (classes, ids, left_out) = sort_items::<i64>(&lengths, groups, options, room)?;
            (classes, SequenceIds::I64(ids), left_out)
        };
        // Cutting has read the lengths before. Since then none may have become too long, nor have come to hold no tokens.
        if (!whole && left_out.empty != empty) || (cuts_all && left_out.sequences > 0) {
            return Err(Error::LengthsChanged);
        }
        cuts.order_pieces(&mut items, &classes, sequences.lengths.len() as u64)?;
        Ok(Self { cuts, classes, items, left_out })
    }
}

/// Sort the rows of `lengths`; returns their classes, the rows by class, and the rows left out.
fn sort_items<I: Id>(
    lengths: &Lengths,
    groups: Option<Groups>,
    options: Options,
    room: Room,
) -> Result<(Classes, Vec<I>, LeftOut), Error> {
    let name_multiple = |error| match error {
        Error::TooLong { row, length, .. } if room.longest() < options.max_length => {
            let (max_length, multiple) = (options.max_length, options.pad_to_multiple_of);
            Error::TooLongForMultiple { row, length, max_length, multiple }
        }
        error => error,
    };
    let Options { overlong, empty, .. } = options;
    let (counts, shares) = count::<I>(lengths, room.longest(), overlong, empty).map_err(name_multiple)?;
    let left_out = LeftOut { sequences: counts.overlong, tokens: counts.tokens_lost, empty: counts.empty };
    let (classes, ids) = match groups {
        None => (Classes::from_histogram(&counts.by_length)?, sort(lengths, shares, overlong)?),
        Some(groups) => {
            let top = counts.by_length.len() as u32 - 1;
            let (ids, classes) = sort_grouped(lengths, groups, top, overlong)?;
            if ids.len() as u64 != counts.by_length.iter().sum() {
                return Err(Error::LengthsChanged);
            }
            (classes, ids)
        }
    };
    Ok((classes, ids, left_out))
}
