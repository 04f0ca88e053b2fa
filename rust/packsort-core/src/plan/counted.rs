//! Plans made from the counts of lengths.
//!
//! Which lengths share a pack follows from how often each occurs. So a plan of any number of sequences is made, saved and
//! searched without their ids. Its sequences have numbers instead: by length, and in input order among equals. Counts add
//! up, so the parts of a source are counted apart, and each is told how many sequences precede its own:
//!
//! ```text
//! counts of all parts                     -> plan
//! lengths of a part, counts before it     -> numbers of its sequences     Plan::numbers
//! numbers                                 -> packs                        Plan::places
//! ```
//!
//! Cost: O(distinct lengths) and that of finding patterns, whatever the number of sequences.

use std::sync::Arc;

use crate::histogram::count::LONGEST;
use crate::histogram::cuts::Cuts;
use crate::lengths::{Length, read_once, with_slice};
use crate::memory::{copied, filled, push, with_room};
use crate::plan::items::Items;
use crate::plan::patterned::{Grouping, Patterned};
use crate::plan::{LeftOut, Plan};
use crate::{Classes, EmptySequences, Error, Lengths, Options, Overlong, Patterns, Room, Strategy};

/// How often each length occurs.
#[derive(Clone, Copy, Debug, Default)]
pub struct LengthCounts<'a> {
    /// Distinct numbers of tokens, ascending.
    pub lengths: &'a [u64],
    /// Number of sequences of each length.
    pub counts: &'a [u64],
}

const NUMBERS: &str = "numbers of sequences";
const CLASSES: &str = "classes of lengths";

impl Plan {
    /// Plan sequences of which only the lengths are counted.
    ///
    /// The packs are those of [`Plan::new`] for any lengths with these counts, with numbers in the place of rows.
    ///
    /// # Errors
    /// An option out of range, or one that needs the lengths themselves: strategies [`Strategy::Random`],
    /// [`Strategy::Hybrid`], [`Strategy::InOrder`] and [`Strategy::Given`], and [`Overlong::Split`]. Sequences of no tokens under [`EmptySequences::Error`], or of over
    /// `max_length` under [`Overlong::Error`]; more sequences or tokens than 63 bits count.
    ///
    /// # Complexity
    /// O(distinct lengths), and that of finding patterns.
    ///
    /// # Examples
    /// ```
    /// use packsort_core::{LengthCounts, Lengths, Options, Plan};
    ///
    /// let counts = LengthCounts { lengths: &[3, 4], counts: &[1_000_000_000, 1_000_000_000] };
    /// let plan = Plan::from_counts(counts, Options::new(7), Some(0), 0)?;
    /// assert_eq!(plan.num_packs(), 1_000_000_000);
    /// // The first sequences of a part that comes after 10 of 3 tokens:
    /// let before = LengthCounts { lengths: &[3], counts: &[10] };
    /// let numbers = plan.numbers(&Lengths::from(&[3_u8, 4, 3][..]), before)?;
    /// assert_eq!(numbers, [10, 1_000_000_000, 11]);
    /// let pack = plan.places(&numbers)?[0];
    /// assert!(plan.pack(pack as u64).unwrap().ids.contains(&10));
    /// # Ok::<(), packsort_core::Error>(())
    /// ```
    pub fn from_counts(counts: LengthCounts, options: Options, seed: Option<u64>, epoch: u64) -> Result<Self, Error> {
        let room = options.check()?;
        if matches!(options.strategy, Strategy::Random | Strategy::Hybrid | Strategy::InOrder | Strategy::Given) {
            return Err(Error::NotOfCounts { option: "strategy", value: options.strategy.as_str() });
        }
        if options.overlong == Overlong::Split {
            return Err(Error::NotOfCounts { option: "overlong", value: options.overlong.as_str() });
        }
        let rows = counts.check()?;
        let (classes, left_out) = counts.classes(&options, room)?;
        if classes.room_taken(room).is_none() {
            return Err(Error::TooMany { what: "tokens and padding", found: u64::MAX, limit: i64::MAX as u64 });
        }
        let mut patterns = Patterns::find(options.strategy, &classes, room, options.most_sequences(), false)?;
        if options.num_packs_multiple_of > 1 && options.strategy != Strategy::Optimal {
            patterns.split_to_multiple(&classes, options.num_packs_multiple_of.into())?;
        }
        let items = Items::Counted(classes.num_sequences());
        let patterned = Patterned::new(rows, room, Grouping::default(), Cuts::default(), classes, patterns, items)?;
        Self::from_patterned(options, left_out, seed, epoch, Arc::new(patterned))
    }

    /// Number the sequences of a part of the source: by planned length, and in input order among equals. Those that are
    /// left out have -1.
    ///
    /// `before` counts the sequences of the parts before this one.
    ///
    /// # Errors
    /// The plan was not made from counts; a negative length; more sequences of a length than were counted.
    ///
    /// # Complexity
    /// O(sequences + longest length).
    pub fn numbers(&self, lengths: &Lengths, before: LengthCounts) -> Result<Vec<i64>, Error> {
        let classes = &self.counted()?.classes;
        let longest = self.options().room()?.longest();
        let drops = self.options().overlong == Overlong::Drop;
        let planned = |length: u64| match length <= longest.into() {
            true => length as u32,
            false if drops => 0,
            false => longest,
        };
        let mut class_of = filled(CLASSES, classes.lengths.last().map_or(0, |&last| last as usize) + 1, u32::MAX)?;
        for (class, &length) in classes.lengths.iter().enumerate() {
            class_of[length as usize] = class as u32;
        }
        let mut next = copied(CLASSES, &classes.first)?;
        let class_of = |length: u64| {
            let class = class_of.get(planned(length) as usize).copied().filter(|&class| class != u32::MAX);
            class.map(|class| class as usize).ok_or(Error::MoreThanCounted { length })
        };
        before.check()?;
        for (&length, &count) in before.lengths.iter().zip(before.counts) {
            if count > 0 && planned(length) > 0 {
                let class = class_of(length)?;
                next[class] = next[class].saturating_add(count);
            }
        }
        let mut numbers = with_room(NUMBERS, lengths.len())?;
        for (first_row, chunk) in lengths.stretches(0..lengths.len()) {
            with_slice!(chunk, s => for (length, row) in s.iter().zip(first_row as u64..) {
                let length = read_once(length);
                if let Some(length) = length.refused(EmptySequences::Drop) {
                    return Err(Error::NotPositive { row, length });
                }
                let length = length.wrapped();
                if planned(length) == 0 {
                    numbers.push(-1);
                    continue;
                }
                let class = class_of(length)?;
                if next[class] >= classes.first[class + 1] {
                    return Err(Error::MoreThanCounted { length });
                }
                numbers.push(next[class] as i64);
                next[class] += 1;
            })
        }
        Ok(numbers)
    }

    /// Find the packs of sequences by their [`numbers`](Self::numbers). Those that are left out, at -1, stay -1.
    ///
    /// # Errors
    /// The plan was not made from counts; a number outside it.
    ///
    /// # Complexity
    /// O(log slots) for each sequence, over all threads, after O(slots log slots) at the first call.
    pub fn places(&self, numbers: &[i64]) -> Result<Vec<i64>, Error> {
        let patterned = self.counted()?;
        patterned.places(self.shuffle(), numbers)
    }

    /// Whether the plan was made from counts.
    pub fn is_counted(&self) -> bool {
        self.counted().is_ok()
    }

    fn counted(&self) -> Result<&Patterned, Error> {
        let counted = |patterned: &&Patterned| matches!(patterned.items, Items::Counted(_));
        self.patterned().map(|patterned| &**patterned).filter(counted).ok_or(Error::NotCounted)
    }
}

impl LengthCounts<'_> {
    /// Check that lengths ascend and sums fit; returns the number of sequences.
    fn check(&self) -> Result<u64, Error> {
        let (found, expected) = (self.counts.len() as u64, self.lengths.len() as u64);
        if found != expected {
            return Err(Error::ArrayLength { array: "counts", found, expected });
        }
        if let Some(at) = self.lengths.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(Error::Sizes { index: at as u64 + 1 });
        }
        let limit = i64::MAX as u64;
        let within = |what, found: Option<u64>| match found {
            Some(found) if found <= limit => Ok(found),
            found => Err(Error::TooMany { what, found: found.unwrap_or(u64::MAX), limit }),
        };
        let mut tokens = self.lengths.iter().zip(self.counts).map(|(&length, &count)| length.checked_mul(count));
        within("tokens", tokens.try_fold(0_u64, |sum, tokens| sum.checked_add(tokens?)))?;
        within("sequences", self.counts.iter().try_fold(0_u64, |sum, &count| sum.checked_add(count)))
    }

    /// The classes of the sequences that are planned, and those that are dropped or truncated.
    fn classes(&self, options: &Options, room: Room) -> Result<(Classes, LeftOut), Error> {
        let limit = u64::from(room.longest());
        let mut classes = Classes { lengths: vec![], first: vec![0], groups: vec![0] };
        let mut left_out = LeftOut::default();
        let mut sequences = 0;
        let mut longest = 0;
        for (&length, &count) in self.lengths.iter().zip(self.counts).filter(|&(_, &count)| count > 0) {
            match length {
                0 => left_out.empty += count,
                length if length <= limit => {
                    sequences += count;
                    push(&mut classes.lengths, CLASSES, length as u32)?;
                    push(&mut classes.first, CLASSES, sequences)?;
                }
                length => {
                    longest = length;
                    left_out.sequences += count;
                    left_out.tokens += match options.overlong {
                        Overlong::Truncate => (length - limit) * count,
                        _ => length * count,
                    };
                }
            }
        }
        if left_out.empty > 0 && options.empty == EmptySequences::Error {
            return Err(Error::CountedEmpty { sequences: left_out.empty });
        }
        if left_out.sequences > 0 && options.overlong == Overlong::Error {
            return Err(Error::CountedTooLong { sequences: left_out.sequences, longest, limit });
        }
        if left_out.sequences > 0 && options.overlong == Overlong::Truncate {
            sequences += left_out.sequences;
            if classes.lengths.last() == Some(&room.longest()) {
                classes.first.pop();
            } else {
                push(&mut classes.lengths, CLASSES, room.longest())?;
            }
            push(&mut classes.first, CLASSES, sequences)?;
        }
        let plannable = classes.lengths.partition_point(|&length| length as usize <= LONGEST);
        if plannable < classes.len() {
            let unplannable = sequences - classes.first[plannable];
            let longest = classes.lengths.last().copied().unwrap_or(0).into();
            return Err(Error::CountedTooLong { sequences: unplannable, longest, limit: LONGEST as u64 });
        }
        classes.groups.push(classes.lengths.len());
        Ok((classes, left_out))
    }
}
