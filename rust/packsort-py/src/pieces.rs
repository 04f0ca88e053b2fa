use arrow_schema::DataType;
use numpy::{IntoPyArray, PyReadonlyArray1};
use packsort_core::batch::Tokens;
use packsort_core::{Error, FoundPieces, IdSlice, Selection};
use pyo3::prelude::*;

use crate::errors::{OptionError, entry, to_py};
use crate::gather::ListColumn;

/// Integers of one pack that are still in their column: a piece for each segment.
#[pyclass(frozen, module = "packsort._core")]
pub struct Pieces {
    column: Py<ListColumn>,
    wide: bool, // whether the values are `i64`
    found: FoundPieces,
}

impl Pieces {
    /// The values of each segment, as bytes.
    pub fn pieces(&self) -> Result<Vec<&[u8]>, Error> {
        self.found.of(self.column.get().lists())
    }

    /// The values that were found, as a batch takes them.
    pub fn tokens<'a>(&self, found: &'a [&'a [u8]]) -> Tokens<'a> {
        if self.wide { Tokens::I64(found) } else { Tokens::I32(found) }
    }
}

type Arrays<'py, T> = Vec<PyReadonlyArray1<'py, T>>;

/// Look up the segments of packs in columns of integers; returns the pieces of each pack, for each column.
///
/// `ids`, `lengths` and `starts` have an array for each pack. Columns after the first whose rows have the same offsets in
/// memory are not looked at again.
#[pyfunction]
#[pyo3(signature = (columns, ids, lengths, starts))]
pub fn cut_pieces(
    py: Python<'_>,
    columns: Vec<Py<ListColumn>>,
    ids: Arrays<'_, i64>,
    lengths: Arrays<'_, i32>,
    starts: Option<Arrays<'_, i32>>,
) -> PyResult<Vec<Vec<Pieces>>> {
    entry(|| {
        let mut cut: Vec<Vec<Pieces>> = Vec::with_capacity(columns.len());
        for column in &columns {
            let lists = column.get();
            let wide = is_wide(lists)?;
            let mut found = Vec::with_capacity(ids.len());
            for (pack, ids) in ids.iter().enumerate() {
                let missing = || OptionError::new_err(format!("there are no segments of pack {pack}"));
                let starts = starts.as_ref().map(|starts| starts.get(pack).ok_or_else(missing)).transpose()?;
                let own = Selection {
                    ids: IdSlice::I64(ids.as_slice()?),
                    starts: starts.map(|starts| starts.as_slice()).transpose()?,
                    lengths: Some(lengths.get(pack).ok_or_else(missing)?.as_slice()?),
                    fillers: lists.fillers(),
                };
                let one = match cut.first().and_then(|first| first.get(pack)) {
                    Some(first) => first.found.in_other(first.column.get().lists(), lists.lists(), own),
                    None => FoundPieces::new(lists.lists(), own),
                };
                found.push(Pieces { column: column.clone_ref(py), wide, found: one.map_err(to_py)? });
            }
            cut.push(found);
        }
        Ok(cut)
    })
}

/// Whether the values of a column are `i64`, and not `i32`.
fn is_wide(column: &ListColumn) -> PyResult<bool> {
    match column.kind() {
        Some(DataType::Int32) => Ok(false),
        Some(DataType::Int64) => Ok(true),
        other => {
            let found = other.map_or_else(|| "none".to_owned(), DataType::to_string);
            Err(OptionError::new_err(format!("values must be int32 or int64, got {found}")))
        }
    }
}

#[pymethods]
impl Pieces {
    fn __len__(&self) -> usize {
        self.found.values()
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
            let bytes = py.detach(|| self.found.gather(self.column.get().lists())).map_err(to_py)?;
            let values = bytes.into_pyarray(py).call_method1("view", (if self.wide { "int64" } else { "int32" },))?;
            match dtype {
                Some(dtype) => values.call_method1("astype", (dtype,)),
                None => Ok(values),
            }
        })
    }
}
