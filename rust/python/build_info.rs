//! What was built, and what of it this machine uses.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::backend::cpu::KernelLevel;
use crate::tokenizer::CpuChoice;

/// Facts to put into a bug report: `version`, `profile` ("release" or "debug"), `git_commit` (None outside a build
/// that sets it), `cpu_level` ("scalar", "avx2" or "avx512": the instructions that the tokenizer uses), `engine_cpu_level`
/// ("portable", "avx2", "avx512" or "avx512bf16": those of the engine's kernels, or None: a model would be refused), `cpu_level_refused` (why that is not what the environment variable `NEMO_FAST_CPU` asks for, or None)
/// and `cuda_driver` (None: there is no CUDA backend yet).
///
/// >>> build_info()["cpu_level"] in ("scalar", "avx2", "avx512")
/// True
#[pyfunction]
pub(super) fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", env!("CARGO_PKG_VERSION"))?;
    info.set_item("profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    info.set_item("git_commit", option_env!("NEMO_FAST_GIT_COMMIT"))?;
    let choice = CpuChoice::of_process();
    info.set_item("cpu_level", choice.level.name())?;
    // A wrong word is an error where a model is loaded; here `cpu_level_refused` has it.
    info.set_item("engine_cpu_level", KernelLevel::in_use().ok().map(KernelLevel::name))?;
    info.set_item("cpu_level_refused", choice.refusal.as_deref())?;
    info.set_item("cuda_driver", None::<String>)?;
    Ok(info)
}
