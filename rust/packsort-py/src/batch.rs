use numpy::{PyReadonlyArray1, PyReadwriteArray1};
use packsort_core::batch::{Flat, PARALLEL_FROM, PackView, fill_flat as fill};
use pyo3::prelude::*;

use crate::errors::to_py;
use crate::pool;

type I32<'py> = PyReadonlyArray1<'py, i32>;

/// Fills the arrays of a flat batch and returns the tokens of its longest sequence.
#[pyfunction]
pub fn fill_flat(
    py: Python<'_>,
    packs: Vec<(I32<'_>, Option<I32<'_>>, I32<'_>)>,
    mut input_ids: PyReadwriteArray1<'_, i64>,
    mut labels: PyReadwriteArray1<'_, i64>,
    mut position_ids: PyReadwriteArray1<'_, i64>,
    mut cu_seq_lens: PyReadwriteArray1<'_, i32>,
) -> PyResult<i32> {
    let views = packs
        .iter()
        .map(|(input_ids, labels, seq_lengths)| {
            Ok(PackView {
                input_ids: input_ids.as_slice()?,
                labels: labels.as_ref().map(|l| l.as_slice()).transpose()?,
                seq_lengths: seq_lengths.as_slice()?,
            })
        })
        .collect::<PyResult<Vec<_>>>()?;
    let flat = Flat {
        input_ids: input_ids.as_slice_mut()?,
        labels: labels.as_slice_mut()?,
        position_ids: position_ids.as_slice_mut()?,
        cu_seq_lens: cu_seq_lens.as_slice_mut()?,
    };
    py.detach(
        || if flat.input_ids.len() < PARALLEL_FROM { fill(&views, flat) } else { pool::run(|| fill(&views, flat)) },
    )
    .map_err(to_py)
}
