use numpy::{PyReadonlyArray1, PyReadwriteArrayDyn};
use packsort_core::Attention;
use packsort_core::batch::{self, BatchArrays, BatchOptions, PARALLEL_FROM, PackView};
use packsort_core::block_mask::{self, BlockLines, BlockMask};
use pyo3::prelude::*;

use crate::errors::{entry, to_py, unknown_name};
use crate::pool;

type Read<'py, T> = PyReadonlyArray1<'py, T>;
/// An array of any shape, of which only the elements in memory order matter.
type Write<'py, T> = PyReadwriteArrayDyn<'py, T>;
/// `input_ids`, `labels`, `seq_lengths`, `sequence_ids`.
type Pack<'py> = (Read<'py, i32>, Option<Read<'py, i32>>, Read<'py, i32>, Option<Read<'py, i64>>);

/// `labels`, `whole_pack`, `row_length` (0 for none), `pad_token_id`, `padding_joins`, `positions_run_on`,
/// `seq_idx_by_pack`.
type OptionArgs = (String, bool, usize, i64, bool, bool, bool);

fn views<'a>(packs: &'a [Pack<'_>]) -> PyResult<Vec<PackView<'a>>> {
    packs
        .iter()
        .map(|(input_ids, labels, seq_lengths, sequence_ids)| {
            Ok(PackView {
                input_ids: input_ids.as_slice()?,
                labels: labels.as_ref().map(|l| l.as_slice()).transpose()?,
                seq_lengths: seq_lengths.as_slice()?,
                sequence_ids: sequence_ids.as_ref().map(|i| i.as_slice()).transpose()?,
            })
        })
        .collect()
}

/// Write packs into the arrays of a batch; returns the number of segments and the tokens of the longest.
#[pyfunction]
#[pyo3(signature = (
    packs, style, weights, input_ids, labels, position_ids, cu_seqlens, *,
    unpadded = None, loss_mask = None, loss_weights = None, segment_ids = None, seq_idx = None
))]
#[expect(clippy::too_many_arguments, reason = "each is an array of the batch")]
pub fn fill_batch(
    py: Python<'_>,
    packs: Vec<Pack<'_>>,
    style: OptionArgs,
    weights: Option<(String, f64)>,
    mut input_ids: Write<'_, i64>,
    mut labels: Write<'_, i64>,
    mut position_ids: Write<'_, i64>,
    mut cu_seqlens: Write<'_, i32>,
    mut unpadded: Option<Write<'_, i32>>,
    mut loss_mask: Option<Write<'_, f32>>,
    mut loss_weights: Option<Write<'_, f32>>,
    mut segment_ids: Option<Write<'_, i32>>,
    mut seq_idx: Option<Write<'_, i32>>,
) -> PyResult<(usize, i32)> {
    entry(|| {
        let views = views(&packs)?;
        let (labels_are, whole_pack, row_length, pad_token_id, padding_joins, positions_run_on, seq_idx_by_pack) =
            style;
        let mut options = BatchOptions {
            labels: labels_are.parse().map_err(unknown_name)?,
            attention: if whole_pack { Attention::Pack } else { Attention::Document },
            row_length: (row_length > 0).then_some(row_length),
            pad_token_id,
            padding_joins,
            positions_run_on,
            seq_idx_by_pack,
            ..BatchOptions::default()
        };
        if let Some((name, step_total)) = weights {
            (options.loss_weights, options.step_total) = (name.parse().map_err(unknown_name)?, step_total);
        }
        let arrays = BatchArrays {
            input_ids: input_ids.as_slice_mut()?,
            labels: labels.as_slice_mut()?,
            position_ids: position_ids.as_slice_mut()?,
            loss_mask: loss_mask.as_mut().map(|a| a.as_slice_mut()).transpose()?,
            loss_weights: loss_weights.as_mut().map(|a| a.as_slice_mut()).transpose()?,
            segment_ids: segment_ids.as_mut().map(|a| a.as_slice_mut()).transpose()?,
            seq_idx: seq_idx.as_mut().map(|a| a.as_slice_mut()).transpose()?,
            cu_seqlens: cu_seqlens.as_slice_mut()?,
            unpadded: unpadded.as_mut().map(|a| a.as_slice_mut()).transpose()?,
        };
        let few = arrays.input_ids.len() < PARALLEL_FROM;
        let write = || batch::write_batch(&views, &options, arrays);
        let segments = py.detach(|| if few { write() } else { pool::run(write) }).map_err(to_py)?;
        Ok((segments.count, segments.longest))
    })
}

/// Add up the weights of all sequences of a step.
#[pyfunction]
pub fn step_total(py: Python<'_>, packs: Vec<Pack<'_>>, name: &str) -> PyResult<f64> {
    entry(|| {
        let (views, weights) = (views(&packs)?, name.parse().map_err(unknown_name)?);
        py.detach(|| batch::step_total(&views, weights)).map_err(to_py)
    })
}

/// Write the block mask of a batch: keys that queries attend to in part and wholly, then queries that attend to keys.
#[pyfunction]
#[pyo3(signature = (cu_seqlens, width, block, counts, indices, window = None))]
pub fn fill_blocks(
    py: Python<'_>,
    cu_seqlens: Read<'_, i32>,
    width: usize,
    block: usize,
    mut counts: [Write<'_, i32>; 4],
    mut indices: [Write<'_, i32>; 4],
    window: Option<usize>,
) -> PyResult<()> {
    entry(|| {
        let cu_seqlens = cu_seqlens.as_slice()?;
        let mut parts = vec![];
        for (counts, indices) in counts.iter_mut().zip(&mut indices) {
            parts.push(BlockLines { counts: counts.as_slice_mut()?, indices: indices.as_slice_mut()? });
        }
        let Ok([partial, full, partial_queries, full_queries]) = <[BlockLines; 4]>::try_from(parts) else {
            unreachable!("there are four of each")
        };
        let mask = BlockMask { partial, full, partial_queries, full_queries };
        py.detach(|| block_mask::write_block_mask(cu_seqlens, width, block, window, mask)).map_err(to_py)
    })
}
