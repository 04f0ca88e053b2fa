//! A set of small integers that finds the next smaller or larger member in a few word operations.

use crate::Error;
use crate::memory::zeros;

/// A set of small integers, one bit each.
///
/// A second level has one bit for each word of the first, so that a gap of any width is crossed in constant time in all
/// but the largest sets.
pub(crate) struct Bits {
    words: Vec<u64>,
    used: Vec<u64>, // bit w is set if words[w] is not 0
}

impl Bits {
    /// Build an empty set of numbers `0..=max`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn new(max: usize) -> Result<Self, Error> {
        const BITS: &str = "a set of lengths";
        let words = max / 64 + 1;
        Ok(Self { words: zeros(BITS, words)?, used: zeros(BITS, words / 64 + 1)? })
    }

    /// Insert all numbers below `end`.
    pub(crate) fn insert_below(&mut self, end: usize) {
        fn set_below(words: &mut [u64], end: usize) {
            words[..end / 64].fill(u64::MAX);
            if let Some(word) = words.get_mut(end / 64) {
                *word |= (1 << (end % 64)) - 1;
            }
        }
        set_below(&mut self.words, end);
        set_below(&mut self.used, end.div_ceil(64));
    }

    /// Remove a number.
    pub(crate) fn remove(&mut self, number: usize) {
        let word = &mut self.words[number / 64];
        *word &= !(1 << (number % 64));
        if *word == 0 {
            self.used[number / 4096] &= !(1 << (number / 64 % 64));
        }
    }

    /// The smallest member that is not below `start`.
    #[inline]
    pub(crate) fn from(&self, start: usize) -> Option<usize> {
        let mut word = start / 64;
        let mut bits = self.words.get(word)? & (u64::MAX << (start % 64));
        if bits == 0 {
            let first = word + 1;
            let mut block = first / 64;
            let mut words = self.used.get(block)? & (u64::MAX << (first % 64));
            while words == 0 {
                block += 1;
                words = *self.used.get(block)?;
            }
            word = block * 64 + words.trailing_zeros() as usize;
            bits = self.words[word];
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    /// Iterate over the members below `end`, largest first.
    #[inline]
    pub(crate) fn below(&self, end: usize) -> Below<'_> {
        let word = end / 64;
        let bits = self.words.get(word).map_or(0, |bits| bits & ((1 << (end % 64)) - 1));
        Below { set: self, word, bits }
    }
}

/// The members of a set, largest first.
pub(crate) struct Below<'a> {
    set: &'a Bits,
    word: usize,
    bits: u64, // members of the word that are still to come
}

impl Iterator for Below<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.bits == 0 {
            let used = &self.set.used;
            let mut block = self.word / 64;
            let mut words = used.get(block).map_or(0, |words| words & ((1 << (self.word % 64)) - 1));
            while words == 0 {
                block = block.checked_sub(1)?;
                words = used[block];
            }
            self.word = block * 64 + highest(words);
            self.bits = self.set.words[self.word];
        }
        let bit = highest(self.bits);
        self.bits ^= 1 << bit;
        Some(self.word * 64 + bit)
    }
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
        fn bits_agree_with_an_ordered_set(
            end in 0_usize..20_000,
            others in prop::collection::vec(0_usize..20_000, 0..3000),
            removed in prop::collection::vec(0_usize..20_000, 0..60),
            asked in prop::collection::vec(0_usize..20_000, 1..60),
        ) {
            let (mut set, mut model) = (Bits::new(20_000).unwrap(), BTreeSet::new());
            set.insert_below(end);
            model.extend(0..end);
            for &i in removed.iter().chain(&others) {
                set.remove(i);
                model.remove(&i);
            }
            for &i in asked.iter().chain(&[0, end, 20_000]) {
                prop_assert!(set.below(i + 1).eq(model.range(..=i).rev().copied()));
                prop_assert_eq!(set.below(i).next(), model.range(..i).next_back().copied());
                prop_assert_eq!(set.from(i), model.range(i..).next().copied());
            }
        }
    }
}
