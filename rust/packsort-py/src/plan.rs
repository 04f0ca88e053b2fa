use numpy::{IntoPyArray, PyReadonlyArray1};
use packsort_core::{self as core, Groups, LengthCounts, Options, PieceStarts, Sequences};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{entry, to_py};
use crate::lengths::LengthsArg;
use crate::optimal::{PacksArg, patterns_of};
use crate::parts::{Array, OptionsDict, dict_to_parts, ids_to_array, parts_to_dict};
use crate::pool;

/// A plan of any strategy, which `packsort.Plan` wraps.
#[pyclass(frozen, module = "packsort._core")]
pub struct Plan(core::Plan);

/// The group of each sequence, the number of groups, and whether every sequence of the last group is alone in its pack.
#[derive(FromPyObject)]
struct GroupsArg<'py>(PyReadonlyArray1<'py, u32>, usize, bool);

/// The offsets of each row's starts (rows + 1,), and the first token of each piece.
#[derive(FromPyObject)]
struct StartsArg<'py>(PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i32>);

/// Distinct lengths, ascending, and how often each occurs.
#[derive(FromPyObject)]
struct CountsArg<'py>(PyReadonlyArray1<'py, u64>, PyReadonlyArray1<'py, u64>);

impl CountsArg<'_> {
    fn borrow(&self) -> PyResult<LengthCounts<'_>> {
        Ok(LengthCounts { lengths: self.0.as_slice()?, counts: self.1.as_slice()? })
    }
}

/// Numbers and names about a plan, besides its options.
#[derive(IntoPyObject)]
struct Facts {
    seed: Option<u64>,
    epoch: u64,
    num_rows: u64,
    num_packs: u64,
    num_sequences: u64,
    num_tokens: u64,
    num_overlong: u64,
    tokens_lost: u64,
    num_empty: u64,
    num_patterns: usize,
    has_starts: bool,
    is_counted: bool,
}

#[pymethods]
impl Plan {
    #[staticmethod]
    #[expect(clippy::too_many_arguments, reason = "each is an argument in Python")]
    fn make(
        py: Python<'_>,
        lengths: LengthsArg<'_>,
        options: OptionsDict,
        groups: Option<GroupsArg<'_>>,
        splittable: Option<PyReadonlyArray1<'_, bool>>,
        starts: Option<StartsArg<'_>>,
        seed: Option<u64>,
        epoch: u64,
    ) -> PyResult<Self> {
        entry(|| {
            let options = Options::try_from(options)?;
            let mut sequences = Sequences::from(lengths.borrow()?);
            if let Some(GroupsArg(group_of, num_groups, last_alone)) = &groups {
                let (num_groups, last_alone) = (*num_groups, *last_alone);
                sequences.groups = Some(Groups { group_of: group_of.as_slice()?, num_groups, last_alone });
            }
            if let Some(flags) = &splittable {
                sequences.splittable = Some(flags.as_slice()?);
            }
            if let Some(StartsArg(offsets, starts)) = &starts {
                sequences.piece_starts = Some(PieceStarts { offsets: offsets.as_slice()?, starts: starts.as_slice()? });
            }
            py.detach(|| pool::run(|| core::Plan::new(&sequences, options, seed, epoch))).map(Self).map_err(to_py)
        })
    }

    #[staticmethod]
    fn from_counts(
        py: Python<'_>,
        counts: CountsArg<'_>,
        options: OptionsDict,
        seed: Option<u64>,
        epoch: u64,
    ) -> PyResult<Self> {
        entry(|| {
            let options = Options::try_from(options)?;
            let counts = counts.borrow()?;
            py.detach(|| pool::run(|| core::Plan::from_counts(counts, options, seed, epoch))).map(Self).map_err(to_py)
        })
    }

    #[staticmethod]
    fn from_parts(py: Python<'_>, parts: &Bound<'_, PyDict>) -> PyResult<Self> {
        entry(|| {
            let parts = dict_to_parts(parts)?;
            py.detach(|| pool::run(|| core::Plan::from_parts(parts))).map(Self).map_err(to_py)
        })
    }

    fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        entry(|| {
            let parts = py.detach(|| self.0.parts()).map_err(to_py)?;
            parts_to_dict(py, parts)
        })
    }

    /// The options, and numbers that cost nothing to find.
    fn facts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let left_out = self.0.left_out();
        let facts = Facts {
            seed: self.0.seed(),
            epoch: self.0.epoch(),
            num_rows: self.0.num_rows(),
            num_packs: self.0.num_packs(),
            num_sequences: self.0.num_sequences(),
            num_tokens: self.0.num_tokens(),
            num_overlong: left_out.sequences,
            tokens_lost: left_out.tokens,
            num_empty: left_out.empty,
            num_patterns: self.0.patterns().map_or(0, core::Patterns::len),
            has_starts: self.0.has_starts(),
            is_counted: self.0.is_counted(),
        };
        let dict = OptionsDict::from(self.0.options()).into_pyobject(py)?;
        dict.update(facts.into_pyobject(py)?.as_mapping())?;
        Ok(dict)
    }

    fn with_epoch(&self, py: Python<'_>, epoch: u64) -> PyResult<Self> {
        entry(|| py.detach(|| pool::run(|| self.0.with_epoch(epoch))).map(Self).map_err(to_py))
    }

    #[getter]
    fn num_groups(&self) -> usize {
        self.0.num_groups()
    }

    /// The sizes of a group's sequences: (sizes, counts, packs, lower bound); None where each has a pack of its own.
    #[expect(clippy::type_complexity, reason = "a tuple in Python")]
    fn sizes<'py>(
        &self,
        py: Python<'py>,
        group: usize,
    ) -> PyResult<Option<(Array<'py, u32>, Array<'py, u64>, u64, u64)>> {
        entry(|| {
            let sizes = py.detach(|| self.0.sizes(group)).map_err(to_py)?;
            Ok(sizes.map(|s| (s.sizes.into_pyarray(py), s.counts.into_pyarray(py), s.packs, s.bound)))
        })
    }

    fn group_packs(&self, group: usize) -> PyResult<u64> {
        self.0.group_packs(group).map_err(to_py)
    }

    #[getter]
    fn num_packs(&self) -> u64 {
        self.0.num_packs()
    }

    /// The room of a pack, in the unit of `sizes`.
    #[getter]
    fn capacity(&self) -> PyResult<u32> {
        self.0.options().room().map(|room| room.capacity()).map_err(to_py)
    }

    /// Pack the same sequences otherwise: (offsets, rows, copies, repeats) of each group, None to keep its packs.
    fn with_packs(&self, py: Python<'_>, found: Vec<Option<PacksArg<'_>>>, bound: u64) -> PyResult<Self> {
        entry(|| {
            let found = found.iter().map(|found| found.as_ref().map(patterns_of).transpose());
            let found = found.collect::<PyResult<Vec<_>>>()?;
            py.detach(|| pool::run(|| self.0.with_packs(&found, bound))).map(Self).map_err(to_py)
        })
    }

    fn num_split(&self, py: Python<'_>) -> PyResult<u64> {
        entry(|| Ok(py.detach(|| self.0.num_split())))
    }

    fn split_rows<'py>(&self, py: Python<'py>) -> PyResult<Array<'py, i64>> {
        entry(|| {
            let rows = py.detach(|| self.0.split_rows()).map_err(to_py)?;
            Ok(rows.into_iter().map(|row| row as i64).collect::<Vec<_>>().into_pyarray(py))
        })
    }

    /// (separators, padding) of all packs.
    fn num_fillers(&self, py: Python<'_>) -> PyResult<(u64, u64)> {
        entry(|| {
            let fillers = py.detach(|| self.0.num_fillers());
            Ok((fillers.separators, fillers.padding))
        })
    }

    fn lower_bound(&self, py: Python<'_>) -> PyResult<u64> {
        entry(|| py.detach(|| self.0.lower_bound()).map_err(to_py))
    }

    /// (ids, lengths) of one pack; None outside the plan.
    fn pack<'py>(&self, py: Python<'py>, index: u64) -> PyResult<Option<(Array<'py, i64>, Array<'py, i32>)>> {
        entry(|| {
            let Some(pack) = self.0.pack(index) else { return Ok(None) };
            let ids: Vec<i64> = pack.ids.into_iter().map(|id| id as i64).collect();
            let lengths: Vec<i32> = pack.lengths.into_iter().map(|length| length as i32).collect();
            Ok(Some((ids.into_pyarray(py), lengths.into_pyarray(py))))
        })
    }

    /// (offsets, sequence ids) of packs `start..stop`.
    fn list_packs<'py>(
        &self,
        py: Python<'py>,
        start: u64,
        stop: u64,
    ) -> PyResult<(Array<'py, i64>, Bound<'py, PyAny>)> {
        entry(|| {
            let list = py.detach(|| pool::run(|| self.0.list_packs(start..stop))).map_err(to_py)?;
            Ok((list.offsets.into_pyarray(py), ids_to_array(py, list.ids)))
        })
    }

    fn list_lengths<'py>(&self, py: Python<'py>, start: u64, stop: u64) -> PyResult<Array<'py, i32>> {
        entry(|| {
            let lengths = py.detach(|| pool::run(|| self.0.list_lengths(start..stop))).map_err(to_py)?;
            Ok(lengths.into_pyarray(py))
        })
    }

    fn list_starts<'py>(&self, py: Python<'py>, start: u64, stop: u64) -> PyResult<Array<'py, i32>> {
        entry(|| {
            let starts = py.detach(|| pool::run(|| self.0.list_starts(start..stop))).map_err(to_py)?;
            Ok(starts.into_pyarray(py))
        })
    }
    /// The numbers of sequences in a plan made from counts; -1 for those that are left out.
    fn numbers<'py>(
        &self,
        py: Python<'py>,
        lengths: LengthsArg<'_>,
        before: CountsArg<'_>,
    ) -> PyResult<Array<'py, i64>> {
        entry(|| {
            let (lengths, before) = (lengths.borrow()?, before.borrow()?);
            let numbers = py.detach(|| self.0.numbers(&lengths, before)).map_err(to_py)?;
            Ok(numbers.into_pyarray(py))
        })
    }

    /// The packs of sequences by their numbers.
    fn places<'py>(&self, py: Python<'py>, numbers: PyReadonlyArray1<'_, i64>) -> PyResult<Array<'py, i64>> {
        entry(|| {
            let numbers = numbers.as_slice()?;
            let places = py.detach(|| pool::run(|| self.0.places(numbers))).map_err(to_py)?;
            Ok(places.into_pyarray(py))
        })
    }
}
