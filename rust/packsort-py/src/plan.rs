use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use packsort_core::{self as core, Lengths, Order, Overlong, Patterns, Slot};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3_arrow::PyChunkedArray;

use crate::columns;
use crate::errors::{OptionError, to_py};
use crate::gather::IdsArg;
use crate::pool;

/// A plan; `packsort.Plan` is its public face.
#[pyclass(frozen, module = "packsort._core")]
pub struct Plan(core::Plan);

type Array<'py, T> = Bound<'py, PyArray1<T>>;

fn overlong(name: &str) -> PyResult<Overlong> {
    Ok(match name {
        "error" => Overlong::Error,
        "drop" => Overlong::Drop,
        "truncate" => Overlong::Truncate,
        _ => return Err(OptionError::new_err(format!("overlong is {name:?}, allowed are error, drop, truncate"))),
    })
}

fn ids_array(py: Python<'_>, ids: Order) -> Bound<'_, PyAny> {
    match ids {
        Order::U32(ids) => ids.into_pyarray(py).into_any(),
        Order::I64(ids) => ids.into_pyarray(py).into_any(),
    }
}

#[pymethods]
impl Plan {
    #[staticmethod]
    #[pyo3(signature = (lengths, max_length, overlong, seed, epoch))]
    fn first_fit_decreasing(
        py: Python<'_>,
        lengths: PyChunkedArray,
        max_length: u32,
        #[pyo3(from_py_with = overlong_arg)] overlong: Overlong,
        seed: Option<u64>,
        epoch: u64,
    ) -> PyResult<Self> {
        let chunks = lengths.chunks().iter().map(columns::lengths).collect::<PyResult<Vec<_>>>()?;
        let lengths = Lengths::new(chunks);
        py.detach(|| pool::run(|| core::Plan::first_fit_decreasing(&lengths, max_length, overlong, seed, epoch)))
            .map(Self)
            .map_err(to_py)
    }

    /// The inverse of `parts`.
    #[staticmethod]
    fn from_parts(py: Python<'_>, parts: &Bound<'_, PyDict>) -> PyResult<Self> {
        fn part<'py, T>(parts: &Bound<'py, PyDict>, name: &str) -> PyResult<T>
        where
            T: for<'a> FromPyObject<'a, 'py, Error: Into<PyErr>>,
        {
            let value = parts.as_any().get_item(name)?;
            T::extract(value.as_borrowed()).map_err(Into::into)
        }
        let vec = |name| -> PyResult<Vec<i64>> { Ok(part::<PyReadonlyArray1<i64>>(parts, name)?.as_array().to_vec()) };
        let lengths = vec("slot_lengths")?;
        let slots = lengths.into_iter().zip(vec("slot_copies")?);
        let narrow = |n: i64| u32::try_from(n).unwrap_or(0); // 0 is refused by the core
        let patterns = Patterns {
            repeats: vec("repeats")?.into_iter().map(|n| n.max(0) as u64).collect(),
            slot_offsets: vec("slot_offsets")?.into_iter().map(|n| n.max(0) as usize).collect(),
            slots: slots.map(|(length, copies)| Slot { length: narrow(length), copies: narrow(copies) }).collect(),
        };
        let order = match part::<IdsArg>(parts, "order")? {
            IdsArg::U32(ids) => Order::U32(ids.as_array().to_vec()),
            IdsArg::I64(ids) => Order::I64(ids.as_array().to_vec()),
        };
        let name: String = part(parts, "overlong")?;
        let (max_length, rows) = (part(parts, "max_length")?, part(parts, "rows")?);
        let (over, lost) = (part(parts, "num_overlong")?, part(parts, "tokens_lost")?);
        let (seed, epoch) = (part(parts, "seed")?, part(parts, "epoch")?);
        let overlong = overlong(&name)?;
        py.detach(|| core::Plan::from_parts(max_length, overlong, rows, over, lost, patterns, order, seed, epoch))
            .map(Self)
            .map_err(to_py)
    }

    /// All that makes the plan: what a file holds.
    fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let parts = PyDict::new(py);
        let patterns = self.0.patterns();
        let array = |numbers: Vec<i64>| numbers.into_pyarray(py);
        parts.set_item("max_length", self.0.max_length())?;
        parts.set_item("overlong", self.overlong())?;
        parts.set_item("rows", self.0.rows())?;
        parts.set_item("num_overlong", self.0.counts().overlong)?;
        parts.set_item("tokens_lost", self.0.counts().tokens_lost)?;
        parts.set_item("seed", self.0.seed())?;
        parts.set_item("epoch", self.0.epoch())?;
        parts.set_item("repeats", array(patterns.repeats.iter().map(|&n| n as i64).collect()))?;
        parts.set_item("slot_offsets", array(patterns.slot_offsets.iter().map(|&n| n as i64).collect()))?;
        parts.set_item("slot_lengths", array(patterns.slots.iter().map(|s| s.length.into()).collect()))?;
        parts.set_item("slot_copies", array(patterns.slots.iter().map(|s| s.copies.into()).collect()))?;
        parts.set_item("order", ids_array(py, self.0.order().clone()))?;
        Ok(parts)
    }

    fn with_epoch(&self, epoch: u64) -> Self {
        Self(self.0.with_epoch(epoch))
    }

    #[getter]
    fn max_length(&self) -> u32 {
        self.0.max_length()
    }

    #[getter]
    fn overlong(&self) -> &'static str {
        match self.0.overlong() {
            Overlong::Error => "error",
            Overlong::Drop => "drop",
            Overlong::Truncate => "truncate",
        }
    }

    #[getter]
    fn seed(&self) -> Option<u64> {
        self.0.seed()
    }

    #[getter]
    fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    #[getter]
    fn num_rows(&self) -> u64 {
        self.0.rows()
    }

    #[getter]
    fn num_packs(&self) -> u64 {
        self.0.num_packs()
    }

    #[getter]
    fn num_sequences(&self) -> u64 {
        self.0.num_sequences()
    }

    #[getter]
    fn num_tokens(&self) -> u64 {
        self.0.num_tokens()
    }

    #[getter]
    fn num_overlong(&self) -> u64 {
        self.0.counts().overlong
    }

    #[getter]
    fn tokens_lost(&self) -> u64 {
        self.0.counts().tokens_lost
    }

    #[getter]
    fn num_patterns(&self) -> usize {
        self.0.patterns().len()
    }

    fn lower_bound(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.0.lower_bound())
    }

    /// (ids, lengths) of one pack; None outside the plan.
    #[allow(clippy::type_complexity)]
    fn pack<'py>(&self, py: Python<'py>, index: u64) -> Option<(Array<'py, i64>, Array<'py, i32>)> {
        let pack = self.0.pack(index)?;
        let ids: Vec<i64> = pack.ids.into_iter().map(|id| id as i64).collect();
        let lengths: Vec<i32> = pack.lengths.into_iter().map(|l| l as i32).collect();
        Some((ids.into_pyarray(py), lengths.into_pyarray(py)))
    }

    /// (pack_offsets, sequence_ids) of packs `start..stop`.
    fn list<'py>(&self, py: Python<'py>, start: u64, stop: u64) -> (Array<'py, i64>, Bound<'py, PyAny>) {
        let listing = py.detach(|| pool::run(|| self.0.list(start..stop)));
        (listing.offsets.into_pyarray(py), ids_array(py, listing.ids))
    }

    /// Tokens of each sequence of packs `start..stop`.
    fn list_lengths<'py>(&self, py: Python<'py>, start: u64, stop: u64) -> Array<'py, i32> {
        py.detach(|| pool::run(|| self.0.list_lengths(start..stop))).into_pyarray(py)
    }
}

fn overlong_arg(name: &Bound<'_, PyAny>) -> PyResult<Overlong> {
    overlong(&name.extract::<String>()?)
}
