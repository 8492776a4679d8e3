//! What was built, and what of it this machine uses.

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Facts to put into a bug report: `version`, `profile` ("release" or "debug"), `git_commit` (None outside a build
/// that sets it), `cpu_level` (the kernels in use) and `cuda_driver` (None: there is no CUDA backend yet).
///
/// >>> build_info()["cpu_level"]
/// 'portable'
#[pyfunction]
pub(super) fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", env!("CARGO_PKG_VERSION"))?;
    info.set_item("profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    info.set_item("git_commit", option_env!("NEMO_FAST_GIT_COMMIT"))?;
    info.set_item("cpu_level", "portable")?;
    info.set_item("cuda_driver", None::<String>)?;
    Ok(info)
}
