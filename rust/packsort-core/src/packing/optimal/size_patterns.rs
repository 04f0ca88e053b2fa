//! Patterns over distinct sizes.

use crate::Error;
use crate::error::PlanFault;

/// Patterns of packs. A pattern holds so many copies of each of its items; an item is the index of a distinct size.
///
/// # Examples
/// ```
/// use packsort_core::optimal::SizePatterns;
///
/// // Two of the smallest size and one of the next; then three of the next.
/// let patterns = SizePatterns::new(vec![0, 2, 3], vec![0, 1, 1], vec![2, 1, 3])?;
/// assert_eq!(patterns.len(), 2);
/// assert_eq!(patterns.pattern(0).collect::<Vec<_>>(), [(0, 2), (1, 1)]);
/// # Ok::<(), packsort_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizePatterns {
    offsets: Vec<usize>, // (patterns + 1,)
    items: Vec<u32>,
    copies: Vec<u32>,
}

impl Default for SizePatterns {
    fn default() -> Self {
        Self { offsets: vec![0], items: vec![], copies: vec![] }
    }
}

impl SizePatterns {
    /// Check patterns given as arrays: pattern `p` holds `copies[k]` of `items[k]` for `k` in
    /// `offsets[p]..offsets[p + 1]`.
    ///
    /// # Errors
    /// Offsets that do not begin with 0, ascend, and end with the number of items; items that do not ascend within a
    /// pattern; copies that are 0 or not one for each item.
    pub fn new(offsets: Vec<usize>, items: Vec<u32>, copies: Vec<u32>) -> Result<Self, Error> {
        let (found, expected) = (copies.len() as u64, items.len() as u64);
        if found != expected {
            return Err(Error::Patterns(PlanFault::ArrayLength { array: "copies", found, expected }));
        }
        let out_of_order =
            |array, index: usize| Err(Error::Patterns(PlanFault::OutOfOrder { array, index: index as u64 }));
        if offsets.first() != Some(&0) {
            return out_of_order("offsets", 0);
        }
        if let Some(pattern) = offsets.windows(2).position(|ends| ends[0] >= ends[1]) {
            return out_of_order("offsets", pattern + 1);
        }
        if offsets.last() != Some(&items.len()) {
            return out_of_order("offsets", offsets.len() - 1);
        }
        for (pattern, ends) in offsets.windows(2).enumerate() {
            let own = ends[0]..ends[1];
            if let Some(place) = items[own.clone()].windows(2).position(|pair| pair[0] >= pair[1]) {
                return out_of_order("items", own.start + place + 1);
            }
            if copies[own].contains(&0) {
                return Err(Error::Patterns(PlanFault::Slot { pattern: pattern as u64 }));
            }
        }
        Ok(Self { offsets, items, copies })
    }

    /// Number of patterns.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// First item of each pattern, and the number of all items: shape (patterns + 1,).
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The items of all patterns, ascending within each.
    pub fn items(&self) -> &[u32] {
        &self.items
    }

    /// Number of copies of each of the [`items`](Self::items).
    pub fn copies(&self) -> &[u32] {
        &self.copies
    }

    /// Iterate over the items of pattern `p`, with their copies.
    ///
    /// # Panics
    /// If `p` is not below the number of patterns.
    pub fn pattern(&self, p: usize) -> impl ExactSizeIterator<Item = (usize, u64)> + DoubleEndedIterator + Clone {
        let own = self.offsets[p]..self.offsets[p + 1];
        self.items[own.clone()].iter().zip(&self.copies[own]).map(|(&item, &copies)| (item as usize, copies.into()))
    }

    /// Add a pattern whose items ascend.
    pub(crate) fn push(&mut self, pattern: impl IntoIterator<Item = (usize, u64)>) {
        for (item, copies) in pattern {
            self.items.push(item as u32);
            self.copies.push(copies as u32);
        }
        self.offsets.push(self.items.len());
    }

    /// Sort patterns whose items come in any order, and keep each pattern once.
    pub(super) fn of_slots(mut patterns: Vec<Vec<(u32, u32)>>) -> Self {
        for pattern in &mut patterns {
            pattern.sort_unstable();
            pattern.dedup_by(|next, slot| {
                let same = next.0 == slot.0;
                slot.1 += if same { next.1 } else { 0 };
                same
            });
        }
        patterns.sort_unstable();
        patterns.dedup();
        let mut sorted = Self::default();
        for pattern in &patterns {
            sorted.push(pattern.iter().map(|&(item, copies)| (item as usize, copies.into())));
        }
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_alike_are_one() {
        let patterns = SizePatterns::of_slots(vec![vec![(2, 1), (0, 1), (2, 1)], vec![(0, 1), (2, 2)], vec![(0, 3)]]);
        assert_eq!(patterns, SizePatterns::new(vec![0, 2, 3], vec![0, 2, 0], vec![1, 2, 3]).unwrap());
    }

    #[test]
    fn contradictions_are_refused() {
        for (offsets, items, copies) in [
            (vec![], vec![], vec![]),
            (vec![1], vec![0], vec![1]),
            (vec![0, 2], vec![0], vec![1]),
            (vec![0, 0, 1], vec![0], vec![1]),
            (vec![0, 1], vec![0], vec![]),
            (vec![0, 1], vec![0], vec![0]),
            (vec![0, 2], vec![1, 1], vec![1, 1]),
            (vec![0, usize::MAX], vec![1], vec![1]),
        ] {
            let found = SizePatterns::new(offsets.clone(), items.clone(), copies.clone());
            assert!(matches!(found, Err(Error::Patterns(_))), "{offsets:?} {items:?} {copies:?}");
        }
    }
}
