use arrow_schema::DataType;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use packsort_core::{Fillers, IdSlice, ListColumn as Lists, Selection, gather_serial};
use pyo3::prelude::*;

use crate::arrays::array_of;
use crate::columns::{self, Chunk, Column};
use crate::errors::{entry, to_py};
use crate::pool;

type Bytes<'py> = PyResult<Bound<'py, PyArray1<u8>>>;
type Numbers<'py> = Option<PyReadonlyArray1<'py, i32>>;

/// Sequence ids as a plan gives them.
pub enum IdsArg<'py> {
    I64(PyReadonlyArray1<'py, i64>),
    U32(PyReadonlyArray1<'py, u32>),
}

impl<'py> FromPyObject<'_, 'py> for IdsArg<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match array_of(object) {
            Some(ids) => Ok(Self::U32(ids)),
            None => Ok(Self::I64(object.extract()?)),
        }
    }
}

fn selection<'a>(ids: &'a IdsArg, starts: &'a Numbers, lengths: &'a Numbers) -> PyResult<Selection<'a>> {
    let ids = match ids {
        IdsArg::U32(ids) => IdSlice::U32(ids.as_slice()?),
        IdsArg::I64(ids) => IdSlice::I64(ids.as_slice()?),
    };
    let starts = starts.as_ref().map(|s| s.as_slice()).transpose()?;
    let lengths = lengths.as_ref().map(|l| l.as_slice()).transpose()?;
    Ok(Selection { ids, starts, lengths, fillers: None })
}

/// Gather pieces on all threads: their values one after another, as bytes.
///
/// `fillers` are the bytes of one value of padding and of one value of separators.
#[pyfunction]
#[pyo3(signature = (column, ids, starts=None, lengths=None, fillers=None))]
pub fn gather<'py>(
    py: Python<'py>,
    column: Column,
    ids: IdsArg<'py>,
    starts: Numbers<'py>,
    lengths: Numbers<'py>,
    fillers: Option<(Vec<u8>, Vec<u8>)>,
) -> Bytes<'py> {
    entry(|| {
        let column = columns::lists(column.chunks())?;
        let fillers = fillers.as_ref().map(|(padding, separator)| Fillers { padding, separator });
        let selection = Selection { fillers, ..selection(&ids, &starts, &lengths)? };
        py.detach(|| pool::run(|| packsort_core::gather(&column, selection)))
            .map(|bytes| bytes.into_pyarray(py))
            .map_err(to_py)
    })
}

/// List column that is gathered from batch by batch.
#[pyclass(frozen, module = "packsort._core")]
pub struct ListColumn {
    lists: Lists<Chunk>,
    fillers: Option<(Vec<u8>, Vec<u8>)>,
    kind: Option<DataType>, // of its values; `None` where it has no chunks
}

impl ListColumn {
    pub fn lists(&self) -> &Lists<Chunk> {
        &self.lists
    }

    pub fn kind(&self) -> Option<&DataType> {
        self.kind.as_ref()
    }

    pub fn fillers(&self) -> Option<Fillers<'_>> {
        self.fillers.as_ref().map(|(padding, separator)| Fillers { padding, separator })
    }
}

#[pymethods]
impl ListColumn {
    /// `fillers` are the bytes of one value of padding and of one value of separators.
    #[new]
    #[pyo3(signature = (column, fillers=None))]
    fn new(column: Column, fillers: Option<(Vec<u8>, Vec<u8>)>) -> PyResult<Self> {
        entry(|| {
            let (lists, kind) = (columns::lists(column.chunks())?, columns::value_type(column.chunks()));
            Ok(Self { lists, fillers, kind })
        })
    }

    /// Count the values of each row.
    fn lengths<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<i64>>> {
        entry(|| py.detach(|| self.lists.lengths()).map(|lengths| lengths.into_pyarray(py)).map_err(to_py))
    }

    /// Gather pieces on the calling thread: their values one after another, as bytes.
    #[pyo3(signature = (ids, starts=None, lengths=None))]
    fn gather<'py>(
        &self,
        py: Python<'py>,
        ids: IdsArg<'py>,
        starts: Numbers<'py>,
        lengths: Numbers<'py>,
    ) -> Bytes<'py> {
        entry(|| {
            let selection = Selection { fillers: self.fillers(), ..selection(&ids, &starts, &lengths)? };
            py.detach(|| gather_serial(&self.lists, selection)).map(|bytes| bytes.into_pyarray(py)).map_err(to_py)
        })
    }
}
