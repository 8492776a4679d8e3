//! A checkpoint's weights as numpy arrays, for `convert`, and the quantization of a matrix.

use std::path::{Path, PathBuf};

use numpy::{PyArray1, PyArray2, PyArrayDyn, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::engine::kv_format;
use super::without_gil::without_gil;
use crate::backend::PAGE;
use crate::backend::cpu::KvCache;
use crate::checkpoint;
use crate::error::Error;
use crate::fp8::{self, Fp8Rows};
use crate::model::kv_shape;

/// E4M3 codes, uint8 [out, in], and scales, float32 [out] or [out, groups].
type Fp8Arrays<'py> = (Bound<'py, PyArray2<u8>>, Bound<'py, PyArrayDyn<f32>>);

/// A model folder, opened and checked: every tensor is there in the shape that its config says.
///
/// `path` is a folder in Hugging Face's layout (bf16, f16, f32 or FP8) or in Mistral's own. Reads headers only; weights are memory-mapped. Raises `CheckpointError` or an `OSError`.
#[pyclass(frozen, module = "nemo_fast._native")]
pub(super) struct Checkpoint {
    pub(super) inner: checkpoint::Checkpoint,
}

#[pymethods]
impl Checkpoint {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Checkpoint> {
        let inner = without_gil(py, || checkpoint::Checkpoint::open(&path))?;
        Ok(Checkpoint { inner })
    }

    /// The model's shape under Hugging Face's names, whatever the layout.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        config_dict(py, self.inner.config())
    }

    /// How the folder is laid out: "huggingface" or "mistral".
    #[getter]
    fn layout(&self) -> &'static str {
        match self.inner.layout() {
            checkpoint::Layout::HuggingFace => "huggingface",
            checkpoint::Layout::Mistral => "mistral",
        }
    }

    /// The weight files that were opened, in order.
    #[getter]
    fn files(&self) -> Vec<PathBuf> {
        self.inner.files().map(Path::to_owned).collect()
    }

    /// Bytes of the files.
    #[getter]
    fn file_bytes(&self) -> usize {
        self.inner.file_bytes()
    }

    /// The weights under Hugging Face's names, whatever the layout.
    #[getter]
    fn tensor_names(&self) -> Vec<String> {
        self.inner.tensor_names()
    }

    /// Bytes that a position takes in the KV cache, `kv_cache` being "bf16" or "fp8"; memory is taken by pages of 64.
    fn kv_cache_bytes_per_token(&self, kv_cache: &str) -> PyResult<usize> {
        let shape = kv_shape(self.inner.config(), 1, kv_format(kv_cache)?);
        Ok(KvCache::bytes(&shape) / PAGE)
    }

    /// The dtype that `dense` gives for a weight, without copying it.
    fn dense_dtype(&self, name: &str) -> PyResult<String> {
        Ok(self.inner.dense(name).map_err(PyErr::from)?.dtype.to_string())
    }

    /// Embedding, head or norm as it is in the source: dtype ("BF16", "F16", "F32"), shape, little-endian bytes.
    fn dense<'py>(&self, py: Python<'py>, name: &str) -> PyResult<(String, Vec<usize>, Bound<'py, PyBytes>)> {
        let tensor = self.inner.dense(name).map_err(PyErr::from)?;
        Ok((tensor.dtype.to_string(), tensor.shape.clone(), PyBytes::new(py, tensor.bytes())))
    }

    /// Whether any linear layer has a scale for each block of 128 rows and columns.
    #[getter]
    fn has_block_scales(&self) -> PyResult<bool> {
        self.inner.has_block_scales().map_err(PyErr::from)
    }

    /// A linear layer as E4M3 codes, uint8 [out, in], and one scale a row, float32 [out], or a scale for each 128
    /// columns of a row, float32 [out, groups]; query and key rows in rotate-half order. A wider source is quantized here.
    fn linear<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Fp8Arrays<'py>> {
        fp8_arrays(py, without_gil(py, || self.inner.linear(name))?)
    }

    fn __repr__(&self) -> String {
        format!("Checkpoint({:?}, {} bytes)", self.inner.layout(), self.inner.file_bytes())
    }
}

/// E4M3 codes, uint8 [out, in], and scales, float32 [out], of a matrix of float32 [out, in]: the scale of each row is
/// the one with the least squared error. Raises `ValueError` where an element is not a finite number, or a row has none.
///
/// >>> import numpy
/// >>> codes, scales = quantize_rows(numpy.array([[1.0, -0.5]], dtype=numpy.float32))
/// >>> codes.shape, scales.shape
/// ((1, 2), (1,))
#[pyfunction]
pub(super) fn quantize_rows<'py>(
    py: Python<'py>,
    matrix: PyReadonlyArray2<'py, f32>,
) -> PyResult<Fp8Arrays<'py>> {
    let shape = matrix.shape();
    let (rows, columns) = (shape[0], shape[1]);
    if columns == 0 {
        return Err(Error::Argument("the matrix has no columns".to_owned()).into());
    }
    let values =
        matrix.to_vec().map_err(|_| Error::Argument("matrix must be contiguous in C order".to_owned()))?;
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::Argument(format!("element {index} of the matrix is not a finite number")).into());
    }
    let read =
        |row: usize, target: &mut [f32]| target.copy_from_slice(&values[row * columns..(row + 1) * columns]);
    fp8_arrays(py, without_gil(py, || Ok::<_, Error>(fp8::quantize_rows(rows, columns, read)))?)
}

fn fp8_arrays(py: Python<'_>, rows: Fp8Rows) -> PyResult<Fp8Arrays<'_>> {
    let (count, groups, columns) = (rows.rows(), rows.groups(), rows.columns);
    let codes = PyArray1::from_vec(py, rows.codes).reshape([count, columns])?;
    let shape = if groups == 1 { vec![count] } else { vec![count, groups] };
    Ok((codes, PyArray1::from_vec(py, rows.scales).reshape(shape)?))
}

/// The config as a dict of Python values.
pub(super) fn config_dict<'py>(
    py: Python<'py>,
    config: &checkpoint::ModelConfig,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("hidden_size", config.hidden_size)?;
    dict.set_item("intermediate_size", config.intermediate_size)?;
    dict.set_item("num_hidden_layers", config.num_hidden_layers)?;
    dict.set_item("num_attention_heads", config.num_attention_heads)?;
    dict.set_item("num_key_value_heads", config.num_key_value_heads)?;
    dict.set_item("head_dim", config.head_dim)?;
    dict.set_item("vocab_size", config.vocab_size)?;
    dict.set_item("rope_theta", config.rope_theta)?;
    dict.set_item("rope_scaling", rope_scaling_dict(py, config.rope_scaling)?)?;
    // Through its shortest decimal form: 1e-05 in the file is 1e-05 here.
    dict.set_item("rms_norm_eps", config.rms_norm_eps.to_string().parse::<f64>().unwrap_or_default())?;
    dict.set_item("tie_word_embeddings", config.tie_word_embeddings)?;
    dict.set_item("max_position_embeddings", config.max_position_embeddings)?;
    dict.set_item("bos_token_id", config.bos_token_id)?;
    dict.set_item("eos_token_id", config.eos_token_ids.clone())?;
    Ok(dict)
}

/// The scaling of rotary positions as `config.json` writes it.
fn rope_scaling_dict(
    py: Python<'_>,
    scaling: Option<checkpoint::RopeScaling>,
) -> PyResult<Option<Bound<'_, PyDict>>> {
    let Some(scaling) = scaling else { return Ok(None) };
    let dict = PyDict::new(py);
    match scaling {
        checkpoint::RopeScaling::Linear { factor } => {
            dict.set_item("rope_type", "linear")?;
            dict.set_item("factor", factor)?;
        }
        checkpoint::RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            dict.set_item("rope_type", "llama3")?;
            dict.set_item("factor", factor)?;
            dict.set_item("low_freq_factor", low_freq_factor)?;
            dict.set_item("high_freq_factor", high_freq_factor)?;
            dict.set_item("original_max_position_embeddings", original_max_position_embeddings)?;
        }
    }
    Ok(Some(dict))
}
