//! The parts of a plan: what a file holds, and checks of parts that come from a file.
//!
//! Arrays of numbers are `i64`, as files store them.

use std::sync::Arc;

use crate::error::PlanFault;
use crate::histogram::cuts::Cuts;
use crate::ids::{Id, with_ids};
use crate::memory::{collected, copied, with_room, zeros};
use crate::plan::concatenated::{Concatenated, Source};
use crate::plan::items::Items;
use crate::plan::patterned::{Grouping, Patterned};
use crate::plan::{Content, LeftOut, Plan};
use crate::{Classes, Error, Options, Patterns, SequenceIds, Slot, Strategy};

/// Everything that makes up a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The options the plan was made with.
    pub options: Options,
    /// The sequences that were dropped or truncated.
    pub left_out: LeftOut,
    /// The seed.
    pub seed: Option<u64>,
    /// The epoch.
    pub epoch: u64,
    /// The packs.
    pub packs: PackParts,
}

/// The packs of a plan, by strategy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a plan has one, and it is taken apart at once")]
pub enum PackParts {
    /// Every strategy but [`Strategy::Random`].
    Patterned(PatternedParts),
    /// [`Strategy::Random`].
    Concatenated(ConcatenatedParts),
}

/// The packs of a plan made of patterns.
///
/// Sequences that are cut have items of their own: item `row` is the last piece of a row, and item `rows + i` is piece
/// `i` of `piece_rows`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternedParts {
    /// Number of rows of the source, planned or not.
    pub rows: u64,
    /// Whether every sequence of the last group has a pack of its own.
    pub last_alone: bool,
    /// A lower bound on the packs of any plan that was proven by a search; 0 if none was.
    pub proven: u64,
    /// The rows whose last piece does not start at their first token, ascending.
    pub cut_rows: Vec<i64>, // (cut rows,)
    /// The first token of the last piece of each of these rows.
    pub cut_rests: Vec<i64>, // (cut rows,)
    /// The row of each piece that is not its row's last, ascending.
    pub piece_rows: Vec<i64>, // (other pieces,)
    /// The first token of each of these pieces.
    pub piece_starts: Vec<i64>, // (other pieces,)
    /// Number of tokens of each sequence of a class.
    pub class_lengths: Vec<i64>, // (classes,)
    /// The position of a class's first id in `items`.
    pub class_first: Vec<i64>, // (classes + 1,)
    /// The first class of each group.
    pub group_first: Vec<i64>, // (groups + 1,)
    /// Number of packs of each pattern.
    pub repeats: Vec<i64>, // (patterns,)
    /// The first slot of each pattern.
    pub slot_offsets: Vec<i64>, // (patterns + 1,)
    /// The class of each slot.
    pub slot_classes: Vec<i64>, // (slots,)
    /// Number of sequences of the slot's class in each pack.
    pub slot_copies: Vec<i64>, // (slots,)
    /// Items by class; `None` for a plan made from counts, where each item is its own place.
    pub items: Option<SequenceIds>, // (planned pieces,)
}

/// The packs of a plan by strategy [`Strategy::Random`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConcatenatedParts {
    /// Number of planned tokens of each row; 0 for dropped rows.
    pub lengths: Vec<u32>, // (rows,)
    /// The rows that keep their last tokens only, ascending.
    pub skipped_rows: Vec<i64>, // (skipped rows,)
    /// Number of tokens before the first planned one in each of these rows.
    pub skipped_tokens: Vec<i64>, // (skipped rows,)
}

impl Plan {
    /// Take a plan apart.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// # Complexity
    /// O(pieces): ids are copied.
    ///
    /// # Examples
    /// ```
    /// use packsort_core::{Lengths, Options, Plan};
    ///
    /// let plan = Plan::new(&Lengths::from(&[3_u8, 5, 2, 2][..]).into(), Options::new(7), None, 0)?;
    /// let again = Plan::from_parts(plan.parts()?)?;
    /// assert_eq!(again.list_packs(0..2)?, plan.list_packs(0..2)?);
    /// # Ok::<(), packsort_core::Error>(())
    /// ```
    pub fn parts(&self) -> Result<Parts, Error> {
        let packs = match &self.content {
            Content::Patterned(patterned, _) => PackParts::Patterned(patterned.parts()?),
            Content::Concatenated(concatenated) => {
                let Source { lengths, skipped_rows, skipped_tokens } = concatenated.source();
                PackParts::Concatenated(ConcatenatedParts {
                    lengths: copied(PARTS, lengths)?,
                    skipped_rows: to_i64(skipped_rows)?,
                    skipped_tokens: to_i64(skipped_tokens)?,
                })
            }
        };
        Ok(Parts { options: self.options, left_out: self.left_out, seed: self.seed, epoch: self.epoch, packs })
    }

    /// Put a plan together from its parts.
    ///
    /// # Errors
    /// [`Error::DamagedPlan`] for parts that contradict each other: a pattern over `max_length`, ids that are missing or
    /// there twice, numbers out of range. An option out of range.
    ///
    /// # Complexity
    /// O(pieces).
    pub fn from_parts(parts: Parts) -> Result<Self, Error> {
        let Parts { options, left_out, seed, epoch, packs } = parts;
        let room = options.check()?;
        let is_random = options.strategy == Strategy::Random;
        match packs {
            PackParts::Patterned(parts) if !is_random => {
                let patterned = parts.check(room, options.strategy.keeps_packs())?;
                Self::from_patterned(options, left_out, seed, epoch, Arc::new(patterned))
            }
            PackParts::Concatenated(parts) if is_random => {
                let source = parts.check()?;
                let concatenated = Concatenated::from_source(options.max_length, Arc::new(source), seed, epoch)?;
                Ok(Self { options, left_out, seed, epoch, content: Content::Concatenated(concatenated) })
            }
            _ => Err(Error::Clash { option: "the kind of packs", strategy: options.strategy.as_str() }),
        }
    }
}

impl Patterned {
    fn parts(&self) -> Result<PatternedParts, Error> {
        let Self { rows, grouping, proven, cuts, classes, patterns, items, .. } = self;
        Ok(PatternedParts {
            rows: *rows,
            last_alone: grouping.last_alone,
            proven: *proven,
            cut_rows: to_i64(&cuts.rows)?,
            cut_rests: to_i64(&cuts.last_starts)?,
            piece_rows: to_i64(&cuts.piece_rows)?,
            piece_starts: to_i64(&cuts.piece_starts)?,
            class_lengths: to_i64(&classes.lengths)?,
            class_first: to_i64(&classes.first)?,
            group_first: collected(PARTS, classes.groups.iter().map(|&first| first as i64))?,
            repeats: to_i64(&patterns.repeats)?,
            slot_offsets: collected(PARTS, patterns.slot_offsets.iter().map(|&offset| offset as i64))?,
            slot_classes: collected(PARTS, patterns.slots.iter().map(|slot| slot.class.into()))?,
            slot_copies: collected(PARTS, patterns.slots.iter().map(|slot| slot.copies.into()))?,
            items: match items {
                Items::Listed(items) => Some(items.copied()?),
                Items::Counted(_) => None,
            },
        })
    }
}

impl PatternedParts {
    /// Check all parts, and put them together.
    fn check(self, room: crate::Room, in_order: bool) -> Result<Patterned, Error> {
        let Self { rows, last_alone, proven, items, .. } = self;
        let cuts = Cuts {
            rows: numbers("cut_rows", &self.cut_rows)?,
            last_starts: numbers("cut_rests", &self.cut_rests)?,
            piece_rows: numbers("piece_rows", &self.piece_rows)?,
            piece_starts: numbers("piece_starts", &self.piece_starts)?,
        };
        cuts.check(rows).map_err(Error::DamagedPlan)?;
        let classes = Classes {
            lengths: numbers("class_lengths", &self.class_lengths)?,
            first: numbers("class_first", &self.class_first)?,
            groups: numbers("group_first", &self.group_first)?,
        };
        classes.check().map_err(Error::DamagedPlan)?;
        let (found, expected) = (self.slot_copies.len() as u64, self.slot_classes.len() as u64);
        if found != expected {
            return Err(Error::DamagedPlan(PlanFault::ArrayLength { array: "slot_copies", found, expected }));
        }
        let slots = numbers("slot_classes", &self.slot_classes)?.into_iter();
        let slots = slots.zip(numbers("slot_copies", &self.slot_copies)?).map(|(class, copies)| Slot { class, copies });
        let patterns = Patterns {
            repeats: numbers("repeats", &self.repeats)?,
            slot_offsets: numbers("slot_offsets", &self.slot_offsets)?,
            slots: collected(PARTS, slots)?,
        };
        let planned = classes.num_sequences();
        let items = match items {
            Some(items) => Items::Listed(items),
            None => Items::Counted(planned),
        };
        if items.len() != planned {
            let (found, expected) = (items.len(), planned);
            return Err(Error::DamagedPlan(PlanFault::ArrayLength { array: "items", found, expected }));
        }
        patterns.check(&classes, room, in_order)?.map_err(Error::DamagedPlan)?;
        match &items {
            Items::Listed(items) => with_ids!(items, items => check_items(items, rows, &cuts))?,
            // Only what is cut has no item of its own, and counts know no rows that could be cut.
            Items::Counted(_) => check_counted(&cuts, &classes, room, rows).map_err(Error::DamagedPlan)?,
        }
        let packs = patterns.num_packs();
        if proven > packs {
            return Err(Error::DamagedPlan(PlanFault::Bound { bound: proven, packs }));
        }
        let grouping = Grouping { last_alone, in_order };
        let mut patterned = Patterned::new(rows, room, grouping, cuts, classes, patterns, items)?;
        patterned.proven = proven;
        Ok(patterned)
    }
}

impl ConcatenatedParts {
    fn check(self) -> Result<Source, Error> {
        let source = Source {
            lengths: self.lengths,
            skipped_rows: numbers("skipped_rows", &self.skipped_rows)?,
            skipped_tokens: numbers("skipped_tokens", &self.skipped_tokens)?,
        };
        source.check().map_err(Error::DamagedPlan)?;
        Ok(source)
    }
}

/// Convert numbers to the type that files store. All are counts, rows or indices of things in memory, which fit.
fn to_i64<T: Copy + Into<u64>>(numbers: &[T]) -> Result<Vec<i64>, Error> {
    collected(PARTS, numbers.iter().map(|&number| number.into() as i64))
}

const PARTS: &str = "the parts of a plan";

/// Convert numbers from the type that files store.
fn numbers<T: TryFrom<i64>>(array: &'static str, stored: &[i64]) -> Result<Vec<T>, Error> {
    let mut numbers = with_room(PARTS, stored.len())?;
    for (index, &number) in stored.iter().enumerate() {
        let fault = PlanFault::OutOfOrder { array, index: index as u64 };
        numbers.push(T::try_from(number).map_err(|_| Error::DamagedPlan(fault))?);
    }
    Ok(numbers)
}

/// Check that every item is a sequence or piece, none is there twice, and no piece of a planned sequence is missing.
fn check_items<I: Id>(items: &[I], rows: u64, cuts: &Cuts) -> Result<(), Error> {
    let damaged = |fault| Err(Error::DamagedPlan(fault));
    let limit = rows.checked_add(cuts.piece_rows.len() as u64).ok_or(Error::DamagedPlan(PlanFault::Overflow))?;
    if let Some(item) = items.iter().find(|item| item.to_u64() >= limit) {
        return damaged(PlanFault::NoSuchId { id: item.to_u64(), limit });
    }
    let seen = Seen::new(items)?;
    // Plans hold all pieces of a sequence that is cut.
    for &row in &cuts.rows {
        if !seen.contains(row) {
            return damaged(PlanFault::PieceLost { row });
        }
    }
    for (piece, &row) in cuts.piece_rows.iter().enumerate() {
        if !seen.contains(rows + piece as u64) {
            return damaged(PlanFault::PieceLost { row });
        }
    }
    Ok(())
}

/// Check the rest of a plan that was made from counts: nothing is cut, there are no more sequences than rows, and sums
/// fit, which no list of ids bounds.
fn check_counted(cuts: &Cuts, classes: &Classes, room: crate::Room, rows: u64) -> Result<(), PlanFault> {
    let (found, planned) = (cuts.rows.len() as u64, classes.num_sequences());
    if found > 0 {
        return Err(PlanFault::ArrayLength { array: "cut_rows", found, expected: 0 });
    }
    if planned > rows {
        return Err(PlanFault::NoSuchId { id: planned - 1, limit: rows });
    }
    classes.room_taken(room).map(|_| ()).ok_or(PlanFault::Overflow)
}

/// A set of distinct numbers, in memory proportional to their number.
enum Seen {
    Bits(Vec<u64>),
    Sorted(Vec<u64>),
}

impl Seen {
    fn new<I: Id>(items: &[I]) -> Result<Self, Error> {
        let twice = |id| Err(Error::DamagedPlan(PlanFault::IdTwice { id }));
        let words = items.iter().max().map_or(0, |most| most.to_u64() / 64 + 1);
        if words > items.len() as u64 + 1024 {
            let mut sorted = collected(PARTS, items.iter().map(|item| item.to_u64()))?;
            sorted.sort_unstable();
            return match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                Some(pair) => twice(pair[0]),
                None => Ok(Self::Sorted(sorted)),
            };
        }
        let mut bits = zeros::<u64>(PARTS, words as usize)?;
        for item in items {
            let id = item.to_u64();
            let (word, bit) = (&mut bits[(id / 64) as usize], 1 << (id % 64));
            if *word & bit != 0 {
                return twice(id);
            }
            *word |= bit;
        }
        Ok(Self::Bits(bits))
    }

    fn contains(&self, id: u64) -> bool {
        match self {
            Self::Bits(bits) => bits.get((id / 64) as usize).is_some_and(|word| word & 1 << (id % 64) != 0),
            Self::Sorted(sorted) => sorted.binary_search(&id).is_ok(),
        }
    }
}
