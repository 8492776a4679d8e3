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
