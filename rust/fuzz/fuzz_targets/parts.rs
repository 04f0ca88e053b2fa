//! Parts of a plan with any numbers are refused, or make a plan whose every method returns.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use packsort_core::{
    ConcatenatedParts, LeftOut, Lengths, Options, Overlong, PackParts, Parts, Plan, SequenceIds, Sequences, Strategy,
    TruncationSide,
};

/// More pieces than this are not listed: they are there, but take their time.
const MOST_PIECES: u64 = 1 << 16;

#[derive(Arbitrary, Debug)]
enum Number {
    Small(i8),
    Any(i64),
}

#[derive(Arbitrary, Debug)]
enum Change {
    Put(u8, Number),
    Insert(u8, Number),
    Remove(u8),
    Swap(u8, u8),
    Replace(Vec<Number>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    lengths: Vec<u8>,
    options: Changed,
    strategy: u8,
    overlong: u8,
    seed: Option<u64>,
    changes: Vec<(u8, Change)>,
    wide: bool,
    counted: bool,
    rows: Option<u64>,
    proven: Option<u64>,
    last_alone: Option<bool>,
    other_options: Option<Changed>,
    other_strategy: Option<u8>,
    left_out: Option<(u64, u64, u64)>,
    epoch: Option<u64>,
}

#[derive(Arbitrary, Debug)]
struct Changed {
    max_length: u32,
    max_sequences: Option<u32>,
    pad_to_multiple_of: u32,
    num_packs_multiple_of: u32,
    separator: bool,
    keep_end: bool,
}

fuzz_target!(|input: Input| {
    let strategy = |number: u8| Strategy::NAMES[usize::from(number) % Strategy::NAMES.len()].parse().unwrap();
    let mut options = Options {
        strategy: strategy(input.strategy),
        overlong: Overlong::NAMES[usize::from(input.overlong) % 4].parse().unwrap(),
        max_length: input.options.max_length % 64 + 1,
        max_sequences: input.options.max_sequences.map(|most| most % 8 + 1),
        pad_to_multiple_of: input.options.pad_to_multiple_of % 4 + 1,
        num_packs_multiple_of: input.options.num_packs_multiple_of % 3 + 1,
        separator: input.options.separator,
        ..Options::new(1)
    };
    if options.strategy == Strategy::Random {
        options =
            Options { overlong: options.overlong, strategy: options.strategy, ..Options::new(options.max_length) };
    }
    let sequences = Sequences::from(Lengths::from(&input.lengths[..]));
    let Ok(plan) = Plan::new(&sequences, options, input.seed, 0) else { return };
    let parts = changed(plan.parts().unwrap(), &input);
    if let Ok(plan) = Plan::from_parts(parts) {
        use_every_method(&plan);
    }
});

fn changed(mut parts: Parts, input: &Input) -> Parts {
    if let Some(other) = &input.other_options {
        let Changed { max_length, max_sequences, pad_to_multiple_of, num_packs_multiple_of, separator, keep_end } =
            *other;
        let truncation_side = if keep_end { TruncationSide::Left } else { TruncationSide::Right };
        let known = parts.options;
        parts.options = Options {
            max_length,
            max_sequences,
            pad_to_multiple_of,
            num_packs_multiple_of,
            separator,
            truncation_side,
            ..known
        };
    }
    if let Some(other) = input.other_strategy {
        parts.options.strategy = Strategy::NAMES[usize::from(other) % Strategy::NAMES.len()].parse().unwrap();
    }
    if let Some((sequences, tokens, empty)) = input.left_out {
        parts.left_out = LeftOut { sequences, tokens, empty };
    }
    parts.epoch = input.epoch.unwrap_or(0);
    match &mut parts.packs {
        PackParts::Concatenated(ConcatenatedParts { lengths, skipped_rows, skipped_tokens }) => {
            for (array, change) in &input.changes {
                match array % 3 {
                    0 => edit(lengths, change, |number| number as u32),
                    1 => edit(skipped_rows, change, |number| number),
                    _ => edit(skipped_tokens, change, |number| number),
                }
            }
        }
        PackParts::Patterned(packs) => {
            packs.rows = input.rows.unwrap_or(packs.rows);
            packs.proven = input.proven.unwrap_or(packs.proven);
            packs.last_alone = input.last_alone.unwrap_or(packs.last_alone);
            let listed = packs.items.take();
            let mut items: Vec<i64> = listed.iter().flat_map(|items| items.iter()).map(|id| id as i64).collect();
            for (array, change) in &input.changes {
                let arrays = [
                    &mut packs.cut_rows,
                    &mut packs.cut_rests,
                    &mut packs.piece_rows,
                    &mut packs.piece_starts,
                    &mut packs.class_lengths,
                    &mut packs.class_first,
                    &mut packs.group_first,
                    &mut packs.repeats,
                    &mut packs.slot_offsets,
                    &mut packs.slot_classes,
                    &mut packs.slot_copies,
                    &mut items,
                ];
                let place = usize::from(*array) % arrays.len();
                edit(arrays.into_iter().nth(place).unwrap(), change, |number| number);
            }
            packs.items = match input.wide {
                _ if input.counted => None, // a plan made from counts
                true => Some(SequenceIds::I64(items)),
                false => Some(SequenceIds::U32(items.into_iter().map(|id| id as u32).collect())),
            };
        }
    }
    parts
}

fn edit<T>(array: &mut Vec<T>, change: &Change, number: impl Fn(i64) -> T) {
    let number = |value: &Number| match *value {
        Number::Small(value) => number(value.into()),
        Number::Any(value) => number(value),
    };
    let at = |place: u8, length: usize| usize::from(place) % length;
    match change {
        Change::Replace(values) => *array = values.iter().map(number).collect(),
        Change::Insert(place, value) => array.insert(at(*place, array.len() + 1), number(value)),
        _ if array.is_empty() => {}
        Change::Put(place, value) => {
            let place = at(*place, array.len());
            array[place] = number(value);
        }
        Change::Remove(place) => drop(array.remove(at(*place, array.len()))),
        Change::Swap(one, other) => {
            let (one, other) = (at(*one, array.len()), at(*other, array.len()));
            array.swap(one, other);
        }
    }
}

fn use_every_method(plan: &Plan) {
    let _ = (plan.pack(0), plan.pack(plan.num_packs() / 2), plan.pack(plan.num_packs()), plan.num_fillers());
    assert!(plan.num_sequences() <= plan.num_rows());
    assert_eq!(plan.num_split() as usize, plan.split_rows().unwrap().len());
    if plan.options().max_length < 1 << 20 {
        let _ = plan.lower_bound().unwrap();
    }
    assert_eq!(Plan::from_parts(plan.parts().unwrap()).unwrap().parts().unwrap(), plan.parts().unwrap());
    let other = plan.with_epoch(3).unwrap();
    assert_eq!((other.num_packs(), other.num_tokens()), (plan.num_packs(), plan.num_tokens()));
    if plan.num_packs() > MOST_PIECES {
        return;
    }
    let all = 0..plan.num_packs();
    let pieces: usize = plan.packs(all.clone()).map(|pack| pack.ids.len()).sum();
    assert_eq!(plan.list_packs(all.clone()).unwrap().ids.len(), pieces);
    assert_eq!(plan.list_lengths(all.clone()).unwrap().len(), pieces);
    assert_eq!(plan.list_starts(all.clone()).unwrap().len(), pieces);
    if plan.is_counted() {
        let numbers: Vec<i64> = plan.list_packs(all).unwrap().ids.iter().map(|number| number as i64).collect();
        let places = plan.places(&numbers).unwrap();
        assert!(places.is_sorted() && places.iter().all(|&place| (place as u64) < plan.num_packs()));
    }
}
