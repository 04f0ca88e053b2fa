use numpy::{IntoPyArray, PyReadonlyArray1};
use packsort_core::optimal::{self as core, Columns, Knapsack};
use pyo3::prelude::*;

use crate::errors::DamagedError;
use crate::parts::Array;
use crate::pool;

type ColumnArrays<'py> = (Array<'py, i64>, Array<'py, i32>, Array<'py, i32>);

fn arrays<'py>(py: Python<'py>, columns: &Columns) -> ColumnArrays<'py> {
    let signed = |numbers: &[u32]| numbers.iter().map(|&n| n as i32).collect::<Vec<_>>().into_pyarray(py);
    let offsets: Vec<i64> = columns.offsets.iter().map(|&offset| offset as i64).collect();
    (offsets.into_pyarray(py), signed(&columns.rows), signed(&columns.copies))
}

/// (offsets, rows, copies, repeats) of patterns.
pub type PacksArg<'py> =
    (PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i32>, PyReadonlyArray1<'py, i32>, PyReadonlyArray1<'py, i64>);

/// Patterns, and how many packs are alike.
pub fn columns_of((offsets, rows, copies, repeats): &PacksArg<'_>) -> PyResult<(Columns, Vec<u64>)> {
    let columns = Columns {
        offsets: offsets.as_slice()?.iter().map(|&offset| offset as usize).collect(),
        rows: rows.as_slice()?.iter().map(|&row| row as u32).collect(),
        copies: copies.as_slice()?.iter().map(|&copies| copies as u32).collect(),
    };
    let repeats: Vec<u64> = repeats.as_slice()?.iter().map(|&repeat| repeat.max(0) as u64).collect();
    let sound = columns.offsets.first() == Some(&0)
        && columns.offsets.is_sorted_by(|a, b| a < b)
        && columns.offsets.last() == Some(&columns.rows.len())
        && columns.copies.len() == columns.rows.len()
        && columns.len() == repeats.len()
        && !columns.copies.contains(&0);
    if sound { Ok((columns, repeats)) } else { Err(bad("offsets, rows, copies and repeats are no patterns")) }
}

fn knapsack(sizes: &[u32], counts: &[u64], capacity: u32, max_sequences: u64) -> PyResult<()> {
    let sound = sizes.len() == counts.len()
        && sizes.is_sorted_by(|a, b| a < b)
        && sizes.first().is_none_or(|&size| size > 0)
        && sizes.last().is_none_or(|&size| size <= capacity)
        && max_sequences > 0;
    if sound { Ok(()) } else { Err(bad("sizes are not distinct, ascending and from 1 to the capacity")) }
}

fn bad(what: &'static str) -> PyErr {
    DamagedError::new_err(what)
}

/// (bound, bound before it is rounded up, offsets, rows, copies of patterns worth more than a pack by `judge`).
#[pyfunction]
#[allow(clippy::type_complexity)]
pub fn price_patterns<'py>(
    py: Python<'py>,
    sizes: PyReadonlyArray1<'py, u32>,
    capacity: u32,
    max_sequences: u64,
    counts: PyReadonlyArray1<'py, u64>,
    duals: Vec<PyReadonlyArray1<'py, f64>>,
    judge: PyReadonlyArray1<'py, f64>,
) -> PyResult<(u64, f64, Array<'py, i64>, Array<'py, i32>, Array<'py, i32>)> {
    let (sizes, counts, judge) = (sizes.as_slice()?, counts.as_slice()?, judge.as_slice()?);
    knapsack(sizes, counts, capacity, max_sequences)?;
    let duals = duals.iter().map(|duals| Ok(duals.as_slice()?)).collect::<PyResult<Vec<_>>>()?;
    if duals.iter().chain([&judge]).any(|duals| duals.len() != sizes.len()) {
        return Err(bad("there is another number of duals than of sizes"));
    }
    let of = Knapsack { sizes, capacity, max_sequences };
    let found = py.detach(|| pool::run(|| of.price(counts, &duals, judge)));
    let (offsets, rows, copies) = arrays(py, &found.columns);
    Ok((found.bound, found.fraction, offsets, rows, copies))
}

/// Patterns that fill a pack to the last token.
#[pyfunction]
pub fn sample_patterns<'py>(
    py: Python<'py>,
    sizes: PyReadonlyArray1<'py, u32>,
    capacity: u32,
    max_sequences: u64,
    counts: PyReadonlyArray1<'py, u64>,
    number: usize,
) -> PyResult<ColumnArrays<'py>> {
    let (sizes, counts) = (sizes.as_slice()?, counts.as_slice()?);
    knapsack(sizes, counts, capacity, max_sequences)?;
    let of = Knapsack { sizes, capacity, max_sequences };
    Ok(arrays(py, &py.detach(|| core::sample(&of, counts, number))))
}

/// Packs on the way.
#[pyclass(module = "packsort._core")]
pub struct Packing(core::Packing);

#[pymethods]
impl Packing {
    #[new]
    fn new(
        sizes: PyReadonlyArray1<'_, u32>,
        capacity: u32,
        max_sequences: u64,
        counts: PyReadonlyArray1<'_, u64>,
    ) -> PyResult<Self> {
        let (sizes, counts) = (sizes.as_slice()?, counts.as_slice()?);
        knapsack(sizes, counts, capacity, max_sequences)?;
        Ok(Self(core::Packing::new(&Knapsack { sizes, capacity, max_sequences }, counts)))
    }

    /// Sequences of each size that are in no pack.
    #[getter]
    fn left<'py>(&self, py: Python<'py>) -> Array<'py, i64> {
        self.0.left().iter().map(|&left| left as i64).collect::<Vec<_>>().into_pyarray(py)
    }

    #[getter]
    fn packs(&self) -> u64 {
        self.0.packs()
    }

    fn copy(&self) -> Self {
        Self(self.0.clone())
    }

    /// Packs like each pattern, `repeats` of them, while there are sequences.
    fn take(
        &mut self,
        py: Python<'_>,
        offsets: PyReadonlyArray1<'_, i64>,
        rows: PyReadonlyArray1<'_, i32>,
        copies: PyReadonlyArray1<'_, i32>,
        repeats: PyReadonlyArray1<'_, i64>,
    ) -> PyResult<()> {
        let (columns, repeats) = columns_of(&(offsets, rows, copies, repeats))?;
        if !columns.rows.iter().all(|&row| (row as usize) < self.0.left().len()) {
            return Err(bad("offsets, rows, copies and repeats are no patterns"));
        }
        py.detach(|| self.0.take(&columns, &repeats));
        Ok(())
    }

    /// First-fit decreasing of what is left.
    fn finish(&mut self, py: Python<'_>) {
        py.detach(|| self.0.finish());
    }

    /// Each pack as full as so many steps find.
    fn finish_full(&mut self, py: Python<'_>, steps: u64) {
        py.detach(|| self.0.finish_full(steps));
    }

    /// (what is left is packed into so many packs, it is proven that it cannot be).
    fn finish_within(&mut self, py: Python<'_>, packs: u64, steps: u64) -> (bool, bool) {
        py.detach(|| self.0.finish_within(packs, steps))
    }

    /// (offsets, rows, copies, repeats) of the patterns so far.
    fn patterns<'py>(&self, py: Python<'py>) -> (Array<'py, i64>, Array<'py, i32>, Array<'py, i32>, Array<'py, i64>) {
        let (columns, repeats) = self.0.patterns();
        let (offsets, rows, copies) = arrays(py, &columns);
        (offsets, rows, copies, repeats.iter().map(|&repeat| repeat as i64).collect::<Vec<_>>().into_pyarray(py))
    }
}
