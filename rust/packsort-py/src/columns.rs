//! List columns of Arrow as the core reads them.
//!
//! Python refuses other types and nulls before, with messages that name the column. They are refused here once more,
//! because the core would read past them.

use std::num::NonZeroUsize;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, downcast_primitive_array};
use arrow_buffer::{Buffer, OffsetBuffer};
use arrow_schema::DataType;
use packsort_core::{AsListChunk, ListChunk, ListColumn, Offsets};
use pyo3::prelude::*;
use pyo3_arrow::PyChunkedArray;

use crate::errors::{SourceError, caught};

/// An Arrow array or column of any library.
pub struct Column(PyChunkedArray);

impl Column {
    pub fn chunks(&self) -> &[ArrayRef] {
        self.0.chunks()
    }
}

impl<'py> FromPyObject<'_, 'py> for Column {
    type Error = PyErr;

    /// Arrow panics at some of what breaks its rules, such as names that are not UTF-8.
    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let broken = |panic| Err(SourceError::new_err(format!("column breaks the rules of Arrow: {panic}")));
        caught(|| object.extract().map(Self)).unwrap_or_else(broken)
    }
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

/// The type of the values of a list column; `None` where it has no chunks.
pub fn value_type(arrays: &[ArrayRef]) -> Option<DataType> {
    match arrays.first()?.data_type() {
        DataType::List(item) | DataType::LargeList(item) => Some(item.data_type().clone()),
        _ => None,
    }
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
