//! The parts of the search for the fewest packs.

use numpy::{IntoPyArray, PyReadonlyArray1};
use packsort_core::optimal::{self as core, Knapsack, Search, SizePatterns};
use pyo3::prelude::*;

use crate::errors::{entry, to_py};
use crate::parts::Array;
use crate::pool;

type PatternArrays<'py> = (Array<'py, i64>, Array<'py, i32>, Array<'py, i32>);

fn arrays<'py>(py: Python<'py>, patterns: &SizePatterns) -> PatternArrays<'py> {
    let signed = |numbers: &[u32]| numbers.iter().map(|&n| n as i32).collect::<Vec<_>>().into_pyarray(py);
    let offsets: Vec<i64> = patterns.offsets().iter().map(|&offset| offset as i64).collect();
    (offsets.into_pyarray(py), signed(patterns.items()), signed(patterns.copies()))
}

/// Offsets, items, copies and repeats of patterns.
pub type PacksArg<'py> =
    (PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i32>, PyReadonlyArray1<'py, i32>, PyReadonlyArray1<'py, i64>);

/// Patterns, and the number of packs of each.
pub fn patterns_of((offsets, items, copies, repeats): &PacksArg<'_>) -> PyResult<(SizePatterns, Vec<u64>)> {
    let offsets = offsets.as_slice()?.iter().map(|&offset| offset as usize).collect();
    let unsigned = |numbers: &[i32]| numbers.iter().map(|&number| number as u32).collect();
    let patterns = SizePatterns::new(offsets, unsigned(items.as_slice()?), unsigned(copies.as_slice()?));
    let repeats = repeats.as_slice()?.iter().map(|&repeat| u64::try_from(repeat)).collect::<Result<_, _>>()?;
    Ok((patterns.map_err(to_py)?, repeats))
}

/// Price patterns; returns the bound, the bound before it is rounded up, and offsets, items and copies of the patterns
/// worth more than a pack by `judge`.
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
    entry(|| {
        let (counts, judge) = (counts.as_slice()?, judge.as_slice()?);
        let duals = duals.iter().map(|duals| Ok(duals.as_slice()?)).collect::<PyResult<Vec<_>>>()?;
        let knapsack = Knapsack::new(sizes.as_slice()?, capacity, max_sequences).map_err(to_py)?;
        let found = py.detach(|| pool::run(|| knapsack.price(counts, &duals, judge))).map_err(to_py)?;
        let (offsets, items, copies) = arrays(py, &found.patterns);
        Ok((found.bound, found.fraction, offsets, items, copies))
    })
}

/// Draw patterns that fill a pack to the last token.
#[pyfunction]
pub fn sample_patterns<'py>(
    py: Python<'py>,
    sizes: PyReadonlyArray1<'py, u32>,
    capacity: u32,
    max_sequences: u64,
    counts: PyReadonlyArray1<'py, u64>,
    number: usize,
) -> PyResult<PatternArrays<'py>> {
    entry(|| {
        let counts = counts.as_slice()?;
        let knapsack = Knapsack::new(sizes.as_slice()?, capacity, max_sequences).map_err(to_py)?;
        let patterns = py.detach(|| core::sample(&knapsack, counts, number)).map_err(to_py)?;
        Ok(arrays(py, &patterns))
    })
}

/// Packing that is being built.
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
        entry(|| {
            let knapsack = Knapsack::new(sizes.as_slice()?, capacity, max_sequences).map_err(to_py)?;
            core::Packing::new(&knapsack, counts.as_slice()?).map(Self).map_err(to_py)
        })
    }

    /// Number of sequences of each size that are in no pack.
    #[getter]
    fn left<'py>(&self, py: Python<'py>) -> PyResult<Array<'py, i64>> {
        entry(|| Ok(self.0.left().iter().map(|&left| left as i64).collect::<Vec<_>>().into_pyarray(py)))
    }

    #[getter]
    fn packs(&self) -> u64 {
        self.0.num_packs()
    }

    fn copy(&self) -> PyResult<Self> {
        entry(|| Ok(Self(self.0.clone())))
    }

    /// Take up to `repeats` packs of each pattern.
    fn take(
        &mut self,
        py: Python<'_>,
        offsets: PyReadonlyArray1<'_, i64>,
        items: PyReadonlyArray1<'_, i32>,
        copies: PyReadonlyArray1<'_, i32>,
        repeats: PyReadonlyArray1<'_, i64>,
    ) -> PyResult<()> {
        entry(|| {
            let (patterns, repeats) = patterns_of(&(offsets, items, copies, repeats))?;
            py.detach(|| self.0.take(&patterns, &repeats)).map_err(to_py)
        })
    }

    /// Pack all sequences left by first-fit decreasing.
    fn finish(&mut self, py: Python<'_>) -> PyResult<()> {
        entry(|| py.detach(|| self.0.finish_first_fit()).map_err(to_py))
    }

    /// Pack all sequences left, each pack as full as `steps` steps find.
    fn finish_full(&mut self, py: Python<'_>, steps: u64) -> PyResult<()> {
        entry(|| py.detach(|| self.0.finish_full(steps)).map_err(to_py))
    }

    /// Pack all sequences left into at most `packs` packs; returns whether a way was found, and whether there is none.
    fn finish_within(&mut self, py: Python<'_>, packs: u64, steps: u64) -> PyResult<(bool, bool)> {
        entry(|| {
            let search = py.detach(|| self.0.finish_within(packs, steps)).map_err(to_py)?;
            Ok((search == Search::Found(()), search == Search::Impossible))
        })
    }

    /// Offsets, items, copies and repeats of the patterns so far.
    #[expect(clippy::type_complexity, reason = "a tuple in Python")]
    fn patterns<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Array<'py, i64>, Array<'py, i32>, Array<'py, i32>, Array<'py, i64>)> {
        entry(|| {
            let (patterns, repeats) = self.0.patterns();
            let (offsets, items, copies) = arrays(py, &patterns);
            let repeats: Vec<i64> = repeats.iter().map(|&repeat| repeat as i64).collect();
            Ok((offsets, items, copies, repeats.into_pyarray(py)))
        })
    }
}
