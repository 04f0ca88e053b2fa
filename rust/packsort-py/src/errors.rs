//! The Python exceptions of errors in the core.

use packsort_core::{Error, UnknownName};
use pyo3::prelude::*;

pyo3::import_exception!(packsort.errors, DamagedError);
pyo3::import_exception!(packsort.errors, LengthError);
pyo3::import_exception!(packsort.errors, LengthTypeError);
pyo3::import_exception!(packsort.errors, OptionError);
pyo3::import_exception!(packsort.errors, SourceError);

/// Convert an error of the core. Errors without another class blame an argument.
pub fn to_py(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::NotPositive { row, length } => LengthError::new_err((text, row, length)),
        Error::TooLong { row, length, .. }
        | Error::TooLongForMultiple { row, length, .. }
        | Error::PieceTooLong { row, length, .. }
        | Error::Unplannable { row, length, .. } => LengthError::new_err((text, row, length)),
        Error::LengthsChanged => LengthError::new_err(text),
        Error::NoSuchRow { .. } | Error::PieceOutside { .. } => SourceError::new_err(text),
        Error::DamagedPlan(_) | Error::DamagedPack { .. } | Error::DamagedColumn { .. } => DamagedError::new_err(text),
        _ => OptionError::new_err(text),
    }
}

/// Convert the error of a name that is none of an option's values.
pub fn unknown_name(error: UnknownName) -> PyErr {
    OptionError::new_err(error.to_string())
}
