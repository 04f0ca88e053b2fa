//! Packs of a stream in input order.

use packsort_core::{self as core, Room};
use pyo3::prelude::*;

use crate::errors::{entry, to_py};

/// Packs of sequences that come one at a time.
#[pyclass(module = "packsort._core")]
pub struct InOrder(core::InOrder);

#[pymethods]
impl InOrder {
    #[new]
    fn new(max_length: u32, window: u32) -> PyResult<Self> {
        entry(|| {
            let room = Room::new(max_length, 1, false).map_err(to_py)?;
            Ok(Self(core::InOrder::new(room, u64::MAX, window)))
        })
    }

    /// Add the next sequence, of at most `max_length` tokens; returns the pack that this closes, or None.
    fn add(&mut self, number: u64, length: u32) -> PyResult<Option<Vec<u64>>> {
        entry(|| {
            self.0.add(number, length).map_err(to_py)?;
            Ok(self.0.take_closed())
        })
    }

    /// Close the open pack and return it; None if nothing is left.
    fn close(&mut self) -> PyResult<Option<Vec<u64>>> {
        entry(|| {
            self.0.close().map_err(to_py)?;
            Ok(self.0.take_closed())
        })
    }
}
