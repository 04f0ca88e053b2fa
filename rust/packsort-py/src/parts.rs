//! Options and parts of plans as dictionaries.

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use packsort_core::{ConcatenatedParts, LeftOut, Options, PackParts, Parts, PatternedParts, SequenceIds, Strategy};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::unknown_name;
use crate::gather::IdsArg;

pub type Array<'py, T> = Bound<'py, PyArray1<T>>;
type Numbers<'py> = PyReadonlyArray1<'py, i64>;

/// The ids as an array of their own type.
pub fn ids_to_array(py: Python<'_>, ids: SequenceIds) -> Bound<'_, PyAny> {
    match ids {
        SequenceIds::U32(ids) => ids.into_pyarray(py).into_any(),
        SequenceIds::I64(ids) => ids.into_pyarray(py).into_any(),
    }
}

/// The options of a plan, by name.
#[derive(FromPyObject, IntoPyObject)]
#[pyo3(from_item_all)]
pub struct OptionsDict {
    max_length: u32,
    strategy: String,
    overlong: String,
    truncation_side: String,
    empty: String,
    max_sequences: Option<u32>,
    pad_to_multiple_of: u32,
    num_packs_multiple_of: u32,
    separator: bool,
    window: u32,
}

impl TryFrom<OptionsDict> for Options {
    type Error = PyErr;

    fn try_from(dict: OptionsDict) -> PyResult<Self> {
        Ok(Self {
            max_length: dict.max_length,
            strategy: dict.strategy.parse().map_err(unknown_name)?,
            overlong: dict.overlong.parse().map_err(unknown_name)?,
            truncation_side: dict.truncation_side.parse().map_err(unknown_name)?,
            empty: dict.empty.parse().map_err(unknown_name)?,
            max_sequences: dict.max_sequences,
            pad_to_multiple_of: dict.pad_to_multiple_of,
            num_packs_multiple_of: dict.num_packs_multiple_of,
            separator: dict.separator,
            window: dict.window,
        })
    }
}

impl From<Options> for OptionsDict {
    fn from(options: Options) -> Self {
        Self {
            max_length: options.max_length,
            strategy: options.strategy.to_string(),
            overlong: options.overlong.to_string(),
            truncation_side: options.truncation_side.to_string(),
            empty: options.empty.to_string(),
            max_sequences: options.max_sequences,
            pad_to_multiple_of: options.pad_to_multiple_of,
            num_packs_multiple_of: options.num_packs_multiple_of,
            separator: options.separator,
            window: options.window,
        }
    }
}

/// The parts that plans of all strategies have, besides their options.
#[derive(FromPyObject, IntoPyObject)]
#[pyo3(from_item_all)]
struct CommonDict {
    num_overlong: u64,
    tokens_lost: u64,
    num_empty: u64,
    seed: Option<u64>,
    epoch: u64,
}

/// Convert the parts of a plan to a dictionary of numbers, names and arrays.
pub fn parts_to_dict(py: Python<'_>, parts: Parts) -> PyResult<Bound<'_, PyDict>> {
    let Parts { options, left_out: LeftOut { sequences, tokens, empty }, seed, epoch, packs } = parts;
    let dict = OptionsDict::from(options).into_pyobject(py)?;
    let common = CommonDict { num_overlong: sequences, tokens_lost: tokens, num_empty: empty, seed, epoch };
    dict.update(common.into_pyobject(py)?.as_mapping())?;
    let set = |name, numbers: Vec<i64>| dict.set_item(name, numbers.into_pyarray(py));
    match packs {
        PackParts::Patterned(parts) => {
            dict.set_item("rows", parts.rows)?;
            dict.set_item("last_alone", parts.last_alone)?;
            dict.set_item("proven", parts.proven)?;
            set("cut_rows", parts.cut_rows)?;
            set("cut_rests", parts.cut_rests)?;
            set("piece_rows", parts.piece_rows)?;
            set("piece_starts", parts.piece_starts)?;
            set("class_lengths", parts.class_lengths)?;
            set("class_first", parts.class_first)?;
            set("group_first", parts.group_first)?;
            set("repeats", parts.repeats)?;
            set("slot_offsets", parts.slot_offsets)?;
            set("slot_classes", parts.slot_classes)?;
            set("slot_copies", parts.slot_copies)?;
            dict.set_item("items", parts.items.map(|ids| ids_to_array(py, ids)))?;
        }
        PackParts::Concatenated(parts) => {
            dict.set_item("lengths", parts.lengths.into_pyarray(py))?;
            set("skipped_rows", parts.skipped_rows)?;
            set("skipped_tokens", parts.skipped_tokens)?;
        }
    }
    Ok(dict)
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct PatternedDict<'py> {
    rows: u64,
    last_alone: bool,
    proven: u64,
    cut_rows: Numbers<'py>,
    cut_rests: Numbers<'py>,
    piece_rows: Numbers<'py>,
    piece_starts: Numbers<'py>,
    class_lengths: Numbers<'py>,
    class_first: Numbers<'py>,
    group_first: Numbers<'py>,
    repeats: Numbers<'py>,
    slot_offsets: Numbers<'py>,
    slot_classes: Numbers<'py>,
    slot_copies: Numbers<'py>,
    items: Option<IdsArg<'py>>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct ConcatenatedDict<'py> {
    lengths: PyReadonlyArray1<'py, u32>,
    skipped_rows: Numbers<'py>,
    skipped_tokens: Numbers<'py>,
}

/// Read what [`parts_to_dict`] gives.
pub fn dict_to_parts(dict: &Bound<'_, PyDict>) -> PyResult<Parts> {
    let options: Options = dict.extract::<OptionsDict>()?.try_into()?;
    let CommonDict { num_overlong, tokens_lost, num_empty, seed, epoch } = dict.extract()?;
    let packs = if options.strategy == Strategy::Random {
        let dict: ConcatenatedDict = dict.extract()?;
        PackParts::Concatenated(ConcatenatedParts {
            lengths: dict.lengths.as_array().to_vec(),
            skipped_rows: dict.skipped_rows.as_array().to_vec(),
            skipped_tokens: dict.skipped_tokens.as_array().to_vec(),
        })
    } else {
        let dict: PatternedDict = dict.extract()?;
        PackParts::Patterned(PatternedParts {
            rows: dict.rows,
            last_alone: dict.last_alone,
            proven: dict.proven,
            cut_rows: dict.cut_rows.as_array().to_vec(),
            cut_rests: dict.cut_rests.as_array().to_vec(),
            piece_rows: dict.piece_rows.as_array().to_vec(),
            piece_starts: dict.piece_starts.as_array().to_vec(),
            class_lengths: dict.class_lengths.as_array().to_vec(),
            class_first: dict.class_first.as_array().to_vec(),
            group_first: dict.group_first.as_array().to_vec(),
            repeats: dict.repeats.as_array().to_vec(),
            slot_offsets: dict.slot_offsets.as_array().to_vec(),
            slot_classes: dict.slot_classes.as_array().to_vec(),
            slot_copies: dict.slot_copies.as_array().to_vec(),
            items: dict.items.map(|items| match items {
                IdsArg::U32(ids) => SequenceIds::U32(ids.as_array().to_vec()),
                IdsArg::I64(ids) => SequenceIds::I64(ids.as_array().to_vec()),
            }),
        })
    };
    let left_out = LeftOut { sequences: num_overlong, tokens: tokens_lost, empty: num_empty };
    Ok(Parts { options, left_out, seed, epoch, packs })
}
