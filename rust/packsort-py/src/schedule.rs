use std::num::NonZeroUsize;

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use packsort_core::{Attention, CostModel, Schedule, ScheduleOptions, StepTimes};
use pyo3::prelude::*;

use crate::errors::{entry, to_py, unknown_name};
use crate::pool;

/// Estimate the cost of each pack: pack `i` holds segments of `lengths[offsets[i]:offsets[i + 1]]` tokens.
#[pyfunction]
pub fn pack_costs<'py>(
    py: Python<'py>,
    offsets: PyReadonlyArray1<'py, i64>,
    lengths: PyReadonlyArray1<'py, i32>,
    linear: f64,
    quadratic: f64,
    whole_pack: bool,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    entry(|| {
        let (offsets, lengths) = (offsets.as_slice()?, lengths.as_slice()?);
        let attention = if whole_pack { Attention::Pack } else { Attention::Document };
        let model = CostModel { linear, quadratic, attention };
        py.detach(|| pool::run(|| model.of_packs(offsets, lengths))).map(|costs| costs.into_pyarray(py)).map_err(to_py)
    })
}

/// Schedule packs; returns the packs, the packs of the tail, and utilization and time before and after, summed over
/// steps.
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
    entry(|| {
        let (costs, tail) = (costs.as_slice()?, tail.parse().map_err(unknown_name)?);
        let options = ScheduleOptions { world_size, accumulation, window, tail, seed };
        let found = py.detach(|| pool::run(|| Schedule::new(costs, &options))).map_err(to_py)?;
        let both = |times: StepTimes| (times.utilization, times.time);
        Ok((found.packs.into_pyarray(py), found.tail.into_pyarray(py), both(found.before), both(found.after)))
    })
}

/// Shuffle `0..len` as `seed`, `epoch` and `stream` choose.
#[pyfunction]
pub fn shuffled<'py>(
    py: Python<'py>,
    len: u64,
    seed: u64,
    epoch: u64,
    stream: u64,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    entry(|| {
        let shuffled = py.detach(|| packsort_core::shuffled(len, seed, epoch, stream)).map_err(to_py)?;
        Ok(shuffled.into_pyarray(py))
    })
}
