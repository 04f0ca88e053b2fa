//! NumPy arrays of one of several types.

use numpy::{Element, PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;

/// Borrow an array, if it has values of this type.
///
/// `extract` and the `FromPyObject` that PyO3 derives for an `enum` describe each type that does not fit. NumPy does so in
/// Python, and a `KeyboardInterrupt` that is raised there is lost.
pub fn array_of<'py, T: Element>(object: Borrowed<'_, 'py, PyAny>) -> Option<PyReadonlyArray1<'py, T>> {
    object.cast::<PyArray1<T>>().ok()?.try_readonly().ok()
}
