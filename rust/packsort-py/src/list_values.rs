use numpy::PyReadwriteArray1;
use packsort_core::Error;
use packsort_core::list_values::{PageValues, write_page};
use pyo3::prelude::*;

use crate::errors::{OptionError, entry, to_py};

/// Write the values of a page of Parquet into an array of their bytes.
///
/// The values begin at byte `first` of the page, and are `width` bytes each. `plain` says whether they stand there, or
/// their places in the dictionary.
#[pyfunction]
pub fn write_page_values(
    py: Python<'_>,
    dictionary: &[u8],
    page: &[u8],
    first: usize,
    plain: bool,
    width: usize,
    mut values: PyReadwriteArray1<'_, u8>,
) -> PyResult<()> {
    entry(|| {
        let bytes = page.get(first..).unwrap_or_default();
        let page = if plain { PageValues::Plain(bytes) } else { PageValues::Places(bytes) };
        let values = values.as_slice_mut()?;
        let done = py.detach(|| match width {
            4 => Some(write::<4>(dictionary, page, values)),
            8 => Some(write::<8>(dictionary, page, values)),
            _ => None,
        });
        let done = done.ok_or_else(|| OptionError::new_err(format!("width must be 4 or 8, got {width}")))?;
        done.map_err(to_py)
    })
}

fn write<const N: usize>(dictionary: &[u8], page: PageValues, values: &mut [u8]) -> Result<(), Error> {
    match (dictionary.as_chunks::<N>(), values.as_chunks_mut::<N>()) {
        ((dictionary, []), (values, [])) => write_page(dictionary, page, values),
        _ => Err(Error::DamagedValues),
    }
}
