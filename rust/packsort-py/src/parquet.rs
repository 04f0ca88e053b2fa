use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::path::PathBuf;

use numpy::{IntoPyArray, PyArray1, PyReadwriteArray1};
use packsort_core::Error;
use packsort_core::parquet::{Codec, ColumnChunk, ListLevels, PageHeader, PageKind, count_page, read_lists};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::errors::{entry, to_py};

/// The version of a page (0 is a dictionary), the bytes of its header, its bytes in the file, those in memory, and its
/// values; and whether its levels are runs (version 1) or the bytes of its repetition and definition levels (version 2).
type Header = (u8, usize, usize, usize, u64, bool, (usize, usize));

/// Read the header of a page of Parquet from the beginning of `data`; None if it is none that holds values.
#[pyfunction]
pub fn read_page_header(data: &[u8]) -> PyResult<Option<Header>> {
    entry(|| {
        let mut rest = data;
        Ok(PageHeader::take_from(&mut rest).map(|header| {
            let (version, runs, levels) = match header.kind {
                PageKind::Dictionary => (0, false, (0, 0)),
                PageKind::V1 { runs } => (1, runs, (0, 0)),
                PageKind::V2 { repetition, definition, .. } => (2, true, (repetition, definition)),
            };
            let size = data.len() - rest.len();
            (version, size, header.size, header.size_in_memory, header.values, runs, levels)
        }))
    })
}

/// Count the values of each list of a page of Parquet: those of the list before, of each that begins, -1 for null, and
/// those that are null.
#[pyfunction]
pub fn count_list_values<'py>(
    py: Python<'py>,
    repetition: &[u8],
    definition: &[u8],
    values: u64,
    levels: (u32, u32, bool),
    rows: usize,
) -> PyResult<(i64, Bound<'py, PyArray1<i64>>, u64)> {
    entry(|| {
        let page = py.detach(|| count_page(repetition, definition, values, to_levels(levels), rows)).map_err(to_py)?;
        Ok((page.continued, page.lengths.into_pyarray(py), page.nulls))
    })
}

/// Pages: a file, or the bytes of one.
#[derive(FromPyObject)]
pub enum Stored {
    Bytes(PyBackedBytes),
    Path(PathBuf),
}

/// Read all lists of a column of a row group of Parquet: their values, of `width` bytes each, into `memory`; returns the
/// number of values of each.
///
/// The pages are bytes `at` to `at + size` of `file`.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "facts of a column in a footer")]
pub fn read_column_lists<'py>(
    py: Python<'py>,
    file: Stored,
    at: u64,
    size: u64,
    codec: &str,
    values: u64,
    rows: usize,
    levels: (u32, u32, bool),
    width: usize,
    mut memory: PyReadwriteArray1<'_, u8>,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    entry(|| {
        let codec = Codec::of_name(codec).ok_or(Error::NotPlainLists).map_err(to_py)?;
        let chunk = ColumnChunk { at, size, codec, values, rows, levels: to_levels(levels) };
        let memory = memory.as_slice_mut()?;
        let found = py.detach(|| match file {
            Stored::Bytes(bytes) => read(&mut Cursor::new(bytes), &chunk, width, memory),
            Stored::Path(path) => read(&mut File::open(path).map_err(|_| Error::DamagedValues)?, &chunk, width, memory),
        });
        Ok(found.map_err(to_py)?.into_pyarray(py))
    })
}

fn read(
    file: &mut (impl Read + Seek),
    chunk: &ColumnChunk,
    width: usize,
    memory: &mut [u8],
) -> Result<Vec<i64>, Error> {
    match width {
        4 => read_lists(file, chunk, memory.as_chunks_mut::<4>().0),
        8 => read_lists(file, chunk, memory.as_chunks_mut::<8>().0),
        _ => Err(Error::NotPlainLists),
    }
}

fn to_levels((most, value, nullable): (u32, u32, bool)) -> ListLevels {
    ListLevels { most, value, nullable }
}
