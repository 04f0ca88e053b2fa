//! Sequences that are cut into pieces, which are planned like sequences.

use rayon::prelude::*;

use crate::Error;
use crate::histogram::sort::{Id, Order};
use crate::lengths::{Length, Lengths, with_slice};
use crate::plan::{Excess, Starts};

/// Which sequences are cut, and where.
///
/// Items `0..rows` are the rows: of a cut one its last piece. Items from `rows` on are the other pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// The rows whose last piece does not begin with their first token, ascending.
    pub rows: Vec<u64>, // (cut,)
    /// Where the last piece of each begins.
    pub rests: Vec<u32>, // (cut,)
    /// The row of each other piece, ascending.
    pub piece_rows: Vec<u64>, // (pieces,)
    /// Where it begins, ascending within a row.
    pub piece_starts: Vec<u32>, // (pieces,)
}

/// What becomes of one sequence that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Long {
    /// It stays as it is.
    Keep,
    /// It is cut into full pieces and a rest.
    Split,
    /// It keeps its end.
    KeepEnd,
}

impl Cuts {
    /// Cuts what is longer than `limit`, as `what` says of each row.
    ///
    /// # Errors
    /// A length that is zero or negative, or over `i32::MAX`.
    pub(crate) fn long(lengths: &Lengths, limit: u32, what: impl Fn(usize) -> Long) -> Result<(Self, Excess), Error> {
        let mut cuts = Self::default();
        let mut excess = Excess::default();
        for (first_row, chunk) in lengths.pieces(0..lengths.len()) {
            with_slice!(chunk, s => for (&length, row) in s.iter().zip(first_row..) {
                if let Some(length) = length.not_positive() {
                    return Err(Error::NotPositive { row: row as u64, length });
                }
                let length = length.wrapped();
                if length <= limit.into() {
                    continue;
                }
                let what = what(row);
                if what == Long::Keep {
                    continue;
                }
                let row = row as u64;
                if length > i32::MAX as u64 {
                    return Err(Error::TooLong { row, length, max_length: i32::MAX as u32 });
                }
                cuts.rows.push(row);
                if what == Long::KeepEnd {
                    cuts.rests.push(length as u32 - limit);
                    excess.sequences += 1;
                    excess.tokens += length - u64::from(limit);
                    continue;
                }
                let full = (length as u32 - 1) / limit;
                cuts.rests.push(full * limit);
                for piece in 0..full {
                    cuts.piece_rows.push(row);
                    cuts.piece_starts.push(piece * limit);
                }
            })
        }
        Ok((cuts, excess))
    }

    /// Cuts rows where `starts` says; a row of no tokens has no piece and is left out, which is counted.
    ///
    /// # Errors
    /// Starts that do not begin with 0, do not ascend, or lie beyond the row; a piece longer than `limit`; another
    /// number of rows.
    pub(crate) fn at(lengths: &Lengths, limit: u32, starts: Starts) -> Result<(Self, Excess), Error> {
        if starts.offsets.len() != lengths.len() + 1 || starts.offsets[lengths.len()] as usize > starts.values.len() {
            return Err(Error::Inconsistent("piece starts are not one list for each length"));
        }
        let mut cuts = Self::default();
        let mut excess = Excess::default();
        for (first_row, chunk) in lengths.pieces(0..lengths.len()) {
            with_slice!(chunk, s => for (&length, row) in s.iter().zip(first_row..) {
                let own = &starts.values[starts.offsets[row] as usize..starts.offsets[row + 1] as usize];
                let (length, row) = (length.wrapped(), row as u64);
                if length == 0 && own.is_empty() {
                    excess.sequences += 1;
                    continue;
                }
                let ends = own.iter().skip(1).map(|&start| i64::from(start)).chain([length as i64]);
                if own.first() != Some(&0) || length > i32::MAX as u64 {
                    return Err(Error::PieceStarts { row });
                }
                for (&start, end) in own.iter().zip(ends) {
                    if end <= i64::from(start) {
                        return Err(Error::PieceStarts { row });
                    }
                    let piece = (end - i64::from(start)) as u64;
                    if piece > limit.into() {
                        return Err(Error::PieceTooLong { row, start: start as u32, length: piece, max_length: limit });
                    }
                }
                let (rest, others) = own.split_last().expect("the first start is 0");
                if *rest > 0 {
                    cuts.rows.push(row);
                    cuts.rests.push(*rest as u32);
                    cuts.piece_rows.extend(others.iter().map(|_| row));
                    cuts.piece_starts.extend(others.iter().map(|&start| start as u32));
                }
            })
        }
        Ok((cuts, excess))
    }

    /// Cuts more: each of `more` is a row and the tokens of each piece but its last, from where its last piece began.
    pub(crate) fn further(&self, more: impl Iterator<Item = (u64, Vec<u32>)>) -> Self {
        let mut rests: Vec<(u64, u32)> = self.rows.iter().copied().zip(self.rests.iter().copied()).collect();
        let mut pieces: Vec<(u64, u32)> =
            self.piece_rows.iter().copied().zip(self.piece_starts.iter().copied()).collect();
        for (row, lengths) in more {
            let known = self.rows.binary_search(&row);
            let mut at = known.map_or(0, |cut| self.rests[cut]);
            for length in lengths {
                pieces.push((row, at));
                at += length;
            }
            match known {
                Ok(cut) => rests[cut].1 = at,
                Err(_) => rests.push((row, at)),
            }
        }
        rests.sort_unstable();
        pieces.sort_unstable();
        let ((rows, rests), (piece_rows, piece_starts)) = (rests.into_iter().unzip(), pieces.into_iter().unzip());
        Self { rows, rests, piece_rows, piece_starts }
    }

    /// Tokens of each item; [`ABSENT`] for rows of no tokens.
    pub(crate) fn items(&self, lengths: &Lengths) -> Vec<u32> {
        let mut items = Vec::with_capacity(lengths.len() + self.piece_rows.len());
        for (_, chunk) in lengths.pieces(0..lengths.len()) {
            with_slice!(chunk, s => items.extend(s.iter().map(|length| match length.wrapped() {
                0 => ABSENT,
                length => length.min((ABSENT - 1).into()) as u32,
            })));
        }
        for (&row, rest) in self.rows.iter().zip(&self.rests) {
            items[row as usize] -= rest;
        }
        let mut cut = 0;
        for (i, (&row, &start)) in self.piece_rows.iter().zip(&self.piece_starts).enumerate() {
            while self.rows[cut] < row {
                cut += 1;
            }
            let next =
                if self.piece_rows.get(i + 1) == Some(&row) { self.piece_starts[i + 1] } else { self.rests[cut] };
            items.push(next - start);
        }
        items
    }

    /// Number of rows in more than one piece.
    pub(crate) fn num_split(&self) -> u64 {
        self.split_rows().count() as u64
    }

    /// The rows in more than one piece, ascending.
    pub(crate) fn split_rows(&self) -> impl Iterator<Item = u64> {
        self.piece_rows.chunk_by(|a, b| a == b).map(|same| same[0])
    }

    /// The groups of items, from those of rows.
    pub(crate) fn groups(&self, of: &[u32]) -> Vec<u32> {
        of.iter().copied().chain(self.piece_rows.iter().map(|&row| of[row as usize])).collect()
    }

    /// The row of an item, and where in it the item begins. `rows` is the number of rows.
    #[inline]
    pub(crate) fn locate(&self, item: u64, rows: u64) -> (u64, u32) {
        if item >= rows {
            let piece = (item - rows) as usize;
            return (self.piece_rows[piece], self.piece_starts[piece]);
        }
        (item, self.rows.binary_search(&item).map_or(0, |cut| self.rests[cut]))
    }

    /// The rows of items.
    pub(crate) fn rows_of(&self, items: Order, rows: u64) -> Order {
        fn map<I: Id>(cuts: &Cuts, mut items: Vec<I>, rows: u64) -> Vec<I> {
            items.par_iter_mut().with_min_len(1 << 14).filter(|item| item.to_u64() >= rows).for_each(|item| {
                *item = I::from_row(cuts.piece_rows[(item.to_u64() - rows) as usize] as usize);
            });
            items
        }
        match items {
            _ if self.piece_rows.is_empty() => items,
            Order::U32(items) => Order::U32(map(self, items, rows)),
            Order::I64(items) => Order::I64(map(self, items, rows)),
        }
    }

    /// Where each item begins in its row.
    pub(crate) fn starts_of(&self, items: &Order, rows: u64) -> Vec<i32> {
        let start = |item| self.locate(item, rows).1 as i32;
        match items {
            Order::U32(items) => items.par_iter().map(|&item| start(item.into())).collect(),
            Order::I64(items) => items.par_iter().map(|&item| start(item as u64)).collect(),
        }
    }

    /// Checks cuts that come from a file.
    pub(crate) fn check(&self, rows: u64) -> Result<(), Error> {
        let pieces = || self.piece_rows.iter().zip(&self.piece_starts);
        let sound = self.rows.len() == self.rests.len()
            && self.piece_rows.len() == self.piece_starts.len()
            && self.rows.is_sorted_by(|a, b| a < b)
            && self.rows.iter().all(|&row| row < rows)
            && self.rests.iter().all(|&start| 0 < start && start <= i32::MAX as u32)
            && pieces().is_sorted_by(|a, b| a < b)
            && pieces().all(|(row, start)| self.rows.binary_search(row).is_ok_and(|cut| *start < self.rests[cut]));
        if sound { Ok(()) } else { Err(Error::Inconsistent("the cuts of sequences are out of order")) }
    }
}

/// What stands for the tokens of a row that is not planned: more than any pack holds.
pub(crate) const ABSENT: u32 = u32::MAX;
