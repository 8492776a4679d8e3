//! The only place where the GIL is released.

use pyo3::prelude::*;

use crate::error::Error;

/// Runs Rust code while other Python threads run, and turns its error into an exception.
pub(super) fn without_gil<T: Send, E: Into<Error> + Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> PyResult<T> {
    py.detach(work).map_err(|error| PyErr::from(error.into()))
}

/// The same for work on so many units of text or ids; where they are few, the GIL is kept, because to get it back
/// would take longer than the work.
#[inline]
pub(super) fn without_gil_if_long<T: Send, E: Into<Error> + Send>(
    py: Python<'_>,
    units: usize,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> PyResult<T> {
    if units < LONG { work().map_err(|error| PyErr::from(error.into())) } else { without_gil(py, work) }
}

/// Units whose work takes some microseconds.
const LONG: usize = 2_048;
