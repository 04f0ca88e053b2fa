use arrow_array::ArrayRef;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use packsort_core::{Error, ListChunk, fill};
use pyo3::prelude::*;
use pyo3_arrow::PyChunkedArray;

use crate::columns;
use crate::errors::to_py;

/// A column of lists that is gathered from again and again.
#[pyclass(frozen, module = "packsort._core")]
pub struct ListColumn {
    chunks: Vec<ArrayRef>,
    first_rows: Vec<usize>, // (chunks + 1,)
    width: usize,
}

impl ListColumn {
    fn chunk(&self, index: usize) -> Result<ListChunk<'_>, Error> {
        let (chunk, _) = columns::lists(&self.chunks[index]).map_err(|_| REFUSED)?;
        Ok(chunk)
    }

    fn chunk_of(&self, id: i64) -> Result<(ListChunk<'_>, usize), Error> {
        let rows = self.first_rows[self.chunks.len()];
        let row = usize::try_from(id).ok().filter(|&row| row < rows);
        let row = row.ok_or(Error::NoSuchRow { row: id, rows: rows as u64 })?;
        let index = self.first_rows.partition_point(|&first| first <= row) - 1;
        Ok((self.chunk(index)?, row - self.first_rows[index]))
    }
}

const REFUSED: Error = Error::Inconsistent("a column is not of lists of numbers");

#[pymethods]
impl ListColumn {
    #[new]
    fn new(column: PyChunkedArray) -> PyResult<Self> {
        let (chunks, _) = column.into_inner();
        let mut first_rows = vec![0];
        let mut width = 1;
        for chunk in &chunks {
            width = columns::lists(chunk)?.1;
            first_rows.push(first_rows[first_rows.len() - 1] + chunk.len());
        }
        Ok(Self { chunks, first_rows, width })
    }

    /// Values of each row.
    fn lengths<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<i64>>> {
        py.detach(|| {
            let mut out = Vec::with_capacity(self.first_rows[self.chunks.len()]);
            (0..self.chunks.len()).try_for_each(|i| fill::list_lengths(self.chunk(i)?, self.width, &mut out))?;
            Ok(out)
        })
        .map(|lengths: Vec<i64>| lengths.into_pyarray(py))
        .map_err(to_py)
    }

    /// The values of rows `ids`, one row after another, as bytes.
    #[pyo3(signature = (ids, starts=None, lengths=None))]
    fn gather<'py>(
        &self,
        py: Python<'py>,
        ids: PyReadonlyArray1<'py, i64>,
        starts: Option<PyReadonlyArray1<'py, i32>>,
        lengths: Option<PyReadonlyArray1<'py, i32>>,
    ) -> PyResult<Bound<'py, PyArray1<u8>>> {
        let ids = ids.as_slice()?;
        let starts = starts.as_ref().map(|s| s.as_slice()).transpose()?;
        let lengths = lengths.as_ref().map(|l| l.as_slice()).transpose()?;
        py.detach(|| fill::fill_pieces(|id| self.chunk_of(id), self.width, ids, starts, lengths))
            .map(|bytes| bytes.into_pyarray(py))
            .map_err(to_py)
    }
}

/// `0..len` in an order that seed, epoch and stream choose.
#[pyfunction]
pub fn shuffled<'py>(py: Python<'py>, len: u64, seed: u64, epoch: u64, stream: u64) -> Bound<'py, PyArray1<i64>> {
    py.detach(|| fill::shuffled(len, seed, epoch, stream)).into_pyarray(py)
}
