use numpy::{IntoPyArray, PyReadonlyArray1};
use packsort_core::{self as core, Excess, Lengths, Skipped};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3_arrow::PyChunkedArray;

use crate::columns;
use crate::errors::to_py;
use crate::plan::{Array, Fields, ids_array, set_options};
use crate::pool;

/// Random packing; `packsort.Plan` is its public face, as it is that of `Plan`.
#[pyclass(frozen, module = "packsort._core")]
pub struct Concatenation(core::Concatenation);

#[pymethods]
impl Concatenation {
    #[staticmethod]
    fn make(
        py: Python<'_>,
        lengths: PyChunkedArray,
        options: &Bound<'_, PyDict>,
        seed: Option<u64>,
        epoch: u64,
    ) -> PyResult<Self> {
        let chunks = lengths.chunks().iter().map(columns::lengths).collect::<PyResult<Vec<_>>>()?;
        let (lengths, options) = (Lengths::new(chunks), Fields(options).options()?);
        py.detach(|| pool::run(|| core::Concatenation::new(&lengths, options, seed, epoch))).map(Self).map_err(to_py)
    }

    /// The inverse of `parts`.
    #[staticmethod]
    fn from_parts(py: Python<'_>, parts: &Bound<'_, PyDict>) -> PyResult<Self> {
        let fields = Fields(parts);
        let options = fields.options()?;
        let excess = Excess { sequences: fields.get("num_overlong")?, tokens: fields.get("tokens_lost")? };
        let lengths = fields.get::<PyReadonlyArray1<u32>>("lengths")?.as_array().to_vec();
        let skipped = Skipped { rows: fields.numbers("skipped_rows")?, tokens: fields.numbers("skipped_tokens")? };
        let (seed, epoch) = (fields.get("seed")?, fields.get("epoch")?);
        py.detach(|| pool::run(|| core::Concatenation::from_parts(options, excess, lengths, skipped, seed, epoch)))
            .map(Self)
            .map_err(to_py)
    }

    /// All that makes the plan: what a file holds.
    fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let parts = PyDict::new(py);
        set_options(&parts, self.0.options())?;
        parts.set_item("strategy", "random")?;
        parts.set_item("num_overlong", self.0.excess().sequences)?;
        parts.set_item("tokens_lost", self.0.excess().tokens)?;
        parts.set_item("seed", self.0.seed())?;
        parts.set_item("epoch", self.0.epoch())?;
        parts.set_item("lengths", self.0.lengths().to_vec().into_pyarray(py))?;
        let numbers = |numbers: &[u32]| numbers.iter().copied().map(i64::from).collect::<Vec<_>>().into_pyarray(py);
        parts.set_item("skipped_rows", numbers(&self.0.skipped().rows))?;
        parts.set_item("skipped_tokens", numbers(&self.0.skipped().tokens))?;
        Ok(parts)
    }

    /// What it is, in numbers and names.
    fn facts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let facts = PyDict::new(py);
        set_options(&facts, self.0.options())?;
        facts.set_item("strategy", "random")?;
        facts.set_item("seed", self.0.seed())?;
        facts.set_item("epoch", self.0.epoch())?;
        facts.set_item("num_rows", self.0.lengths().len())?;
        facts.set_item("num_packs", self.0.num_packs())?;
        facts.set_item("num_sequences", self.0.num_sequences())?;
        facts.set_item("num_tokens", self.0.num_tokens())?;
        facts.set_item("num_overlong", self.0.excess().sequences)?;
        facts.set_item("tokens_lost", self.0.excess().tokens)?;
        facts.set_item("num_patterns", 0)?; // no two packs need be alike
        facts.set_item("has_starts", true)?;
        Ok(facts)
    }

    fn with_epoch(&self, py: Python<'_>, epoch: u64) -> Self {
        Self(py.detach(|| pool::run(|| self.0.with_epoch(epoch))))
    }

    /// Sequences in more than one pack.
    fn num_split(&self) -> u64 {
        self.0.num_split().0
    }

    /// The rows that are in more than one pack, ascending.
    fn split_rows<'py>(&self, py: Python<'py>) -> Array<'py, i64> {
        self.0.split_rows().into_iter().map(|row| row as i64).collect::<Vec<_>>().into_pyarray(py)
    }

    /// (separators, padding): tokens of all packs that are of no sequence.
    fn fillers(&self) -> (u64, u64) {
        (0, 0)
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
