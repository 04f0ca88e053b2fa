//! Arrow columns as the core sees them. The Python side has already refused other types and nulls with messages that
//! name the column; here they are refused once more, because reading past them would be wrong, not rude.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, downcast_primitive_array};
use arrow_schema::DataType;
use packsort_core::{Chunk, ListChunk, Offsets};
use pyo3::prelude::*;

use crate::errors::{LengthTypeError, SourceError};

/// The typed slice of a chunk of lengths.
pub fn lengths(array: &ArrayRef) -> PyResult<Chunk<'_>> {
    if array.null_count() > 0 {
        return Err(LengthTypeError::new_err("lengths have nulls"));
    }
    Ok(match array.data_type() {
        DataType::Int8 => Chunk::I8(array.as_primitive::<Int8Type>().values()),
        DataType::Int16 => Chunk::I16(array.as_primitive::<Int16Type>().values()),
        DataType::Int32 => Chunk::I32(array.as_primitive::<Int32Type>().values()),
        DataType::Int64 => Chunk::I64(array.as_primitive::<Int64Type>().values()),
        DataType::UInt8 => Chunk::U8(array.as_primitive::<UInt8Type>().values()),
        DataType::UInt16 => Chunk::U16(array.as_primitive::<UInt16Type>().values()),
        DataType::UInt32 => Chunk::U32(array.as_primitive::<UInt32Type>().values()),
        DataType::UInt64 => Chunk::U64(array.as_primitive::<UInt64Type>().values()),
        other => return Err(LengthTypeError::new_err(format!("lengths are {other}, allowed are integers"))),
    })
}

/// The offsets and value bytes of a chunk of lists, and the bytes of one value.
pub fn lists(array: &ArrayRef) -> PyResult<(ListChunk<'_>, usize)> {
    let (offsets, values) = match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            (Offsets::I32(list.offsets()), list.values())
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            (Offsets::I64(list.offsets()), list.values())
        }
        other => return Err(SourceError::new_err(format!("column is {other}, allowed are lists"))),
    };
    if array.null_count() > 0 {
        return Err(SourceError::new_err("column has nulls"));
    }
    let found = values.data_type();
    let refused = || SourceError::new_err(format!("column is a list of {found}, allowed are numbers"));
    let width = found.primitive_width().ok_or_else(refused)?;
    let bytes = downcast_primitive_array!(
        values => values.values().inner().as_slice(),
        _ => return Err(refused()),
    );
    Ok((ListChunk { offsets, values: bytes }, width))
}
