/// Set of lengths as bits, with "largest member up to i" in a few word operations.
///
/// A second level has one bit a word, so that a gap of any width is crossed in constant time for all but the
/// longest of tables.
pub(crate) struct LengthSet {
    words: Vec<u64>,
    used: Vec<u64>, // bit w is set where words[w] is not 0
}

impl LengthSet {
    /// An empty set of lengths `0..=max`.
    pub(crate) fn new(max: usize) -> Self {
        let words = max / 64 + 1;
        Self { words: vec![0; words], used: vec![0; words / 64 + 1] }
    }

    pub(crate) fn insert(&mut self, length: usize) {
        self.words[length / 64] |= 1 << (length % 64);
        self.used[length / 4096] |= 1 << (length / 64 % 64);
    }

    pub(crate) fn remove(&mut self, length: usize) {
        let word = &mut self.words[length / 64];
        *word &= !(1 << (length % 64));
        if *word == 0 {
            self.used[length / 4096] &= !(1 << (length / 64 % 64));
        }
    }

    /// The largest member that is not above `i`.
    pub(crate) fn largest_up_to(&self, i: usize) -> Option<usize> {
        let word = i / 64;
        let bits = self.words[word] & up_to(i % 64);
        if bits != 0 {
            return Some(word * 64 + highest(bits));
        }
        let word = word.checked_sub(1)?;
        let mut block = word / 64;
        let mut bits = self.used[block] & up_to(word % 64);
        while bits == 0 {
            block = block.checked_sub(1)?;
            bits = self.used[block];
        }
        let word = block * 64 + highest(bits);
        Some(word * 64 + highest(self.words[word]))
    }
}

/// Bits 0 to `bit`.
fn up_to(bit: usize) -> u64 {
    u64::MAX >> (63 - bit)
}

fn highest(bits: u64) -> usize {
    63 - bits.leading_zeros() as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn length_set_agrees_with_an_ordered_set(
            inserted in prop::collection::vec(0_usize..20_000, 0..60),
            removed in prop::collection::vec(0_usize..20_000, 0..60),
            asked in prop::collection::vec(0_usize..20_000, 1..60),
        ) {
            let (mut set, mut model) = (LengthSet::new(20_000), BTreeSet::new());
            for &i in &inserted {
                set.insert(i);
                model.insert(i);
            }
            for &i in removed.iter().chain(inserted.iter().step_by(2)) {
                set.remove(i);
                model.remove(&i);
            }
            for &i in asked.iter().chain(&inserted).chain(&[0, 20_000]) {
                prop_assert_eq!(set.largest_up_to(i), model.range(..=i).next_back().copied());
            }
        }
    }
}
