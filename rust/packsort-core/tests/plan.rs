//! Plans against the textbook, and what every plan must keep.

use packsort_core::{Chunk, Error, Groups, Lengths, Options, Order, Overlong, Plan, Sequences, Strategy};
use proptest::prelude::*;

/// First-fit decreasing as textbooks have it: longest first (input order among equals), into the first open pack
/// with room.
fn textbook(lengths: &[i64], max_length: i64) -> Vec<Vec<u64>> {
    textbook_of(lengths, max_length, usize::MAX)
}

/// The same with at most `max_sequences` a pack.
fn textbook_of(lengths: &[i64], max_length: i64, max_sequences: usize) -> Vec<Vec<u64>> {
    let mut by_length: Vec<usize> = (0..lengths.len()).collect();
    by_length.sort_by_key(|&i| -lengths[i]);
    let (mut packs, mut rooms): (Vec<Vec<u64>>, Vec<i64>) = (vec![], vec![]);
    for i in by_length {
        let takes = |pack: usize| rooms[pack] >= lengths[i] && packs[pack].len() < max_sequences;
        let fits = (0..packs.len()).find(|&pack| takes(pack)).unwrap_or(packs.len());
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
    let all = plan.list(0..plan.num_packs());
    let ids: Vec<u64> = match &all.ids {
        Order::U32(ids) => ids.iter().map(|&i| i.into()).collect(),
        Order::I64(ids) => ids.iter().map(|&i| i as u64).collect(),
    };
    all.offsets.windows(2).map(|w| ids[w[0] as usize..w[1] as usize].to_vec()).collect()
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
        prop_assert!(plan.lower_bound() <= plan.num_packs());
    }

    #[test]
    fn one_pack_alone_is_the_listed_one((lengths, max_length) in any_lengths(), seed: Option<u64>) {
        let plan = plan(&lengths, max_length, seed);
        let lens = plan.list_lengths(0..plan.num_packs());
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
        let parts = [plan.list(0..middle), plan.list(middle..u64::MAX)];
        let ids: Vec<Order> = parts.iter().map(|p| p.ids.clone()).collect();
        let joined = match (&ids[0], &ids[1]) {
            (Order::U32(a), Order::U32(b)) => Order::U32([a.as_slice(), b].concat()),
            _ => unreachable!(),
        };
        prop_assert_eq!(joined, plan.list(0..plan.num_packs()).ids);
    }

    #[test]
    fn epochs_keep_the_packs_by_length((lengths, max_length) in any_lengths(), seed: Option<u64>, epoch in 0_u64..9) {
        let plan = plan(&lengths, max_length, seed);
        let other = plan.with_epoch(epoch);
        let by_length = |plan: &Plan| {
            let mut packs: Vec<Vec<i64>> = listed(plan)
                .iter()
                .map(|pack| pack.iter().map(|&i| lengths[i as usize]).collect())
                .collect();
            packs.sort();
            packs
        };
        prop_assert_eq!(by_length(&plan), by_length(&other));
        prop_assert_eq!(listed(&other.with_epoch(0)), listed(&plan));
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
        prop_assert_eq!(truncated.excess().tokens, lost as u64);

        let dropped = Plan::first_fit_decreasing(&column, max_length, Overlong::Drop, None, 0).unwrap();
        let kept: Vec<u64> = (0..lengths.len() as u64).filter(|&i| lengths[i as usize] <= limit).collect();
        let kept_lengths: Vec<i64> = kept.iter().map(|&i| lengths[i as usize]).collect();
        let expected: Vec<Vec<u64>> = textbook(&kept_lengths, limit)
            .iter()
            .map(|pack| pack.iter().map(|&i| kept[i as usize]).collect())
            .collect();
        prop_assert_eq!(listed(&dropped), expected);
        prop_assert_eq!(dropped.excess().sequences, (lengths.len() - kept.len()) as u64);
        let gone: i64 = lengths.iter().filter(|&&l| l > limit).sum();
        prop_assert_eq!(dropped.excess().tokens, gone as u64);
    }

    #[test]
    fn a_plan_survives_its_parts((lengths, max_length) in any_lengths(), seed: Option<u64>) {
        let plan = plan(&lengths, max_length, seed);
        let again = Plan::from_parts(plan.parts()).unwrap();
        prop_assert_eq!(listed(&again), listed(&plan));
        if lengths.len() > 1 {
            let mut parts = plan.parts();
            let Order::U32(mut ids) = parts.order else { unreachable!() };
            ids[0] = *ids.last().unwrap();
            parts.order = Order::U32(ids);
            prop_assert!(Plan::from_parts(parts).is_err());
            let mut parts = plan.parts();
            parts.patterns.repeats[0] += 1;
            prop_assert!(Plan::from_parts(parts).is_err());
            let mut parts = plan.parts();
            parts.options.max_length = *lengths.iter().max().unwrap() as u32 - 1;
            prop_assert!(Plan::from_parts(parts).is_err());
        }
    }

    #[test]
    fn constraints_hold_together(
        (lengths, max_length) in any_lengths(),
        strategy in prop::sample::select(vec![
            Strategy::FirstFit, Strategy::BestFit, Strategy::Padding, Strategy::Hybrid,
        ]),
        max_sequences in 0_u32..5,
        (pad_multiple, separated) in (1_u32..5, any::<bool>()),
        multiple in 1_u32..9,
        marks in prop::collection::vec((0_u32..3, prop::bool::weighted(0.2)), 400),
        seed: Option<u64>,
    ) {
        let of: Vec<u32> = marks[..lengths.len()].iter().map(|&(group, alone)| if alone { 3 } else { group }).collect();
        let groups = Groups { of: &of, count: 4, last_alone: true };
        prop_assume!(pad_multiple <= max_length);
        let free = Options { strategy, overlong: Overlong::Split, max_sequences, pad_multiple, separated, ..Options::new(max_length) };
        let options = Options { packs_multiple: multiple, ..free };
        let flags: Vec<bool> = (0..lengths.len()).map(|i| i % 3 != 0).collect();
        let splittable = (strategy == Strategy::Hybrid).then_some(&flags[..]);
        let sequences = Sequences { groups: Some(groups), splittable, ..Lengths::from(&lengths[..]).into() };
        let unsplit = Plan::new(&sequences, free, seed, 3).unwrap();
        let (packs, pieces) = (unsplit.num_packs(), unsplit.order().len() as u64);
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
        let listed_lengths = plan.list_lengths(0..u64::MAX);
        let mut at = 0;
        let most = if max_sequences == 0 { usize::MAX } else { max_sequences as usize };
        for pack in &packs {
            let group = of[pack[0] as usize];
            prop_assert!(pack.iter().all(|&i| of[i as usize] == group));
            let own = &listed_lengths[at..at + pack.len()];
            at += pack.len();
            prop_assert!(own.iter().map(|&l| room.taken(l as u32)).sum::<u32>() <= room.capacity());
            let most = if group == 3 || strategy == Strategy::Padding { 1 } else { most };
            prop_assert!(pack.len() <= most);
        }
        prop_assert!(plan.lower_bound() <= plan.num_packs());
        prop_assert_eq!(listed(&Plan::from_parts(plan.parts()).unwrap()), packs);
    }

    #[test]
    fn groups_are_planned_for_themselves(
        (lengths, max_length) in any_lengths(),
        marks in prop::collection::vec(0_u32..3, 400),
        max_sequences in 0_u32..5,
    ) {
        let of = &marks[..lengths.len()];
        let options = Options { max_sequences, ..Options::new(max_length) };
        let groups = Groups { of, count: 3, last_alone: false };
        let plan = Plan::new(&Sequences { groups: Some(groups), ..Lengths::from(&lengths[..]).into() }, options, None, 0).unwrap();
        let most = if max_sequences == 0 { usize::MAX } else { max_sequences as usize };
        let mut expected = vec![];
        for group in 0..3 {
            let ids: Vec<usize> = (0..lengths.len()).filter(|&i| of[i] == group).collect();
            let own: Vec<i64> = ids.iter().map(|&i| lengths[i]).collect();
            for pack in textbook_of(&own, max_length.into(), most) {
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
        let expected = whole.list(0..whole.num_packs());
        for threads in [2, 3, 7] {
            let cuts = [0, 1, 1, 70_000, 70_003, 299_999, 300_000];
            let chunks = cuts.windows(2).map(|w| Chunk::I64(&lengths[w[0]..w[1]])).collect();
            let column = Lengths::new(chunks);
            let (list, lens) = in_pool(threads, || {
                let plan = Plan::first_fit_decreasing(&column, 8192, Overlong::Error, seed, 0).unwrap();
                (plan.list(0..plan.num_packs()), plan.list_lengths(0..plan.num_packs()))
            });
            assert!(list == expected, "{threads} threads, seed {seed:?}");
            assert!(lens == whole.list_lengths(0..whole.num_packs()));
        }
    }
}

#[test]
fn a_long_limit_over_short_sequences_needs_no_long_table() {
    let lengths = [5_i64, 7, 5];
    let plan = plan(&lengths, i32::MAX as u32, None);
    assert_eq!(listed(&plan), [[1, 0, 2]]);
    assert_eq!(plan.classes().lengths, [5, 7]);
}

#[test]
fn sequences_too_long_for_any_table_are_named() {
    let try_plan = |lengths: &[i64], overlong| {
        Plan::first_fit_decreasing(&Lengths::from(lengths), i32::MAX as u32, overlong, None, 0)
    };
    let long = [5, i64::from(i32::MAX)];
    let said = "sequence 1 has 2147483647 tokens, packsort plans sequences of up to 67108864";
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
    assert_eq!(none.to_string(), "max_length is 0, allowed is 1 to 2147483647");
}

#[test]
fn no_lengths_make_an_empty_plan() {
    let plan = plan(&[], 8, Some(3));
    assert_eq!((plan.num_packs(), plan.num_sequences(), plan.lower_bound()), (0, 0, 0));
    assert_eq!(plan.list(0..9).offsets, [0]);
}
