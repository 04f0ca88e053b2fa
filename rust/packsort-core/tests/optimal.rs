//! Pricing, bounds and whole packs against what trying everything finds.

use packsort_core::optimal::{Columns, Knapsack, Packing, pack_few, sample};
use proptest::prelude::*;

/// Distinct sizes and how many of each.
fn instance() -> impl Strategy<Value = (u32, Vec<u32>, Vec<u64>)> {
    (2..40_u32).prop_flat_map(|capacity| {
        proptest::collection::btree_map(1..=capacity, 1..4_u64, 1..5).prop_map(move |histogram| {
            let (sizes, counts) = histogram.into_iter().unzip();
            (capacity, sizes, counts)
        })
    })
}

fn fewest(knapsack: &Knapsack<'_>, counts: &[u64]) -> u64 {
    let sizes: Vec<u32> = knapsack
        .sizes
        .iter()
        .zip(counts)
        .rev()
        .flat_map(|(&size, &count)| std::iter::repeat_n(size, count as usize))
        .collect();
    (0..).find(|&packs| pack_few(&sizes, knapsack.capacity, knapsack.max_sequences, packs, 1 << 20).is_ok()).unwrap()
}

/// The most valuable of all patterns, and of those that hold `row`.
fn most_valuable(knapsack: &Knapsack<'_>, worth: &[f64], row: usize) -> (f64, f64) {
    fn extend(of: &Knapsack<'_>, worth: &[f64], from: usize, room: u32, more: u64) -> f64 {
        (from..of.sizes.len())
            .filter(|&row| of.sizes[row] <= room && more > 0)
            .map(|row| worth[row] + extend(of, worth, row, room - of.sizes[row], more - 1))
            .fold(0.0, f64::max)
    }
    let all = extend(knapsack, worth, 0, knapsack.capacity, knapsack.max_sequences);
    let room = knapsack.capacity - knapsack.sizes[row];
    (all, worth[row] + extend(knapsack, worth, 0, room, knapsack.max_sequences - 1))
}

fn fits(knapsack: &Knapsack<'_>, columns: &Columns) -> bool {
    (0..columns.len()).all(|p| {
        let tokens: u64 = columns.pattern(p).map(|(row, copies)| u64::from(knapsack.sizes[row]) * copies).sum();
        let held: u64 = columns.pattern(p).map(|(_, copies)| copies).sum();
        tokens <= knapsack.capacity.into() && held <= knapsack.max_sequences
    })
}

proptest! {
    #[test]
    fn no_duals_prove_a_bound_above_the_truth(
        (capacity, sizes, counts) in instance(),
        duals in proptest::collection::vec(0.0..1.5_f64, 4),
        max_sequences in 1..6_u64,
    ) {
        let knapsack = Knapsack { sizes: &sizes, capacity, max_sequences };
        let duals = &duals[..sizes.len()];
        let found = knapsack.price(&counts, &[duals, &vec![1.0; sizes.len()]], duals);
        prop_assert!(found.bound <= fewest(&knapsack, &counts));
        prop_assert!(fits(&knapsack, &found.columns));
    }

    #[test]
    fn pricing_finds_the_most_valuable_patterns(
        (_, sizes, counts) in instance(),
        duals in proptest::collection::vec(0.1..1.0_f64, 4),
        max_sequences in 1..6_u64,
    ) {
        let capacity = 40; // small trees
        let sizes: Vec<u32> = sizes.iter().map(|&size| size.max(5)).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        let counts = &counts[..sizes.len()];
        let knapsack = Knapsack { sizes: &sizes, capacity, max_sequences };
        let duals = &duals[..sizes.len()];
        let found = knapsack.price(counts, &[duals], duals);
        for row in 0..sizes.len() {
            let (best, with_row) = most_valuable(&knapsack, duals, row);
            let worth = counts.iter().zip(duals).map(|(&count, dual)| count as f64 * dual).sum::<f64>();
            prop_assert!((found.fraction - worth / best).abs() < 1e-6 * found.fraction);
            let value = |p| found.columns.pattern(p).map(|(row, copies)| duals[row] * copies as f64).sum::<f64>();
            let holds = |p: &usize| found.columns.pattern(*p).any(|(other, _)| other == row);
            let priced = (0..found.columns.len()).filter(holds).map(value).fold(0.0, f64::max);
            prop_assert!(with_row <= 1.0 + 2e-7 || (priced - with_row).abs() < 1e-6, "{priced} {with_row}");
        }
    }

    #[test]
    fn every_way_to_finish_packs_each_sequence_once(
        (capacity, sizes, counts) in instance(),
        max_sequences in 1..6_u64,
        way in 0..3,
        repeats in proptest::collection::vec(0..3_u64, 8),
    ) {
        let knapsack = Knapsack { sizes: &sizes, capacity, max_sequences };
        let ones = vec![1.0; sizes.len()];
        let columns = knapsack.price(&counts, &[&ones], &ones).columns;
        let mut packing = Packing::new(&knapsack, &counts);
        packing.take(&columns, &repeats.iter().copied().cycle().take(columns.len()).collect::<Vec<_>>());
        match way {
            0 => packing.finish(),
            1 => packing.finish_full(50),
            _ => {
                let most = packing.left().iter().sum();
                prop_assert_eq!(packing.finish_within(most, 1 << 20), (true, false));
            }
        }
        let (patterns, repeats) = packing.patterns();
        prop_assert!(fits(&knapsack, &patterns));
        prop_assert_eq!(repeats.iter().sum::<u64>(), packing.packs());
        let mut packed = vec![0; sizes.len()];
        for (p, repeat) in repeats.iter().enumerate() {
            for (row, copies) in patterns.pattern(p) {
                packed[row] += copies * repeat;
            }
        }
        prop_assert_eq!(packed, counts);
    }
}

#[test]
fn sampled_patterns_are_full() {
    let sizes: Vec<u32> = (200..800).collect();
    let counts = vec![10; sizes.len()];
    let knapsack = Knapsack { sizes: &sizes, capacity: 2048, max_sequences: 2048 };
    let columns = sample(&knapsack, &counts, 500);
    assert!(columns.len() > 400, "{}", columns.len());
    for p in 0..columns.len() {
        assert_eq!(columns.pattern(p).map(|(row, copies)| u64::from(sizes[row]) * copies).sum::<u64>(), 2048);
    }
    assert_eq!(columns, sample(&knapsack, &counts, 500));
}

#[test]
fn a_few_are_proven_not_to_fit() {
    assert_eq!(pack_few(&[6, 6, 6], 10, 9, 2, 100), Err(true));
    assert_eq!(pack_few(&[5, 5, 5, 5], 10, 9, 2, 100).map(|packs| packs.len()), Ok(2));
    assert_eq!(pack_few(&[5, 5, 5, 5], 10, 1, 2, 100), Err(true)); // one a pack
    assert_eq!(pack_few(&[4, 4, 4, 3, 3, 3, 3], 10, 9, 3, 2), Err(false)); // out of steps
}

#[test]
fn what_the_program_rounds_is_taken_with_shorter_sequences_in_long_places() {
    let sizes = [3, 4, 6];
    let knapsack = Knapsack { sizes: &sizes, capacity: 10, max_sequences: 10 };
    let mut packing = Packing::new(&knapsack, &[2, 1, 2]);
    packing.take(&Columns { offsets: vec![0, 2], rows: vec![1, 2], copies: vec![1, 1] }, &[2]); // 4 + 6 twice
    assert_eq!(packing.left(), [1, 0, 0]); // a 3 in the place of the second 4
    assert_eq!(packing.packs(), 2);
}
