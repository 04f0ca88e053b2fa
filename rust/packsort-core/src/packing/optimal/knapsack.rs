//! Pricing: the most valuable patterns, and the bound that their value proves.

use rayon::prelude::*;

use super::Columns;

/// Which sets of sizes fit into a pack.
#[derive(Clone, Copy, Debug)]
pub struct Knapsack<'a> {
    /// Distinct sizes, ascending, from 1 up to the capacity.
    pub sizes: &'a [u32],
    /// Room of a pack.
    pub capacity: u32,
    /// The most sequences of a pack.
    pub max_sequences: u64,
}

/// What pricing found.
#[derive(Clone, Debug, PartialEq)]
pub struct Priced {
    /// Packs that any plan needs, whole ones.
    pub bound: u64,
    /// The same before it is rounded up, to look at.
    pub fraction: f64,
    /// Patterns that are worth more than a pack.
    pub columns: Columns,
}

/// Up to so many sequences a pack the limit is part of the knapsack; a higher one only trims its patterns.
const MOST_LAYERS: u64 = 32;
/// A pattern has to be worth so much more than a pack to be of use.
const TOLERANCE: f64 = 1e-7;
const NONE: u32 = u32::MAX;

impl Knapsack<'_> {
    /// For each of several `duals` (what a sequence of each size is worth) the most valuable pattern that holds each
    /// size: those that are worth more than a pack by `judge`, together, each once; and the best bound.
    ///
    /// Farley (1990, "A note on bounding a class of linear programming problems, including cutting stock problems"):
    /// if no pattern is worth more than `v`, a plan needs the worth of all sequences / `v` packs. Duals are rounded
    /// down to whole numbers first and small enough for every sum to be exact, so that no rounding can lift the bound
    /// above the truth.
    ///
    /// # Complexity
    /// O(sizes x capacity) for each of the `duals`; times `max_sequences` where packs may hold up to 32.
    pub fn price(&self, counts: &[u64], duals: &[&[f64]], judge: &[f64]) -> Priced {
        let parts: Vec<_> = duals.par_iter().map(|duals| self.price_one(counts, duals, judge)).collect();
        let mut found = Priced { bound: 0, fraction: 0.0, columns: Columns::default() };
        let mut patterns = vec![];
        for (bound, fraction, part) in parts {
            found.bound = found.bound.max(bound);
            found.fraction = found.fraction.max(fraction);
            patterns.extend(part);
        }
        found.columns = Columns::of_slots(patterns);
        found
    }

    fn price_one(&self, counts: &[u64], duals: &[f64], judge: &[f64]) -> (u64, f64, Vec<Vec<(u32, u32)>>) {
        let worth = self.whole_worth(duals);
        let table = self.solve(&worth);
        let best = table.best();
        if best == 0.0 {
            return (0, 0.0, vec![]);
        }
        let all: u128 = worth.iter().zip(counts).map(|(&worth, &count)| worth as u128 * u128::from(count)).sum();
        let bound = all.div_ceil(best as u128) as u64;
        let patterns = (0..self.sizes.len()).filter_map(|item| {
            let pattern = table.pattern_with(item);
            let value: f64 = pattern.iter().map(|&(row, copies)| judge[row as usize] * f64::from(copies)).sum();
            (value > 1.0 + TOLERANCE).then_some(pattern)
        });
        (bound, all as f64 / best, patterns.collect())
    }

    /// The most sequences that any pack can hold.
    fn most(&self) -> u64 {
        self.sizes.first().map_or(0, |&size| u64::from(self.capacity / size)).min(self.max_sequences)
    }

    /// Whole numbers in proportion to `duals`, so small that doubles add up those of a pack without rounding.
    fn whole_worth(&self, duals: &[f64]) -> Vec<f64> {
        let most = self.sizes.first().map_or(1, |&size| self.capacity / size).max(1); // the table knows no limit
        let top = duals.iter().copied().filter(|dual| dual.is_finite()).fold(0.0, f64::max);
        let scale = ((1_u64 << 52) / u64::from(most)).min(1 << 40) as f64;
        let worth =
            |dual: f64| if dual.is_finite() && dual > 0.0 { (dual / top * scale).floor().min(scale) } else { 0.0 };
        duals.iter().map(|&dual| worth(dual)).collect()
    }

    fn solve<'a>(&'a self, worth: &'a [f64]) -> Table<'a> {
        let fits = self.sizes.first().map_or(0, |&size| u64::from(self.capacity / size));
        let most = self.most();
        let layers = if most < fits && most <= MOST_LAYERS { most as usize } else { 0 };
        let width = self.capacity as usize + 1;
        let mut table = Table { knapsack: self, width, values: vec![], last: vec![], layers };
        table.values = vec![0.0; width * (layers + 1)];
        table.last = vec![NONE; width * (layers + 1)];
        match layers {
            0 => fill_unbounded(self.sizes, worth, &mut table.values, &mut table.last),
            _ => fill_layers(self.sizes, worth, width, &mut table.values, &mut table.last),
        }
        table
    }
}

/// The most valuable filling of each room, and the last size in it.
struct Table<'a> {
    knapsack: &'a Knapsack<'a>,
    width: usize,
    values: Vec<f64>, // (layers + 1, width): with at most so many sequences; without layers (1, width)
    last: Vec<u32>,
    layers: usize,
}

impl Table<'_> {
    fn best(&self) -> f64 {
        self.values[self.values.len() - 1]
    }

    /// The most valuable pattern that holds a sequence of this size: size numbers and copies.
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

/// The unbounded knapsack; a size is left out where smaller ones are worth as much.
fn fill_unbounded(sizes: &[u32], worth: &[f64], values: &mut [f64], last: &mut [u32]) {
    for (item, (&size, &worth)) in (0..).zip(sizes.iter().zip(worth)) {
        let size = size as usize;
        if worth <= values[size] {
            continue;
        }
        // a stretch as long as the size depends on the one before it only
        let mut start = size;
        while start < values.len() {
            let end = (start + size).min(values.len());
            let (before, here) = values.split_at_mut(start);
            improve(&before[start - size..end - size], &mut here[..end - start], &mut last[start..end], worth, item);
            start = end;
        }
    }
}

/// Layer `k + 1` is layer `k` with one sequence more, or as it is; stretches of a layer side by side.
fn fill_layers(sizes: &[u32], worth: &[f64], width: usize, values: &mut [f64], last: &mut [u32]) {
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

fn improve(before: &[f64], here: &mut [f64], last: &mut [u32], worth: f64, item: u32) {
    for ((before, here), last) in before.iter().zip(here).zip(last) {
        let value = before + worth;
        *last = if value > *here { item } else { *last };
        *here = if value > *here { value } else { *here };
    }
}
