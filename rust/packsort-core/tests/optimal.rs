//! Pricing, bounds and whole packs against what trying everything finds.

use packsort_core::Error;
use packsort_core::optimal::{Knapsack, Packing, Search, SizePatterns, pack_few, sample};
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
        .sizes()
        .iter()
        .zip(counts)
        .rev()
        .flat_map(|(&size, &count)| std::iter::repeat_n(size, count as usize))
        .collect();
    let found = |packs| pack_few(&sizes, knapsack.capacity(), knapsack.max_sequences(), packs, 1 << 20);
    (0..).find(|&packs| matches!(found(packs), Search::Found(_))).unwrap()
}

/// The most valuable of all patterns, and of those that hold `item`.
fn most_valuable(knapsack: &Knapsack<'_>, worth: &[f64], item: usize) -> (f64, f64) {
    fn extend(of: &Knapsack<'_>, worth: &[f64], from: usize, room: u32, more: u64) -> f64 {
        (from..of.sizes().len())
            .filter(|&item| of.sizes()[item] <= room && more > 0)
            .map(|item| worth[item] + extend(of, worth, item, room - of.sizes()[item], more - 1))
            .fold(0.0, f64::max)
    }
    let all = extend(knapsack, worth, 0, knapsack.capacity(), knapsack.max_sequences());
    let room = knapsack.capacity() - knapsack.sizes()[item];
    (all, worth[item] + extend(knapsack, worth, 0, room, knapsack.max_sequences() - 1))
}

fn fits(knapsack: &Knapsack<'_>, patterns: &SizePatterns) -> bool {
    (0..patterns.len()).all(|p| {
        let tokens: u64 = patterns.pattern(p).map(|(item, copies)| u64::from(knapsack.sizes()[item]) * copies).sum();
        let held: u64 = patterns.pattern(p).map(|(_, copies)| copies).sum();
        tokens <= knapsack.capacity().into() && held <= knapsack.max_sequences()
    })
}

proptest! {
    #[test]
    fn no_duals_prove_a_bound_above_the_truth(
        (capacity, sizes, counts) in instance(),
        duals in proptest::collection::vec(0.0..1.5_f64, 4),
        max_sequences in 1..6_u64,
    ) {
        let knapsack = Knapsack::new(&sizes, capacity, max_sequences).unwrap();
        let duals = &duals[..sizes.len()];
        let found = knapsack.price(&counts, &[duals, &vec![1.0; sizes.len()]], duals).unwrap();
        prop_assert!(found.bound <= fewest(&knapsack, &counts));
        prop_assert!(fits(&knapsack, &found.patterns));
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
        let knapsack = Knapsack::new(&sizes, capacity, max_sequences).unwrap();
        let duals = &duals[..sizes.len()];
        let found = knapsack.price(counts, &[duals], duals).unwrap();
        for row in 0..sizes.len() {
            let (best, with_row) = most_valuable(&knapsack, duals, row);
            let worth = counts.iter().zip(duals).map(|(&count, dual)| count as f64 * dual).sum::<f64>();
            prop_assert!((found.fraction - worth / best).abs() < 1e-6 * found.fraction);
            let value = |p| found.patterns.pattern(p).map(|(row, copies)| duals[row] * copies as f64).sum::<f64>();
            let holds = |p: &usize| found.patterns.pattern(*p).any(|(other, _)| other == row);
            let priced = (0..found.patterns.len()).filter(holds).map(value).fold(0.0, f64::max);
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
        let knapsack = Knapsack::new(&sizes, capacity, max_sequences).unwrap();
        let ones = vec![1.0; sizes.len()];
        let patterns = knapsack.price(&counts, &[&ones], &ones).unwrap().patterns;
        let mut packing = Packing::new(&knapsack, &counts).unwrap();
        packing.take(&patterns, &repeats.iter().copied().cycle().take(patterns.len()).collect::<Vec<_>>()).unwrap();
        match way {
            0 => packing.finish_first_fit().unwrap(),
            1 => packing.finish_full(50).unwrap(),
            _ => {
                let most = packing.left().iter().sum();
                prop_assert_eq!(packing.finish_within(most, 1 << 20).unwrap(), Search::Found(()));
            }
        }
        let (patterns, repeats) = packing.patterns();
        prop_assert!(fits(&knapsack, &patterns));
        prop_assert_eq!(repeats.iter().sum::<u64>(), packing.num_packs());
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
    let knapsack = Knapsack::new(&sizes, 2048, 2048).unwrap();
    let patterns = sample(&knapsack, &counts, 500).unwrap();
    assert!(patterns.len() > 400, "{}", patterns.len());
    for p in 0..patterns.len() {
        assert_eq!(patterns.pattern(p).map(|(row, copies)| u64::from(sizes[row]) * copies).sum::<u64>(), 2048);
    }
    assert_eq!(patterns, sample(&knapsack, &counts, 500).unwrap());
}

#[test]
fn a_few_are_proven_not_to_fit() {
    assert_eq!(pack_few(&[6, 6, 6], 10, 9, 2, 100), Search::Impossible);
    assert_eq!(pack_few(&[5, 5, 5, 5], 10, 9, 2, 100), Search::Found(vec![vec![0, 1], vec![2, 3]]));
    assert_eq!(pack_few(&[5, 5, 5, 5], 10, 1, 2, 100), Search::Impossible); // one a pack
    assert_eq!(pack_few(&[4, 4, 4, 3, 3, 3, 3], 10, 9, 3, 2), Search::OutOfSteps);
}

#[test]
fn a_deep_search_needs_no_deep_stack() {
    let sizes = vec![1; 300_000];
    let on_a_small_stack = std::thread::Builder::new().stack_size(1 << 16).spawn(move || {
        let few = pack_few(&sizes, 100_000, u64::MAX, 3, 1 << 20);
        let knapsack = Knapsack::new(&[1], 1 << 20, u64::MAX).unwrap();
        let mut packing = Packing::new(&knapsack, &[300_000]).unwrap();
        packing.finish_full(u64::MAX).unwrap();
        (few, packing.num_packs())
    });
    let (few, full) = on_a_small_stack.unwrap().join().unwrap();
    assert!(matches!(few, Search::Found(packs) if packs.len() == 3));
    assert_eq!(full, 1);
}

#[test]
fn hostile_sizes_patterns_and_counts_are_refused() {
    assert_eq!(Knapsack::new(&[3, 11], 10, 9).unwrap_err(), Error::Sizes { index: 1 });
    assert_eq!(Knapsack::new(&[0], 10, 9).unwrap_err(), Error::Sizes { index: 0 });
    assert_eq!(Knapsack::new(&[3, 3], 10, 9).unwrap_err(), Error::Sizes { index: 1 });
    assert_eq!(Knapsack::new(&[3], 10, 0).unwrap_err(), Error::Zero { option: "max_sequences" });
    assert!(Knapsack::new(&[u32::MAX], u32::MAX, 1).is_ok());

    let knapsack = Knapsack::new(&[3, 4], 10, 2).unwrap();
    let nan = [f64::NAN, f64::INFINITY];
    let priced = knapsack.price(&[5, 5], &[&nan, &[-1.0, 1e-300]], &[f64::NAN; 2]).unwrap();
    assert!(priced.bound <= 5 && priced.patterns.is_empty(), "{priced:?}");
    assert!(knapsack.price(&[5], &[&nan], &nan).is_err());
    assert!(knapsack.price(&[5, 5], &[&[1.0]], &nan).is_err());
    assert!(knapsack.price(&[5, 5], &[], &[1.0]).is_err());
    let wide = Knapsack::new(&[1], u32::MAX, u64::MAX).unwrap();
    assert!(matches!(wide.price(&[1], &[&[1.0]], &[1.0]), Err(Error::TooMany { .. })));
    assert!(sample(&knapsack, &[1], 10).is_err());
    assert!(Packing::new(&knapsack, &[u64::MAX, 1]).is_err());

    let mut packing = Packing::new(&knapsack, &[5, 5]).unwrap();
    let pattern = |items: &[u32], copies: &[u32]| {
        SizePatterns::new(vec![0, items.len()], items.to_vec(), copies.to_vec()).unwrap()
    };
    assert!(packing.take(&pattern(&[0], &[1]), &[]).is_err());
    assert!(packing.take(&pattern(&[2], &[1]), &[1]).is_err());
    assert!(packing.take(&pattern(&[0, 1], &[2, 2]), &[1]).is_err()); // 14 of 10
    assert!(packing.take(&pattern(&[0], &[3]), &[1]).is_err()); // more than two
    assert!(packing.take(&pattern(&[0], &[u32::MAX]), &[1]).is_err());
    assert_eq!(packing.num_packs(), 0);
    packing.take(&pattern(&[0, 1], &[1, 1]), &[u64::MAX]).unwrap();
    assert_eq!((packing.num_packs(), packing.left()), (5, &[0, 0][..]));
    let mut many = Packing::new(&knapsack, &[1 << 40, 1]).unwrap();
    assert_eq!(many.finish_within(1 << 40, 10).unwrap(), Search::OutOfSteps);

    assert_eq!(pack_few(&[11], 10, 9, 9, 100), Search::Impossible);
    assert_eq!(pack_few(&[0, 10, 3], 10, u64::MAX, u64::MAX, 100), Search::Found(vec![vec![0, 1], vec![2]]));
    assert_eq!(pack_few(&[u32::MAX; 2], u32::MAX, 1, u64::MAX, 100), Search::Found(vec![vec![0], vec![1]]));
    assert_eq!(pack_few(&[], 0, 0, 0, 0), Search::Found(vec![]));
}

#[test]
fn what_the_program_rounds_is_taken_with_shorter_sequences_in_long_places() {
    let sizes = [3, 4, 6];
    let knapsack = Knapsack::new(&sizes, 10, 10).unwrap();
    let mut packing = Packing::new(&knapsack, &[2, 1, 2]).unwrap();
    let patterns = SizePatterns::new(vec![0, 2], vec![1, 2], vec![1, 1]).unwrap();
    packing.take(&patterns, &[2]).unwrap(); // 4 + 6 twice
    assert_eq!(packing.left(), [1, 0, 0]); // a 3 in the place of the second 4
    assert_eq!(packing.num_packs(), 2);
}
