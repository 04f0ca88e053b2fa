use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use packsort_core::{
    self as core, Classes, Cuts, Excess, Groups, Lengths, Options, Order, Overlong, Parts, Patterns, Slot, Strategy,
};
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

pub type Array<'py, T> = Bound<'py, PyArray1<T>>;

pub const OVERLONG: [(&str, Overlong); 4] = [
    ("error", Overlong::Error),
    ("drop", Overlong::Drop),
    ("truncate", Overlong::Truncate),
    ("split", Overlong::Split),
];
const STRATEGIES: [(&str, Strategy); 3] =
    [("ffd", Strategy::FirstFit), ("bfd", Strategy::BestFit), ("padding", Strategy::Padding)];

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

    /// Numbers, as another type; what does not fit becomes 0, which the core refuses.
    fn numbers<T: TryFrom<i64> + Default>(&self, name: &str) -> PyResult<Vec<T>> {
        let numbers: PyReadonlyArray1<i64> = self.get(name)?;
        Ok(numbers.as_array().iter().map(|&n| T::try_from(n).unwrap_or_default()).collect())
    }
}

#[pymethods]
impl Plan {
    #[staticmethod]
    #[pyo3(signature = (lengths, max_length, strategy, overlong, max_sequences, multiple, groups, seed, epoch))]
    #[allow(clippy::too_many_arguments)]
    fn make(
        py: Python<'_>,
        lengths: PyChunkedArray,
        max_length: u32,
        strategy: &str,
        overlong: &str,
        max_sequences: u32,
        multiple: u32,
        groups: Option<(PyReadonlyArray1<'_, u32>, usize, bool)>,
        seed: Option<u64>,
        epoch: u64,
    ) -> PyResult<Self> {
        let chunks = lengths.chunks().iter().map(columns::lengths).collect::<PyResult<Vec<_>>>()?;
        let lengths = Lengths::new(chunks);
        let options = Options {
            max_length,
            strategy: named("strategy", &STRATEGIES, strategy)?,
            overlong: named("overlong", &OVERLONG, overlong)?,
            max_sequences,
            multiple,
        };
        let groups = match &groups {
            None => None,
            Some((of, count, last_alone)) => {
                Some(Groups { of: of.as_slice()?, count: *count, last_alone: *last_alone })
            }
        };
        py.detach(|| pool::run(|| core::Plan::new(&lengths, groups, options, seed, epoch))).map(Self).map_err(to_py)
    }

    /// The inverse of `parts`.
    #[staticmethod]
    fn from_parts(py: Python<'_>, parts: &Bound<'_, PyDict>) -> PyResult<Self> {
        let fields = Fields(parts);
        let (strategy, overlong): (String, String) = (fields.get("strategy")?, fields.get("overlong")?);
        let slots = fields.numbers("slot_classes")?.into_iter().zip(fields.numbers("slot_copies")?);
        let parts = Parts {
            options: Options {
                max_length: fields.get("max_length")?,
                strategy: named("strategy", &STRATEGIES, &strategy)?,
                overlong: named("overlong", &OVERLONG, &overlong)?,
                max_sequences: fields.get("max_sequences")?,
                multiple: fields.get("multiple")?,
            },
            rows: fields.get("rows")?,
            excess: Excess { sequences: fields.get("num_overlong")?, tokens: fields.get("tokens_lost")? },
            last_alone: fields.get("last_alone")?,
            cuts: Cuts {
                rows: fields.numbers("cut_rows")?,
                rests: fields.numbers("cut_rests")?,
                full_rows: fields.numbers("full_rows")?,
                full_starts: fields.numbers("full_starts")?,
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
            order: match fields.get::<IdsArg>("order")? {
                IdsArg::U32(ids) => Order::U32(ids.as_array().to_vec()),
                IdsArg::I64(ids) => Order::I64(ids.as_array().to_vec()),
            },
            seed: fields.get("seed")?,
            epoch: fields.get("epoch")?,
        };
        py.detach(|| core::Plan::from_parts(parts)).map(Self).map_err(to_py)
    }

    /// All that makes the plan: what a file holds.
    fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let Parts { options, rows, excess, last_alone, cuts, classes, patterns, order, seed, epoch } = self.0.parts();
        let parts = PyDict::new(py);
        parts.set_item("max_length", options.max_length)?;
        parts.set_item("strategy", self.strategy())?;
        parts.set_item("overlong", self.overlong())?;
        parts.set_item("max_sequences", options.max_sequences)?;
        parts.set_item("multiple", options.multiple)?;
        parts.set_item("rows", rows)?;
        parts.set_item("num_overlong", excess.sequences)?;
        parts.set_item("tokens_lost", excess.tokens)?;
        parts.set_item("last_alone", last_alone)?;
        parts.set_item("seed", seed)?;
        parts.set_item("epoch", epoch)?;
        let numbers = |name, numbers: Vec<i64>| parts.set_item(name, numbers.into_pyarray(py));
        numbers("cut_rows", cuts.rows.into_iter().map(|n| n as i64).collect())?;
        numbers("cut_rests", cuts.rests.into_iter().map(i64::from).collect())?;
        numbers("full_rows", cuts.full_rows.into_iter().map(|n| n as i64).collect())?;
        numbers("full_starts", cuts.full_starts.into_iter().map(i64::from).collect())?;
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

    fn with_epoch(&self, epoch: u64) -> Self {
        Self(self.0.with_epoch(epoch))
    }

    #[getter]
    fn max_length(&self) -> u32 {
        self.0.options().max_length
    }

    #[getter]
    fn strategy(&self) -> &'static str {
        name_of(&STRATEGIES, &self.0.options().strategy)
    }

    #[getter]
    fn overlong(&self) -> &'static str {
        name_of(&OVERLONG, &self.0.options().overlong)
    }

    #[getter]
    fn max_sequences(&self) -> u32 {
        self.0.options().max_sequences
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
        self.0.excess().sequences
    }

    #[getter]
    fn tokens_lost(&self) -> u64 {
        self.0.excess().tokens
    }

    /// Sequences in more than one piece.
    #[getter]
    fn num_split(&self) -> u64 {
        self.0.num_split()
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

    /// First token of each piece of packs `start..stop`.
    fn list_starts<'py>(&self, py: Python<'py>, start: u64, stop: u64) -> Array<'py, i32> {
        py.detach(|| pool::run(|| self.0.list_starts(start..stop))).into_pyarray(py)
    }
}
