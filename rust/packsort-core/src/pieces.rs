//! Sequences over `max_length`, cut into pieces that are planned like sequences.

use crate::Error;
use crate::lengths::{Length, Lengths, with_slice};
use crate::order::{Id, Order};

/// Which sequences are cut, and where.
///
/// Items `0..rows` are the rows: of a cut one what is left after its full pieces. Items from `rows` on are the full
/// pieces, each as long as a pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// The rows that are cut, ascending.
    pub rows: Vec<u64>, // (cut,)
    /// Where what is left of each begins.
    pub rests: Vec<u32>, // (cut,)
    /// The row of each full piece.
    pub full_rows: Vec<u64>, // (full pieces,)
    /// Where it begins.
    pub full_starts: Vec<u32>, // (full pieces,)
}

impl Cuts {
    /// Cuts what is over `max_length`, and the tokens of each item; no item where nothing is.
    ///
    /// # Errors
    /// A length that is zero or negative, or over `i32::MAX`.
    pub(crate) fn of(lengths: &Lengths, max_length: u32) -> Result<(Self, Vec<u32>), Error> {
        let mut cuts = Self::default();
        for (first_row, chunk) in lengths.pieces(0..lengths.len()) {
            with_slice!(chunk, s => for (&length, row) in s.iter().zip(first_row as u64..) {
                if let Some(length) = length.not_positive() {
                    return Err(Error::NotPositive { row, length });
                }
                let length = length.wrapped();
                if length > i32::MAX as u64 {
                    return Err(Error::TooLong { row, length, max_length: i32::MAX as u32 });
                }
                if length > max_length.into() {
                    let full = (length as u32 - 1) / max_length;
                    cuts.rows.push(row);
                    cuts.rests.push(full * max_length);
                    for piece in 0..full {
                        cuts.full_rows.push(row);
                        cuts.full_starts.push(piece * max_length);
                    }
                }
            })
        }
        let mut items = vec![];
        if !cuts.rows.is_empty() {
            items.reserve(lengths.len() + cuts.full_rows.len());
            for (_, chunk) in lengths.pieces(0..lengths.len()) {
                with_slice!(chunk, s => items.extend(s.iter().map(|length| length.wrapped() as u32)));
            }
            for (&row, rest) in cuts.rows.iter().zip(&cuts.rests) {
                items[row as usize] -= rest;
            }
            items.resize(lengths.len() + cuts.full_rows.len(), max_length);
        }
        Ok((cuts, items))
    }

    /// The groups of items, from those of rows.
    pub(crate) fn groups(&self, of: &[u32]) -> Vec<u32> {
        of.iter().copied().chain(self.full_rows.iter().map(|&row| of[row as usize])).collect()
    }

    /// The row of an item, and where in it the item begins. `rows` is the number of rows.
    #[inline]
    pub(crate) fn locate(&self, item: u64, rows: u64) -> (u64, u32) {
        if item >= rows {
            let piece = (item - rows) as usize;
            return (self.full_rows[piece], self.full_starts[piece]);
        }
        (item, self.rows.binary_search(&item).map_or(0, |cut| self.rests[cut]))
    }

    /// The rows of items.
    pub(crate) fn rows_of(&self, items: Order, rows: u64) -> Order {
        fn map<I: Id>(cuts: &Cuts, mut items: Vec<I>, rows: u64) -> Vec<I> {
            for item in &mut items {
                *item = I::from_row(cuts.locate(item.to_u64(), rows).0 as usize);
            }
            items
        }
        match items {
            _ if self.rows.is_empty() => items,
            Order::U32(items) => Order::U32(map(self, items, rows)),
            Order::I64(items) => Order::I64(map(self, items, rows)),
        }
    }

    /// Where each item begins in its row.
    pub(crate) fn starts_of(&self, items: &Order, rows: u64) -> Vec<i32> {
        let start = |item| self.locate(item, rows).1 as i32;
        match items {
            Order::U32(items) => items.iter().map(|&item| start(item.into())).collect(),
            Order::I64(items) => items.iter().map(|&item| start(item as u64)).collect(),
        }
    }

    /// Checks cuts that come from a file.
    pub(crate) fn check(&self, rows: u64) -> Result<(), Error> {
        let sound = self.rows.len() == self.rests.len()
            && self.full_rows.len() == self.full_starts.len()
            && self.rows.is_sorted_by(|a, b| a < b)
            && self.rows.iter().chain(&self.full_rows).all(|&row| row < rows)
            && self.rests.iter().chain(&self.full_starts).all(|&start| start <= i32::MAX as u32);
        if sound { Ok(()) } else { Err(Error::Inconsistent("the cuts of long sequences are out of order")) }
    }
}
