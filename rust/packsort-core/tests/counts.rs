//! Plans made from counts against plans of the same lengths.

use std::collections::BTreeMap;

use packsort_core::{
    EmptySequences, Error, LengthCounts, Lengths, Options, Overlong, PackParts, Plan, PlanFault, SequenceIds, Strategy,
    TruncationSide,
};
use proptest::prelude::*;
use proptest::strategy::Strategy as _;

struct Counted {
    lengths: Vec<u64>,
    counts: Vec<u64>,
}

impl Counted {
    fn of(lengths: &[i64]) -> Self {
        let mut counts = BTreeMap::new();
        for &length in lengths {
            *counts.entry(length as u64).or_insert(0) += 1;
        }
        Self { lengths: counts.keys().copied().collect(), counts: counts.values().copied().collect() }
    }

    fn borrow(&self) -> LengthCounts<'_> {
        LengthCounts { lengths: &self.lengths, counts: &self.counts }
    }
}

fn listed(plan: &Plan) -> Vec<Vec<u64>> {
    let all = plan.list_packs(0..plan.num_packs()).unwrap();
    let ids: Vec<u64> = all.ids.iter().collect();
    all.offsets.windows(2).map(|w| ids[w[0] as usize..w[1] as usize].to_vec()).collect()
}

prop_compose! {
    fn any_options()(
        max_length in 8_u32..120,
        strategy in prop_oneof![
            Just(Strategy::FirstFit), Just(Strategy::BestFit), Just(Strategy::Padding), Just(Strategy::Optimal),
        ],
        (overlong, truncation_side) in prop_oneof![
            Just((Overlong::Drop, TruncationSide::Right)),
            Just((Overlong::Truncate, TruncationSide::Right)),
            Just((Overlong::Truncate, TruncationSide::Left)),
        ],
        max_sequences in prop_oneof![Just(None), (1_u32..5).prop_map(Some)],
        pad_to_multiple_of in 1_u32..8,
        num_packs_multiple_of in 1_u32..4,
        separator: bool,
    ) -> Options {
        Options {
            strategy, overlong, truncation_side, max_sequences, pad_to_multiple_of, num_packs_multiple_of, separator,
            empty: EmptySequences::Drop,
            ..Options::new(max_length)
        }
    }
}

proptest! {
    #[test]
    fn counts_give_the_packs_of_their_lengths(
        lengths in prop::collection::vec(0..150_i64, 0..400),
        options in any_options(),
        seed: Option<u64>,
        epoch in 0_u64..3,
        cut in 0.0..1.0,
    ) {
        let all = Counted::of(&lengths);
        let plan = Plan::new(&Lengths::from(&lengths[..]).into(), options, seed, epoch);
        let counted = Plan::from_counts(all.borrow(), options, seed, epoch);
        let (plan, counted) = match (plan, counted) {
            (Err(one), Err(other)) => {
                prop_assert_eq!(one, other);
                return Ok(());
            }
            (plan, counted) => (plan.unwrap(), counted.unwrap()),
        };
        prop_assert_eq!(counted.left_out(), plan.left_out());
        prop_assert_eq!(counted.num_rows(), plan.num_rows());
        prop_assert_eq!(counted.num_tokens(), plan.num_tokens());
        prop_assert_eq!(counted.num_fillers(), plan.num_fillers());
        prop_assert_eq!(counted.lower_bound().unwrap(), plan.lower_bound().unwrap());
        prop_assert_eq!(counted.patterns(), plan.patterns());

        // The sequences of two parts, numbered apart.
        let middle = (lengths.len() as f64 * cut) as usize;
        let before = Counted::of(&lengths[..middle]);
        let mut numbers = counted.numbers(&Lengths::from(&lengths[..middle]), LengthCounts::default()).unwrap();
        numbers.extend(counted.numbers(&Lengths::from(&lengths[middle..]), before.borrow()).unwrap());
        let in_numbers = |pack: &Vec<u64>| pack.iter().map(|&row| numbers[row as usize] as u64).collect::<Vec<_>>();
        prop_assert_eq!(listed(&counted), listed(&plan).iter().map(in_numbers).collect::<Vec<_>>());

        let places = counted.places(&numbers).unwrap();
        let mut expected = vec![-1; lengths.len()];
        for (place, pack) in listed(&plan).iter().enumerate() {
            pack.iter().for_each(|&row| expected[row as usize] = place as i64);
        }
        prop_assert_eq!(places, expected);

        let again = Plan::from_parts(counted.parts().unwrap()).unwrap();
        prop_assert!(again.is_counted() && !plan.is_counted());
        prop_assert_eq!(listed(&again), listed(&counted));
    }
}

#[test]
fn a_plan_of_more_sequences_than_32_bits_number_is_searched_without_listing() {
    let lengths: Vec<u64> = (1..=2000).collect();
    let counts: Vec<u64> = lengths.iter().map(|length| 20_000_000 + length).collect();
    let counted = LengthCounts { lengths: &lengths, counts: &counts };
    let plan = Plan::from_counts(counted, Options::new(2000), Some(7), 3).unwrap();
    assert!(plan.num_sequences() > 1 << 35);
    for index in [0, 1, plan.num_packs() / 2, plan.num_packs() - 1] {
        let pack = plan.pack(index).unwrap();
        let numbers: Vec<i64> = pack.ids.iter().map(|&number| number as i64).collect();
        assert_eq!(plan.places(&numbers).unwrap(), vec![index as i64; numbers.len()]);
        let listed = plan.list_packs(index..index + 1).unwrap();
        assert_eq!(listed.ids, SequenceIds::I64(numbers));
    }
    assert_eq!(plan.pack(plan.num_packs()), None);
    let ids: Vec<u64> = plan.packs(0..1000).flat_map(|pack| pack.ids).collect();
    assert!(ids.iter().any(|&id| id > u64::from(u32::MAX)));
}

#[test]
fn rows_beyond_32_bits_are_kept_by_plans_of_lengths() {
    // A plan of few sequences, whose rows are then moved beyond 2^32.
    let plan = Plan::new(&Lengths::from(&[3_u8, 5, 2, 2][..]).into(), Options::new(7), Some(1), 0).unwrap();
    let mut parts = plan.parts().unwrap();
    let PackParts::Patterned(packs) = &mut parts.packs else { unreachable!() };
    let far = |id: u64| (id + (1 << 40)) as i64;
    packs.rows = (1 << 40) + 4;
    packs.items = packs.items.take().map(|items| SequenceIds::I64(items.iter().map(far).collect()));
    let moved = Plan::from_parts(parts).unwrap();
    let by_far: Vec<Vec<u64>> =
        listed(&plan).iter().map(|pack| pack.iter().map(|&id| far(id) as u64).collect()).collect();
    assert_eq!(listed(&moved), by_far);
    assert_eq!(moved.pack(0).unwrap().ids, by_far[0]);
    assert_eq!(moved.num_rows(), (1 << 40) + 4);
}

#[test]
fn what_counts_cannot_tell_is_refused() {
    let planned = |lengths: &[u64], counts: &[u64], options| {
        Plan::from_counts(LengthCounts { lengths, counts }, options, None, 0)
    };
    let options = Options::new(8);
    for strategy in [Strategy::Random, Strategy::Hybrid, Strategy::InOrder, Strategy::Given] {
        let error = planned(&[3], &[1], Options { strategy, ..options }).unwrap_err();
        assert_eq!(error, Error::NotOfCounts { option: "strategy", value: strategy.as_str() });
    }
    let split = planned(&[3], &[1], Options { overlong: Overlong::Split, ..options }).unwrap_err();
    assert!(split.to_string().contains("overlong='split'"), "{split}");
    let long = planned(&[3, 9, 11], &[1, 2, 3], options).unwrap_err();
    assert_eq!(long, Error::CountedTooLong { sequences: 5, longest: 11, limit: 8 });
    assert_eq!(planned(&[0, 3], &[4, 1], options).unwrap_err(), Error::CountedEmpty { sequences: 4 });
    assert!(matches!(planned(&[3, 3], &[4, 1], options), Err(Error::Sizes { index: 1 })));
    assert!(matches!(planned(&[3], &[4, 1], options), Err(Error::ArrayLength { .. })));
    let many = planned(&[1, 2], &[u64::MAX, 1], options).unwrap_err();
    assert!(matches!(many, Error::TooMany { what: "tokens", .. }));
    let padded = Options { pad_to_multiple_of: 1 << 30, ..Options::new(1 << 30) };
    let many = planned(&[1], &[1 << 40], padded).unwrap_err();
    assert!(matches!(many, Error::TooMany { what: "tokens and padding", .. }));
    let alone = Options { strategy: Strategy::Padding, ..options };
    let mut parts = planned(&[1], &[1 << 40], alone).unwrap().parts().unwrap();
    parts.options = Options { strategy: Strategy::Padding, ..padded };
    assert_eq!(Plan::from_parts(parts).unwrap_err(), Error::DamagedPlan(PlanFault::Overflow));
    let long = planned(&[1 << 27], &[1], Options::new(1 << 28)).unwrap_err();
    assert!(matches!(long, Error::CountedTooLong { sequences: 1, .. }));
}

#[test]
fn sequences_that_were_not_counted_are_refused() {
    let counts = LengthCounts { lengths: &[3, 5], counts: &[2, 1] };
    let plan = Plan::from_counts(counts, Options::new(8), None, 0).unwrap();
    let numbers = |lengths: &[i64], before| plan.numbers(&Lengths::from(lengths), before);
    assert_eq!(numbers(&[3, 5, 3], LengthCounts::default()).unwrap(), [0, 2, 1]);
    assert_eq!(numbers(&[3, 3, 3], LengthCounts::default()), Err(Error::MoreThanCounted { length: 3 }));
    assert_eq!(numbers(&[4], LengthCounts::default()), Err(Error::MoreThanCounted { length: 4 }));
    assert_eq!(numbers(&[9], LengthCounts::default()), Err(Error::MoreThanCounted { length: 9 }));
    assert_eq!(numbers(&[-9], LengthCounts::default()), Err(Error::NotPositive { row: 0, length: -9 }));
    let before = LengthCounts { lengths: &[5], counts: &[1] };
    assert_eq!(numbers(&[5], before), Err(Error::MoreThanCounted { length: 5 }));
    assert_eq!(plan.places(&[3]), Err(Error::NoSuchSequence { number: 3, sequences: 3 }));
    assert_eq!(plan.places(&[-2]), Err(Error::NoSuchSequence { number: -2, sequences: 3 }));
    assert_eq!(plan.places(&[-1, 2, 0]).unwrap(), [-1, 0, 0]);
    let of_lengths = Plan::new(&Lengths::from(&[3_u8, 5][..]).into(), Options::new(8), None, 0).unwrap();
    assert_eq!(of_lengths.places(&[0]), Err(Error::NotCounted));
}
