//! Price patterns: find the most valuable patterns, and the lower bound that their value proves.
//!
//! The dual values of the linear program say what a sequence of each size is worth. A pattern worth more than one pack
//! improves the program. The most valuable pattern is an unbounded knapsack:
//!
//! ```text
//! value[room] = max over sizes of value[room - size] + worth[size]
//! ```
//!
//! Lower bound (Farley, 1990, "A note on bounding a class of linear programming problems, including cutting stock
//! problems"): if no pattern is worth more than `v`, every plan needs at least (worth of all sequences) / `v` packs.
//! Dual values are first rounded down to integers, so small that every sum is exact. So rounding cannot lift the bound
//! above the truth.
//!
//! Cost: O(sizes x capacity), times `max_sequences` where the limit matters and is small.

use rayon::prelude::*;

use super::SizePatterns;
use crate::Error;
use crate::memory::{filled, zeros};

/// The sets of sizes that fit a pack.
#[derive(Clone, Copy, Debug)]
pub struct Knapsack<'a> {
    sizes: &'a [u32],
    capacity: u32,
    max_sequences: u64,
}

/// Result of pricing.
#[derive(Clone, Debug, PartialEq)]
pub struct Priced {
    /// A lower bound on the packs of any plan.
    pub bound: u64,
    /// The same bound before it is rounded up.
    pub fraction: f64,
    /// Patterns worth more than a pack.
    pub patterns: SizePatterns,
}

/// Up to this many sequences in a pack, the limit is part of the knapsack. A higher limit only cuts its patterns short.
const MOST_LAYERS: u64 = 32;
/// A pattern must be worth this much more than a pack to improve the program.
const TOLERANCE: f64 = 1e-7;
const NONE: u32 = u32::MAX;
const TABLE: &str = "the table of a knapsack";

/// A bound, the bound as a fraction, and the items and copies of patterns.
type PricedOnce = (u64, f64, Vec<Vec<(u32, u32)>>);
/// Larger tables, of 12 bytes for each place, would take more than 12 GB.
const MOST_PLACES: u64 = 1 << 30;

impl<'a> Knapsack<'a> {
    /// Describe packs of `capacity` for at most `max_sequences` sequences of these distinct sizes.
    ///
    /// # Errors
    /// Sizes that do not ascend from 1 up to `capacity`; `max_sequences` of 0.
    pub fn new(sizes: &'a [u32], capacity: u32, max_sequences: u64) -> Result<Self, Error> {
        let mut least = 1;
        for (index, &size) in sizes.iter().enumerate() {
            if size < least || size > capacity {
                return Err(Error::Sizes { index: index as u64 });
            }
            least = size.saturating_add(1);
        }
        if max_sequences == 0 {
            return Err(Error::Zero { option: "max_sequences" });
        }
        Ok(Self { sizes, capacity, max_sequences })
    }

    /// The distinct sizes, ascending.
    pub fn sizes(&self) -> &'a [u32] {
        self.sizes
    }

    /// The room of a pack.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The most sequences of a pack.
    pub fn max_sequences(&self) -> u64 {
        self.max_sequences
    }

    /// Price patterns with several sets of dual values, in parallel.
    ///
    /// Every set of `duals` (what a sequence of each size is worth) gives a lower bound, and for each size the most
    /// valuable pattern that holds it. Returns the best bound, and the patterns worth more than a pack by `judge`, the
    /// dual values of the program as it is now. Each pattern occurs once.
    ///
    /// # Errors
    /// Counts or dual values that are not one for each size; a capacity whose table would not fit memory.
    ///
    /// # Complexity
    /// O(sizes x capacity) for each set of `duals`; times `max_sequences` where that is 32 or less.
    pub fn price(&self, counts: &[u64], duals: &[&[f64]], judge: &[f64]) -> Result<Priced, Error> {
        self.check_counts(counts)?;
        for duals in duals.iter().chain([&judge]) {
            self.check_length("duals", duals.len())?;
        }
        let places = (u64::from(self.capacity) + 1) * (self.layers() as u64 + 1);
        if places > MOST_PLACES {
            return Err(Error::TooMany { what: "places of a knapsack", found: places, limit: MOST_PLACES });
        }
        let parts =
            duals.par_iter().map(|duals| self.price_one(counts, duals, judge)).collect::<Result<Vec<_>, _>>()?;
        let (mut best, mut best_fraction) = (0, 0.0);
        let mut patterns = vec![];
        for (bound, fraction, part) in parts {
            best = bound.max(best);
            best_fraction = fraction.max(best_fraction);
            patterns.extend(part);
        }
        Ok(Priced { bound: best, fraction: best_fraction, patterns: SizePatterns::of_slots(patterns) })
    }

    /// Check that there is one count for each size, and that all counts together fit 63 bits.
    pub(super) fn check_counts(&self, counts: &[u64]) -> Result<(), Error> {
        self.check_length("counts", counts.len())?;
        let found = counts.iter().fold(0, |sum: u64, &count| sum.saturating_add(count));
        let limit = i64::MAX as u64;
        if found > limit { Err(Error::TooMany { what: "sequences", found, limit }) } else { Ok(()) }
    }

    fn check_length(&self, array: &'static str, found: usize) -> Result<(), Error> {
        let (found, expected) = (found as u64, self.sizes.len() as u64);
        if found == expected { Ok(()) } else { Err(Error::ArrayLength { array, found, expected }) }
    }

    /// The bound, the bound as a fraction, and the patterns of one set of dual values.
    fn price_one(&self, counts: &[u64], duals: &[f64], judge: &[f64]) -> Result<PricedOnce, Error> {
        let worth = self.integer_worth(duals);
        let table = self.solve(&worth)?;
        let best = table.best();
        if best == 0.0 {
            return Ok((0, 0.0, vec![]));
        }
        let all: u128 = worth.iter().zip(counts).map(|(&worth, &count)| worth as u128 * u128::from(count)).sum();
        let bound = all.div_ceil(best as u128) as u64;
        let patterns = (0..self.sizes.len()).filter_map(|item| {
            let pattern = table.pattern_with(item);
            let value: f64 = pattern.iter().map(|&(item, copies)| judge[item as usize] * f64::from(copies)).sum();
            (value > 1.0 + TOLERANCE).then_some(pattern)
        });
        Ok((bound, all as f64 / best, patterns.collect()))
    }

    /// The most sequences that fit a pack, if their number is not limited.
    fn most_by_size(&self) -> u64 {
        self.sizes.first().map_or(0, |&size| u64::from(self.capacity / size))
    }

    /// Layers of the table: one for each sequence of a pack, or 0 if their number need not be counted.
    fn layers(&self) -> usize {
        let limited = self.max_sequences < self.most_by_size() && self.max_sequences <= MOST_LAYERS;
        if limited { self.max_sequences as usize } else { 0 }
    }

    /// Integers in proportion to `duals`, so small that floating point adds up those of a pack exactly.
    fn integer_worth(&self, duals: &[f64]) -> Vec<f64> {
        // The table of an unlimited knapsack holds packs of more than `max_sequences` sequences.
        let most = self.most_by_size().max(1);
        let top = duals.iter().copied().filter(|dual| dual.is_finite()).fold(0.0, f64::max);
        let scale = ((1_u64 << 52) / most).min(1 << 40) as f64;
        let worth =
            |dual: f64| if dual.is_finite() && dual > 0.0 { (dual / top * scale).floor().min(scale) } else { 0.0 };
        duals.iter().map(|&dual| worth(dual)).collect()
    }

    fn solve(&self, worth: &[f64]) -> Result<Table<'a>, Error> {
        let layers = self.layers();
        let width = self.capacity as usize + 1;
        let values = zeros(TABLE, width * (layers + 1))?;
        let last = filled(TABLE, width * (layers + 1), NONE)?;
        let mut table = Table { knapsack: *self, width, values, last, layers };
        match layers {
            0 => solve_unlimited(self.sizes, worth, &mut table.values, &mut table.last),
            _ => solve_layers(self.sizes, worth, width, &mut table.values, &mut table.last),
        }
        Ok(table)
    }
}

/// For every room, the value of the most valuable sequences that fit it, and the last item among them.
///
/// With layers, layer `k` holds packs of at most `k` sequences. Without, the only layer holds packs of any number.
struct Table<'a> {
    knapsack: Knapsack<'a>,
    width: usize,
    values: Vec<f64>, // (layers + 1, width)
    last: Vec<u32>,   // (layers + 1, width)
    layers: usize,
}

impl Table<'_> {
    /// The value of the most valuable pattern.
    fn best(&self) -> f64 {
        self.values[self.values.len() - 1]
    }

    /// The most valuable pattern that holds a sequence of this item: items and copies.
    fn pattern_with(&self, item: usize) -> Vec<(u32, u32)> {
        let sizes = self.knapsack.sizes;
        let mut pattern = vec![(item as u32, 1)];
        let mut room = (self.knapsack.capacity - sizes[item]) as usize;
        let mut layer = self.layers.saturating_sub(1);
        for _ in 1..self.knapsack.max_sequences {
            let last = self.last[layer * self.width + room];
            if last == NONE {
                break;
            }
            match pattern.last_mut() {
                Some(slot) if slot.0 == last => slot.1 += 1,
                _ => pattern.push((last, 1)),
            }
            room -= sizes[last as usize] as usize;
            layer = layer.saturating_sub(1);
        }
        pattern
    }
}

/// Solve the unlimited knapsack. A size is skipped if smaller ones of the same room are worth as much.
fn solve_unlimited(sizes: &[u32], worth: &[f64], values: &mut [f64], last: &mut [u32]) {
    for (item, (&size, &worth)) in (0..).zip(sizes.iter().zip(worth)) {
        let size = size as usize;
        if worth <= values[size] {
            continue;
        }
        // A stretch as long as the size depends only on the stretch before it, so its places are computed together.
        let mut start = size;
        while start < values.len() {
            let end = (start + size).min(values.len());
            let (before, here) = values.split_at_mut(start);
            improve(&before[start - size..end - size], &mut here[..end - start], &mut last[start..end], worth, item);
            start = end;
        }
    }
}

/// Solve the knapsack with a limited number of sequences: layer `k + 1` adds one sequence to layer `k`, or none.
///
/// Places of a layer depend on the layer before it only, so its stretches are computed in parallel.
fn solve_layers(sizes: &[u32], worth: &[f64], width: usize, values: &mut [f64], last: &mut [u32]) {
    const STRETCH: usize = 1024;
    for layer in 1..values.len() / width {
        let (before, here) = values.split_at_mut(layer * width);
        let before = &before[(layer - 1) * width..];
        let here = here[..width].par_chunks_mut(STRETCH);
        let last = last[layer * width..][..width].par_chunks_mut(STRETCH);
        here.zip(last).enumerate().for_each(|(stretch, (here, last))| {
            let start = stretch * STRETCH;
            for (item, (&size, &worth)) in (0..).zip(sizes.iter().zip(worth)) {
                let size = size as usize;
                let from = start.max(size);
                let end = start + here.len();
                if worth > 0.0 && from < end {
                    let (here, last) = (&mut here[from - start..], &mut last[from - start..]);
                    improve(&before[from - size..end - size], here, last, worth, item);
                }
            }
        });
    }
}

/// Let places end with `item` where that is worth more.
fn improve(before: &[f64], here: &mut [f64], last: &mut [u32], worth: f64, item: u32) {
    for ((before, here), last) in before.iter().zip(here).zip(last) {
        let value = before + worth;
        *last = if value > *here { item } else { *last };
        *here = if value > *here { value } else { *here };
    }
}
