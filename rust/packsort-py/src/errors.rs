//! The Python exceptions of errors and panics in the core.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use packsort_core::{Error, UnknownName};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;

pyo3::import_exception!(packsort.errors, DamagedError);
pyo3::import_exception!(packsort.errors, InternalError);
pyo3::import_exception!(packsort.errors, LengthError);
pyo3::import_exception!(packsort.errors, LengthTypeError);
pyo3::import_exception!(packsort.errors, OptionError);
pyo3::import_exception!(packsort.errors, SourceError);

/// Run the body of an entry point. A panic becomes an `InternalError`: the exception that PyO3 makes of it is not an
/// `Exception`, so a program that saves its state on errors would end without.
pub fn entry<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    caught(body).unwrap_or_else(|panic| {
        Err(InternalError::new_err(format!("packsort met a state that it does not expect ({panic}): please report it")))
    })
}

/// Run `work`; a panic becomes its message.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // Nothing is used again that `work` has changed: plans and columns are immutable, and a search that failed is dropped.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| said(&*panic))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without words").to_owned()
}

/// Convert an error of the core. Errors without another class blame an argument.
pub fn to_py(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::OutOfMemory { .. } => PyMemoryError::new_err(text),
        Error::NotPositive { row, length } => LengthError::new_err((text, row, length)),
        Error::TooLong { row, length, .. }
        | Error::TooLongForMultiple { row, length, .. }
        | Error::PieceTooLong { row, length, .. }
        | Error::Unplannable { row, length, .. } => LengthError::new_err((text, row, length)),
        Error::CountedTooLong { longest, .. } => LengthError::new_err((text, None::<u64>, longest)),
        Error::CountedEmpty { .. } => LengthError::new_err((text, None::<u64>, 0)),
        Error::MoreThanCounted { length } => LengthError::new_err((text, None::<u64>, length)),
        Error::LengthsChanged => LengthError::new_err(text),
        Error::NoSuchRow { .. } | Error::PieceOutside { .. } => SourceError::new_err(text),
        Error::DamagedPlan(_)
        | Error::DamagedPack { .. }
        | Error::DamagedColumn { .. }
        | Error::DamagedLevels
        | Error::DamagedValues => DamagedError::new_err(text),
        _ => OptionError::new_err(text),
    }
}

/// Convert the error of a name that is none of an option's values.
pub fn unknown_name(error: UnknownName) -> PyErr {
    OptionError::new_err(error.to_string())
}
