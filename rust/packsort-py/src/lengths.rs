//! Lengths as the core reads them: borrowed from NumPy arrays and Arrow columns, never copied.
//!
//! Python refuses other types and nulls before, with messages that name the row. They are refused here once more, because
//! the core would read past them.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use numpy::PyReadonlyArray1;
use packsort_core::{Chunk, Lengths};
use pyo3::prelude::*;

use crate::arrays::array_of;
use crate::columns;
use crate::errors::LengthTypeError;

/// A contiguous, aligned NumPy array or an Arrow column.
pub enum LengthsArg<'py> {
    I32(PyReadonlyArray1<'py, i32>),
    I64(PyReadonlyArray1<'py, i64>),
    I16(PyReadonlyArray1<'py, i16>),
    I8(PyReadonlyArray1<'py, i8>),
    U32(PyReadonlyArray1<'py, u32>),
    U64(PyReadonlyArray1<'py, u64>),
    U16(PyReadonlyArray1<'py, u16>),
    U8(PyReadonlyArray1<'py, u8>),
    Column(columns::Column),
}

impl<'py> FromPyObject<'_, 'py> for LengthsArg<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        macro_rules! first_of {
            ($($Type:ident),*) => {
                $(if let Some(lengths) = array_of(object) {
                    return Ok(Self::$Type(lengths));
                })*
            };
        }
        first_of!(I32, I64, I16, I8, U32, U64, U16, U8);
        Ok(Self::Column(object.extract()?))
    }
}

impl LengthsArg<'_> {
    /// Borrow the lengths.
    pub fn borrow(&self) -> PyResult<Lengths<'_>> {
        Ok(match self {
            Self::I8(array) => array.as_slice()?.into(),
            Self::I16(array) => array.as_slice()?.into(),
            Self::I32(array) => array.as_slice()?.into(),
            Self::I64(array) => array.as_slice()?.into(),
            Self::U8(array) => array.as_slice()?.into(),
            Self::U16(array) => array.as_slice()?.into(),
            Self::U32(array) => array.as_slice()?.into(),
            Self::U64(array) => array.as_slice()?.into(),
            Self::Column(column) => Lengths::new(column.chunks().iter().map(chunk).collect::<PyResult<_>>()?),
        })
    }
}

/// Borrow a chunk of a column as a typed slice.
fn chunk(array: &ArrayRef) -> PyResult<Chunk<'_>> {
    if array.null_count() > 0 {
        return Err(LengthTypeError::new_err("lengths must not have nulls"));
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
        other => return Err(LengthTypeError::new_err(format!("lengths must be integers, got {other}"))),
    })
}
