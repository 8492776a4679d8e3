//! A checkpoint's weights as numpy arrays, for `convert`, and the quantization of a matrix.

use std::path::{Path, PathBuf};

use numpy::ndarray::Dimension;
use numpy::{
    Element, PyArray1, PyArray2, PyArray3, PyArrayDyn, PyArrayMethods, PyReadonlyArray, PyReadonlyArray2,
    PyReadonlyArrayDyn, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::engine::kv_format;
use super::without_gil::without_gil;
use crate::backend::PAGE;
use crate::backend::cpu::KvCache;
use crate::checkpoint;
use crate::error::{Error, Result};
use crate::fp8::panels::{BLOCK, PANEL};
use crate::fp8::{self, Bytes, Fp8Rows, GROUP, Panels};
use crate::model::kv_shape;

/// E4M3 codes, uint8 [out, in], and scales, float32 [out] or [out, groups].
type Fp8Arrays<'py> = (Bound<'py, PyArray2<u8>>, Bound<'py, PyArrayDyn<f32>>);

/// Panels, uint8 [panels, blocks, 64], and scales, float32 [panels, groups, 16].
type PackedArrays<'py> = (Bound<'py, PyArray3<u8>>, Bound<'py, PyArray3<f32>>);

/// A model folder, opened and checked: every tensor is there in the shape that its config says.
///
/// `path` is a folder in Hugging Face's layout (bf16, f16, f32 or FP8), in Mistral's own, or one with a packed file.
/// `lm_head`: "source" gives the head as it is there, "fp8" as E4M3. Reads headers only; weights are memory-mapped. Raises
/// `CheckpointError`, an `OSError`, or `ValueError` for another `lm_head`.
#[pyclass(frozen, module = "nemo_fast._native")]
pub(super) struct Checkpoint {
    pub(super) inner: checkpoint::Checkpoint,
}

#[pymethods]
impl Checkpoint {
    #[new]
    #[pyo3(signature = (path, *, lm_head = "source"))]
    fn new(py: Python<'_>, path: PathBuf, lm_head: &str) -> PyResult<Checkpoint> {
        if !["source", "fp8"].contains(&lm_head) {
            let message = format!("lm_head must be \"source\" or \"fp8\", found {lm_head:?}");
            return Err(Error::Argument(message).into());
        }
        let inner = without_gil(py, || checkpoint::Checkpoint::open(&path))?;
        Ok(Checkpoint { inner: if lm_head == "fp8" { inner.with_fp8_head() } else { inner } })
    }

    /// The model's shape under Hugging Face's names, whatever the layout.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        config_dict(py, self.inner.config())
    }

    /// How the folder is laid out: "huggingface", "mistral" or "packed".
    #[getter]
    fn layout(&self) -> &'static str {
        match self.inner.layout() {
            checkpoint::Layout::HuggingFace => "huggingface",
            checkpoint::Layout::Mistral => "mistral",
            checkpoint::Layout::Packed => "packed",
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

    /// Whether the head is E4M3, in a packed file or by wish.
    #[getter]
    fn has_fp8_head(&self) -> bool {
        self.inner.has_fp8_head()
    }

    /// The weights under Hugging Face's names, whatever the layout.
    #[getter]
    fn tensor_names(&self) -> Vec<String> {
        self.inner.tensor_names()
    }

    /// Bytes of the weights as they are loaded: `total`; `per_token`, what decoding a token reads; `private`, what is no page
    /// of a mapped file.
    #[getter]
    fn weight_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let sizes = self.inner.weight_sizes().map_err(PyErr::from)?;
        let dict = PyDict::new(py);
        dict.set_item("total", sizes.total)?;
        dict.set_item("per_token", sizes.per_token)?;
        dict.set_item("private", sizes.private)?;
        Ok(dict)
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
        let bytes = PyBytes::new_with(py, tensor.bytes().len(), |bytes| {
            without_gil(py, || tensor.copy_bytes(bytes).map_err(Error::io(self.inner.path_of(&tensor))))
        })?;
        Ok((tensor.dtype.to_string(), tensor.shape, bytes))
    }

    /// How many scales a row of a weight has as E4M3: more than one, for 128 columns each, where scales are of blocks.
    fn scale_groups(&self, name: &str) -> PyResult<usize> {
        self.inner.scale_groups(name).map_err(PyErr::from)
    }

    /// Whether rows of any linear layer have more than one scale.
    #[getter]
    fn has_block_scales(&self) -> PyResult<bool> {
        self.inner.has_block_scales().map_err(PyErr::from)
    }

    /// A linear layer as E4M3 codes, uint8 [out, in], and one scale a row, float32 [out], or a scale for each 128
    /// columns of a row, float32 [out, groups]; query and key rows in rotate-half order. A wider source is quantized here,
    /// a packed one unpacked.
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
    let values = c_order(&matrix, "matrix")?;
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::Argument(format!("element {index} of the matrix is not a finite number")).into());
    }
    let read =
        |row: usize, target: &mut [f32]| target.copy_from_slice(&values[row * columns..(row + 1) * columns]);
    fp8_arrays(py, without_gil(py, || Ok::<_, Error>(fp8::quantize_rows(rows, columns, read)))?)
}

/// Panels, uint8 [panels, blocks, 64], and their scales, float32 [panels, groups, 16], of E4M3 codes, uint8 [out, in], and
/// scales, float32 [out] or [out, groups] with a group for each 128 columns: the layout `panel16` of packed files. `values`,
/// codes and scales of the same shapes, makes a gated matrix, whose panels alternate. Raises `ValueError` where shapes do
/// not fit.
///
/// >>> import numpy
/// >>> codes, scales = quantize_rows(numpy.ones((20, 6), dtype=numpy.float32))
/// >>> panels, panel_scales = pack_rows(codes, scales)
/// >>> panels.shape, panel_scales.shape
/// ((2, 2, 64), (2, 1, 16))
#[pyfunction]
#[pyo3(signature = (codes, scales, values = None))]
pub(super) fn pack_rows<'py>(
    py: Python<'py>,
    codes: PyReadonlyArray2<'py, u8>,
    scales: PyReadonlyArrayDyn<'py, f32>,
    values: Option<(PyReadonlyArray2<'py, u8>, PyReadonlyArrayDyn<'py, f32>)>,
) -> PyResult<PackedArrays<'py>> {
    let rows = fp8_rows(&codes, &scales)?;
    let values = values.map(|(codes, scales)| fp8_rows(&codes, &scales)).transpose()?;
    if let Some(values) = &values
        && (values.rows(), values.columns, values.groups()) != (rows.rows(), rows.columns, rows.groups())
    {
        let [gates, values] = [&rows, values]
            .map(|rows| format!("[{}, {}] with {} scales a row", rows.rows(), rows.columns, rows.groups()));
        let message = format!("gates are {gates} and values {values}: expected one shape");
        return Err(Error::Argument(message).into());
    }
    let packed = without_gil(py, || {
        Ok::<_, Error>(match &values {
            None => Panels::pack(&rows),
            Some(values) => Panels::pack_gated(&rows, values),
        })
    })?;
    let shape = [packed.panels(), packed.blocks(), BLOCK];
    let groups = packed.groups();
    let scales = PyArray1::from_vec(py, packed.scales).reshape([shape[0], groups, PANEL])?;
    let Bytes::Owned(codes) = packed.codes else { unreachable!("packed here") };
    Ok((PyArray1::from_vec(py, codes).reshape(shape)?, scales))
}

fn fp8_rows(codes: &PyReadonlyArray2<'_, u8>, scales: &PyReadonlyArrayDyn<'_, f32>) -> Result<Fp8Rows> {
    let (rows, columns) = (codes.shape()[0], codes.shape()[1]);
    let groups = columns.div_ceil(GROUP);
    if rows == 0 || columns == 0 || !(scales.shape() == [rows] || scales.shape() == [rows, groups]) {
        let message = format!(
            "codes are [{rows}, {columns}] and scales {:?}: expected one a row, [{rows}], or one for each {GROUP} columns, \
             [{rows}, {groups}]",
            scales.shape()
        );
        return Err(Error::Argument(message));
    }
    Ok(Fp8Rows { codes: c_order(codes, "codes")?, scales: c_order(scales, "scales")?, columns })
}

/// The elements row by row. Numpy's arrays may also be contiguous column by column, in which order they are no rows.
fn c_order<T: Element + Copy, D: Dimension>(array: &PyReadonlyArray<'_, T, D>, name: &str) -> Result<Vec<T>> {
    let elements = if array.is_c_contiguous() { array.to_vec().ok() } else { None };
    elements.ok_or_else(|| Error::Argument(format!("{name} must be contiguous in C order")))
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
