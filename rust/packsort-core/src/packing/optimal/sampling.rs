//! Full patterns by chance.

use super::{Columns, Knapsack};

/// Up to `number` patterns that fill a pack to the last token, drawn so that each size comes about as often as it is
/// there.
///
/// Where a plan without waste exists the program has nearly one such plan among a few of these for each size, which
/// spares most of the rounds of pricing: those improve one end of a plan at the cost of another for long. The same
/// numbers give the same patterns on any machine.
pub fn sample(knapsack: &Knapsack<'_>, counts: &[u64], number: usize) -> Columns {
    let Knapsack { sizes, capacity, max_sequences } = *knapsack;
    let mut ends = Vec::with_capacity(counts.len());
    let (mut sequences, mut tokens, mut most) = (0_u64, 0_u128, 1);
    for (&size, &count) in sizes.iter().zip(counts) {
        sequences += count;
        tokens += u128::from(size) * u128::from(count);
        most = most.max(count);
        ends.push(sequences);
    }
    if sequences == 0 {
        return Columns::default();
    }
    let mut item_of = vec![u32::MAX; capacity as usize + 1];
    for (item, &size) in (0..).zip(sizes) {
        item_of[size as usize] = item;
    }
    let usual = (u128::from(capacity) * u128::from(sequences) / tokens) as u64;
    let mut random = Random(0);
    let mut patterns = vec![];
    for held in [usual, usual + 1] {
        let held = held.clamp(1, max_sequences) as usize;
        let until = patterns.len() + number / 2;
        for _ in 0..number * TRIES {
            let mut room = u64::from(capacity);
            let mut pattern = Vec::with_capacity(held);
            while pattern.len() + 1 < held && room > 0 {
                let item = ends.partition_point(|&end| end <= random.below(sequences));
                room = room.saturating_sub(sizes[item].into());
                pattern.push((item as u32, 1));
            }
            let last = item_of[room as usize];
            if room > 0 && last != u32::MAX && random.below(most) < counts[last as usize] {
                pattern.push((last, 1));
                patterns.push(pattern);
                if patterns.len() >= until {
                    break;
                }
            }
        }
    }
    Columns::of_slots(patterns)
}

const TRIES: usize = 8;

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * u128::from(end)) >> 64) as u64
    }
}
