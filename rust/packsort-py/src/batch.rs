use numpy::{PyReadonlyArray1, PyReadwriteArrayDyn};
use packsort_core::batch::{self, Batch, Labels, PARALLEL_FROM, PackView, Scheme, Style};
use packsort_core::block_mask::{self, BlockMask, Blocks};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::to_py;
use crate::pool;

type Read<'py, T> = PyReadonlyArray1<'py, T>;
/// Of any shape; its elements in a row are what counts.
type Write<'py, T> = PyReadwriteArrayDyn<'py, T>;
/// `input_ids`, `labels`, `seq_lengths`, `sequence_ids`.
type Pack<'py> = (Read<'py, i32>, Option<Read<'py, i32>>, Read<'py, i32>, Option<Read<'py, i64>>);

/// How packs become rows: `labels`, `whole_pack`, `row`, `pad_token`, `padding_joins`, `positions_run_on`,
/// `count_by_pack`.
type StyleArgs = (String, bool, usize, i64, bool, bool, bool);

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

fn scheme(name: &str) -> PyResult<Scheme> {
    match name {
        "token" => Ok(Scheme::Token),
        "sample" => Ok(Scheme::Sample),
        "sqrt" => Ok(Scheme::Sqrt),
        _ => Err(PyValueError::new_err(format!("no such scheme: {name}"))),
    }
}

/// Fills the arrays of a batch; returns (segments, tokens of the longest).
#[pyfunction]
#[pyo3(signature = (
    packs, style, weights, input_ids, labels, position_ids, cu_seqlens, *,
    unpadded = None, loss_mask = None, loss_weights = None, segment_ids = None, seq_idx = None
))]
#[expect(clippy::too_many_arguments, reason = "each is an array of the batch")]
pub fn fill_batch(
    py: Python<'_>,
    packs: Vec<Pack<'_>>,
    style: StyleArgs,
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
    let views = views(&packs)?;
    let style = Style {
        labels: match style.0.as_str() {
            "unshifted" => Labels::Unshifted,
            "shifted" => Labels::Shifted,
            "masked" => Labels::Masked,
            other => return Err(PyValueError::new_err(format!("no such labels: {other}"))),
        },
        whole_pack: style.1,
        row: style.2,
        pad_token: style.3,
        padding_joins: style.4,
        positions_run_on: style.5,
        count_by_pack: style.6,
    };
    let weights = match weights {
        Some((name, total)) => (scheme(&name)?, total),
        None => (Scheme::Token, 1.0),
    };
    let arrays = Batch {
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
    let fill = || batch::fill(&views, &style, weights, arrays);
    let filled = py.detach(|| if few { fill() } else { pool::run(fill) }).map_err(to_py)?;
    Ok((filled.segments, filled.longest))
}

/// What the loss weights of a step are divided by.
#[pyfunction]
pub fn step_total(py: Python<'_>, packs: Vec<Pack<'_>>, name: &str) -> PyResult<f64> {
    let (views, scheme) = (views(&packs)?, scheme(name)?);
    py.detach(|| batch::step_total(&views, scheme)).map_err(to_py)
}

/// Fills the arrays of a block mask: of keys that queries see, in part and wholly, and of queries that see keys.
#[pyfunction]
pub fn fill_blocks(
    py: Python<'_>,
    cu_seqlens: Read<'_, i32>,
    width: usize,
    block: usize,
    mut counts: [Write<'_, i32>; 4],
    mut indices: [Write<'_, i32>; 4],
) -> PyResult<()> {
    let cu_seqlens = cu_seqlens.as_slice()?;
    let mut parts = vec![];
    for (counts, indices) in counts.iter_mut().zip(&mut indices) {
        parts.push(Blocks { counts: counts.as_slice_mut()?, indices: indices.as_slice_mut()? });
    }
    let Ok([partial, full, partial_queries, full_queries]) = <[Blocks; 4]>::try_from(parts) else {
        unreachable!("there are four of each")
    };
    let mask = BlockMask { partial, full, partial_queries, full_queries };
    py.detach(|| block_mask::fill_blocks(cu_seqlens, width, block, mask)).map_err(to_py)
}
