use packsort_core::Error;
use pyo3::prelude::*;

pyo3::import_exception!(packsort.errors, DamagedError);
pyo3::import_exception!(packsort.errors, LengthError);
pyo3::import_exception!(packsort.errors, LengthTypeError);
pyo3::import_exception!(packsort.errors, OptionError);
pyo3::import_exception!(packsort.errors, SourceError);

/// The Python exception that says what the core found.
pub fn to_py(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::MaxLength(_) | Error::PadMultiple { .. } | Error::TooFewSequences { .. } => OptionError::new_err(text),
        Error::NotPositive { row, length } => LengthError::new_err((text, row, length)),
        Error::TooLong { row, length, .. } => LengthError::new_err((text, row, length)),
        Error::TooLongForMultiple { row, length, .. } => LengthError::new_err((text, row, length)),
        Error::PieceTooLong { row, length, .. } => LengthError::new_err((text, row, length)),
        Error::PieceStarts { .. } => OptionError::new_err(text),
        Error::Unplannable { row, length } => LengthError::new_err((text, row, length)),
        Error::NoSuchRow { .. } | Error::PieceOutside { .. } => SourceError::new_err(text),
        Error::Inconsistent(_) => DamagedError::new_err(text),
    }
}
