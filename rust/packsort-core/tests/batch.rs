//! Batches and block masks against what their definitions say.

use packsort_core::Error;
use packsort_core::batch::{Batch, Filled, Labels, PackView, Scheme, Style, fill, step_total};
use packsort_core::block_mask::{BlockMask, Blocks, fill_blocks};
use proptest::prelude::*;

const PLAIN: Style = Style {
    labels: Labels::Unshifted,
    whole_pack: false,
    row: 0,
    pad_token: 9,
    padding_joins: false,
    positions_run_on: false,
    count_by_pack: false,
};

/// The segments found, and their starts as if filler were not there.
fn segments(pack: &PackView, style: &Style, merge: bool) -> Result<(Filled, [i32; 5], [i32; 5]), Error> {
    let tokens = style.row.max(pack.input_ids.len());
    let (mut starts, mut unpadded) = ([0; 5], [0; 5]);
    let batch = Batch {
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
    let filled = fill(&[*pack], style, (Scheme::Token, 1.0), batch)?;
    Ok((filled, starts, unpadded))
}

#[test]
fn filler_is_a_segment_or_the_end_of_the_one_before() {
    let pack = PackView {
        input_ids: &[1, 2, 3, 0, 5],
        labels: None,
        seq_lengths: &[3, 1, 1],
        sequence_ids: Some(&[7, -1, 8]),
    };
    assert_eq!(segments(&pack, &PLAIN, false).unwrap().1, [0, 3, 4, 5, 5]);
    let row = Style { row: 8, ..PLAIN };
    let (filled, starts, _) = segments(&pack, &row, false).unwrap();
    assert_eq!((filled, starts), (Filled { segments: 4, longest: 3 }, [0, 3, 4, 5, 8]));
    let (filled, starts, unpadded) = segments(&pack, &row, true).unwrap();
    assert_eq!(filled, Filled { segments: 2, longest: 4 });
    assert_eq!((starts, unpadded), ([0, 4, 8, 8, 8], [0, 3, 4, 4, 4]));
}

#[test]
fn too_many_segments_and_too_many_tokens_are_errors() {
    let many = PackView { input_ids: &[1; 5], labels: None, seq_lengths: &[1; 5], sequence_ids: None };
    assert!(segments(&many, &PLAIN, false).is_err());
    assert!(segments(&many, &Style { row: 4, ..PLAIN }, false).is_err());
}

#[test]
fn a_step_is_weighed_by_trained_tokens() {
    let labels = [-100, 2, 3, -100, 5, 6, 7, 8];
    let pack = PackView {
        input_ids: &[1, 2, 3, 4, 5, 6, 7, 8],
        labels: Some(&labels),
        seq_lengths: &[3, 1, 1, 3],
        sequence_ids: Some(&[0, 1, 2, -2]),
    };
    let total = |scheme| step_total(&[pack, pack], scheme).unwrap();
    assert_eq!((total(Scheme::Token), total(Scheme::Sample)), (4.0, 2.0));
    assert_eq!(total(Scheme::Sqrt), 2.0 * 2.0_f64.sqrt());
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
    fn block_masks_are_those_of_the_whole_matrix(lengths in prop::collection::vec(1_usize..20, 1..8), block in 1_usize..9) {
        let width: usize = lengths.iter().sum();
        let lines = width.div_ceil(block);
        let mut starts = vec![0];
        starts.extend(lengths.iter().scan(0, |end, length| { *end += *length as i32; Some(*end) }));
        let mut counts = vec![vec![0; lines]; 4];
        let mut indices = vec![vec![0; lines * lines]; 4];
        let mut parts = counts.iter_mut().zip(&mut indices).map(|(counts, indices)| Blocks { counts, indices });
        let mask = BlockMask {
            partial: parts.next().unwrap(),
            full: parts.next().unwrap(),
            partial_queries: parts.next().unwrap(),
            full_queries: parts.next().unwrap(),
        };
        fill_blocks(&starts, width, block, mask).unwrap();

        let document = |token: usize| starts.partition_point(|&start| start as usize <= token);
        let seen = |query: usize, key: usize| {
            let pairs = (query * block..(query + 1) * block)
                .flat_map(|q| (key * block..(key + 1) * block).map(move |k| (q, k)));
            pairs.filter(|&(q, k)| q < width && q >= k && document(q) == document(k)).count()
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
