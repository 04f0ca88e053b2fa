//! Plans against the textbook, and what every plan must keep.

use packsort_core::{
    Chunk, EmptySequences, Error, Groups, LeftOut, Lengths, Options, Overlong, PackParts, Parts, PatternedParts,
    PieceStarts, Plan, PlanFault, SequenceIds, Sequences, Strategy, TruncationSide,
};
use proptest::prelude::*;

/// First-fit decreasing as textbooks have it: longest first (input order among equals), into the first open pack
/// with room.
fn textbook(lengths: &[i64], max_length: i64) -> Vec<Vec<u64>> {
    let mut by_length: Vec<usize> = (0..lengths.len()).collect();
    by_length.sort_by_key(|&i| -lengths[i]);
    let (mut packs, mut rooms): (Vec<Vec<u64>>, Vec<i64>) = (vec![], vec![]);
    for i in by_length {
        let fits = (0..packs.len()).find(|&pack| rooms[pack] >= lengths[i]).unwrap_or(packs.len());
        if fits == packs.len() {
            packs.push(vec![]);
            rooms.push(max_length);
        }
        packs[fits].push(i as u64);
        rooms[fits] -= lengths[i];
    }
    packs
}

fn plan(lengths: &[i64], max_length: u32, seed: Option<u64>) -> Plan {
    Plan::first_fit_decreasing(&Lengths::from(lengths), max_length, Overlong::Error, seed, 0).unwrap()
}

fn listed(plan: &Plan) -> Vec<Vec<u64>> {
    let all = plan.list_packs(0..plan.num_packs()).unwrap();
    let ids: Vec<u64> = all.ids.iter().collect();
    all.offsets.windows(2).map(|w| ids[w[0] as usize..w[1] as usize].to_vec()).collect()
}

/// Next-fit with a look-ahead, by its definition.
fn next_fit(
    numbers: &[usize],
    length: impl Fn(usize) -> u32,
    max_length: u32,
    most: usize,
    window: usize,
) -> Vec<Vec<usize>> {
    let (mut waiting, mut packs) = (numbers.to_vec(), vec![]);
    while !waiting.is_empty() {
        let (mut pack, mut left, mut passed) = (vec![], max_length, 0);
        for &number in &waiting {
            if length(number) <= left && pack.len() < most {
                left -= length(number);
                pack.push(number);
            } else if passed < window {
                passed += 1;
            } else {
                break;
            }
        }
        waiting.retain(|number| !pack.contains(number));
        packs.push(pack);
    }
    packs
}

fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

prop_compose! {
    fn any_lengths()(max_length in 1_u32..300)(
        lengths in prop::collection::vec(1..=i64::from(max_length), 0..400),
        max_length in Just(max_length),
    ) -> (Vec<i64>, u32) { (lengths, max_length) }
}

proptest! {
    #[test]
    fn packs_are_the_textbooks_id_for_id((lengths, max_length) in any_lengths()) {
        prop_assert_eq!(listed(&plan(&lengths, max_length, None)), textbook(&lengths, max_length.into()));
    }

    #[test]
    fn each_sequence_is_in_one_pack_and_none_is_over_full((lengths, max_length) in any_lengths(), seed: Option<u64>) {
        let plan = plan(&lengths, max_length, seed);
        let packs = listed(&plan);
        let mut seen: Vec<u64> = packs.concat();
        seen.sort();
        prop_assert_eq!(seen, (0..lengths.len() as u64).collect::<Vec<_>>());
        for pack in &packs {
            prop_assert!(pack.iter().map(|&i| lengths[i as usize]).sum::<i64>() <= max_length.into());
        }
        prop_assert!(plan.lower_bound().unwrap() <= plan.num_packs());
    }

    #[test]
    fn one_pack_alone_is_the_listed_one((lengths, max_length) in any_lengths(), seed: Option<u64>) {
        let plan = plan(&lengths, max_length, seed);
        let lens = plan.list_lengths(0..plan.num_packs()).unwrap();
        let mut at = 0;
        for (i, ids) in listed(&plan).into_iter().enumerate() {
            let pack = plan.pack(i as u64).unwrap();
            for (&id, &length) in ids.iter().zip(&pack.lengths) {
                prop_assert_eq!(lengths[id as usize], i64::from(length));
                prop_assert_eq!(lens[at] as u32, length);
                at += 1;
            }
            prop_assert_eq!(ids, pack.ids);
        }
        prop_assert_eq!(plan.pack(plan.num_packs()), None);
    }

    #[test]
    fn a_range_of_packs_is_a_cut_of_all((lengths, max_length) in any_lengths(), seed: Option<u64>, cut in 0.0..1.0) {
        let plan = plan(&lengths, max_length, seed);
        let middle = (plan.num_packs() as f64 * cut) as u64;
        let [first, second] = [plan.list_packs(0..middle).unwrap(), plan.list_packs(middle..u64::MAX).unwrap()];
        let joined: Vec<u64> = first.ids.iter().chain(second.ids.iter()).collect();
        prop_assert_eq!(joined, plan.list_packs(0..plan.num_packs()).unwrap().ids.iter().collect::<Vec<_>>());
        let packs: Vec<Vec<u64>> = plan.packs(middle..u64::MAX).map(|pack| pack.ids).collect();
        prop_assert_eq!(packs, &listed(&plan)[middle as usize..]);
    }

    #[test]
    fn epochs_keep_the_packs_by_length((lengths, max_length) in any_lengths(), seed: Option<u64>, epoch in 0_u64..9) {
        let plan = plan(&lengths, max_length, seed);
        let other = plan.with_epoch(epoch).unwrap();
        let by_length = |plan: &Plan| {
            let mut packs: Vec<Vec<i64>> = listed(plan)
                .iter()
                .map(|pack| pack.iter().map(|&i| lengths[i as usize]).collect())
                .collect();
            packs.sort();
            packs
        };
        prop_assert_eq!(by_length(&plan), by_length(&other));
        prop_assert_eq!(listed(&other.with_epoch(0).unwrap()), listed(&plan));
    }

    #[test]
    fn truncating_and_dropping_are_planning_what_is_left(
        lengths in prop::collection::vec(1..50_i64, 0..300), max_length in 1_u32..40,
    ) {
        let column = Lengths::from(&lengths[..]);
        let limit = i64::from(max_length);
        let cut: Vec<i64> = lengths.iter().map(|&l| l.min(limit)).collect();
        let truncated = Plan::first_fit_decreasing(&column, max_length, Overlong::Truncate, None, 0).unwrap();
        prop_assert_eq!(listed(&truncated), textbook(&cut, limit));
        let lost: i64 = lengths.iter().map(|&l| (l - limit).max(0)).sum();
        prop_assert_eq!(truncated.left_out().tokens, lost as u64);

        let dropped = Plan::first_fit_decreasing(&column, max_length, Overlong::Drop, None, 0).unwrap();
        let kept: Vec<u64> = (0..lengths.len() as u64).filter(|&i| lengths[i as usize] <= limit).collect();
        let kept_lengths: Vec<i64> = kept.iter().map(|&i| lengths[i as usize]).collect();
        let expected: Vec<Vec<u64>> = textbook(&kept_lengths, limit)
            .iter()
            .map(|pack| pack.iter().map(|&i| kept[i as usize]).collect())
            .collect();
        prop_assert_eq!(listed(&dropped), expected);
        prop_assert_eq!(dropped.left_out().sequences, (lengths.len() - kept.len()) as u64);
        let gone: i64 = lengths.iter().filter(|&&l| l > limit).sum();
        prop_assert_eq!(dropped.left_out().tokens, gone as u64);
    }

    #[test]
    fn dropping_empty_sequences_is_planning_the_others(
        lengths in prop::collection::vec(0..50_i64, 0..300),
        groups in prop::collection::vec(0_u32..5, 300),
        splittable in prop::collection::vec(any::<bool>(), 300),
        overlong in prop::sample::select(vec![Overlong::Drop, Overlong::Truncate, Overlong::Split]),
        truncation_side in prop::sample::select(vec![TruncationSide::Left, TruncationSide::Right]),
        strategy in prop::sample::select(vec![Strategy::FirstFit, Strategy::BestFit, Strategy::Hybrid, Strategy::Random]),
        grouped: bool,
    ) {
        let options = Options { overlong, truncation_side, strategy, ..Options::new(30) };
        let make = |rows: &[usize], empty| {
            let lengths: Vec<i64> = rows.iter().map(|&row| lengths[row]).collect();
            let group_of: Vec<u32> = rows.iter().map(|&row| groups[row]).collect();
            let splittable: Vec<bool> = rows.iter().map(|&row| splittable[row]).collect();
            let mut sequences = Sequences::from(Lengths::from(&lengths[..]));
            sequences.groups = (grouped && strategy != Strategy::Random)
                .then_some(Groups { group_of: &group_of, num_groups: 5, last_alone: false });
            sequences.splittable = (strategy == Strategy::Hybrid).then_some(&splittable[..]);
            Plan::new(&sequences, Options { empty, ..options }, None, 0)
        };
        let all: Vec<usize> = (0..lengths.len()).collect();
        let kept: Vec<usize> = all.iter().copied().filter(|&row| lengths[row] > 0).collect();
        let dropped = make(&all, EmptySequences::Drop).unwrap();
        let others = make(&kept, EmptySequences::Error).unwrap();
        let rows = |pack: Vec<u64>| pack.iter().map(|&id| kept[id as usize] as u64).collect::<Vec<_>>();
        prop_assert_eq!(listed(&dropped), listed(&others).into_iter().map(rows).collect::<Vec<_>>());
        prop_assert_eq!(dropped.list_lengths(0..u64::MAX).unwrap(), others.list_lengths(0..u64::MAX).unwrap());
        prop_assert_eq!(dropped.list_starts(0..u64::MAX).unwrap(), others.list_starts(0..u64::MAX).unwrap());
        let empty = (all.len() - kept.len()) as u64;
        prop_assert_eq!(dropped.left_out(), LeftOut { empty, ..others.left_out() });
        prop_assert_eq!(dropped.num_rows(), all.len() as u64);
        prop_assert_eq!(listed(&Plan::from_parts(dropped.parts().unwrap()).unwrap()), listed(&dropped));
        prop_assert_eq!(make(&all, EmptySequences::Error).is_err(), empty > 0);
    }

    #[test]
    fn a_plan_survives_its_parts((lengths, max_length) in any_lengths(), seed: Option<u64>) {
        let plan = plan(&lengths, max_length, seed);
        let again = Plan::from_parts(plan.parts().unwrap()).unwrap();
        prop_assert_eq!(listed(&again), listed(&plan));
        if lengths.len() > 1 {
            let changed = |change: &dyn Fn(&mut PatternedParts)| {
                let mut parts = plan.parts().unwrap();
                let PackParts::Patterned(packs) = &mut parts.packs else { unreachable!() };
                change(packs);
                Plan::from_parts(parts)
            };
            let twice = changed(&|packs| {
                let Some(SequenceIds::U32(ids)) = &mut packs.items else { unreachable!() };
                ids[0] = *ids.last().unwrap();
            });
            let found_twice = matches!(twice, Err(Error::DamagedPlan(PlanFault::IdTwice { .. })));
            prop_assert!(found_twice);
            prop_assert!(changed(&|packs| packs.repeats[0] += 1).is_err());
            prop_assert!(changed(&|packs| packs.class_lengths[0] = -1).is_err());
            prop_assert!(changed(&|packs| packs.proven = u64::MAX).is_err());
            let mut parts = plan.parts().unwrap();
            parts.options.max_length = *lengths.iter().max().unwrap() as u32 - 1;
            prop_assert!(Plan::from_parts(parts).is_err());
        }
    }

    #[test]
    fn constraints_hold_together(
        (lengths, max_length) in any_lengths(),
        strategy in prop::sample::select(vec![
            Strategy::FirstFit, Strategy::BestFit, Strategy::Padding, Strategy::Hybrid, Strategy::InOrder,
        ]),
        max_sequences in prop::option::of(1_u32..5),
        (pad_to_multiple_of, separator) in (1_u32..5, any::<bool>()),
        multiple in 1_u32..9,
        marks in prop::collection::vec((0_u32..3, prop::bool::weighted(0.2)), 400),
        seed: Option<u64>,
    ) {
        let of: Vec<u32> = marks[..lengths.len()].iter().map(|&(group, alone)| if alone { 3 } else { group }).collect();
        let groups = Groups { group_of: &of, num_groups: 4, last_alone: true };
        prop_assume!(pad_to_multiple_of <= max_length);
        let free = Options {
            strategy, overlong: Overlong::Split, max_sequences, pad_to_multiple_of, separator, ..Options::new(max_length)
        };
        let options = Options { num_packs_multiple_of: multiple, ..free };
        let flags: Vec<bool> = (0..lengths.len()).map(|i| i % 3 != 0).collect();
        let splittable = (strategy == Strategy::Hybrid).then_some(&flags[..]);
        let sequences = Sequences { groups: Some(groups), splittable, ..Lengths::from(&lengths[..]).into() };
        let unsplit = Plan::new(&sequences, free, seed, 3).unwrap();
        let (packs, pieces) = (unsplit.num_packs(), unsplit.list_packs(0..u64::MAX).unwrap().ids.len() as u64);
        let plan = Plan::new(&sequences, options, seed, 3);
        if packs.next_multiple_of(multiple.into()) > pieces {
            let too_few = matches!(plan, Err(Error::TooFewSequences { .. }));
            prop_assert!(too_few);
            return Ok(());
        }
        let plan = plan.unwrap();
        prop_assert_eq!(plan.num_packs(), packs.next_multiple_of(multiple.into()));
        let packs = listed(&plan);
        let mut seen: Vec<u64> = packs.concat();
        prop_assert_eq!(seen.len() as u64, pieces);
        seen.sort();
        seen.dedup();
        prop_assert_eq!(seen, (0..lengths.len() as u64).collect::<Vec<_>>());
        let room = options.room().unwrap();
        let listed_lengths = plan.list_lengths(0..u64::MAX).unwrap();
        let mut at = 0;
        let most = max_sequences.map_or(usize::MAX, |most| most as usize);
        for pack in &packs {
            let group = of[pack[0] as usize];
            prop_assert!(pack.iter().all(|&i| of[i as usize] == group));
            let own = &listed_lengths[at..at + pack.len()];
            at += pack.len();
            prop_assert!(own.iter().map(|&l| room.taken(l as u32)).sum::<u32>() <= room.capacity());
            let most = if group == 3 || strategy == Strategy::Padding { 1 } else { most };
            prop_assert!(pack.len() <= most);
        }
        prop_assert!(plan.lower_bound().unwrap() <= plan.num_packs());
        prop_assert_eq!(listed(&Plan::from_parts(plan.parts().unwrap()).unwrap()), packs);
    }

    #[test]
    fn packs_in_order_are_those_of_the_definition(
        (lengths, max_length) in any_lengths(),
        marks in prop::collection::vec(0_u32..3, 400),
        max_sequences in prop::option::of(1_u32..5),
        window in prop_oneof![0_u32..4, Just(64), Just(u32::MAX)],
        overlong in prop::sample::select(vec![Overlong::Split, Overlong::Drop]),
    ) {
        let of = &marks[..lengths.len()];
        let max_length = if overlong == Overlong::Split { max_length.div_ceil(2) } else { max_length };
        let options = Options { strategy: Strategy::InOrder, max_sequences, window, overlong, ..Options::new(max_length) };
        let groups = Groups { group_of: of, num_groups: 3, last_alone: false };
        let plan = Plan::new(&Sequences { groups: Some(groups), ..Lengths::from(&lengths[..]).into() }, options, None, 0).unwrap();
        let pieces: Vec<(u64, u32)> = (0..lengths.len() as u64)
            .flat_map(|row| {
                let (full, rest) = (lengths[row as usize] / i64::from(max_length), lengths[row as usize] % i64::from(max_length));
                let pieces = std::iter::repeat_n(max_length, full as usize).chain((rest > 0).then_some(rest as u32));
                pieces.map(move |length| (row, length))
            })
            .collect();
        let mut expected: Vec<Vec<usize>> = vec![];
        for group in 0..3 {
            let own: Vec<usize> = (0..pieces.len()).filter(|&piece| of[pieces[piece].0 as usize] == group).collect();
            let most = max_sequences.map_or(usize::MAX, |most| most as usize);
            expected.extend(next_fit(&own, |piece| pieces[piece].1, max_length, most, window as usize));
        }
        expected.sort();
        let expected: Vec<Vec<u64>> =
            expected.iter().map(|pack| pack.iter().map(|&piece| pieces[piece].0).collect()).collect();
        prop_assert_eq!(listed(&plan), expected);
        prop_assert_eq!(listed(&Plan::from_parts(plan.parts().unwrap()).unwrap()), listed(&plan));
        prop_assert_eq!(listed(&plan.with_epoch(3).unwrap()), listed(&plan));
    }

    #[test]
    fn groups_are_planned_for_themselves(
        (lengths, max_length) in any_lengths(),
        marks in prop::collection::vec(0_u32..3, 400),
        max_sequences in prop::option::of(1_u32..5),
    ) {
        let of = &marks[..lengths.len()];
        let options = Options { max_sequences, ..Options::new(max_length) };
        let groups = Groups { group_of: of, num_groups: 3, last_alone: false };
        let plan = Plan::new(&Sequences { groups: Some(groups), ..Lengths::from(&lengths[..]).into() }, options, None, 0).unwrap();
        let mut expected = vec![];
        for group in 0..3 {
            let ids: Vec<usize> = (0..lengths.len()).filter(|&i| of[i] == group).collect();
            let own: Vec<i64> = ids.iter().map(|&i| lengths[i]).collect();
            let alone = Plan::new(&Lengths::from(&own[..]).into(), options, None, 0).unwrap();
            for pack in listed(&alone) {
                expected.push(pack.iter().map(|&i| ids[i as usize] as u64).collect::<Vec<_>>());
            }
        }
        prop_assert_eq!(listed(&plan), expected);
    }
}

#[test]
fn threads_and_chunks_change_nothing() {
    let lengths: Vec<i64> =
        (0..300_000_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as i64 + 1).collect();
    for seed in [None, Some(7)] {
        let whole = in_pool(1, || plan(&lengths, 8192, seed));
        let expected = whole.list_packs(0..whole.num_packs()).unwrap();
        for threads in [2, 3, 7] {
            let cuts = [0, 1, 1, 70_000, 70_003, 299_999, 300_000];
            let chunks = cuts.windows(2).map(|w| Chunk::I64(&lengths[w[0]..w[1]])).collect();
            let column = Lengths::new(chunks);
            let (list, lens) = in_pool(threads, || {
                let plan = Plan::first_fit_decreasing(&column, 8192, Overlong::Error, seed, 0).unwrap();
                (plan.list_packs(0..plan.num_packs()).unwrap(), plan.list_lengths(0..plan.num_packs()).unwrap())
            });
            assert!(list == expected, "{threads} threads, seed {seed:?}");
            assert!(lens == whole.list_lengths(0..whole.num_packs()).unwrap());
        }
    }
}

#[test]
fn a_long_limit_over_short_sequences_needs_no_long_table() {
    let lengths = [5_i64, 7, 5];
    let plan = plan(&lengths, i32::MAX as u32, None);
    assert_eq!(listed(&plan), [[1, 0, 2]]);
    assert_eq!(plan.classes().unwrap().lengths, [5, 7]);
}

#[test]
fn a_large_multiple_needs_no_long_table() {
    let options = Options { pad_to_multiple_of: 1 << 30, ..Options::new(i32::MAX as u32) };
    let column = Lengths::from(&[5_i64, 7, 5][..]);
    let plan = Plan::new(&column.into(), options, None, 0).unwrap();
    assert_eq!((plan.num_packs(), plan.lower_bound().unwrap()), (3, 3));
    assert_eq!(plan.sizes(0).unwrap().unwrap().sizes, [1 << 30]);
}

#[test]
fn sequences_too_long_for_any_table_are_named() {
    let try_plan = |lengths: &[i64], overlong| {
        Plan::first_fit_decreasing(&Lengths::from(lengths), i32::MAX as u32, overlong, None, 0)
    };
    let long = [5, i64::from(i32::MAX)];
    let said = "sequence 1 has 2147483647 tokens; packsort plans sequences of up to 67108864 tokens";
    assert_eq!(try_plan(&long, Overlong::Error).unwrap_err().to_string(), said);
    assert!(try_plan(&[5, i64::MAX], Overlong::Truncate).is_err());
    assert_eq!(try_plan(&[5, i64::MAX], Overlong::Drop).unwrap().num_sequences(), 1);
    let negative = try_plan(&[i64::from(i32::MAX), -3], Overlong::Error).unwrap_err();
    assert_eq!(negative, Error::NotPositive { row: 1, length: -3 });
}

#[test]
fn misfits_are_named_with_their_row() {
    let try_plan = |lengths: Lengths, overlong| Plan::first_fit_decreasing(&lengths, 4, overlong, None, 0).unwrap_err();
    let signed = Lengths::new(vec![Chunk::I8(&[1, 2]), Chunk::I16(&[3, -4, 9])]);
    assert_eq!(try_plan(signed, Overlong::Drop), Error::NotPositive { row: 3, length: -4 });
    let zero = Lengths::from(&[1_u8, 0][..]);
    assert_eq!(try_plan(zero, Overlong::Truncate), Error::NotPositive { row: 1, length: 0 });
    let huge = Lengths::from(&[1, u64::MAX][..]);
    let error = try_plan(huge, Overlong::Error);
    assert_eq!(error.to_string(), "sequence 1 has 18446744073709551615 tokens, more than max_length 4");
    let none = Plan::first_fit_decreasing(&Lengths::default(), 0, Overlong::Error, None, 0).unwrap_err();
    assert_eq!(none.to_string(), "max_length must be between 1 and 2147483647, got 0");
}

#[test]
fn no_lengths_make_an_empty_plan() {
    let plan = plan(&[], 8, Some(3));
    assert_eq!((plan.num_packs(), plan.num_sequences(), plan.lower_bound().unwrap()), (0, 0, 0));
    assert_eq!(plan.list_packs(0..9).unwrap().offsets, [0]);
}

/// Options and sequences for `Strategy::Random` and others, with numbers at their limits.
#[test]
fn options_and_arrays_that_do_not_fit_are_errors() {
    let lengths = Lengths::from(&[3_i64, 5, 2][..]);
    let sequences = Sequences::from(lengths.clone());
    let refused = |sequences: &Sequences, options: Options| Plan::new(sequences, options, None, 0).unwrap_err();
    let options = Options::new(8);
    assert_eq!(
        refused(&sequences, Options { max_sequences: Some(0), ..options }),
        Error::Zero { option: "max_sequences" }
    );
    assert_eq!(
        refused(&sequences, Options { num_packs_multiple_of: 0, ..options }),
        Error::Zero { option: "num_packs_multiple_of" }
    );
    assert_eq!(
        refused(&sequences, Options { pad_to_multiple_of: 9, ..options }),
        Error::PadMultiple { multiple: 9, max_length: 8 }
    );
    let random = Options { strategy: Strategy::Random, ..options };
    assert_eq!(
        refused(&sequences, Options { separator: true, ..random }).to_string(),
        "separator does not go with strategy 'random'"
    );
    let wrong = |array, found, expected| Error::ArrayLength { array, found, expected };
    let groups = Groups { group_of: &[0, 1], num_groups: 2, last_alone: false };
    let grouped = Sequences { groups: Some(groups), ..sequences.clone() };
    assert_eq!(refused(&grouped, options), wrong("groups", 2, 3));
    assert_eq!(refused(&grouped, random), Error::Clash { option: "groups", strategy: "random" });
    let groups = Groups { group_of: &[0, 1, 2], ..groups };
    let grouped = Sequences { groups: Some(groups), ..sequences.clone() };
    assert_eq!(refused(&grouped, options), Error::NoSuchGroup { group: 2, groups: 2 });
    let flags = Sequences { splittable: Some(&[true]), ..sequences.clone() };
    assert_eq!(refused(&flags, options), wrong("splittable", 1, 3));
    for (offsets, error) in [
        (&[0, 1, 2][..], wrong("offsets of piece_starts", 3, 4)),
        (&[0, 1, 9, 10], Error::PieceStarts { row: 1 }),
        (&[-1, 1, 2, 3], Error::PieceStarts { row: 0 }),
        (&[0, 1, 0, 1], Error::PieceStarts { row: 1 }),
        (&[0, i64::MAX, i64::MAX, i64::MAX], Error::PieceStarts { row: 0 }),
    ] {
        let starts = PieceStarts { offsets, starts: &[0, 0, 0] };
        assert_eq!(refused(&Sequences { piece_starts: Some(starts), ..sequences.clone() }, options), error);
    }
}

#[test]
fn lengths_at_the_limits_of_their_type_are_planned_or_refused() {
    let lengths = [u64::MAX, u64::MAX, 3];
    for strategy in [Strategy::FirstFit, Strategy::Random] {
        for truncation_side in [TruncationSide::Right, TruncationSide::Left] {
            for overlong in [Overlong::Error, Overlong::Drop, Overlong::Truncate, Overlong::Split] {
                let options = Options { strategy, truncation_side, overlong, ..Options::new(8) };
                if let Ok(plan) = Plan::new(&Lengths::from(&lengths[..]).into(), options, None, 0) {
                    assert_eq!(plan.left_out().sequences, 2);
                    assert!(plan.lower_bound().unwrap() <= plan.num_packs());
                }
            }
        }
    }
}

fn any_number() -> impl proptest::strategy::Strategy<Value = i64> {
    prop_oneof![
        -2_i64..12,
        Just(i64::MAX),
        Just(i64::MIN),
        Just(i64::from(u32::MAX)),
        Just(i64::from(i32::MAX)),
        any::<i64>()
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Parts with any numbers are refused, or make a plan whose every method returns.
    #[test]
    fn hostile_parts_never_panic(
        seed: Option<u64>,
        cut: bool,
        changes in prop::collection::vec((0_usize..13, any::<prop::sample::Index>(), any_number()), 1..4),
    ) {
        let overlong = if cut { Overlong::Split } else { Overlong::Drop };
        let column = Lengths::from(&[3_u8, 5, 2, 2, 9, 11][..]);
        let options = Options { overlong, num_packs_multiple_of: 2, separator: cut, ..Options::new(7) };
        let mut parts = Plan::new(&column.into(), options, seed, 0).unwrap().parts().unwrap();
        let PackParts::Patterned(packs) = &mut parts.packs else { unreachable!() };
        for (array, index, value) in changes {
            let array = match array {
                0 => &mut packs.cut_rows,
                1 => &mut packs.cut_rests,
                2 => &mut packs.piece_rows,
                3 => &mut packs.piece_starts,
                4 => &mut packs.class_lengths,
                5 => &mut packs.class_first,
                6 => &mut packs.group_first,
                7 => &mut packs.repeats,
                8 => &mut packs.slot_offsets,
                9 => &mut packs.slot_classes,
                10 => &mut packs.slot_copies,
                11 => {
                    packs.rows = value as u64;
                    continue;
                }
                _ => {
                    let Some(SequenceIds::U32(mut ids)) = packs.items.clone() else { continue };
                    let at = index.index(ids.len());
                    ids[at] = value as u32;
                    packs.items = match value % 3 {
                        0 => Some(SequenceIds::U32(ids)),
                        1 => Some(SequenceIds::I64(ids.into_iter().map(i64::from).chain([value]).collect())),
                        _ => None,
                    };
                    continue;
                }
            };
            match value {
                i64::MAX if !array.is_empty() => drop(array.pop()),
                _ if array.is_empty() => array.push(value),
                _ => {
                    let at = index.index(array.len());
                    array[at] = value;
                }
            }
        }
        if let Ok(plan) = Plan::from_parts(parts) {
            use_every_method(&plan);
        }
    }

    #[test]
    fn hostile_parts_of_random_plans_never_panic(
        lengths in prop::collection::vec(prop_oneof![0_u32..9, any::<u32>()], 0..6),
        skipped in prop::collection::vec((any_number(), any_number()), 0..3),
        max_length in prop_oneof![1_u32..9, Just(i32::MAX as u32), any::<u32>()],
        seed: Option<u64>,
    ) {
        let options = Options { strategy: Strategy::Random, ..Options::new(7) };
        let mut parts = Plan::new(&Lengths::default().into(), options, seed, 0).unwrap().parts().unwrap();
        let PackParts::Concatenated(packs) = &mut parts.packs else { unreachable!() };
        packs.lengths = lengths.into_iter().map(|l| if max_length < 9 { l % 5000 } else { l }).collect();
        (packs.skipped_rows, packs.skipped_tokens) = skipped.into_iter().unzip();
        parts.options.max_length = max_length;
        if let Ok(plan) = Plan::from_parts(parts) {
            use_every_method(&plan);
        }
    }
}

fn use_every_method(plan: &Plan) {
    let all = 0..plan.num_packs();
    let pieces: usize = plan.packs(all.clone()).map(|pack| pack.ids.len()).sum();
    assert_eq!(plan.list_packs(all.clone()).unwrap().ids.len(), pieces);
    assert_eq!(plan.list_lengths(all.clone()).unwrap().len(), pieces);
    assert_eq!(plan.list_starts(all).unwrap().len(), pieces);
    assert!(plan.num_sequences() <= plan.num_rows());
    assert_eq!(plan.num_split() as usize, plan.split_rows().unwrap().len());
    assert!(plan.lower_bound().unwrap() <= plan.num_packs().next_multiple_of(2));
    let _ = (plan.num_fillers(), plan.num_tokens(), plan.with_epoch(3).unwrap().pack(0), plan.has_starts());
    assert_eq!(Plan::from_parts(plan.parts().unwrap()).unwrap().parts().unwrap(), plan.parts().unwrap());
}

#[test]
fn every_strategy_has_a_name_and_is_found_by_it() {
    for name in Strategy::NAMES {
        assert_eq!(name.parse::<Strategy>().unwrap().as_str(), *name);
    }
    let unknown = "rightt".parse::<TruncationSide>().unwrap_err();
    assert_eq!(unknown.to_string(), "truncation_side must be one of 'right', 'left', got 'rightt'");
}

#[test]
fn given_packs_keep_their_sequences_and_a_seed_shuffles_the_packs() {
    let lengths = Lengths::from(&[3_u8, 5, 2, 2, 4][..]);
    let options = Options { strategy: Strategy::Given, ..Options::new(7) };
    assert!(matches!(Plan::new(&lengths.clone().into(), options, None, 0), Err(Error::Clash { .. })));
    let ordered = Options { strategy: Strategy::InOrder, ..options };
    let plan = Plan::new(&lengths.into(), ordered, None, 0).unwrap();
    let packs = |plan: &Plan| (0..plan.num_packs()).map(|pack| plan.pack(pack).unwrap().ids).collect::<Vec<_>>();
    let given = Plan::from_parts(Parts { options, ..plan.parts().unwrap() }).unwrap();
    assert_eq!(packs(&given.with_epoch(3).unwrap()), packs(&plan));
    let seeded = Plan::from_parts(Parts { options, seed: Some(1), ..plan.parts().unwrap() }).unwrap();
    let mut shuffled = packs(&seeded);
    shuffled.sort_unstable();
    let mut known = packs(&plan);
    known.sort_unstable();
    assert_eq!(shuffled, known);
}
