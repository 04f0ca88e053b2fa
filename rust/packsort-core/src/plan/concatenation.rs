//! The paper's random packing: sequences in random order, concatenated, cut at `max_length`.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::histogram::sort::Order;
use crate::lengths::{Length, Lengths, with_slice};
use crate::memory::zeroed;
use crate::permutation::{Permutation, key};
use crate::plan::{Excess, Options};
use crate::{Error, Overlong};

/// A plan in which packs are full to the last token, but for the last one, and sequences may be cut.
///
/// Pack `i` holds tokens `i * max_length..(i + 1) * max_length` of all sequences one after another. Nothing is dropped
/// at the end, as the paper's own code does.
#[derive(Clone, Debug)]
pub struct Concatenation {
    options: Options,
    excess: Excess,
    lengths: Arc<Vec<u32>>, // (rows,): planned tokens, 0 where dropped
    skipped: Arc<Skipped>,
    seed: Option<u64>,
    epoch: u64,
    order: Arc<Vec<u32>>, // (sequences,)
    ends: Arc<Vec<u64>>,  // (sequences,): tokens up to the end of each, in that order
}

/// Rows that keep their end: the tokens before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// The rows, ascending.
    pub rows: Vec<u32>, // (skipped,)
    /// Tokens left out of each.
    pub tokens: Vec<u32>, // (skipped,)
}

impl Skipped {
    fn of(&self, row: u32) -> u32 {
        self.rows.binary_search(&row).map_or(0, |at| self.tokens[at])
    }
}

/// Packs of a range, piece by piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// Pack `i` of the range holds pieces `offsets[i]..offsets[i + 1]`.
    pub offsets: Vec<i64>, // (packs + 1,)
    /// The sequence of each piece.
    pub ids: Order, // (pieces,)
    /// Its first token there.
    pub starts: Vec<i32>, // (pieces,)
    /// Its tokens.
    pub lengths: Vec<i32>, // (pieces,)
}

impl Concatenation {
    /// Concatenates all sequences; without a seed in input order, in epoch 0. Sequences over `max_length` are cut like
    /// any, unless they are to be dropped or truncated.
    ///
    /// # Errors
    /// A `max_length` of 0 or above `i32::MAX`; a length that is zero or negative; one over `i32::MAX`; more than
    /// `u32::MAX` sequences.
    pub fn new(lengths: &Lengths, options: Options, seed: Option<u64>, epoch: u64) -> Result<Self, Error> {
        options.room()?;
        if lengths.len() > u32::MAX as usize {
            return Err(Error::Inconsistent("random packing takes up to 2**32 - 1 sequences"));
        }
        let limit = match options.overlong {
            Overlong::Error | Overlong::Split => i32::MAX as u32,
            Overlong::Drop | Overlong::Truncate => options.max_length,
        };
        let mut excess = Excess::default();
        let mut skipped = Skipped::default();
        let mut planned = zeroed::<u32>(lengths.len());
        for (first_row, chunk) in lengths.pieces(0..lengths.len()) {
            with_slice!(chunk, s => for (&length, row) in s.iter().zip(first_row..) {
                if let Some(length) = length.not_positive() {
                    return Err(Error::NotPositive { row: row as u64, length });
                }
                let length = length.wrapped();
                planned[row] = match options.overlong {
                    _ if length <= limit.into() => length as u32,
                    Overlong::Error | Overlong::Split => return Err(Error::TooLong { row: row as u64, length, max_length: limit }),
                    Overlong::Drop => 0,
                    Overlong::Truncate => limit,
                };
                if length > limit.into() {
                    excess.sequences += 1;
                    excess.tokens += length - u64::from(planned[row]);
                    if options.keep_end && options.overlong == Overlong::Truncate {
                        if length > i32::MAX as u64 {
                            return Err(Error::TooLong { row: row as u64, length, max_length: i32::MAX as u32 });
                        }
                        skipped.rows.push(row as u32);
                        skipped.tokens.push(length as u32 - limit);
                    }
                }
            })
        }
        Ok(Self::of(options, excess, Arc::new(planned), Arc::new(skipped), seed, epoch))
    }

    /// A plan from what a file holds: `lengths` are planned tokens by row, 0 where dropped.
    ///
    /// # Errors
    /// A `max_length` that is not allowed, or a length over `i32::MAX`.
    pub fn from_parts(
        options: Options,
        excess: Excess,
        lengths: Vec<u32>,
        skipped: Skipped,
        seed: Option<u64>,
        epoch: u64,
    ) -> Result<Self, Error> {
        options.room()?;
        if lengths.len() > u32::MAX as usize || lengths.iter().any(|&l| l > i32::MAX as u32) {
            return Err(Error::Inconsistent("a length is more than fits 31 bits"));
        }
        let sound = skipped.rows.len() == skipped.tokens.len()
            && skipped.rows.is_sorted_by(|a, b| a < b)
            && skipped.rows.iter().all(|&row| (row as usize) < lengths.len())
            && skipped.tokens.iter().all(|&tokens| tokens <= i32::MAX as u32);
        if !sound {
            return Err(Error::Inconsistent("the beginnings that are left out are out of order"));
        }
        Ok(Self::of(options, excess, Arc::new(lengths), Arc::new(skipped), seed, epoch))
    }

    fn of(
        options: Options,
        excess: Excess,
        lengths: Arc<Vec<u32>>,
        skipped: Arc<Skipped>,
        seed: Option<u64>,
        epoch: u64,
    ) -> Self {
        let rows = lengths.len();
        let mut order = zeroed::<u32>(rows);
        match seed {
            None if epoch == 0 => order.iter_mut().zip(0..).for_each(|(id, row)| *id = row),
            seed => {
                let places = Permutation::new(rows as u64, key([seed.unwrap_or(0), epoch, u64::MAX]));
                order.par_iter_mut().enumerate().with_min_len(1 << 14).for_each(|(at, id)| {
                    *id = places.get(at as u64) as u32;
                });
            }
        }
        order.retain(|&id| lengths[id as usize] > 0);
        let mut end = 0;
        let ends = order.iter().map(|&id| {
            end += u64::from(lengths[id as usize]);
            end
        });
        let ends = Arc::new(ends.collect());
        Self { options, excess, lengths, skipped, seed, epoch, order: Arc::new(order), ends }
    }

    /// The same sequences in another order.
    pub fn with_epoch(&self, epoch: u64) -> Self {
        Self::of(self.options, self.excess, self.lengths.clone(), self.skipped.clone(), self.seed, epoch)
    }

    /// What the plan is.
    pub fn options(&self) -> Options {
        self.options
    }

    /// What became of sequences over `max_length`.
    pub fn excess(&self) -> Excess {
        self.excess
    }

    /// Planned tokens by row, 0 where dropped.
    pub fn lengths(&self) -> &[u32] {
        &self.lengths
    }

    /// Rows that keep their end.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// The seed it was made with.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// Its epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Number of packs.
    pub fn num_packs(&self) -> u64 {
        self.num_tokens().div_ceil(self.options.max_length.into())
    }

    /// Number of planned sequences.
    pub fn num_sequences(&self) -> u64 {
        self.order.len() as u64
    }

    /// Number of planned tokens.
    pub fn num_tokens(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Number of sequences that are in more than one pack, and of pieces of all.
    pub fn num_split(&self) -> (u64, u64) {
        let length = u64::from(self.options.max_length);
        let (mut split, mut pieces, mut start) = (0, 0, 0);
        for &end in &*self.ends {
            let packs = (end - 1) / length - start / length + 1;
            split += u64::from(packs > 1);
            pieces += packs;
            start = end;
        }
        (split, pieces)
    }

    /// The rows that are in more than one pack, ascending.
    pub fn split_rows(&self) -> Vec<u64> {
        let length = u64::from(self.options.max_length);
        let mut start = 0;
        let mut rows = vec![];
        for (&id, &end) in self.order.iter().zip(&*self.ends) {
            if (end - 1) / length > start / length {
                rows.push(id.into());
            }
            start = end;
        }
        rows.sort_unstable();
        rows
    }

    /// Packs `range`, piece by piece; the range is cut at the number of packs.
    pub fn list(&self, range: Range<u64>) -> Pieces {
        let length = u64::from(self.options.max_length);
        let range = range.start.min(self.num_packs())..range.end.min(self.num_packs());
        let (mut offsets, mut ids, mut starts, mut lengths) = (vec![0], vec![], vec![], vec![]);
        let mut at = range.start * length;
        let mut place = self.ends.partition_point(|&end| end <= at);
        for pack in range {
            let end = ((pack + 1) * length).min(self.num_tokens());
            while at < end {
                let id = self.order[place];
                let sequence_start = self.ends[place] - u64::from(self.lengths[id as usize]);
                let piece_end = self.ends[place].min(end);
                ids.push(id);
                starts.push((at - sequence_start) as i32 + self.skipped.of(id) as i32);
                lengths.push((piece_end - at) as i32);
                place += usize::from(piece_end == self.ends[place]);
                at = piece_end;
            }
            offsets.push(ids.len() as i64);
        }
        Pieces { offsets, ids: Order::U32(ids), starts, lengths }
    }
}

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
            let plan = Concatenation::new(&Lengths::from(&lengths[..]), options, seed, 0).unwrap();
            let all = plan.list(0..u64::MAX);
            let Order::U32(ids) = &all.ids else { unreachable!() };
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
            let (split, pieces) = plan.num_split();
            prop_assert_eq!(pieces as usize, ids.len());
            let of = |id: u32| ids.iter().filter(|&&other| other == id).count();
            prop_assert_eq!(split as usize, (0..lengths.len() as u32).filter(|&id| of(id) > 1).count());
            for i in 0..plan.num_packs() {
                let one = plan.list(i..i + 1);
                let range = all.offsets[i as usize] as usize..all.offsets[i as usize + 1] as usize;
                prop_assert_eq!(one.starts, &all.starts[range.clone()]);
                prop_assert_eq!(one.lengths, &all.lengths[range]);
            }
        }
    }
}
