//! The packs of strategy `in_order`, as patterns of one pack each.
//!
//! ```text
//! for each group: pack its items in input order (see `packing::in_order`)
//! order the packs of all groups by their first items
//! split the packs with the most sequences until their number is a multiple
//! one pattern for each pack; items by class, in the order in which the patterns take them
//! ```
//!
//! The pieces of a sequence that is cut come in its place, in order.
//!
//! Cost: O(sequences x log window), on one thread.

use std::collections::BinaryHeap;
use std::ops::Range;

use crate::histogram::cuts::Cuts;
use crate::ids::{Id, SequenceIds};
use crate::memory::{collected, copied, filled, make_room, push, with_room, zeros};
use crate::packing::in_order::InOrder;
use crate::plan::build::SortedItems;
use crate::{Classes, Error, Options, Patterns, Room, Slot};

const ITEMS: &str = "sequences in input order";
const PACKS: &str = "packs in input order";

/// Find the packs of sorted items; returns their patterns, and the items by class as the patterns take them.
///
/// # Errors
/// There are fewer sequences than packs needed; [`Error::OutOfMemory`].
pub(crate) fn pack(
    sorted: &SortedItems,
    rows: u64,
    options: &Options,
    room: Room,
    last_alone: bool,
) -> Result<(Patterns, SequenceIds), Error> {
    let order = InputOrder { cuts: &sorted.cuts, rows };
    let classes = &sorted.classes;
    Ok(match &sorted.items {
        SequenceIds::U32(items) => {
            let (patterns, items) = pack_items(items, classes, order, options, room, last_alone)?;
            (patterns, SequenceIds::U32(items))
        }
        SequenceIds::I64(items) => {
            let (patterns, items) = pack_items(items, classes, order, options, room, last_alone)?;
            (patterns, SequenceIds::I64(items))
        }
    })
}

fn pack_items<I: Id>(
    by_class: &[I],
    classes: &Classes,
    order: InputOrder,
    options: &Options,
    room: Room,
    last_alone: bool,
) -> Result<(Patterns, Vec<I>), Error> {
    let class_of = classes_of_items(by_class, classes, order)?;
    let most = options.most_sequences();
    let groups = classes.num_groups();
    let (mut items, mut packs): (Vec<I>, Vec<Range<usize>>) = (vec![], vec![]);
    if groups <= 1 {
        let most = if last_alone { 1 } else { most };
        let in_order = order.items().filter(|&item| class_of[item] != NONE);
        pack_group(in_order, classes, &class_of, room, most, options.window, &mut items, &mut packs)?;
    } else {
        let (grouped, firsts) = items_by_group::<I>(classes, &class_of, order)?;
        for (group, ends) in firsts.windows(2).enumerate() {
            let most = if last_alone && group + 1 == groups { 1 } else { most };
            let own = grouped[ends[0]..ends[1]].iter().map(|item| item.to_usize());
            pack_group(own, classes, &class_of, room, most, options.window, &mut items, &mut packs)?;
        }
        packs.sort_unstable_by_key(|pack| order.place(items[pack.start].to_u64()));
    }
    split_to_multiple(&mut packs, options.num_packs_multiple_of, |first| order.place(items[first].to_u64()))?;
    let mut patterns = Patterns::default();
    let mut next = copied(ITEMS, &classes.first)?;
    let mut taken = zeros::<I>(ITEMS, by_class.len())?;
    let mut slots: Vec<Slot> = vec![];
    for pack in packs {
        slots.clear();
        for &item in &items[pack] {
            let class = class_of[item.to_usize()];
            match slots.last_mut() {
                Some(slot) if slot.class == class => slot.copies += 1,
                _ => push(&mut slots, PACKS, Slot { class, copies: 1 })?,
            }
            let place = &mut next[class as usize];
            taken[*place as usize] = item;
            *place += 1;
        }
        patterns.add(&slots, 1)?;
    }
    Ok((patterns, taken))
}

/// Pack the items of a group, which come in input order; adds them to `items`, and the place of each pack to `packs`.
#[expect(clippy::too_many_arguments, reason = "the loop over groups lends all of them")]
fn pack_group<I: Id>(
    in_order: impl Iterator<Item = usize>,
    classes: &Classes,
    class_of: &[u32],
    room: Room,
    max_sequences: u64,
    window: u32,
    items: &mut Vec<I>,
    packs: &mut Vec<Range<usize>>,
) -> Result<(), Error> {
    // A pack that holds one sequence is closed at once: nothing waits.
    let window = if max_sequences == 1 { 0 } else { window };
    let mut own = InOrder::<I>::new(room, max_sequences, window);
    for item in in_order {
        own.add(I::from_index(item), classes.lengths[class_of[item] as usize])?;
    }
    let (found, ends) = own.finish()?;
    let before = items.len();
    for pack in ends.windows(2) {
        push(packs, PACKS, before + pack[0]..before + pack[1])?;
    }
    if before == 0 {
        *items = found;
    } else {
        make_room(items, ITEMS, found.len())?;
        items.extend_from_slice(&found);
    }
    Ok(())
}

/// The class of each item that is planned, [`NONE`] of others.
fn classes_of_items<I: Id>(by_class: &[I], classes: &Classes, order: InputOrder) -> Result<Vec<u32>, Error> {
    let mut class_of = filled(ITEMS, order.num_items(), NONE)?;
    for (class, ends) in classes.first.windows(2).enumerate() {
        for item in &by_class[ends[0] as usize..ends[1] as usize] {
            class_of[item.to_usize()] = class as u32;
        }
    }
    Ok(class_of)
}

/// Sort the planned items by group, those of a group in input order; returns where each group begins as well.
fn items_by_group<I: Id>(
    classes: &Classes,
    class_of: &[u32],
    order: InputOrder,
) -> Result<(Vec<I>, Vec<usize>), Error> {
    let mut group_of = with_room::<u32>(ITEMS, classes.len())?;
    for group in 0..classes.num_groups() {
        group_of.resize(classes.groups[group + 1], group as u32);
    }
    let firsts = collected(ITEMS, classes.groups.iter().map(|&class| classes.first[class] as usize))?;
    let mut next = copied(ITEMS, &firsts)?;
    let mut grouped = zeros::<I>(ITEMS, classes.num_sequences() as usize)?;
    for item in order.items().filter(|&item| class_of[item] != NONE) {
        let place = &mut next[group_of[class_of[item] as usize] as usize];
        grouped[*place] = I::from_index(item);
        *place += 1;
    }
    Ok((grouped, firsts))
}

/// No class: the item is not planned.
const NONE: u32 = u32::MAX;

/// The order of items in the input (see [`Cuts`]).
#[derive(Clone, Copy)]
struct InputOrder<'a> {
    cuts: &'a Cuts,
    rows: u64,
}

impl<'a> InputOrder<'a> {
    fn num_items(self) -> usize {
        self.rows as usize + self.cuts.piece_rows.len()
    }

    /// Iterate over all items in order.
    fn items(self) -> impl Iterator<Item = usize> + 'a {
        let (rows, pieces) = (self.rows as usize, &self.cuts.piece_rows);
        let mut next = 0;
        let mut row = 0;
        std::iter::from_fn(move || {
            if pieces.get(next) == Some(&(row as u64)) {
                next += 1;
                return Some(rows + next - 1);
            }
            row += 1;
            (row <= rows).then(|| row - 1)
        })
    }

    /// The row of an item, and a number that grows with the place of its piece: items compare by these as in the input.
    fn place(self, item: u64) -> (u64, u64) {
        match item.checked_sub(self.rows) {
            Some(piece) => (self.cuts.piece_rows[piece as usize], piece),
            None => (item, u64::MAX),
        }
    }
}

/// Split packs in two until their number is a multiple: each time one with the most sequences, the first of several. Its
/// first half, which is no shorter, stays in its place; the other goes where its first item stands.
fn split_to_multiple(
    packs: &mut Vec<Range<usize>>,
    multiple: u32,
    place: impl Fn(usize) -> (u64, u64),
) -> Result<(), Error> {
    let (found, multiple) = (packs.len() as u64, u64::from(multiple));
    let goal = found.next_multiple_of(multiple);
    let sequences = packs.iter().map(|pack| pack.len() as u64).sum();
    if goal > sequences {
        return Err(Error::TooFewSequences { sequences, packs: goal, multiple });
    }
    if goal == found {
        return Ok(());
    }
    let ordered = |pack: Range<usize>| (pack.len(), std::cmp::Reverse(place(pack.start)), pack.start);
    let mut all = with_room(PACKS, goal as usize)?;
    all.extend(packs.drain(..).map(ordered));
    let mut heap = BinaryHeap::from(all);
    for _ in found..goal {
        let Some((sequences, _, start)) = heap.pop() else { break };
        let middle = start + sequences.div_ceil(2);
        heap.push(ordered(start..middle));
        heap.push(ordered(middle..start + sequences));
    }
    make_room(packs, PACKS, goal as usize)?;
    let mut split = heap.into_vec();
    split.sort_unstable_by_key(|&(_, place, _)| std::cmp::Reverse(place));
    packs.extend(split.into_iter().map(|(sequences, _, start)| start..start + sequences));
    Ok(())
}
