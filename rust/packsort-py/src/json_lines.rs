use packsort_core::json_lines;
use pyo3::prelude::*;

use crate::errors::entry;

/// Count the objects of a text with one on each line; `None` for any other text.
#[pyfunction]
pub fn count_objects(py: Python<'_>, text: &[u8], max_depth: usize) -> PyResult<Option<usize>> {
    entry(|| Ok(py.detach(|| json_lines::count_objects(text, max_depth))))
}
