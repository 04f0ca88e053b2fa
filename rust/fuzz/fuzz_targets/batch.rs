//! Batches have each token in its place, with the label and position that the definitions give it.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use packsort_core::Attention;
use packsort_core::batch::{
    BatchArrays, BatchOptions, Labels, LossWeights, NO_LOSS, PackView, Tokens, step_total, write_batch,
};

#[derive(Arbitrary, Debug)]
struct Columns {
    input_ids: Vec<i32>,
    labels: Option<Vec<i32>>,
    seq_lengths: Vec<i32>,
    sequence_ids: Option<Vec<i64>>,
    fit: bool,
    in_pieces: [Option<bool>; 2],
}

#[derive(Arbitrary, Debug)]
struct Input {
    packs: Vec<Columns>,
    labels: u8,
    weights: u8,
    whole_pack: bool,
    row_length: Option<usize>,
    pad_token_id: i64,
    padding_joins: bool,
    positions_run_on: bool,
    seq_idx_by_pack: bool,
    step_total: f64,
    fit: bool,
    sizes: [u8; 9],
    unpadded: bool,
}

impl Columns {
    /// Make the columns agree, so that most packs are whole.
    fn fit(&mut self) {
        let (mut left, mut lengths) = (self.input_ids.len() as i32, vec![]);
        for &length in &self.seq_lengths {
            if left > 0 {
                lengths.push((length.unsigned_abs() % 8) as i32 % left + 1);
                left -= lengths.last().unwrap();
            }
        }
        lengths.extend((left > 0).then_some(left));
        self.seq_lengths = lengths;
        if let Some(labels) = &mut self.labels {
            labels.resize(self.input_ids.len(), -100);
        }
        if let Some(ids) = &mut self.sequence_ids {
            ids.resize(self.seq_lengths.len(), 0);
            ids.iter_mut().for_each(|id| *id = id.rem_euclid(5) - 2);
        }
    }

    /// Cut values into pieces of the segments' lengths, as far as they go: bytes of `i64`, or of `i32`.
    fn cut(&self, values: &[i32], wide: bool) -> Vec<Vec<u8>> {
        let mut left = values;
        let piece = |&length: &i32| {
            let (piece, rest) = left.split_at((length.max(0) as usize).min(left.len()));
            left = rest;
            match wide {
                true => piece.iter().flat_map(|&value| i64::from(value).to_ne_bytes()).collect(),
                false => piece.iter().flat_map(|value| value.to_ne_bytes()).collect(),
            }
        };
        self.seq_lengths.iter().map(piece).collect()
    }
}

fuzz_target!(|input: Input| {
    let mut input = input;
    input.packs.iter_mut().filter(|pack| pack.fit).for_each(Columns::fit);
    let cut: Vec<[Vec<Vec<u8>>; 2]> = (input.packs.iter())
        .map(|pack| {
            let columns = [Some(&pack.input_ids), pack.labels.as_ref()];
            [0, 1].map(|at| match (columns[at], pack.in_pieces[at]) {
                (Some(values), Some(wide)) => pack.cut(values, wide),
                _ => vec![],
            })
        })
        .collect();
    let pieces: Vec<[Vec<&[u8]>; 2]> =
        cut.iter().map(|columns| [0, 1].map(|at| columns[at].iter().map(|piece| &piece[..]).collect())).collect();
    let packs: Vec<PackView> = (input.packs.iter().zip(&pieces))
        .map(|(pack, [ids, labels])| {
            let tokens = |values, pieces, in_pieces| match in_pieces {
                None => Tokens::Whole(values),
                Some(false) => Tokens::I32(pieces),
                Some(true) => Tokens::I64(pieces),
            };
            PackView {
                input_ids: tokens(&pack.input_ids[..], &ids[..], pack.in_pieces[0]),
                labels: pack.labels.as_deref().map(|values| tokens(values, &labels[..], pack.in_pieces[1])),
                seq_lengths: &pack.seq_lengths,
                sequence_ids: pack.sequence_ids.as_deref(),
            }
        })
        .collect();
    let weights = [LossWeights::Token, LossWeights::Sample, LossWeights::Sqrt][usize::from(input.weights % 3)];
    let options = BatchOptions {
        labels: [Labels::Unshifted, Labels::Shifted, Labels::Masked][usize::from(input.labels % 3)],
        attention: if input.whole_pack { Attention::Pack } else { Attention::Document },
        row_length: input.row_length,
        pad_token_id: input.pad_token_id,
        padding_joins: input.padding_joins,
        positions_run_on: input.positions_run_on,
        seq_idx_by_pack: input.seq_idx_by_pack,
        loss_weights: weights,
        step_total: input.step_total,
    };
    let needed: usize = packs
        .iter()
        .map(|pack| options.row_length.unwrap_or(pack.input_ids.len()))
        .fold(0, usize::saturating_add)
        .min(1 << 16);
    let segments = packs.iter().map(|pack| pack.seq_lengths.len().max(1) + 1).sum::<usize>() + 1;
    let size = |place: usize, fit: usize| if input.fit { fit } else { usize::from(input.sizes[place]) };
    let (mut input_ids, mut labels, mut position_ids) =
        (vec![7; size(0, needed)], vec![7; size(1, needed)], vec![7; size(2, needed)]);
    let (mut loss_mask, mut loss_weights) = (vec![7.0; size(3, needed)], vec![7.0; size(4, needed)]);
    let (mut segment_ids, mut seq_idx) = (vec![7; size(5, needed)], vec![7; size(6, needed)]);
    let (mut cu_seqlens, mut unpadded) = (vec![7; size(7, segments)], vec![7; size(8, segments)]);
    let arrays = BatchArrays {
        input_ids: &mut input_ids,
        labels: &mut labels,
        position_ids: &mut position_ids,
        loss_mask: Some(&mut loss_mask),
        loss_weights: Some(&mut loss_weights),
        segment_ids: Some(&mut segment_ids),
        seq_idx: Some(&mut seq_idx),
        cu_seqlens: &mut cu_seqlens,
        unpadded: input.unpadded.then_some(&mut unpadded),
    };
    let total = step_total(&packs, weights);
    let made = write_batch(&packs, &options, arrays);
    let Ok(made) = made else {
        let whole = input.packs.iter().all(is_whole);
        let rows = options.row_length.is_none_or(|row| packs.iter().all(|pack| pack.input_ids.len() <= row));
        assert!(!(input.fit && whole && rows && needed < 1 << 16), "refused without a reason");
        return;
    };
    assert!(total.unwrap() >= 0.0);
    assert!(
        packs.iter().all(|pack| pack.input_ids.len() as i64 == pack.seq_lengths.iter().map(|&n| i64::from(n)).sum())
    );
    let mut at = 0;
    for pack in &input.packs {
        if !is_whole(pack) {
            return; // pieces have left values out that no segment has room for
        }
        let row = options.row_length.unwrap_or(pack.input_ids.len());
        let written = |values: &[i64], place: usize| values[at + place];
        for (place, &token) in pack.input_ids.iter().enumerate() {
            assert_eq!(written(&input_ids, place), i64::from(token));
        }
        (pack.input_ids.len()..row).for_each(|place| {
            assert_eq!(written(&input_ids, place), options.pad_token_id);
            assert!(options.labels == Labels::Masked || written(&labels, place) == NO_LOSS);
            assert_eq!(loss_mask[at + place], 0.0);
        });
        check_labels(pack, &options, &labels[at..], &position_ids[at..]);
        at += row;
    }
    assert_eq!(at, input_ids.len());
    let ends = &cu_seqlens[..=made.count];
    assert!(ends[0] == 0 && ends.windows(2).all(|two| two[0] <= two[1]) && ends[made.count] as usize == at);
    assert_eq!(ends.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(0), made.longest);
    assert!(cu_seqlens[made.count..].iter().all(|&end| end as usize == at));
});

fn is_whole(pack: &Columns) -> bool {
    let tokens = pack.input_ids.len();
    let sum: i128 = pack.seq_lengths.iter().map(|&length| i128::from(length)).sum();
    sum == tokens as i128
        && pack.seq_lengths.iter().all(|&length| length > 0)
        && pack.labels.as_ref().is_none_or(|labels| labels.len() == tokens)
        && pack.sequence_ids.as_ref().is_none_or(|ids| ids.len() == pack.seq_lengths.len())
}

/// Check labels and positions of the segments of one pack, whose attention stays within segments.
fn check_labels(pack: &Columns, options: &BatchOptions, labels: &[i64], position_ids: &[i64]) {
    if options.attention == Attention::Pack {
        return;
    }
    let mut start = 0;
    for (segment, &length) in pack.seq_lengths.iter().enumerate() {
        let end = start + length as usize;
        let is_filler = pack.sequence_ids.as_ref().is_some_and(|ids| ids[segment] < 0);
        for place in (start..end).filter(|_| !is_filler) {
            assert_eq!(position_ids[place], (place - start) as i64);
            let own = pack.labels.as_ref().unwrap_or(&pack.input_ids);
            let expected = match options.labels {
                Labels::Unshifted if place == start => NO_LOSS,
                Labels::Unshifted => own[place].into(),
                Labels::Shifted if place + 1 == end => NO_LOSS,
                Labels::Shifted => own[place + 1].into(),
                Labels::Masked => continue,
            };
            assert_eq!(labels[place], expected);
        }
        start = end;
    }
}
