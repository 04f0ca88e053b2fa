//! Pieces of cut sequences in input order among items of their length.
//!
//! Sorting leaves the items of a class in the order of their numbers: last pieces by row, then all other pieces by row
//! and start (see [`Cuts`]). In input order a piece stands where its sequence does, so these two runs are merged:
//!
//! ```text
//! other pieces of rows up to a row, that row's last piece, other pieces of later rows, ...
//! ```
//!
//! Cost: O(items) of the classes that have both, over all threads.

use rayon::prelude::*;

use crate::histogram::count::split;
use crate::histogram::cuts::Cuts;
use crate::ids::{Id, SequenceIds, with_ids};
use crate::memory::copied;
use crate::parallel::split_at_lengths;
use crate::{Classes, Error};

impl Cuts {
    /// Put the items of each class into the order of (row, start), where there are `rows` rows.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn order_pieces(&self, items: &mut SequenceIds, classes: &Classes, rows: u64) -> Result<(), Error> {
        if self.piece_rows.is_empty() {
            return Ok(());
        }
        with_ids!(items, items => self.order(items, classes, rows))
    }

    fn order<I: Id>(&self, items: &mut [I], classes: &Classes, rows: u64) -> Result<(), Error> {
        let shares = (rayon::current_num_threads() * 4).min(classes.len());
        let first = |class: usize| classes.first[class] as usize;
        let own: Vec<_> = (0..shares).map(|share| split(classes.len(), shares, share)).collect();
        let lengths: Vec<usize> = own.iter().map(|own| first(own.end) - first(own.start)).collect();
        own.into_par_iter().zip(split_at_lengths(items, &lengths)).try_for_each(|(own, items)| {
            let start = first(own.start);
            own.into_iter()
                .try_for_each(|class| self.merge(&mut items[first(class) - start..first(class + 1) - start], rows))
        })
    }

    /// Merge the two runs of a class from the end, where a copy of the second has made room.
    fn merge<I: Id>(&self, items: &mut [I], rows: u64) -> Result<(), Error> {
        let mut lasts = items.partition_point(|item| item.to_u64() < rows);
        if lasts == 0 || lasts == items.len() {
            return Ok(());
        }
        let mut others = copied("pieces of equal length", &items[lasts..])?;
        while let Some(&other) = others.last() {
            let row = self.piece_rows[(other.to_u64() - rows) as usize];
            let at = lasts + others.len() - 1;
            // The last piece of a row comes after its other pieces.
            if lasts > 0 && items[lasts - 1].to_u64() >= row {
                lasts -= 1;
                items[at] = items[lasts];
            } else {
                items[at] = other;
                others.pop();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Lengths;
    use crate::histogram::count::count;
    use crate::histogram::cuts::TooLong;
    use crate::histogram::sort::sort;
    use crate::{EmptySequences, Overlong};

    proptest! {
        #[test]
        fn equal_lengths_are_in_input_order(lengths in prop::collection::vec(1_i64..60, 0..80), limit in 1_u32..12) {
            let (lengths, rows) = (Lengths::from(&lengths[..]), lengths.len() as u64);
            let (cuts, _) = Cuts::of_too_long(&lengths, limit, EmptySequences::Error, |_| TooLong::Split).unwrap();
            let item_lengths = cuts.item_lengths(&lengths).unwrap();
            let pieces = Lengths::from(&item_lengths[..]);
            let (counts, shares) = count::<u32>(&pieces, limit, Overlong::Error, EmptySequences::Error).unwrap();
            let classes = Classes::from_histogram(&counts.by_length).unwrap();
            let mut items = SequenceIds::U32(sort(&pieces, shares, Overlong::Error).unwrap());
            cuts.order_pieces(&mut items, &classes, rows).unwrap();
            let found: Vec<(u32, (u64, u32))> =
                items.iter().map(|item| (item_lengths[item as usize], cuts.locate(item, rows))).collect();
            let mut sorted = found.clone();
            sorted.sort_unstable();
            prop_assert_eq!(found, sorted);
        }
    }
}
