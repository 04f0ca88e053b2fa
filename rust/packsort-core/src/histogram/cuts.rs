//! Sequences cut into pieces, which are planned like sequences.
//!
//! Pieces need ids of their own. With `rows` sequences, of which some are cut:
//!
//! ```text
//! item 0..rows       the last piece of each sequence: all of it where it is not cut
//! item rows..        the other pieces, by sequence and then by start
//! ```
//!
//! So nothing changes for sequences that are not cut, and an id below `rows` is a row. Cost: a pass over the lengths and
//! O(pieces) memory.

use rayon::prelude::*;

use crate::error::PlanFault;
use crate::ids::{Id, SequenceIds, with_ids};
use crate::lengths::{Length, Lengths, read_once, with_slice};
use crate::memory::{collected, copied, make_room, push, with_room, zeros};
use crate::plan::LeftOut;
use crate::{EmptySequences, Error, PieceStarts};

/// The sequences that are cut, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cuts {
    /// The rows whose last piece does not start at their first token, ascending.
    pub rows: Vec<u64>, // (cut rows,)
    /// The first token of the last piece of each of these rows.
    pub last_starts: Vec<u32>, // (cut rows,)
    /// The row of each other piece, ascending.
    pub piece_rows: Vec<u64>, // (other pieces,)
    /// The first token of each other piece, ascending within a row.
    pub piece_starts: Vec<u32>, // (other pieces,)
}

const PIECES: &str = "pieces of cut sequences";

/// Treatment of one sequence longer than a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooLong {
    /// The histogram drops, truncates or refuses it.
    LeaveToCount,
    /// It is cut into full pieces and a rest.
    Split,
    /// It keeps its last tokens.
    KeepEnd,
}

impl Cuts {
    /// Cut the sequences longer than `limit`, each as `treatment` says of its row. Sequences of no tokens are counted.
    ///
    /// # Errors
    /// A length that is negative, zero unless `empty` drops it, or over `i32::MAX` where the sequence is cut.
    pub fn of_too_long(
        lengths: &Lengths,
        limit: u32,
        empty: EmptySequences,
        treatment: impl Fn(usize) -> TooLong,
    ) -> Result<(Self, LeftOut), Error> {
        let mut cuts = Self::default();
        let mut left_out = LeftOut::default();
        for (first_row, chunk) in lengths.stretches(0..lengths.len()) {
            with_slice!(chunk, s => for (length, row) in s.iter().zip(first_row..) {
                let length = read_once(length);
                if let Some(length) = length.refused(empty) {
                    return Err(Error::NotPositive { row: row as u64, length });
                }
                let length = length.wrapped();
                if length <= limit.into() {
                    left_out.empty += u64::from(length == 0);
                    continue;
                }
                let treatment = treatment(row);
                if treatment == TooLong::LeaveToCount {
                    continue;
                }
                let row = row as u64;
                if length > i32::MAX as u64 {
                    return Err(Error::TooLong { row, length, max_length: i32::MAX as u32 });
                }
                push(&mut cuts.rows, PIECES, row)?;
                if treatment == TooLong::KeepEnd {
                    push(&mut cuts.last_starts, PIECES, length as u32 - limit)?;
                    left_out.sequences += 1;
                    left_out.tokens += length - u64::from(limit);
                    continue;
                }
                let full = (length as u32 - 1) / limit;
                push(&mut cuts.last_starts, PIECES, full * limit)?;
                make_room(&mut cuts.piece_rows, PIECES, full as usize)?;
                make_room(&mut cuts.piece_starts, PIECES, full as usize)?;
                for piece in 0..full {
                    cuts.piece_rows.push(row);
                    cuts.piece_starts.push(piece * limit);
                }
            })
        }
        Ok((cuts, left_out))
    }

    /// Cut sequences at given starts. A sequence of no tokens has no pieces; it is left out and counted.
    ///
    /// # Errors
    /// Starts that do not begin with 0, do not ascend, or lie outside the sequence; a piece longer than `limit`.
    pub fn at_starts(lengths: &Lengths, limit: u32, starts: PieceStarts) -> Result<(Self, LeftOut), Error> {
        let mut cuts = Self::default();
        let mut left_out = LeftOut::default();
        for (first_row, chunk) in lengths.stretches(0..lengths.len()) {
            with_slice!(chunk, s => for (length, row) in s.iter().zip(first_row..) {
                let (length, error) = (read_once(length).wrapped(), Error::PieceStarts { row: row as u64 });
                let own = starts.of_row(row).ok_or(error)?;
                let row = row as u64;
                if length == 0 && own.is_empty() {
                    left_out.empty += 1;
                    continue;
                }
                let Some((&last, others)) = own.split_last() else { return Err(error) };
                if own[0] != 0 || length > i32::MAX as u64 {
                    return Err(error);
                }
                let ends = own.iter().skip(1).map(|&start| i64::from(start)).chain([length as i64]);
                for (&start, end) in own.iter().zip(ends) {
                    if end <= i64::from(start) {
                        return Err(error);
                    }
                    let piece = (end - i64::from(start)) as u64;
                    if piece > limit.into() {
                        return Err(Error::PieceTooLong { row, start: start as u32, length: piece, max_length: limit });
                    }
                }
                if last > 0 {
                    push(&mut cuts.rows, PIECES, row)?;
                    push(&mut cuts.last_starts, PIECES, last as u32)?;
                    make_room(&mut cuts.piece_rows, PIECES, others.len())?;
                    make_room(&mut cuts.piece_starts, PIECES, others.len())?;
                    cuts.piece_rows.extend(others.iter().map(|_| row));
                    cuts.piece_starts.extend(others.iter().map(|&start| start as u32));
                }
            })
        }
        Ok((cuts, left_out))
    }

    /// Cut more pieces off last pieces. Each of `more` is a row and the lengths of the pieces cut off its last piece.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn cut_further(&self, more: impl Iterator<Item = (u64, Vec<u32>)>) -> Result<Self, Error> {
        let mut lasts = collected(PIECES, self.rows.iter().copied().zip(self.last_starts.iter().copied()))?;
        let mut others = collected(PIECES, self.piece_rows.iter().copied().zip(self.piece_starts.iter().copied()))?;
        for (row, lengths) in more {
            let known = self.rows.binary_search(&row);
            let mut start = known.map_or(0, |cut| self.last_starts[cut]);
            for length in lengths {
                push(&mut others, PIECES, (row, start))?;
                start += length;
            }
            match known {
                Ok(cut) => lasts[cut].1 = start,
                Err(_) => push(&mut lasts, PIECES, (row, start))?,
            }
        }
        lasts.sort_unstable();
        others.sort_unstable();
        Ok(Self {
            rows: collected(PIECES, lasts.iter().map(|last| last.0))?,
            last_starts: collected(PIECES, lasts.iter().map(|last| last.1))?,
            piece_rows: collected(PIECES, others.iter().map(|other| other.0))?,
            piece_starts: collected(PIECES, others.iter().map(|other| other.1))?,
        })
    }

    /// Copy the cuts.
    pub fn copied(&self) -> Result<Self, Error> {
        Ok(Self {
            rows: copied(PIECES, &self.rows)?,
            last_starts: copied(PIECES, &self.last_starts)?,
            piece_rows: copied(PIECES, &self.piece_rows)?,
            piece_starts: copied(PIECES, &self.piece_starts)?,
        })
    }

    /// The length of each item; 0 for rows of no tokens.
    ///
    /// # Errors
    /// Lengths are others than when they were cut, so that nothing is left of a last piece; [`Error::OutOfMemory`].
    pub fn item_lengths(&self, lengths: &Lengths) -> Result<Vec<u32>, Error> {
        let mut items = with_room(PIECES, lengths.len() + self.piece_rows.len())?;
        for (_, chunk) in lengths.stretches(0..lengths.len()) {
            with_slice!(chunk, s => items.extend(s.iter().map(|length| length.wrapped().min(u32::MAX.into()) as u32)));
        }
        for (&row, last_start) in self.rows.iter().zip(&self.last_starts) {
            let item: &mut u32 = &mut items[row as usize];
            *item = item.checked_sub(*last_start).filter(|&rest| rest > 0).ok_or(Error::LengthsChanged)?;
        }
        let mut cut = 0;
        for (i, (&row, &start)) in self.piece_rows.iter().zip(&self.piece_starts).enumerate() {
            while self.rows[cut] < row {
                cut += 1;
            }
            let next =
                if self.piece_rows.get(i + 1) == Some(&row) { self.piece_starts[i + 1] } else { self.last_starts[cut] };
            items.push(next - start);
        }
        Ok(items)
    }

    /// The rows with more than one piece, ascending.
    pub fn split_rows(&self) -> impl Iterator<Item = u64> {
        self.piece_rows.chunk_by(|a, b| a == b).map(|same| same[0])
    }

    /// The group of each item.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn item_groups(&self, group_of: &[u32]) -> Result<Vec<u32>, Error> {
        let mut items = with_room("groups of pieces", group_of.len() + self.piece_rows.len())?;
        items.extend_from_slice(group_of);
        items.extend(self.piece_rows.iter().map(|&row| group_of[row as usize]));
        Ok(items)
    }

    /// The row of an item, and the item's first token in it, where there are `rows` rows.
    #[inline]
    pub fn locate(&self, item: u64, rows: u64) -> (u64, u32) {
        if item >= rows {
            let piece = (item - rows) as usize;
            return (self.piece_rows[piece], self.piece_starts[piece]);
        }
        (item, self.rows.binary_search(&item).map_or(0, |cut| self.last_starts[cut]))
    }

    /// Replace items by their rows.
    pub fn items_to_rows(&self, items: SequenceIds, rows: u64) -> SequenceIds {
        fn replace<I: Id>(cuts: &Cuts, mut items: Vec<I>, rows: u64) -> Vec<I> {
            items.par_iter_mut().with_min_len(1 << 14).filter(|item| item.to_u64() >= rows).for_each(|item| {
                *item = I::from_index(cuts.piece_rows[(item.to_u64() - rows) as usize] as usize);
            });
            items
        }
        match items {
            _ if self.piece_rows.is_empty() => items,
            SequenceIds::U32(items) => SequenceIds::U32(replace(self, items, rows)),
            SequenceIds::I64(items) => SequenceIds::I64(replace(self, items, rows)),
        }
    }

    /// The first token of each item in its row.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn item_starts(&self, items: &SequenceIds, rows: u64) -> Result<Vec<i32>, Error> {
        let mut starts = zeros::<i32>(PIECES, items.len())?;
        with_ids!(items, items => starts.par_iter_mut().zip(items).for_each(|(start, item)| {
            *start = self.locate(item.to_u64(), rows).1 as i32;
        }));
        Ok(starts)
    }

    /// Check cuts read from a file.
    pub fn check(&self, rows: u64) -> Result<(), PlanFault> {
        let same_length = |array, found: usize, expected: usize| {
            let (found, expected) = (found as u64, expected as u64);
            if found == expected { Ok(()) } else { Err(PlanFault::ArrayLength { array, found, expected }) }
        };
        same_length("cut_rests", self.last_starts.len(), self.rows.len())?;
        same_length("piece_starts", self.piece_starts.len(), self.piece_rows.len())?;
        let out_of_order = |array, index: usize| Err(PlanFault::OutOfOrder { array, index: index as u64 });
        if let Some(at) = self.rows.windows(2).position(|pair| pair[0] >= pair[1]) {
            return out_of_order("cut_rows", at + 1);
        }
        if let Some(at) = self.rows.iter().position(|&row| row >= rows) {
            return out_of_order("cut_rows", at);
        }
        if let Some(at) = self.last_starts.iter().position(|&start| start == 0 || start > i32::MAX as u32) {
            return out_of_order("cut_rests", at);
        }
        let mut previous = None;
        for (at, piece) in self.piece_rows.iter().zip(&self.piece_starts).enumerate() {
            let before_last = self.rows.binary_search(piece.0).is_ok_and(|cut| *piece.1 < self.last_starts[cut]);
            if !before_last || previous.is_some_and(|previous| previous >= piece) {
                return out_of_order("piece_starts", at);
            }
            previous = Some(piece);
        }
        Ok(())
    }
}

impl<'a> PieceStarts<'a> {
    /// The starts of a row's pieces; `None` where offsets are negative, descend, or point outside.
    fn of_row(&self, row: usize) -> Option<&'a [i32]> {
        let offset = |at: usize| usize::try_from(*self.offsets.get(at)?).ok();
        self.starts.get(offset(row)?..offset(row + 1)?)
    }
}
