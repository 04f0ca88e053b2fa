use numpy::{PyReadonlyArray1, PyReadwriteArrayDyn};
use packsort_core::batch::{self, BatchArrays, BatchOptions, PARALLEL_FROM, PackView, Tokens};
use packsort_core::block_mask::{self, BlockLines, BlockMask};
use packsort_core::{Attention, Error};
use pyo3::prelude::*;

use crate::errors::{entry, to_py, unknown_name};
use crate::pieces::Pieces;
use crate::pool;

type Read<'py, T> = PyReadonlyArray1<'py, T>;
/// An array of any shape, of which only the elements in memory order matter.
type Write<'py, T> = PyReadwriteArrayDyn<'py, T>;
/// `input_ids`, `labels`, `seq_lengths`, `sequence_ids`.
type Pack<'py> = (Values<'py>, Option<Values<'py>>, Read<'py, i32>, Option<Read<'py, i64>>);

/// Tokens or labels of a pack: an array, or pieces of a column.
pub enum Values<'py> {
    Array(Read<'py, i32>),
    Pieces(Bound<'py, Pieces>),
}

impl<'py> FromPyObject<'_, 'py> for Values<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match object.cast::<Pieces>() {
            Ok(pieces) => Ok(Self::Pieces(pieces.to_owned())),
            Err(_) => Ok(Self::Array(object.extract()?)),
        }
    }
}

/// `labels`, `whole_pack`, `row_length` (0 for none), `pad_token_id`, `padding_joins`, `positions_run_on`,
/// `seq_idx_by_pack`.
type OptionArgs = (String, bool, usize, i64, bool, bool, bool);

/// Tokens or labels of a pack, without Python.
#[derive(Clone, Copy)]
enum Source<'a> {
    Slice(&'a [i32]),
    Pieces(&'a Pieces),
}

impl<'a> Source<'a> {
    fn of(values: &'a Values<'_>) -> PyResult<Self> {
        Ok(match values {
            Values::Array(array) => Self::Slice(array.as_slice()?),
            Values::Pieces(pieces) => Self::Pieces(pieces.get()),
        })
    }

    /// The pieces; an array has none.
    fn pieces(self) -> Result<Vec<&'a [u8]>, Error> {
        match self {
            Self::Slice(_) => Ok(vec![]),
            Self::Pieces(pieces) => pieces.pieces(),
        }
    }

    fn tokens(self, found: &'a [&'a [u8]]) -> Tokens<'a> {
        match self {
            Self::Slice(values) => Tokens::Whole(values),
            Self::Pieces(pieces) => pieces.tokens(found),
        }
    }
}

/// `input_ids`, `labels`, `seq_lengths`, `sequence_ids`, without Python.
type Columns<'a> = (Source<'a>, Option<Source<'a>>, &'a [i32], Option<&'a [i64]>);

fn columns<'a>(packs: &'a [Pack<'_>]) -> PyResult<Vec<Columns<'a>>> {
    packs
        .iter()
        .map(|(input_ids, labels, seq_lengths, sequence_ids)| {
            Ok((
                Source::of(input_ids)?,
                labels.as_ref().map(Source::of).transpose()?,
                seq_lengths.as_slice()?,
                sequence_ids.as_ref().map(|ids| ids.as_slice()).transpose()?,
            ))
        })
        .collect()
}

/// Do something with views of packs.
fn with_views<T>(packs: &[Columns], work: impl FnOnce(&[PackView]) -> Result<T, Error>) -> Result<T, Error> {
    let mut found = Vec::with_capacity(packs.len());
    for (input_ids, labels, ..) in packs {
        found.push((input_ids.pieces()?, labels.map(Source::pieces).transpose()?.unwrap_or_default()));
    }
    let mut views = Vec::with_capacity(packs.len());
    for (&(input_ids, labels, seq_lengths, sequence_ids), (ids, own)) in packs.iter().zip(&found) {
        let labels = labels.map(|labels| labels.tokens(own));
        views.push(PackView { input_ids: input_ids.tokens(ids), labels, seq_lengths, sequence_ids });
    }
    work(&views)
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
        let packs = columns(&packs)?;
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
        let write = || with_views(&packs, |views| batch::write_batch(views, &options, arrays));
        let segments = py.detach(|| if few { write() } else { pool::run(write) }).map_err(to_py)?;
        Ok((segments.count, segments.longest))
    })
}

/// Add up the weights of all sequences of a step.
#[pyfunction]
pub fn step_total(py: Python<'_>, packs: Vec<Pack<'_>>, name: &str) -> PyResult<f64> {
    entry(|| {
        let (packs, weights) = (columns(&packs)?, name.parse().map_err(unknown_name)?);
        py.detach(|| with_views(&packs, |views| batch::step_total(views, weights))).map_err(to_py)
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
