//! Plans of any options and lengths keep what they promise, which a checker of its own reads from the packs in order.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use packsort_core::{
    Chunk, EmptySequences, Error, Groups, Lengths, Options, Overlong, PieceStarts, Plan, Sequences, Strategy,
    TruncationSide,
};

/// Longer sequences are refused or dropped; their tables are not what is tried here.
const LONGEST: u64 = 4096;

#[derive(Arbitrary, Debug)]
enum Numbers {
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
}

#[derive(Arbitrary, Debug)]
enum MaxLength {
    Short(u8),
    Any(u32),
}

#[derive(Arbitrary, Debug)]
struct Input {
    lengths: Vec<Numbers>,
    max_length: MaxLength,
    strategy: u8,
    overlong: u8,
    keep_end: bool,
    drop_empty: bool,
    max_sequences: Option<u8>,
    pad_to_multiple_of: u8,
    num_packs_multiple_of: u8,
    separator: bool,
    window: u8,
    groups: Option<(Vec<u8>, bool)>,
    splittable: Option<Vec<bool>>,
    cut_at: Option<u8>,
    seed: Option<u64>,
    epoch: u8,
}

fuzz_target!(|input: Input| {
    let mut input = input;
    let max_length = match input.max_length {
        MaxLength::Short(length) => u32::from(length),
        MaxLength::Any(length) => length,
    };
    let options = Options {
        max_length,
        strategy: Strategy::NAMES[usize::from(input.strategy) % Strategy::NAMES.len()].parse().unwrap(),
        overlong: Overlong::NAMES[usize::from(input.overlong) % 4].parse().unwrap(),
        truncation_side: if input.keep_end { TruncationSide::Left } else { TruncationSide::Right },
        empty: if input.drop_empty { EmptySequences::Drop } else { EmptySequences::Error },
        max_sequences: input.max_sequences.map(u32::from),
        pad_to_multiple_of: input.pad_to_multiple_of.into(),
        num_packs_multiple_of: input.num_packs_multiple_of.into(),
        separator: input.separator,
        window: input.window.into(),
    };
    // Tables take memory by the longest length up to `max_length`, and pieces by their number. The longest sequences
    // are therefore tried where the table is small, and the pieces fit no address space.
    let most = if max_length > 1 << 13 { LONGEST } else { u64::MAX };
    input.lengths.iter_mut().for_each(|numbers| shorten(numbers, most));
    let lengths = Lengths::new(input.lengths.iter().map(chunk).collect());
    let rows: Vec<i128> = input.lengths.iter().flat_map(values).collect();
    let repeat = |values: &[u8]| -> Vec<u32> { (0..rows.len()).map(|i| values[i % values.len()].into()).collect() };

    let mut sequences = Sequences::from(lengths);
    let (group_of, last_alone) = match &input.groups {
        Some((groups, last_alone)) if !groups.is_empty() => (repeat(groups), *last_alone),
        _ => (vec![0; rows.len()], false),
    };
    let num_groups = group_of.iter().max().map_or(1, |&group| group as usize + 1);
    sequences.groups = input.groups.is_some().then_some(Groups { group_of: &group_of, num_groups, last_alone });
    let splittable: Vec<bool> = match input.splittable.as_deref() {
        Some(flags) if !flags.is_empty() => (0..rows.len()).map(|i| flags[i % flags.len()]).collect(),
        _ => vec![true; rows.len()],
    };
    sequences.splittable = input.splittable.is_some().then_some(&splittable);
    let (offsets, starts) = cut(&rows, input.cut_at.unwrap_or(1));
    sequences.piece_starts = input.cut_at.map(|_| PieceStarts { offsets: &offsets, starts: &starts });

    match Plan::new(&sequences, options, input.seed, input.epoch.into()) {
        Ok(plan) => {
            let checked = Checked { rows: &rows, group_of: &group_of, last_alone, sequences: &sequences, options };
            checked.check(&plan);
        }
        Err(error) => check_refusal(&error, &rows, &sequences, options),
    }
});

/// Halve lengths that are neither short nor among the longest of their type.
fn shorten(numbers: &mut Numbers, most: u64) {
    fn each<T: Copy + TryInto<u64> + TryFrom<u64>>(values: &mut [T], most: u64) {
        for value in values {
            if let Ok(length) = (*value).try_into()
                && (length > most || (LONGEST < length && length < 1 << 62))
            {
                *value = T::try_from(length % LONGEST).unwrap_or(*value);
            }
        }
    }
    match numbers {
        Numbers::I8(_) | Numbers::U8(_) => {}
        Numbers::I16(values) => each(values, most),
        Numbers::I32(values) => each(values, most),
        Numbers::I64(values) => each(values, most),
        Numbers::U16(values) => each(values, most),
        Numbers::U32(values) => each(values, most),
        Numbers::U64(values) => each(values, most),
    }
}

fn chunk(numbers: &Numbers) -> Chunk<'_> {
    match numbers {
        Numbers::I8(values) => Chunk::I8(values),
        Numbers::I16(values) => Chunk::I16(values),
        Numbers::I32(values) => Chunk::I32(values),
        Numbers::I64(values) => Chunk::I64(values),
        Numbers::U8(values) => Chunk::U8(values),
        Numbers::U16(values) => Chunk::U16(values),
        Numbers::U32(values) => Chunk::U32(values),
        Numbers::U64(values) => Chunk::U64(values),
    }
}

fn values(numbers: &Numbers) -> Vec<i128> {
    match numbers {
        Numbers::I8(values) => values.iter().map(|&value| value.into()).collect(),
        Numbers::I16(values) => values.iter().map(|&value| value.into()).collect(),
        Numbers::I32(values) => values.iter().map(|&value| value.into()).collect(),
        Numbers::I64(values) => values.iter().map(|&value| value.into()).collect(),
        Numbers::U8(values) => values.iter().map(|&value| value.into()).collect(),
        Numbers::U16(values) => values.iter().map(|&value| value.into()).collect(),
        Numbers::U32(values) => values.iter().map(|&value| value.into()).collect(),
        Numbers::U64(values) => values.iter().map(|&value| value.into()).collect(),
    }
}

/// Cut each short row into pieces of `at` tokens.
fn cut(rows: &[i128], at: u8) -> (Vec<i64>, Vec<i32>) {
    let (mut offsets, mut starts) = (vec![0], vec![]);
    for &row in rows {
        if (1..=i128::from(LONGEST)).contains(&row) {
            starts.extend((0..row as i32).step_by(usize::from(at.max(1))));
        }
        offsets.push(starts.len() as i64);
    }
    (offsets, starts)
}

/// What is planned, and how.
struct Checked<'a> {
    rows: &'a [i128],
    group_of: &'a [u32],
    last_alone: bool,
    sequences: &'a Sequences<'a>,
    options: Options,
}

impl Checked<'_> {
    fn check(&self, plan: &Plan) {
        let all = 0..plan.num_packs();
        let list = plan.list_packs(all.clone()).unwrap();
        let ids: Vec<u64> = list.ids.iter().collect();
        let (lengths, starts) = (plan.list_lengths(all.clone()).unwrap(), plan.list_starts(all).unwrap());
        assert!(ids.len() == lengths.len() && ids.len() == starts.len());
        assert_eq!(list.offsets.len() as u64, plan.num_packs() + 1);
        // The core leaves the number of `optimal` to the search that follows.
        let multiple = u64::from(self.options.num_packs_multiple_of);
        let is_search = self.options.strategy == Strategy::Optimal;
        assert!(is_search || plan.num_packs().is_multiple_of(multiple));
        let mut planned: Vec<Vec<(i128, i128)>> = vec![vec![]; self.rows.len()];
        let last_group = self.group_of.iter().max();
        for (index, ends) in list.offsets.windows(2).enumerate() {
            let pack = ends[0] as usize..ends[1] as usize;
            assert!(!pack.is_empty());
            self.check_room(&lengths[pack.clone()]);
            let group = self.group_of[ids[pack.start] as usize];
            let alone = self.options.strategy == Strategy::Padding || (self.last_alone && Some(&group) == last_group);
            assert!(!alone || self.options.strategy == Strategy::Random || pack.len() == 1);
            for piece in pack.clone() {
                let row = ids[piece] as usize;
                assert_eq!(self.group_of[row], group);
                planned[row].push((starts[piece].into(), lengths[piece].into()));
            }
            let one = plan.pack(index as u64).unwrap();
            assert_eq!(one.ids, &ids[pack.clone()]);
            assert!(one.lengths.iter().zip(&lengths[pack.clone()]).all(|(&a, &b)| i64::from(a) == i64::from(b)));
            assert!(one.starts.iter().zip(&starts[pack]).all(|(&a, &b)| i64::from(a) == i64::from(b)));
        }
        planned.iter_mut().enumerate().for_each(|(row, pieces)| self.check_row(row, pieces));
        assert_eq!(plan.num_tokens(), lengths.iter().map(|&length| length as u64).sum::<u64>());
        assert_eq!(plan.num_split() as usize, planned.iter().filter(|pieces| pieces.len() > 1).count());
        assert!(plan.lower_bound().unwrap() <= plan.num_packs().next_multiple_of(multiple));
        let again = Plan::from_parts(plan.parts().unwrap()).unwrap();
        assert_eq!(again.list_packs(0..u64::MAX).unwrap(), list);
        let other = plan.with_epoch(plan.epoch().wrapping_add(1)).unwrap();
        assert_eq!((other.num_packs(), other.num_tokens()), (plan.num_packs(), plan.num_tokens()));
        if self.is_textbook(plan) {
            let lists = list.offsets.windows(2).map(|ends| ids[ends[0] as usize..ends[1] as usize].to_vec());
            assert_eq!(lists.collect::<Vec<_>>(), self.textbook());
        }
    }

    /// Lay the sequences of a pack out in order: tokens, separator, padding.
    fn check_room(&self, lengths: &[i32]) {
        let Options { max_length, pad_to_multiple_of, separator, max_sequences, .. } = self.options;
        let multiple = i64::from(pad_to_multiple_of);
        let mut at = 0_i64;
        for (place, &length) in lengths.iter().enumerate() {
            assert!(length > 0);
            at += i64::from(length) + i64::from(separator && place + 1 < lengths.len());
            at = (at + multiple - 1) / multiple * multiple;
        }
        assert!(at <= i64::from(max_length), "{at} tokens");
        assert!(max_sequences.is_none_or(|most| lengths.len() <= most as usize));
    }

    /// Check that the pieces of a row are what the options say is kept of it, once.
    fn check_row(&self, row: usize, pieces: &mut [(i128, i128)]) {
        let length = self.rows[row];
        pieces.sort_unstable();
        assert!(pieces.windows(2).all(|two| two[0].0 + two[0].1 == two[1].0), "row {row}: {pieces:?}");
        let kept: i128 = pieces.iter().map(|&(_, length)| length).sum();
        let first = pieces.first().map_or(0, |&(start, _)| start);
        if let Some(given) = self.sequences.piece_starts {
            let known = given.offsets[row] < given.offsets[row + 1];
            assert_eq!((first, kept), (0, if known { length } else { 0 }));
            return;
        }
        let Options { overlong, truncation_side, strategy, .. } = self.options;
        let longest = self.longest();
        let cuttable = self.sequences.splittable.is_some_and(|flags| flags[row]);
        let expected = match overlong {
            _ if length <= longest || cuttable || overlong == Overlong::Split => (0, length),
            Overlong::Drop => (0, 0),
            _ if truncation_side == TruncationSide::Left => (length - longest, longest),
            _ => (0, longest),
        };
        assert_eq!((if kept == 0 { 0 } else { first }, kept), expected, "row {row}");
        let may_cut =
            overlong == Overlong::Split || self.sequences.splittable.is_some() || strategy == Strategy::Random;
        assert!(may_cut || pieces.len() <= 1);
        // Only `hybrid` cuts what fits a pack, and `random` cuts anywhere.
        let hybrid = strategy == Strategy::Hybrid && cuttable;
        assert!(length > longest || hybrid || strategy == Strategy::Random || pieces.len() <= 1);
    }

    fn longest(&self) -> i128 {
        i128::from(self.options.max_length / self.options.pad_to_multiple_of * self.options.pad_to_multiple_of)
    }

    /// Return whether the plan is that of filling packs in order, id for id.
    fn is_textbook(&self, plan: &Plan) -> bool {
        let Options { strategy, overlong, num_packs_multiple_of, .. } = self.options;
        let whole = overlong != Overlong::Split && self.sequences.piece_starts.is_none();
        let strategy = matches!(strategy, Strategy::FirstFit | Strategy::Optimal | Strategy::Padding);
        let in_order = plan.seed().is_none() && plan.epoch() == 0;
        strategy && in_order && whole && self.sequences.splittable.is_none() && num_packs_multiple_of == 1
    }

    /// First-fit decreasing as textbooks have it, group by group.
    fn textbook(&self) -> Vec<Vec<u64>> {
        let room = self.options.room().unwrap();
        let last_group = self.group_of.iter().copied().max().unwrap_or(0);
        let mut all = vec![];
        for group in 0..=last_group {
            let alone = self.options.strategy == Strategy::Padding || (self.last_alone && group == last_group);
            let most = if alone { 1 } else { self.options.max_sequences.unwrap_or(u32::MAX) as usize };
            let kept = |row: &usize| {
                let fits = self.rows[*row] <= self.longest() || self.options.overlong != Overlong::Drop;
                self.group_of[*row] == group && self.rows[*row] > 0 && fits
            };
            let length = |row: usize| self.rows[row].min(self.longest()) as u32;
            let mut rows: Vec<usize> = (0..self.rows.len()).filter(kept).collect();
            rows.sort_by_key(|&row| std::cmp::Reverse(length(row)));
            let (mut packs, mut rooms): (Vec<Vec<u64>>, Vec<u32>) = (vec![], vec![]);
            for row in rows {
                let taken = room.taken(length(row));
                let fits = (0..packs.len()).find(|&pack| rooms[pack] >= taken && packs[pack].len() < most);
                let pack = fits.unwrap_or_else(|| {
                    packs.push(vec![]);
                    rooms.push(room.capacity());
                    packs.len() - 1
                });
                packs[pack].push(row as u64);
                rooms[pack] -= taken;
            }
            all.extend(packs);
        }
        all
    }
}

/// Check that what was refused is what cannot be planned.
fn check_refusal(error: &Error, rows: &[i128], sequences: &Sequences, options: Options) {
    let Options { max_length, pad_to_multiple_of, max_sequences, num_packs_multiple_of, overlong, .. } = options;
    let sound = (1..=i32::MAX as u32).contains(&max_length)
        && (1..=max_length).contains(&pad_to_multiple_of)
        && max_sequences != Some(0)
        && num_packs_multiple_of == 1;
    let plain = !matches!(options.strategy, Strategy::Random | Strategy::Given) && sequences.piece_starts.is_none();
    let least = if options.empty == EmptySequences::Drop { 0 } else { 1 };
    let short = rows.iter().all(|row| (least..=i128::from(LONGEST)).contains(row));
    let longest = i128::from(max_length / pad_to_multiple_of.max(1) * pad_to_multiple_of);
    let fits = overlong != Overlong::Error || rows.iter().all(|&row| row <= longest);
    assert!(!(sound && plain && short && fits), "refused without a reason: {error}");
}
