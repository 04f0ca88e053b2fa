use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use packsort_core::{Fillers, Ids};
use pyo3::prelude::*;
use pyo3_arrow::PyChunkedArray;

use crate::columns;
use crate::errors::to_py;
use crate::pool;

/// Sequence ids as a plan gives them.
#[derive(FromPyObject)]
pub enum IdsArg<'py> {
    U32(PyReadonlyArray1<'py, u32>),
    I64(PyReadonlyArray1<'py, i64>),
}

impl IdsArg<'_> {
    fn view(&self) -> PyResult<Ids<'_>> {
        Ok(match self {
            Self::U32(ids) => Ids::U32(ids.as_slice()?),
            Self::I64(ids) => Ids::I64(ids.as_slice()?),
        })
    }
}

/// The values of rows `ids`, one row after another, as bytes; `fillers` are a value of padding and one of separators.
#[pyfunction]
#[pyo3(signature = (column, ids, starts=None, lengths=None, fillers=None))]
pub fn gather<'py>(
    py: Python<'py>,
    column: PyChunkedArray,
    ids: IdsArg<'py>,
    starts: Option<PyReadonlyArray1<'py, i32>>,
    lengths: Option<PyReadonlyArray1<'py, i32>>,
    fillers: Option<(Vec<u8>, Vec<u8>)>,
) -> PyResult<Bound<'py, PyArray1<u8>>> {
    let chunks = column.chunks().iter().map(columns::lists).collect::<PyResult<Vec<_>>>()?;
    let width = chunks.first().map_or(1, |&(_, width)| width);
    let chunks: Vec<_> = chunks.into_iter().map(|(chunk, _)| chunk).collect();
    let ids = ids.view()?;
    let starts = starts.as_ref().map(|s| s.as_slice()).transpose()?;
    let lengths = lengths.as_ref().map(|l| l.as_slice()).transpose()?;
    let fillers = fillers.as_ref().map(|(padding, separator)| Fillers { padding, separator });
    py.detach(|| pool::run(|| packsort_core::gather(&chunks, width, ids, starts, lengths, fillers)))
        .map(|bytes| bytes.into_pyarray(py))
        .map_err(to_py)
}
