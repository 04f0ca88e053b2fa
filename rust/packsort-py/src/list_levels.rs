use numpy::{IntoPyArray, PyArray1};
use packsort_core::list_levels::{ListLevels, count_page};
use pyo3::prelude::*;

use crate::errors::{entry, to_py};

/// Count the values of each list of a page of Parquet: those of the list before, of each that begins, -1 for null, and
/// those that are null.
#[pyfunction]
pub fn count_list_values<'py>(
    py: Python<'py>,
    repetition: &[u8],
    definition: &[u8],
    values: u64,
    levels: (u32, u32, bool),
    rows: usize,
) -> PyResult<(i64, Bound<'py, PyArray1<i64>>, u64)> {
    entry(|| {
        let (most, value, nullable) = levels;
        let levels = ListLevels { most, value, nullable };
        let page = py.detach(|| count_page(repetition, definition, values, levels, rows)).map_err(to_py)?;
        Ok((page.continued, page.lengths.into_pyarray(py), page.nulls))
    })
}
