//! Batches and block masks against what their definitions say.

use packsort_core::batch::{
    BatchArrays, BatchOptions, Labels, LossWeights, PackView, Segments, Tokens, step_total, write_batch,
};
use packsort_core::block_mask::{BlockLines, BlockMask, write_block_mask};
use packsort_core::{Attention, Error};
use proptest::prelude::*;

/// The segments found, and their ends as if filler were not there.
fn segments(pack: &PackView, row_length: Option<usize>, merge: bool) -> Result<(Segments, [i32; 5], [i32; 5]), Error> {
    let tokens = row_length.unwrap_or(0).max(pack.input_ids.len());
    let (mut starts, mut unpadded) = ([0; 5], [0; 5]);
    let arrays = BatchArrays {
        input_ids: &mut vec![0; tokens],
        labels: &mut vec![0; tokens],
        position_ids: &mut vec![0; tokens],
        loss_mask: None,
        loss_weights: None,
        segment_ids: None,
        seq_idx: None,
        cu_seqlens: &mut starts,
        unpadded: merge.then_some(&mut unpadded),
    };
    let found = write_batch(&[*pack], &BatchOptions { row_length, ..BatchOptions::default() }, arrays)?;
    Ok((found, starts, unpadded))
}

#[test]
fn filler_is_a_segment_or_the_end_of_the_one_before() {
    let pack = PackView {
        input_ids: Tokens::Whole(&[1, 2, 3, 0, 5]),
        labels: None,
        seq_lengths: &[3, 1, 1],
        sequence_ids: Some(&[7, -1, 8]),
    };
    assert_eq!(segments(&pack, None, false).unwrap().1, [0, 3, 4, 5, 5]);
    let (found, starts, _) = segments(&pack, Some(8), false).unwrap();
    assert_eq!((found, starts), (Segments { count: 4, longest: 3 }, [0, 3, 4, 5, 8]));
    let (found, starts, unpadded) = segments(&pack, Some(8), true).unwrap();
    assert_eq!(found, Segments { count: 2, longest: 4 });
    assert_eq!((starts, unpadded), ([0, 4, 8, 8, 8], [0, 3, 4, 4, 4]));
}

#[test]
fn pieces_of_a_column_make_the_batch_of_the_whole_pack() {
    let (lengths, ids) = ([3, 1, 2], [4_i64, -2, 5]);
    let (tokens, labels) = ([10, 11, 12, 13, 14, 15], [-100, 11, -100, 13, 14, 15]);
    let bytes32: Vec<u8> = tokens.iter().flat_map(|token: &i32| token.to_ne_bytes()).collect();
    let bytes64: Vec<u8> = labels.iter().flat_map(|&label: &i32| i64::from(label).to_ne_bytes()).collect();
    let ends = [(0, 3), (3, 4), (4, 6)];
    let narrow: Vec<&[u8]> = ends.iter().map(|&(start, end)| &bytes32[4 * start..4 * end]).collect();
    let wide: Vec<&[u8]> = ends.iter().map(|&(start, end)| &bytes64[8 * start..8 * end]).collect();
    let whole = (Tokens::Whole(&tokens), Some(Tokens::Whole(&labels)));
    for labels_are in [Labels::Unshifted, Labels::Shifted, Labels::Masked] {
        let batch = |(input_ids, labels)| {
            let pack = PackView { input_ids, labels, seq_lengths: &lengths, sequence_ids: Some(&ids) };
            let (mut one, mut other, mut positions, mut starts) = ([0; 8], [0; 8], [0; 8], [0; 6]);
            let arrays = BatchArrays {
                input_ids: &mut one,
                labels: &mut other,
                position_ids: &mut positions,
                loss_mask: None,
                loss_weights: None,
                segment_ids: None,
                seq_idx: None,
                cu_seqlens: &mut starts,
                unpadded: None,
            };
            let options = BatchOptions { labels: labels_are, row_length: Some(8), ..BatchOptions::default() };
            let found = write_batch(&[pack], &options, arrays)?;
            Ok::<_, Error>((found, one, other, positions, starts, step_total(&[pack], LossWeights::Token)?))
        };
        assert_eq!(batch((Tokens::I32(&narrow), Some(Tokens::I64(&wide)))), batch(whole));
        assert_eq!(batch((Tokens::I32(&narrow), None)), batch((whole.0, None)));
        assert!(batch((Tokens::I32(&narrow[..2]), None)).is_err());
        assert!(batch((Tokens::I32(&narrow), Some(Tokens::I64(&[wide[2], wide[1], wide[0]])))).is_err());
    }
}

#[test]
fn too_many_segments_and_too_many_tokens_are_errors() {
    let many = PackView { input_ids: Tokens::Whole(&[1; 5]), labels: None, seq_lengths: &[1; 5], sequence_ids: None };
    let short = Error::ArrayLength { array: "cu_seqlens", found: 5, expected: 6 };
    assert_eq!(segments(&many, None, false), Err(short));
    let long = Error::PackTooLong { pack: 0, tokens: 5, row_length: 4 };
    assert_eq!(segments(&many, Some(4), false), Err(long));
}

#[test]
fn a_step_is_weighed_by_trained_tokens() {
    let labels = [-100, 2, 3, -100, 5, 6, 7, 8];
    let pack = PackView {
        input_ids: Tokens::Whole(&[1, 2, 3, 4, 5, 6, 7, 8]),
        labels: Some(Tokens::Whole(&labels)),
        seq_lengths: &[3, 1, 1, 3],
        sequence_ids: Some(&[0, 1, 2, -2]),
    };
    let total = |weights| step_total(&[pack, pack], weights).unwrap();
    assert_eq!((total(LossWeights::Token), total(LossWeights::Sample)), (4.0, 2.0));
    assert_eq!(total(LossWeights::Sqrt), 2.0 * 2.0_f64.sqrt());
}

/// Blocks of a line in order: first those that `chosen` says, then the others.
fn ordered(lines: usize, chosen: impl Fn(usize) -> bool) -> (i32, Vec<i32>) {
    let (mut first, rest): (Vec<usize>, Vec<usize>) = (0..lines).partition(|&block| chosen(block));
    let count = first.len() as i32;
    first.extend(rest);
    (count, first.into_iter().map(|block| block as i32).collect())
}

proptest! {
    #[test]
    fn block_masks_are_those_of_the_whole_matrix(
        lengths in prop::collection::vec(1_usize..20, 1..8),
        block in 1_usize..9,
        window in prop::option::of(prop_oneof![4 => 1_usize..25, 1 => Just(usize::MAX)]),
    ) {
        let width: usize = lengths.iter().sum();
        let lines = width.div_ceil(block);
        let mut starts = vec![0];
        starts.extend(lengths.iter().scan(0, |end, length| { *end += *length as i32; Some(*end) }));
        let mut counts = vec![vec![0; lines]; 4];
        let mut indices = vec![vec![0; lines * lines]; 4];
        let mut parts = counts.iter_mut().zip(&mut indices).map(|(counts, indices)| BlockLines { counts, indices });
        let mask = BlockMask {
            partial: parts.next().unwrap(),
            full: parts.next().unwrap(),
            partial_queries: parts.next().unwrap(),
            full_queries: parts.next().unwrap(),
        };
        write_block_mask(&starts, width, block, window, mask).unwrap();

        let document = |token: usize| starts.partition_point(|&start| start as usize <= token);
        let seen = |query: usize, key: usize| {
            let pairs = (query * block..(query + 1) * block)
                .flat_map(|q| (key * block..(key + 1) * block).map(move |k| (q, k)));
            let near = |q: usize, k: usize| q >= k && q - k < window.unwrap_or(width);
            pairs.filter(|&(q, k)| q < width && near(q, k) && document(q) == document(k)).count()
        };
        let full = |n| n == block * block;
        for line in 0..lines {
            let expected = [
                ordered(lines, |key| seen(line, key) > 0 && !full(seen(line, key))),
                ordered(lines, |key| full(seen(line, key))),
                ordered(lines, |query| seen(query, line) > 0 && !full(seen(query, line))),
                ordered(lines, |query| full(seen(query, line))),
            ];
            for (i, (count, blocks)) in expected.into_iter().enumerate() {
                prop_assert_eq!(counts[i][line], count);
                prop_assert_eq!(&indices[i][line * lines..(line + 1) * lines], &blocks[..]);
            }
        }
    }
}

prop_compose! {
    /// Columns of a pack that may contradict each other.
    fn any_columns()(
        input_ids in prop::collection::vec(any::<i32>(), 0..6),
        labels in prop::option::of(prop::collection::vec(any::<i32>(), 0..6)),
        seq_lengths in prop::collection::vec(prop_oneof![4 => 1_i32..4, 1 => any::<i32>()], 0..4),
        sequence_ids in prop::option::of(prop::collection::vec(prop_oneof![-3_i64..3, any::<i64>()], 0..4)),
    ) -> (Vec<i32>, Option<Vec<i32>>, Vec<i32>, Option<Vec<i64>>) {
        (input_ids, labels, seq_lengths, sequence_ids)
    }
}

proptest! {
    #[test]
    fn hostile_packs_and_arrays_are_errors(
        columns in prop::collection::vec(any_columns(), 0..3),
        row_length in prop::option::of(prop_oneof![0_usize..12, Just(usize::MAX)]),
        tokens in 0_usize..20,
        places in 0_usize..12,
        unpadded in prop::option::of(0_usize..12),
        labels in prop::sample::select(vec![Labels::Unshifted, Labels::Shifted, Labels::Masked]),
        (padding_joins, positions_run_on, whole_pack) in any::<(bool, bool, bool)>(),
        step_total in any::<f64>(),
    ) {
        let packs: Vec<PackView> = columns
            .iter()
            .map(|(input_ids, labels, seq_lengths, sequence_ids)| PackView {
                input_ids: Tokens::Whole(input_ids),
                labels: labels.as_deref().map(Tokens::Whole),
                seq_lengths,
                sequence_ids: sequence_ids.as_deref(),
            })
            .collect();
        let options = BatchOptions {
            labels,
            row_length,
            padding_joins,
            positions_run_on,
            step_total,
            attention: if whole_pack { Attention::Pack } else { Attention::Document },
            ..BatchOptions::default()
        };
        let needed: usize = packs.iter().map(|pack| row_length.unwrap_or(pack.input_ids.len())).fold(0, usize::saturating_add);
        for tokens in [tokens, needed.min(100)] {
            let mut unpadded = unpadded.map(|places| vec![0; places]);
            let arrays = BatchArrays {
                input_ids: &mut vec![0; tokens],
                labels: &mut vec![0; tokens],
                position_ids: &mut vec![0; tokens],
                loss_mask: Some(&mut vec![0.0; tokens]),
                loss_weights: Some(&mut vec![0.0; tokens]),
                segment_ids: Some(&mut vec![0; tokens]),
                seq_idx: Some(&mut vec![0; tokens]),
                cu_seqlens: &mut vec![0; places],
                unpadded: unpadded.as_deref_mut(),
            };
            let _ = write_batch(&packs, &options, arrays);
        }
        let _ = packsort_core::batch::step_total(&packs, LossWeights::Sqrt);
    }

    #[test]
    fn hostile_segments_and_blocks_are_errors(
        ends in prop::collection::vec(prop_oneof![4 => 0_i32..12, 1 => any::<i32>()], 0..6),
        row_length in prop_oneof![4 => 0_usize..12, 1 => any::<usize>()],
        block in prop_oneof![4 => 0_usize..6, 1 => any::<usize>()],
        sizes in prop::collection::vec(0_usize..10, 8),
        rows in 0_usize..3,
        window in prop::option::of(prop_oneof![0_usize..9, any::<usize>()]),
    ) {
        let lines = if block == 0 { 0 } else { row_length.div_ceil(block).min(12) };
        for fit in [false, true] {
            let mut arrays: Vec<Vec<i32>> = (0..8)
                .map(|i| match (fit, i % 2) {
                    (false, _) => vec![0; sizes[i]],
                    (true, 0) => vec![0; rows * lines],
                    (true, _) => vec![0; rows * lines * lines],
                })
                .collect();
            let mut arrays = arrays.iter_mut().map(|array| &mut array[..]);
            let mut next = || BlockLines { counts: arrays.next().unwrap(), indices: arrays.next().unwrap() };
            let mask = BlockMask { partial: next(), full: next(), partial_queries: next(), full_queries: next() };
            let _ = write_block_mask(&ends, row_length, block, window, mask);
        }
    }
}
