//! Draw full patterns at random.
//!
//! ```text
//! repeat:
//!     draw sequences until one is missing to the usual number of a pack
//!     if a size fits the room that is left exactly: keep the pattern, as likely as that size is frequent
//! ```
//!
//! Where a plan without waste exists, the linear program finds a nearly optimal one among a few such patterns for each
//! size. That saves most rounds of pricing, which for long improve one end of a plan at the cost of another.

use super::{Knapsack, SizePatterns};
use crate::Error;
use crate::memory::{filled, with_room};

/// Draw up to `number` patterns that fill a pack to the last token. Sizes occur about as often as their counts say.
///
/// The same arguments give the same patterns on every machine.
///
/// # Errors
/// Counts that are not one for each size.
///
/// # Complexity
/// O(number x sequences of a pack).
pub fn sample(knapsack: &Knapsack<'_>, counts: &[u64], number: usize) -> Result<SizePatterns, Error> {
    knapsack.check_counts(counts)?;
    let (sizes, capacity) = (knapsack.sizes(), u64::from(knapsack.capacity()));
    let mut ends = with_room("counts by size", counts.len())?;
    let (mut sequences, mut tokens, mut most) = (0_u64, 0_u128, 1);
    for (&size, &count) in sizes.iter().zip(counts) {
        sequences += count;
        tokens += u128::from(size) * u128::from(count);
        most = most.max(count);
        ends.push(sequences);
    }
    if sequences == 0 {
        return Ok(SizePatterns::default());
    }
    let mut item_of = filled("items by size", sizes.last().map_or(0, |&size| size as usize + 1), NONE)?;
    for (item, &size) in (0..).zip(sizes) {
        item_of[size as usize] = item;
    }
    let usual = (u128::from(capacity) * u128::from(sequences) / tokens) as u64;
    let mut random = Random(0);
    let mut patterns = vec![];
    for held in [usual, usual + 1] {
        let held = held.clamp(1, knapsack.max_sequences()) as usize;
        let until = patterns.len() + number / 2;
        for _ in 0..number.saturating_mul(TRIES) {
            let mut room = capacity;
            let mut pattern = vec![];
            while pattern.len() + 1 < held && room > 0 {
                let item = ends.partition_point(|&end| end <= random.below(sequences));
                room = room.saturating_sub(sizes[item].into());
                pattern.push((item as u32, 1));
            }
            let last = item_of.get(room as usize).copied().unwrap_or(NONE);
            if room > 0 && last != NONE && random.below(most) < counts[last as usize] {
                pattern.push((last, 1));
                patterns.push(pattern);
                if patterns.len() >= until {
                    break;
                }
            }
        }
    }
    Ok(SizePatterns::of_slots(patterns))
}

const NONE: u32 = u32::MAX;

/// Patterns drawn for each one that is asked for, at most.
const TRIES: usize = 8;

/// SplitMix64 (Steele, Lea and Flood, 2014, "Fast splittable pseudorandom number generators").
struct Random(u64);

impl Random {
    /// Draw a number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * u128::from(end)) >> 64) as u64
    }
}
