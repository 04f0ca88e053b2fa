//! Arrow columns as the core reads them.
//!
//! Python refuses other types and nulls before, with messages that name the column. They are refused here once more,
//! because the core would read past them.

use std::num::NonZeroUsize;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, downcast_primitive_array};
use arrow_buffer::{Buffer, OffsetBuffer};
use arrow_schema::DataType;
use packsort_core::{AsListChunk, Chunk as Lengths, ListChunk, ListColumn, Offsets};
use pyo3::prelude::*;

use crate::errors::{LengthTypeError, SourceError};

/// Borrow a chunk of lengths as a typed slice.
pub fn lengths(array: &ArrayRef) -> PyResult<Lengths<'_>> {
    if array.null_count() > 0 {
        return Err(LengthTypeError::new_err("lengths must not have nulls"));
    }
    Ok(match array.data_type() {
        DataType::Int8 => Lengths::I8(array.as_primitive::<Int8Type>().values()),
        DataType::Int16 => Lengths::I16(array.as_primitive::<Int16Type>().values()),
        DataType::Int32 => Lengths::I32(array.as_primitive::<Int32Type>().values()),
        DataType::Int64 => Lengths::I64(array.as_primitive::<Int64Type>().values()),
        DataType::UInt8 => Lengths::U8(array.as_primitive::<UInt8Type>().values()),
        DataType::UInt16 => Lengths::U16(array.as_primitive::<UInt16Type>().values()),
        DataType::UInt32 => Lengths::U32(array.as_primitive::<UInt32Type>().values()),
        DataType::UInt64 => Lengths::U64(array.as_primitive::<UInt64Type>().values()),
        other => return Err(LengthTypeError::new_err(format!("lengths must be integers, got {other}"))),
    })
}

/// Owned chunk of a list column: shares the buffers of the Arrow array it came from.
pub struct Chunk {
    offsets: OwnedOffsets,
    values: Buffer,
}

enum OwnedOffsets {
    I32(OffsetBuffer<i32>),
    I64(OffsetBuffer<i64>),
}

impl AsListChunk for Chunk {
    #[inline(always)]
    fn as_list_chunk(&self) -> ListChunk<'_> {
        let offsets = match &self.offsets {
            OwnedOffsets::I32(offsets) => Offsets::I32(offsets),
            OwnedOffsets::I64(offsets) => Offsets::I64(offsets),
        };
        ListChunk { offsets, values: &self.values }
    }
}

/// Convert the chunks of a list column. Buffers are shared.
pub fn lists(arrays: &[ArrayRef]) -> PyResult<ListColumn<Chunk>> {
    let mut width = NonZeroUsize::MIN;
    let mut chunks = Vec::with_capacity(arrays.len());
    for array in arrays {
        let (chunk, bytes) = list(array)?;
        width = NonZeroUsize::new(bytes).unwrap_or(width);
        chunks.push(chunk);
    }
    Ok(ListColumn::new(chunks, width))
}

/// Convert a chunk of a list column; returns the number of bytes of one value as well.
fn list(array: &ArrayRef) -> PyResult<(Chunk, usize)> {
    let (offsets, values) = match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            (OwnedOffsets::I32(list.offsets().clone()), list.values())
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            (OwnedOffsets::I64(list.offsets().clone()), list.values())
        }
        other => return Err(SourceError::new_err(format!("column must be a list column, got {other}"))),
    };
    if array.null_count() > 0 {
        return Err(SourceError::new_err("column must not have nulls"));
    }
    let found = values.data_type();
    let refused = || SourceError::new_err(format!("column must be a list of numbers, got a list of {found}"));
    let width = found.primitive_width().ok_or_else(refused)?;
    let values = downcast_primitive_array!(
        values => values.values().inner().clone(),
        _ => return Err(refused()),
    );
    Ok((Chunk { offsets, values }, width))
}
