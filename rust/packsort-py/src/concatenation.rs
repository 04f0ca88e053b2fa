use numpy::{IntoPyArray, PyReadonlyArray1};
use packsort_core::{self as core, Excess, Lengths, Options, Overlong, Strategy};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3_arrow::PyChunkedArray;

use crate::columns;
use crate::errors::to_py;
use crate::plan::{Array, Fields, OVERLONG, ids_array, name_of, named};
use crate::pool;

/// Random packing; `packsort.Plan` is its public face, as it is that of `Plan`.
#[pyclass(frozen, module = "packsort._core")]
pub struct Concatenation(core::Concatenation);

fn options(max_length: u32, overlong: Overlong) -> Options {
    Options { max_length, strategy: Strategy::FirstFit, overlong, max_sequences: 0, multiple: 1 }
}

#[pymethods]
impl Concatenation {
    #[staticmethod]
    fn make(
        py: Python<'_>,
        lengths: PyChunkedArray,
        max_length: u32,
        overlong: &str,
        seed: Option<u64>,
        epoch: u64,
    ) -> PyResult<Self> {
        let chunks = lengths.chunks().iter().map(columns::lengths).collect::<PyResult<Vec<_>>>()?;
        let (lengths, options) = (Lengths::new(chunks), options(max_length, named("overlong", &OVERLONG, overlong)?));
        py.detach(|| pool::run(|| core::Concatenation::new(&lengths, options, seed, epoch))).map(Self).map_err(to_py)
    }

    /// The inverse of `parts`.
    #[staticmethod]
    fn from_parts(py: Python<'_>, parts: &Bound<'_, PyDict>) -> PyResult<Self> {
        let fields = Fields(parts);
        let overlong: String = fields.get("overlong")?;
        let options = options(fields.get("max_length")?, named("overlong", &OVERLONG, &overlong)?);
        let excess = Excess { sequences: fields.get("num_overlong")?, tokens: fields.get("tokens_lost")? };
        let lengths = fields.get::<PyReadonlyArray1<u32>>("lengths")?.as_array().to_vec();
        let (seed, epoch) = (fields.get("seed")?, fields.get("epoch")?);
        py.detach(|| pool::run(|| core::Concatenation::from_parts(options, excess, lengths, seed, epoch)))
            .map(Self)
            .map_err(to_py)
    }

    /// All that makes the plan: what a file holds.
    fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let parts = PyDict::new(py);
        parts.set_item("max_length", self.max_length())?;
        parts.set_item("strategy", self.strategy())?;
        parts.set_item("overlong", self.overlong())?;
        parts.set_item("num_overlong", self.num_overlong())?;
        parts.set_item("tokens_lost", self.tokens_lost())?;
        parts.set_item("seed", self.seed())?;
        parts.set_item("epoch", self.epoch())?;
        parts.set_item("lengths", self.0.lengths().to_vec().into_pyarray(py))?;
        Ok(parts)
    }

    fn with_epoch(&self, py: Python<'_>, epoch: u64) -> Self {
        Self(py.detach(|| pool::run(|| self.0.with_epoch(epoch))))
    }

    #[getter]
    fn max_length(&self) -> u32 {
        self.0.options().max_length
    }

    #[getter]
    fn strategy(&self) -> &'static str {
        "random"
    }

    #[getter]
    fn overlong(&self) -> &'static str {
        name_of(&OVERLONG, &self.0.options().overlong)
    }

    #[getter]
    fn max_sequences(&self) -> u32 {
        0
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
    fn num_rows(&self) -> usize {
        self.0.lengths().len()
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
        self.0.excess().sequences
    }

    #[getter]
    fn tokens_lost(&self) -> u64 {
        self.0.excess().tokens
    }

    /// Sequences in more than one pack.
    #[getter]
    fn num_split(&self) -> u64 {
        self.0.num_split().0
    }

    /// Packs that any plan needs that may cut sequences.
    fn lower_bound(&self) -> u64 {
        self.0.num_packs()
    }

    /// (ids, lengths) of one pack; None outside the plan.
    #[allow(clippy::type_complexity)]
    fn pack<'py>(&self, py: Python<'py>, index: u64) -> Option<(Array<'py, i64>, Array<'py, i32>)> {
        (index < self.0.num_packs()).then(|| {
            let pieces = self.0.list(index..index + 1);
            let ids = match pieces.ids {
                core::Order::U32(ids) => ids.into_iter().map(i64::from).collect(),
                core::Order::I64(ids) => ids,
            };
            (ids.into_pyarray(py), pieces.lengths.into_pyarray(py))
        })
    }

    /// (pack_offsets, sequence_ids) of packs `start..stop`.
    fn list<'py>(&self, py: Python<'py>, start: u64, stop: u64) -> (Array<'py, i64>, Bound<'py, PyAny>) {
        let pieces = py.detach(|| self.0.list(start..stop));
        (pieces.offsets.into_pyarray(py), ids_array(py, pieces.ids))
    }

    /// Tokens of each piece of packs `start..stop`.
    fn list_lengths<'py>(&self, py: Python<'py>, start: u64, stop: u64) -> Array<'py, i32> {
        py.detach(|| self.0.list(start..stop)).lengths.into_pyarray(py)
    }

    /// First token of each piece of packs `start..stop`.
    fn list_starts<'py>(&self, py: Python<'py>, start: u64, stop: u64) -> Array<'py, i32> {
        py.detach(|| self.0.list(start..stop)).starts.into_pyarray(py)
    }
}
