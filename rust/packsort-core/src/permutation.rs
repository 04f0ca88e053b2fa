//! Shuffles that need no memory: the place of any element is computed alone.

use crate::Error;
use crate::memory::collected;

/// A permutation of `0..len`, chosen by a key.
///
/// Five rounds of multiply, add and shift-xor, each a bijection of the next power of two. A value outside `0..len` goes
/// through the rounds again ("cycle walking": Black and Rogaway, 2002, "Ciphers with arbitrary finite domains"). The
/// round keys come from SplitMix64 (Steele, Lea and Flood, 2014). The permutation shuffles well; it is no cipher.
///
/// # Examples
/// ```
/// let shuffle = packsort_core::Permutation::new(5, 42);
/// let mut places: Vec<u64> = (0..5).filter_map(|i| shuffle.get(i)).collect();
/// places.sort();
/// assert_eq!(places, [0, 1, 2, 3, 4]);
/// assert_eq!(shuffle.get(5), None);
/// ```
#[derive(Clone, Debug)]
pub struct Permutation {
    len: u64,
    mask: u64,
    shift: u32,
    keys: [u64; ROUNDS],
}

/// With fewer rounds neighbours stay recognisable: see the tests.
const ROUNDS: usize = 5;

impl Permutation {
    /// Choose a permutation of `0..len` by a key.
    ///
    /// # Complexity
    /// O(1).
    pub fn new(len: u64, key: u64) -> Self {
        let bits = 64 - len.saturating_sub(1).leading_zeros();
        let mut state = key;
        Self {
            len,
            mask: if bits == 64 { u64::MAX } else { (1 << bits) - 1 },
            shift: bits.div_ceil(2).max(1),
            keys: std::array::from_fn(|_| split_mix(&mut state)),
        }
    }

    /// The permutation that leaves every element in its place.
    pub(crate) fn identity(len: u64) -> Self {
        // Factors of 1, nothing added, and a shift that leaves no bit.
        Self { shift: u64::BITS - 1, keys: [0; ROUNDS], ..Self::new(len.min(1 << 62), 0) }
    }

    /// The place of element `i`; `None` outside `0..len`.
    ///
    /// # Complexity
    /// O(1) on average.
    pub fn get(&self, i: u64) -> Option<u64> {
        self.has(i).then(|| self.at(i))
    }

    /// The place of element `i`, which must be below the length: outside it the walk may never end.
    #[inline]
    pub(crate) fn at(&self, i: u64) -> u64 {
        debug_assert!(self.has(i));
        let mut x = self.step(i);
        while !self.has(x) {
            x = self.step(x);
        }
        x
    }

    /// The way back from places to elements.
    pub(crate) fn inverse(&self) -> Inverse {
        let Self { len, mask, shift, keys } = *self;
        Inverse {
            len,
            mask,
            shift,
            rounds: std::array::from_fn(|i| (inverse_of(keys[ROUNDS - 1 - i] | 1), keys[ROUNDS - 1 - i] >> 32)),
        }
    }

    /// Take one step of the walk from an element to its place. The walk ends at the first value inside `0..len`.
    #[inline(always)]
    pub(crate) fn step(&self, mut x: u64) -> u64 {
        for key in self.keys {
            x = x.wrapping_mul(key | 1).wrapping_add(key >> 32) & self.mask;
            x ^= x >> self.shift;
        }
        x
    }

    /// Whether `x` is inside `0..len`.
    #[inline(always)]
    pub(crate) fn has(&self, x: u64) -> bool {
        x < self.len
    }
}

/// The inverse of a [`Permutation`].
#[derive(Clone, Debug)]
pub(crate) struct Inverse {
    len: u64,
    mask: u64,
    shift: u32,
    rounds: [(u64, u64); ROUNDS], // the inverse of each factor, and what was added; last round first
}

impl Inverse {
    /// The element at a place, which must be below the length.
    #[inline]
    pub(crate) fn at(&self, place: u64) -> u64 {
        debug_assert!(place < self.len);
        let mut x = self.step(place);
        while x >= self.len {
            x = self.step(x);
        }
        x
    }

    #[inline(always)]
    fn step(&self, mut x: u64) -> u64 {
        for (factor, added) in self.rounds {
            x ^= x >> self.shift; // shifts by half of the bits or more undo themselves
            x = x.wrapping_sub(added).wrapping_mul(factor) & self.mask;
        }
        x
    }
}

/// The inverse of an odd number modulo 2^64, by Newton's method: each step doubles the number of bits that are right.
fn inverse_of(odd: u64) -> u64 {
    let mut inverse = odd; // right in three bits
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
    }
    inverse
}

/// Shuffle `0..len` as `seed`, `epoch` and `stream` choose. The numbers are the same on every machine and in every
/// release.
///
/// # Examples
/// ```
/// assert_eq!(packsort_core::shuffled(5, 0, 0, 0)?, [2, 1, 4, 0, 3]);
/// # Ok::<(), packsort_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::OutOfMemory`].
///
/// # Complexity
/// O(len).
pub fn shuffled(len: u64, seed: u64, epoch: u64, stream: u64) -> Result<Vec<i64>, Error> {
    let shuffle = Permutation::new(len, key([seed ^ LOADER, epoch, stream]));
    collected("an order of packs", (0..len).map(|i| shuffle.at(i) as i64))
}

/// Separates these shuffles from those of plans and schedules with the same seed.
const LOADER: u64 = 0x6c6f_6164_6572;

/// Mix several numbers into a key.
pub(crate) fn key(parts: [u64; 3]) -> u64 {
    parts.into_iter().fold(0, |mut state, part| {
        state ^= part;
        split_mix(&mut state)
    })
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_place_is_taken_once(len in 1_u64..3000, key: u64) {
            let shuffle = Permutation::new(len, key);
            let mut seen = vec![false; len as usize];
            for i in 0..len {
                let place = shuffle.at(i) as usize;
                prop_assert!(!seen[place]);
                seen[place] = true;
            }
        }
    }

    proptest! {
        #[test]
        fn the_inverse_leads_back(
            len in prop_oneof![1_u64..3000, (0_u32..64).prop_map(|bits| 1 << bits), 1..=u64::MAX],
            key: u64,
            among: u64,
        ) {
            let shuffle = Permutation::new(len, key);
            let i = among % len;
            prop_assert_eq!(shuffle.inverse().at(shuffle.at(i)), i);
            prop_assert_eq!(shuffle.at(shuffle.inverse().at(i)), i);
        }
    }

    proptest! {
        #[test]
        fn shuffles_are_permutations_and_differ(len in 0_u64..200, seed: u64, epoch in 0_u64..9) {
            let mut one = shuffled(len, seed, epoch, 0).unwrap();
            prop_assert!(len < 20 || one != shuffled(len, seed, epoch + 1, 0).unwrap());
            prop_assert!(len < 20 || one != shuffled(len, seed, epoch, 1).unwrap());
            one.sort();
            prop_assert_eq!(one, (0..len as i64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn all_orders_of_a_few_come_about_equally_often() {
        for (len, orders) in [(2_u64, 2_usize), (3, 6), (4, 24)] {
            let mut seen: HashMap<Vec<u64>, f64> = HashMap::new();
            let draws = orders * 2000;
            for seed in 0..draws as u64 {
                let shuffle = Permutation::new(len, key([seed, 0, 7]));
                *seen.entry((0..len).map(|i| shuffle.at(i)).collect()).or_default() += 1.0;
            }
            assert_eq!(seen.len(), orders, "{len}: {seen:?}");
            for count in seen.values() {
                assert!((0.5..2.0).contains(&(count / 2000.0)), "{len}: {seen:?}");
            }
        }
    }

    #[test]
    fn any_place_is_about_equally_likely() {
        for len in [10_u64, 100, 1000] {
            let draws = 400 * len;
            for i in [0, len / 3, len - 1] {
                let mut hits = vec![0.0; len as usize];
                for seed in 0..draws {
                    hits[Permutation::new(len, key([seed, 3, 1])).at(i) as usize] += 1.0;
                }
                let chi: f64 = hits.iter().map(|h: &f64| (h - 400.0).powi(2) / 400.0).sum();
                // mean len - 1, standard deviation sqrt(2 len)
                assert!(chi < len as f64 + 8.0 * (2.0 * len as f64).sqrt(), "{len} {i}: {chi}");
            }
        }
    }

    #[test]
    fn neighbours_do_not_stay_together() {
        for len in [1000_u64, 65_536, 1_000_003] {
            for seed in 0..20 {
                let shuffle = Permutation::new(len, key([seed, 0, 0]));
                let n = len.min(20_000);
                let mut steps: HashMap<u64, u32> = HashMap::new();
                for i in 0..n - 1 {
                    let step = (shuffle.at(i + 1) + len - shuffle.at(i)) % len;
                    *steps.entry(step).or_default() += 1;
                }
                // an affine shuffle has one or two steps; a random one has each about n / len times
                let most = f64::from(*steps.values().max().unwrap());
                assert!(most < 40.0 + 8.0 * n as f64 / len as f64, "{len} {seed}: {most}");
            }
        }
    }
}
