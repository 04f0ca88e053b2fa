//! The content of plans made of patterns, which all their epochs share.
//!
//! Ids are handed out without a table of packs: the ids of a class lie side by side, patterns take them in turn, and so
//! the first id of a slot in a pack follows from the number of the pack.
//!
//! ```text
//! ids[slot_source[slot] + copy * slot.copies ..][.. slot.copies]      slot of pack `copy` of its pattern
//! ```
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::OnceLock;

use rayon::prelude::*;

use crate::histogram::count::split;
use crate::histogram::cuts::Cuts;
use crate::memory::{copied, reserved, with_room};
use crate::parallel::split_at_lengths;
use crate::plan::NumFillers;
use crate::plan::items::Items;
use crate::plan::places::SlotsByPlace;
use crate::{Classes, Error, Options, Patterns, Room, Slot, lower_bound};

/// How the groups of a plan are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grouping {
    /// Whether every sequence of the last group has a pack of its own.
    pub last_alone: bool,
    /// Whether packs come in the order of the input, and not group after group.
    pub in_order: bool,
}

/// Patterns, and the ids that their packs hold.
#[derive(Debug)]
pub(crate) struct Patterned {
    pub rows: u64,
    pub grouping: Grouping,
    pub room: Room,
    pub cuts: Cuts,
    pub classes: Classes,
    pub patterns: Patterns,
    /// Items by class (see [`Cuts`]); rows where nothing is cut.
    pub items: Items,
    /// A proven lower bound on the packs of any plan; 0 if none was proven.
    pub proven: u64,
    pub num_tokens: u64,
    /// Number of packs before each pattern.
    pub first_pack: Vec<u64>, // (patterns + 1,)
    first_item: Vec<u64>,  // (patterns + 1,): number of sequences before each pattern
    slot_source: Vec<u64>, // (slots,): position in `items` of each slot's first id
    bound: OnceLock<u64>,
    pub slots_by_place: OnceLock<SlotsByPlace>,
}

impl Patterned {
    /// Hand out the ids of classes to patterns, which use up the classes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// # Complexity
    /// O(slots).
    pub fn new(
        rows: u64,
        room: Room,
        grouping: Grouping,
        cuts: Cuts,
        classes: Classes,
        patterns: Patterns,
        items: Items,
    ) -> Result<Self, Error> {
        let (sources, num_tokens) =
            rayon::join(|| slot_sources(&classes, &patterns, grouping), || classes.num_tokens());
        let (slot_source, mut first_item) = sources?;
        let mut first_pack = with_room(PATTERNS, patterns.len() + 1)?;
        let (mut packs, mut sequences) = (0, 0);
        for (p, &repeat) in patterns.repeats.iter().enumerate() {
            first_pack.push(packs);
            packs += repeat;
            let in_pack = std::mem::replace(&mut first_item[p], sequences);
            sequences += repeat * in_pack;
        }
        first_pack.push(packs);
        first_item.push(sequences);
        Ok(Self {
            rows,
            grouping,
            room,
            cuts,
            classes,
            patterns,
            items,
            proven: 0,
            num_tokens,
            first_pack,
            first_item,
            slot_source,
            bound: OnceLock::new(),
            slots_by_place: OnceLock::new(),
        })
    }

    pub fn num_packs(&self) -> u64 {
        self.first_pack[self.patterns.len()]
    }

    pub fn num_sequences(&self) -> u64 {
        self.items.len() - self.cuts.piece_rows.len() as u64
    }

    pub fn has_starts(&self) -> bool {
        !self.cuts.rows.is_empty()
    }

    /// Whether every sequence of a group has a pack of its own.
    pub fn is_alone(&self, group: usize) -> bool {
        self.grouping.last_alone && group + 1 == self.classes.num_groups()
    }

    /// The slots of a pattern, and the position in `items` of each slot's first id.
    #[inline]
    pub fn slots_of(&self, pattern: usize) -> impl Iterator<Item = (Slot, u64)> {
        let slots = self.patterns.slot_offsets[pattern]..self.patterns.slot_offsets[pattern + 1];
        self.patterns.slots[slots.clone()].iter().copied().zip(self.slot_source[slots].iter().copied())
    }

    /// Number of sequences in each pack of a pattern.
    #[inline]
    pub fn sequences_in(&self, pattern: usize) -> u64 {
        match (self.first_item[pattern + 1] - self.first_item[pattern], self.patterns.repeats[pattern]) {
            (all, 1) => all, // most patterns of small groups: a division takes longer than everything else here
            (all, repeat) => all / repeat,
        }
    }

    /// The pattern of the pack that was opened as number `opened`.
    pub fn pattern_of(&self, opened: u64) -> usize {
        self.first_pack.partition_point(|&first| first <= opened) - 1
    }

    pub fn num_fillers(&self) -> NumFillers {
        let Self { room, classes, patterns, .. } = self;
        let mut fillers = NumFillers::default();
        if room.multiple() == 1 && !room.separated() {
            return fillers;
        }
        for (p, &repeat) in patterns.repeats.iter().enumerate() {
            let slots = patterns.slots_of(p);
            let length = |slot: &Slot| classes.lengths[slot.class as usize];
            let sequences: u64 = slots.iter().map(|slot| u64::from(slot.copies)).sum();
            let separators = if room.separated() { sequences - 1 } else { 0 };
            let after = |slot: &Slot| u64::from(room.padding_after(length(slot))) * u64::from(slot.copies);
            let last = slots.last().map_or(0, length);
            let padding = slots.iter().map(after).sum::<u64>() - u64::from(room.padding_after(last))
                + u64::from(room.padding_at_end(last));
            fillers.separators += repeat * separators;
            fillers.padding += repeat * padding;
        }
        fillers
    }

    /// A lower bound on the packs.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn lower_bound(&self, options: &Options) -> Result<u64, Error> {
        if let Some(&known) = self.bound.get() {
            return Ok(known);
        }
        let groups = 0..self.classes.num_groups();
        let bound = groups.map(|group| self.group_bound(group, options)).sum::<Result<u64, _>>()?.max(self.proven);
        Ok(*self.bound.get_or_init(|| bound.next_multiple_of(options.num_packs_multiple_of.max(1).into())))
    }

    /// A lower bound on the packs of a group.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn group_bound(&self, group: usize, options: &Options) -> Result<u64, Error> {
        let sequences: u64 = self.classes.of_group(group).map(|class| self.classes.count(class)).sum();
        if self.is_alone(group) {
            return Ok(sequences);
        }
        let taken = self.classes.histogram(group, self.room)?;
        // Where there is a multiple, the capacity is one.
        Ok(lower_bound(&taken, self.room.capacity() / self.room.multiple())
            .max(sequences.div_ceil(options.most_sequences())))
    }
}

/// Find the position in the items of each slot's first id, and the number of sequences in a pack of each pattern.
///
/// Groups are handled in parallel, unless packs come in the order of the input. Otherwise the patterns of a group follow
/// each other, and use the classes of their group only.
fn slot_sources(classes: &Classes, patterns: &Patterns, grouping: Grouping) -> Result<(Vec<u64>, Vec<u64>), Error> {
    let groups = classes.num_groups();
    let shares = if grouping.in_order { 1 } else { (rayon::current_num_threads() * 4).min(groups / 16 + 1) };
    let own_classes = |share| {
        let groups = split(groups, shares, share);
        classes.groups[groups.start]..classes.groups[groups.end]
    };
    let own_patterns: Vec<_> = (0..shares)
        .map(own_classes)
        .map(|own| patterns.first_of_group_at(own.start)..patterns.first_of_group_at(own.end))
        .collect();
    let pattern_counts: Vec<usize> = own_patterns.iter().map(|own| own.len()).collect();
    let own_slots = |own: &Range<usize>| patterns.slot_offsets[own.end] - patterns.slot_offsets[own.start];
    let slot_counts: Vec<usize> = own_patterns.iter().map(own_slots).collect();
    let mut sources = reserved::<u64>(PATTERNS, patterns.slots.len())?;
    let mut sequences = reserved::<u64>(PATTERNS, patterns.len() + 1)?;
    let parts = split_at_lengths(sources.spare_capacity_mut(), &slot_counts)
        .into_par_iter()
        .zip(split_at_lengths(sequences.spare_capacity_mut(), &pattern_counts))
        .zip(own_patterns);
    let written = parts.enumerate().try_for_each(|(share, ((sources, sequences), own_patterns))| {
        let own = own_classes(share);
        let mut next = copied(PATTERNS, &classes.first[own.clone()])?;
        let mut sources = sources.iter_mut();
        for (p, in_pack) in own_patterns.zip(sequences) {
            let mut copies = 0;
            for (slot, source) in patterns.slots_of(p).iter().zip(&mut sources) {
                let next = &mut next[slot.class as usize - own.start];
                source.write(*next);
                *next += patterns.repeats[p] * u64::from(slot.copies);
                copies += u64::from(slot.copies);
            }
            in_pack.write(copies);
        }
        Ok(())
    });
    written?;
    // SAFETY: every pattern belongs to a group, and the shares cover all groups, so every pattern was visited once, with
    // all of its slots; each visit wrote one value for the pattern and one for each slot.
    unsafe {
        sources.set_len(patterns.slots.len());
        sequences.set_len(patterns.len());
    }
    Ok((sources, sequences))
}

const PATTERNS: &str = "patterns";
