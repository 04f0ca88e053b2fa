use arrow_schema::DataType;
use numpy::{IntoPyArray, PyReadonlyArray1};
use packsort_core::batch::Tokens;
use packsort_core::{Error, IdSlice, RepeatedFillers, Selection, find_pieces, gather_serial};
use pyo3::prelude::*;

use crate::errors::{OptionError, entry, to_py};
use crate::gather::ListColumn;

/// Integers of one pack that are still in their column: a piece for each segment.
#[pyclass(frozen, module = "packsort._core")]
pub struct Pieces {
    column: Py<ListColumn>,
    wide: bool, // whether the values are `i64`
    ids: Vec<i64>,
    starts: Option<Vec<i32>>,
    lengths: Vec<i32>,
    fillers: RepeatedFillers,
    tokens: usize,
}

impl Pieces {
    fn selection(&self) -> Selection<'_> {
        let fillers = self.column.get().fillers();
        Selection {
            ids: IdSlice::I64(&self.ids),
            starts: self.starts.as_deref(),
            lengths: Some(&self.lengths),
            fillers,
        }
    }

    /// Look up the values of each segment.
    pub fn find(&self) -> Result<Vec<&[u8]>, Error> {
        find_pieces(self.column.get().lists(), self.selection(), &self.fillers)
    }

    /// The values that were found, as a batch takes them.
    pub fn tokens<'a>(&self, found: &'a [&'a [u8]]) -> Tokens<'a> {
        if self.wide { Tokens::I64(found) } else { Tokens::I32(found) }
    }
}

/// Cut segments of a column of integers into those of each pack.
///
/// It checks that the pieces are in the column, and asks for their first bytes from memory. `ends` is the end of each
/// pack in the segments.
#[pyfunction]
#[pyo3(signature = (column, ids, lengths, starts, ends))]
pub fn cut_pieces(
    py: Python<'_>,
    column: Py<ListColumn>,
    ids: PyReadonlyArray1<'_, i64>,
    lengths: PyReadonlyArray1<'_, i32>,
    starts: Option<PyReadonlyArray1<'_, i32>>,
    ends: Vec<usize>,
) -> PyResult<Vec<Pieces>> {
    entry(|| {
        let lists = column.get();
        let wide = match lists.kind() {
            Some(DataType::Int32) => false,
            Some(DataType::Int64) => true,
            other => {
                let found = other.map_or_else(|| "none".to_owned(), DataType::to_string);
                return Err(OptionError::new_err(format!("values must be int32 or int64, got {found}")));
            }
        };
        let (ids, lengths) = (ids.as_slice()?, lengths.as_slice()?);
        let starts = starts.as_ref().map(|starts| starts.as_slice()).transpose()?;
        let mut begin = 0;
        let mut cut = Vec::with_capacity(ends.len());
        for end in ends {
            let range = begin..end;
            let outside = || OptionError::new_err(format!("there is no segment {end}"));
            let own = Selection {
                ids: IdSlice::I64(ids.get(range.clone()).ok_or_else(outside)?),
                starts: starts.map(|starts| starts.get(range.clone()).ok_or_else(outside)).transpose()?,
                lengths: Some(lengths.get(range).ok_or_else(outside)?),
                fillers: lists.fillers(),
            };
            let fillers = RepeatedFillers::new(lists.lists().width(), own).map_err(to_py)?;
            let found = find_pieces(lists.lists(), own, &fillers).map_err(to_py)?;
            let tokens = found.iter().map(|piece| piece.len()).sum::<usize>() / lists.lists().width();
            cut.push(Pieces {
                column: column.clone_ref(py),
                wide,
                ids: ids[begin..end].to_vec(),
                starts: starts.map(|starts| starts[begin..end].to_vec()),
                lengths: lengths[begin..end].to_vec(),
                fillers,
                tokens,
            });
            begin = end;
        }
        Ok(cut)
    })
}

#[pymethods]
impl Pieces {
    fn __len__(&self) -> usize {
        self.tokens
    }

    /// Gather the values, for NumPy.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = copy; // the values are a copy in any case
        entry(|| {
            let bytes = py.detach(|| gather_serial(self.column.get().lists(), self.selection())).map_err(to_py)?;
            let values = bytes.into_pyarray(py).call_method1("view", (if self.wide { "int64" } else { "int32" },))?;
            match dtype {
                Some(dtype) => values.call_method1("astype", (dtype,)),
                None => Ok(values),
            }
        })
    }
}
