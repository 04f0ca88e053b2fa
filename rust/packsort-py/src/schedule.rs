use std::num::NonZeroUsize;

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use packsort_core::{CostModel, Layout, Schedule, Tail};
use pyo3::prelude::*;

use crate::errors::{OptionError, to_py};
use crate::pool;

/// Cost of each pack: pack `i` holds sequences of `lengths[offsets[i]:offsets[i + 1]]` tokens.
#[pyfunction]
pub fn pack_costs<'py>(
    py: Python<'py>,
    offsets: PyReadonlyArray1<'py, i64>,
    lengths: PyReadonlyArray1<'py, i32>,
    linear: f64,
    quadratic: f64,
    whole_pack: bool,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let (offsets, lengths) = (offsets.as_slice()?, lengths.as_slice()?);
    let model = CostModel { linear, quadratic, whole_pack };
    py.detach(|| pool::run(|| model.of_packs(offsets, lengths))).map(|costs| costs.into_pyarray(py)).map_err(to_py)
}

/// Packs in training order, packs of the tail; then utilization summed over steps and time, before and after.
#[pyfunction]
#[allow(clippy::type_complexity)]
pub fn schedule<'py>(
    py: Python<'py>,
    costs: PyReadonlyArray1<'py, f64>,
    world_size: NonZeroUsize,
    accumulation: NonZeroUsize,
    window: NonZeroUsize,
    tail: &str,
    seed: Option<u64>,
) -> PyResult<(Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>, (f64, f64), (f64, f64))> {
    let tail = match tail {
        "pad" => Tail::Pad,
        "drop" => Tail::Drop,
        _ => return Err(OptionError::new_err(format!("tail is {tail:?}, allowed are pad, drop"))),
    };
    let costs = costs.as_slice()?;
    let layout = Layout { world_size, accumulation, window, tail, seed };
    let Schedule { order, tail, before, after } = py.detach(|| pool::run(|| Schedule::new(costs, &layout)));
    let both = |balance: packsort_core::Balance| (balance.utilization, balance.time);
    Ok((order.into_pyarray(py), tail.into_pyarray(py), both(before), both(after)))
}

/// `0..len`, shuffled as `seed`, `epoch` and `stream` choose.
#[pyfunction]
pub fn shuffled<'py>(py: Python<'py>, len: u64, seed: u64, epoch: u64, stream: u64) -> Bound<'py, PyArray1<i64>> {
    py.detach(|| packsort_core::shuffled(len, seed, epoch, stream)).into_pyarray(py)
}
