use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use packsort_core::{
    self as core, Classes, Cuts, Error, Excess, Groups, Lengths, Options, Order, Overlong, Parts, Patterns, Sequences,
    Slot, Starts, Strategy,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3_arrow::PyChunkedArray;

use crate::columns;
use crate::errors::{OptionError, to_py};
use crate::gather::IdsArg;
use crate::optimal::{PacksArg, columns_of};
use crate::pool;

/// A plan; `packsort.Plan` is its public face.
#[pyclass(frozen, module = "packsort._core")]
pub struct Plan(core::Plan);

pub type Array<'py, T> = Bound<'py, PyArray1<T>>;

pub const OVERLONG: [(&str, Overlong); 4] = [
    ("error", Overlong::Error),
    ("drop", Overlong::Drop),
    ("truncate", Overlong::Truncate),
    ("split", Overlong::Split),
];
const STRATEGIES: [(&str, Strategy); 5] = [
    ("ffd", Strategy::FirstFit),
    ("bfd", Strategy::BestFit),
    ("padding", Strategy::Padding),
    ("hybrid", Strategy::Hybrid),
    ("optimal", Strategy::Optimal),
];

/// The value that has this name.
pub fn named<T: Copy>(option: &str, names: &[(&str, T)], name: &str) -> PyResult<T> {
    names.iter().find(|(known, _)| *known == name).map(|&(_, value)| value).ok_or_else(|| {
        let known: Vec<String> = names.iter().map(|(known, _)| format!("'{known}'")).collect();
        OptionError::new_err(format!("{option} is '{name}', allowed are {}", known.join(", ")))
    })
}

/// The name of a value.
pub fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    names.iter().find(|(_, known)| known == value).map_or("", |&(name, _)| name)
}

pub fn ids_array(py: Python<'_>, ids: Order) -> Bound<'_, PyAny> {
    match ids {
        Order::U32(ids) => ids.into_pyarray(py).into_any(),
        Order::I64(ids) => ids.into_pyarray(py).into_any(),
    }
}

/// What `parts` holds, by name.
pub struct Fields<'a, 'py>(pub &'a Bound<'py, PyDict>);

impl<'py> Fields<'_, 'py> {
    pub fn get<T>(&self, name: &str) -> PyResult<T>
    where
        T: for<'a> FromPyObject<'a, 'py, Error: Into<PyErr>>,
    {
        let value = self.0.as_any().get_item(name)?;
        T::extract(value.as_borrowed()).map_err(Into::into)
    }

    /// The options of a plan; `strategy` is not looked at.
    pub fn options(&self) -> PyResult<Options> {
        let overlong: String = self.get("overlong")?;
        Ok(Options {
            overlong: named("overlong", &OVERLONG, &overlong)?,
            keep_end: self.get("keep_end")?,
            max_sequences: self.get("max_sequences")?,
            packs_multiple: self.get("packs_multiple")?,
            pad_multiple: self.get("pad_multiple")?,
            separated: self.get("separated")?,
            ..Options::new(self.get("max_length")?)
        })
    }

    fn with_strategy(&self) -> PyResult<Options> {
        let strategy: String = self.get("strategy")?;
        Ok(Options { strategy: named("strategy", &STRATEGIES, &strategy)?, ..self.options()? })
    }

    /// Numbers, as another type; what does not fit becomes 0, which the core refuses.
    pub fn numbers<T: TryFrom<i64> + Default>(&self, name: &str) -> PyResult<Vec<T>> {
        let numbers: PyReadonlyArray1<i64> = self.get(name)?;
        Ok(numbers.as_array().iter().map(|&n| T::try_from(n).unwrap_or_default()).collect())
    }
}

/// What `Fields::options` reads, but for the strategy.
pub fn set_options(parts: &Bound<'_, PyDict>, options: Options) -> PyResult<()> {
    parts.set_item("max_length", options.max_length)?;
    parts.set_item("overlong", name_of(&OVERLONG, &options.overlong))?;
    parts.set_item("keep_end", options.keep_end)?;
    parts.set_item("max_sequences", options.max_sequences)?;
    parts.set_item("packs_multiple", options.packs_multiple)?;
    parts.set_item("pad_multiple", options.pad_multiple)?;
    parts.set_item("separated", options.separated)
}

/// (offsets int64 (rows + 1,), first token of each piece int32).
pub type StartsArg<'py> = (PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i32>);
/// (group of each row, number of groups, whether those of the last have a pack each).
pub type GroupsArg<'py> = (PyReadonlyArray1<'py, u32>, usize, bool);

#[pymethods]
impl Plan {
    #[staticmethod]
    #[allow(clippy::too_many_arguments)]
    fn make(
        py: Python<'_>,
        lengths: PyChunkedArray,
        options: &Bound<'_, PyDict>,
        groups: Option<GroupsArg<'_>>,
        splittable: Option<PyReadonlyArray1<'_, bool>>,
        starts: Option<StartsArg<'_>>,
        seed: Option<u64>,
        epoch: u64,
    ) -> PyResult<Self> {
        let chunks = lengths.chunks().iter().map(columns::lengths).collect::<PyResult<Vec<_>>>()?;
        let options = Fields(options).with_strategy()?;
        let mut sequences = Sequences::from(Lengths::new(chunks));
        if let Some((of, count, last_alone)) = &groups {
            sequences.groups = Some(Groups { of: of.as_slice()?, count: *count, last_alone: *last_alone });
        }
        if let Some(flags) = &splittable {
            sequences.splittable = Some(flags.as_slice()?);
        }
        if let Some((offsets, values)) = &starts {
            sequences.starts = Some(Starts { offsets: offsets.as_slice()?, values: values.as_slice()? });
        }
        py.detach(|| pool::run(|| core::Plan::new(&sequences, options, seed, epoch))).map(Self).map_err(to_py)
    }

    /// The inverse of `parts`.
    #[staticmethod]
    fn from_parts(py: Python<'_>, parts: &Bound<'_, PyDict>) -> PyResult<Self> {
        let fields = Fields(parts);
        let slots = fields.numbers("slot_classes")?.into_iter().zip(fields.numbers("slot_copies")?);
        let parts = Parts {
            options: fields.with_strategy()?,
            rows: fields.get("rows")?,
            excess: Excess { sequences: fields.get("num_overlong")?, tokens: fields.get("tokens_lost")? },
            last_alone: fields.get("last_alone")?,
            cuts: Cuts {
                rows: fields.numbers("cut_rows")?,
                rests: fields.numbers("cut_rests")?,
                piece_rows: fields.numbers("piece_rows")?,
                piece_starts: fields.numbers("piece_starts")?,
            },
            classes: Classes {
                lengths: fields.numbers("class_lengths")?,
                first: fields.numbers("class_first")?,
                groups: fields.numbers("group_first")?,
            },
            patterns: Patterns {
                repeats: fields.numbers("repeats")?,
                slot_offsets: fields.numbers("slot_offsets")?,
                slots: slots.map(|(class, copies)| Slot { class, copies }).collect(),
            },
            proven: fields.get("proven")?,
            order: match fields.get::<IdsArg>("order")? {
                IdsArg::U32(ids) => Order::U32(ids.as_array().to_vec()),
                IdsArg::I64(ids) => Order::I64(ids.as_array().to_vec()),
            },
            seed: fields.get("seed")?,
            epoch: fields.get("epoch")?,
        };
        py.detach(|| pool::run(|| core::Plan::from_parts(parts))).map(Self).map_err(to_py)
    }

    /// All that makes the plan: what a file holds.
    fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let Parts { options, rows, excess, last_alone, cuts, classes, patterns, proven, order, seed, epoch } =
            self.0.parts();
        let parts = PyDict::new(py);
        set_options(&parts, options)?;
        parts.set_item("strategy", name_of(&STRATEGIES, &options.strategy))?;
        parts.set_item("rows", rows)?;
        parts.set_item("num_overlong", excess.sequences)?;
        parts.set_item("tokens_lost", excess.tokens)?;
        parts.set_item("last_alone", last_alone)?;
        parts.set_item("seed", seed)?;
        parts.set_item("epoch", epoch)?;
        parts.set_item("proven", proven)?;
        let numbers = |name, numbers: Vec<i64>| parts.set_item(name, numbers.into_pyarray(py));
        numbers("cut_rows", cuts.rows.into_iter().map(|n| n as i64).collect())?;
        numbers("cut_rests", cuts.rests.into_iter().map(i64::from).collect())?;
        numbers("piece_rows", cuts.piece_rows.into_iter().map(|n| n as i64).collect())?;
        numbers("piece_starts", cuts.piece_starts.into_iter().map(i64::from).collect())?;
        numbers("class_lengths", classes.lengths.into_iter().map(i64::from).collect())?;
        numbers("class_first", classes.first.into_iter().map(|n| n as i64).collect())?;
        numbers("group_first", classes.groups.into_iter().map(|n| n as i64).collect())?;
        numbers("repeats", patterns.repeats.into_iter().map(|n| n as i64).collect())?;
        numbers("slot_offsets", patterns.slot_offsets.into_iter().map(|n| n as i64).collect())?;
        numbers("slot_classes", patterns.slots.iter().map(|s| s.class.into()).collect())?;
        numbers("slot_copies", patterns.slots.iter().map(|s| s.copies.into()).collect())?;
        parts.set_item("order", ids_array(py, order))?;
        Ok(parts)
    }

    /// What it is, in numbers and names.
    fn facts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let facts = PyDict::new(py);
        set_options(&facts, self.0.options())?;
        facts.set_item("strategy", name_of(&STRATEGIES, &self.0.options().strategy))?;
        facts.set_item("seed", self.0.seed())?;
        facts.set_item("epoch", self.0.epoch())?;
        facts.set_item("num_rows", self.0.rows())?;
        facts.set_item("num_packs", self.0.num_packs())?;
        facts.set_item("num_sequences", self.0.num_sequences())?;
        facts.set_item("num_tokens", self.0.num_tokens())?;
        facts.set_item("num_overlong", self.0.excess().sequences)?;
        facts.set_item("tokens_lost", self.0.excess().tokens)?;
        facts.set_item("num_patterns", self.0.patterns().len())?;
        facts.set_item("has_starts", self.0.has_starts())?;
        Ok(facts)
    }

    fn with_epoch(&self, epoch: u64) -> Self {
        Self(self.0.with_epoch(epoch))
    }

    #[getter]
    fn num_groups(&self) -> usize {
        self.0.num_groups()
    }

    /// (sizes, counts, packs, bound) of what a group's sequences take; None where each has a pack of its own.
    #[allow(clippy::type_complexity)]
    fn sizes<'py>(
        &self,
        py: Python<'py>,
        group: usize,
    ) -> PyResult<Option<(Array<'py, u32>, Array<'py, u64>, u64, u64)>> {
        if group >= self.0.num_groups() {
            return Err(to_py(Error::Inconsistent("there is no such group")));
        }
        let found = py.detach(|| self.0.sizes(group));
        Ok(found.map(|s| (s.sizes.into_pyarray(py), s.counts.into_pyarray(py), s.packs, s.bound)))
    }

    /// Packs of a group.
    fn group_packs(&self, group: usize) -> PyResult<u64> {
        if group >= self.0.num_groups() {
            return Err(to_py(Error::Inconsistent("there is no such group")));
        }
        Ok(self.0.group_packs(group))
    }

    #[getter]
    fn num_packs(&self) -> u64 {
        self.0.num_packs()
    }

    /// The room of a pack, in what `sizes` says that sequences take.
    #[getter]
    fn capacity(&self) -> PyResult<u32> {
        self.0.options().room().map(|room| room.capacity()).map_err(to_py)
    }

    /// The same sequences in other packs: (offsets, rows, copies, repeats) of each group, None where they stay.
    fn with_packs(&self, py: Python<'_>, found: Vec<Option<PacksArg<'_>>>, bound: u64) -> PyResult<Self> {
        let found = found.iter().map(|found| found.as_ref().map(columns_of).transpose());
        let found = found.collect::<PyResult<Vec<_>>>()?;
        py.detach(|| pool::run(|| self.0.with_packs(&found, bound))).map(Self).map_err(to_py)
    }

    /// Sequences in more than one piece.
    fn num_split(&self) -> u64 {
        self.0.num_split()
    }

    /// The rows that are in more than one piece, ascending.
    fn split_rows<'py>(&self, py: Python<'py>) -> Array<'py, i64> {
        self.0.split_rows().into_iter().map(|row| row as i64).collect::<Vec<_>>().into_pyarray(py)
    }

    /// (separators, padding): tokens of all packs that are of no sequence.
    fn fillers(&self) -> (u64, u64) {
        self.0.fillers()
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

    /// First token of each piece of packs `start..stop`.
    fn list_starts<'py>(&self, py: Python<'py>, start: u64, stop: u64) -> Array<'py, i32> {
        py.detach(|| pool::run(|| self.0.list_starts(start..stop))).into_pyarray(py)
    }
}
