//! The content of plans by strategy `random`: sequences in random order, concatenated and cut at `max_length`.
//!
//! This is the paper's random packing (arXiv 2410.08081), without its loss of the tokens after the last full pack:
//!
//! ```text
//! order = rows, shuffled
//! ends = cumulative lengths in this order
//! pack i = tokens i * max_length .. (i + 1) * max_length of all sequences
//! ```
//!
//! Cost: O(sequences) for each epoch. A pack is found by a binary search in `ends`.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::error::PlanFault;
use crate::lengths::{Length, Lengths, read_once, with_slice};
use crate::memory::{push, with_room, zeroed};
use crate::permutation::{Permutation, key};
use crate::plan::LeftOut;
use crate::{Error, Options, Overlong, TruncationSide};

/// Sequences one after another, and where each ends.
#[derive(Clone, Debug)]
pub(crate) struct Concatenated {
    max_length: u32,
    source: Arc<Source>,
    order: Arc<Vec<u32>>, // (sequences,): planned rows
    ends: Arc<Vec<u64>>,  // (sequences,): number of tokens up to the end of each
}

/// The sequences to concatenate, which all epochs share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// Number of planned tokens of each row; 0 for dropped rows.
    pub lengths: Vec<u32>, // (rows,)
    /// The rows that keep their last tokens only, ascending.
    pub skipped_rows: Vec<u32>, // (skipped rows,)
    /// Number of tokens before the first planned one in each of these rows.
    pub skipped_tokens: Vec<u32>, // (skipped rows,)
}

/// The pieces of some packs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pieces {
    /// Pack `i` of the range holds pieces `offsets[i]..offsets[i + 1]`.
    pub offsets: Vec<i64>, // (packs + 1,)
    /// The row of each piece.
    pub ids: Vec<u32>, // (pieces,)
    /// The first token of each piece in its row.
    pub starts: Vec<i32>, // (pieces,)
    /// Number of tokens of each piece.
    pub lengths: Vec<i32>, // (pieces,)
}

impl Source {
    /// Read lengths; returns the sequences left out as well.
    fn read(lengths: &Lengths, options: &Options) -> Result<(Self, LeftOut), Error> {
        let (rows, most) = (lengths.len() as u64, u64::from(u32::MAX));
        if rows > most {
            return Err(Error::TooMany { what: "sequences for strategy 'random'", found: rows, limit: most });
        }
        let longest = i32::MAX as u32;
        let limit = match options.overlong {
            Overlong::Error | Overlong::Split => longest,
            Overlong::Drop | Overlong::Truncate => options.max_length,
        };
        let keeps_end = options.overlong == Overlong::Truncate && options.truncation_side == TruncationSide::Left;
        let mut left_out = LeftOut::default();
        let mut source = Self { lengths: zeroed(LENGTHS, lengths.len())?, ..Self::default() };
        for (first_row, chunk) in lengths.stretches(0..lengths.len()) {
            with_slice!(chunk, s => for (length, row) in s.iter().zip(first_row..) {
                let length = read_once(length);
                if let Some(length) = length.refused(options.empty) {
                    return Err(Error::NotPositive { row: row as u64, length });
                }
                let length = length.wrapped();
                if length <= limit.into() {
                    left_out.empty += u64::from(length == 0);
                    source.lengths[row] = length as u32;
                    continue;
                }
                let too_long = Error::TooLong { row: row as u64, length, max_length: longest };
                let planned = match options.overlong {
                    Overlong::Error | Overlong::Split => return Err(too_long),
                    Overlong::Drop => 0,
                    Overlong::Truncate => limit,
                };
                source.lengths[row] = planned;
                left_out.sequences += 1;
                left_out.tokens = left_out.tokens.saturating_add(length - u64::from(planned));
                if keeps_end {
                    if length > longest.into() {
                        return Err(too_long);
                    }
                    push(&mut source.skipped_rows, LENGTHS, row as u32)?;
                    push(&mut source.skipped_tokens, LENGTHS, length as u32 - limit)?;
                }
            })
        }
        Ok((source, left_out))
    }

    /// Check sequences read from a file.
    pub fn check(&self) -> Result<(), PlanFault> {
        let out_of_order = |array, index: usize| Err(PlanFault::OutOfOrder { array, index: index as u64 });
        if self.lengths.len() > u32::MAX as usize {
            return Err(PlanFault::Overflow);
        }
        if let Some(at) = self.lengths.iter().position(|&length| length > i32::MAX as u32) {
            return out_of_order("lengths", at);
        }
        let (found, expected) = (self.skipped_tokens.len() as u64, self.skipped_rows.len() as u64);
        if found != expected {
            return Err(PlanFault::ArrayLength { array: "skipped_tokens", found, expected });
        }
        if let Some(at) = self.skipped_rows.windows(2).position(|pair| pair[0] >= pair[1]) {
            return out_of_order("skipped_rows", at + 1);
        }
        for (at, (&row, &skipped)) in self.skipped_rows.iter().zip(&self.skipped_tokens).enumerate() {
            let Some(&length) = self.lengths.get(row as usize) else { return out_of_order("skipped_rows", at) };
            if u64::from(skipped) + u64::from(length) > i32::MAX as u64 {
                return out_of_order("skipped_tokens", at);
            }
        }
        Ok(())
    }

    /// Number of tokens of a row before its first planned one.
    fn skipped(&self, row: u32) -> u32 {
        self.skipped_rows.binary_search(&row).map_or(0, |at| self.skipped_tokens[at])
    }
}

impl Concatenated {
    /// Concatenate sequences, in input order without a seed in epoch 0. Sequences over `max_length` are cut like any
    /// other, unless they are dropped or truncated. Returns the sequences left out as well.
    ///
    /// # Errors
    /// A length that is negative, zero unless it is dropped, or over `i32::MAX`; more than `u32::MAX` sequences.
    pub fn new(lengths: &Lengths, options: &Options, seed: Option<u64>, epoch: u64) -> Result<(Self, LeftOut), Error> {
        let (source, left_out) = Source::read(lengths, options)?;
        Ok((Self::from_source(options.max_length, Arc::new(source), seed, epoch)?, left_out))
    }

    /// Concatenate sequences that have been checked.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn from_source(max_length: u32, source: Arc<Source>, seed: Option<u64>, epoch: u64) -> Result<Self, Error> {
        let lengths = &source.lengths;
        let rows = lengths.len();
        let mut order = zeroed::<u32>("an order of sequences", rows)?;
        match seed {
            None if epoch == 0 => order.iter_mut().zip(0..).for_each(|(id, row)| *id = row),
            seed => {
                let places = Permutation::new(rows as u64, key([seed.unwrap_or(0), epoch, STREAM]));
                order.par_iter_mut().enumerate().with_min_len(1 << 14).for_each(|(at, id)| {
                    *id = places.at(at as u64) as u32;
                });
            }
        }
        order.retain(|&id| lengths[id as usize] > 0);
        let mut end = 0;
        let mut ends = with_room("ends of sequences", order.len())?;
        ends.extend(order.iter().map(|&id| {
            end += u64::from(lengths[id as usize]);
            end
        }));
        Ok(Self { max_length, source, order: Arc::new(order), ends: Arc::new(ends) })
    }

    /// Concatenate the same sequences in the order of another seed or epoch.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn shuffled(&self, seed: Option<u64>, epoch: u64) -> Result<Self, Error> {
        Self::from_source(self.max_length, self.source.clone(), seed, epoch)
    }

    /// The sequences that are concatenated.
    pub fn source(&self) -> &Source {
        &self.source
    }

    pub fn num_rows(&self) -> u64 {
        self.source.lengths.len() as u64
    }

    pub fn num_packs(&self) -> u64 {
        self.num_tokens().div_ceil(self.max_length.into())
    }

    pub fn num_sequences(&self) -> u64 {
        self.order.len() as u64
    }

    pub fn num_tokens(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The rows that are in more than one pack, in the order in which they are concatenated.
    pub fn split_rows(&self) -> impl Iterator<Item = u64> {
        let length = u64::from(self.max_length);
        let mut start = 0;
        self.order.iter().zip(&*self.ends).filter_map(move |(&id, &end)| {
            let packs = (end - 1) / length - start / length;
            start = end;
            (packs > 0).then_some(id.into())
        })
    }

    /// List the pieces of packs `range`, which is cut at the number of packs.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn list(&self, range: Range<u64>) -> Result<Pieces, Error> {
        const PIECES: &str = "a list of pieces";
        let length = u64::from(self.max_length);
        let range = range.start.min(self.num_packs())..range.end.min(self.num_packs());
        let mut pieces = Pieces { offsets: vec![0], ..Pieces::default() };
        let mut at = range.start * length;
        let mut place = self.ends.partition_point(|&end| end <= at);
        for pack in range {
            let end = ((pack + 1) * length).min(self.num_tokens());
            while at < end {
                let id = self.order[place];
                let sequence_start = self.ends[place] - u64::from(self.source.lengths[id as usize]);
                let piece_end = self.ends[place].min(end);
                let skipped = self.source.skipped(id) as i32;
                push(&mut pieces.ids, PIECES, id)?;
                push(&mut pieces.starts, PIECES, (at - sequence_start) as i32 + skipped)?;
                push(&mut pieces.lengths, PIECES, (piece_end - at) as i32)?;
                place += usize::from(piece_end == self.ends[place]);
                at = piece_end;
            }
            push(&mut pieces.offsets, PIECES, pieces.ids.len() as i64)?;
        }
        Ok(pieces)
    }
}

const LENGTHS: &str = "lengths of sequences";

/// Separates this shuffle from those of classes and packs.
const STREAM: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packs_are_cuts_of_all_tokens_in_order(
            lengths in prop::collection::vec(1_i64..40, 0..80), max_length in 1_u32..30, seed: Option<u64>,
        ) {
            let options = Options::new(max_length);
            let (plan, _) = Concatenated::new(&Lengths::from(&lengths[..]), &options, seed, 0).unwrap();
            let all = plan.list(0..u64::MAX).unwrap();
            let ids = &all.ids;
            let mut tokens = vec![];
            for (i, &id) in ids.iter().enumerate() {
                tokens.extend((all.starts[i]..all.starts[i] + all.lengths[i]).map(|token| (id, token)));
            }
            let mut order: Vec<u32> = tokens.iter().map(|&(id, _)| id).collect();
            order.dedup();
            let expected: Vec<(u32, i32)> =
                order.iter().flat_map(|&id| (0..lengths[id as usize] as i32).map(move |token| (id, token))).collect();
            prop_assert_eq!(tokens, expected);
            order.sort();
            prop_assert_eq!(order, (0..lengths.len() as u32).collect::<Vec<_>>());
            let packs: Vec<i32> =
                all.offsets.windows(2).map(|w| all.lengths[w[0] as usize..w[1] as usize].iter().sum()).collect();
            prop_assert!(packs[..packs.len().saturating_sub(1)].iter().all(|&tokens| tokens == max_length as i32));
            prop_assert_eq!(packs.len() as u64, plan.num_packs());
            let of = |id: u32| ids.iter().filter(|&&other| other == id).count();
            let mut split: Vec<u64> = plan.split_rows().collect();
            split.sort();
            prop_assert_eq!(split, (0..lengths.len() as u32).filter(|&id| of(id) > 1).map(u64::from).collect::<Vec<_>>());
            for i in 0..plan.num_packs() {
                let one = plan.list(i..i + 1).unwrap();
                let range = all.offsets[i as usize] as usize..all.offsets[i as usize + 1] as usize;
                prop_assert_eq!(one.starts, &all.starts[range.clone()]);
                prop_assert_eq!(one.lengths, &all.lengths[range]);
            }
        }
    }
}
