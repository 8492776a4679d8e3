//! `count_arrow`, `encode_arrow` and their result: Arrow's `PyCapsule` interface on both sides.

#![allow(unsafe_code, reason = "a capsule holds a C struct")]

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use super::convert;
use super::tokenizer::PyTokenizer;
use super::without_gil::without_gil;
use crate::arrow::c_data::{ArrowArray, ArrowArrayStream, ArrowSchema};
use crate::arrow::{ArrowError, Chunk, Column, Texts};
use crate::error::Error;

#[pymethods]
impl PyTokenizer {
    /// Return the count of each text of an Arrow array, as an Arrow array of int64; null where the text is.
    ///
    /// `array`: any object with `__arrow_c_array__` or `__arrow_c_stream__`, such as an array, a chunked array
    /// or a series of texts (utf8, `large_utf8`, `string_view`, or dictionaries of them). Nothing is copied on
    /// the way in or out; chunks stay chunks.
    ///
    /// >>> import pyarrow
    /// >>> counts = nemo_fast.Tokenizer().count_arrow(pyarrow.array(["Hello, how are you?", None, ""]))
    /// >>> pyarrow.array(counts).to_pylist()
    /// [6, None, 0]
    fn count_arrow(&self, array: &Bound<'_, PyAny>) -> PyResult<ArrowColumn> {
        let chunks = each_chunk(array, |texts| {
            Chunk::counts(texts.iter().map(|text| text.map(|text| self.inner.count(text))))
        })?;
        Ok(ArrowColumn { inner: Arc::new(Column::counts(chunks)) })
    }

    /// Return the token ids of each text of an Arrow array, as an Arrow array of lists of uint32; null where
    /// the text is.
    ///
    /// `array` as in `count_arrow`. The lists are a `large_list` where a chunk has more than 2**31 - 1 ids.
    ///
    /// >>> import pyarrow
    /// >>> ids = nemo_fast.Tokenizer().encode_arrow(pyarrow.array(["Hello", None, ""]))
    /// >>> pyarrow.array(ids).to_pylist()
    /// [[22177], None, []]
    fn encode_arrow(&self, array: &Bound<'_, PyAny>) -> PyResult<ArrowColumn> {
        let chunks = each_chunk(array, |texts| {
            Chunk::ids(texts.iter(), |text, ids| self.inner.encode_into(text, ids))
        })?;
        Ok(ArrowColumn { inner: Arc::new(Column::ids(chunks, Column::LIST_MAX)) })
    }
}

/// Results of `count_arrow` and `encode_arrow`, for any library that reads Arrow.
///
/// `pyarrow.array(column)`, `polars.Series(column)` and the like take it without a copy; as an array, several
/// chunks are joined, as a stream they are kept. A requested schema is not followed: the type is what it is.
///
/// >>> import pyarrow
/// >>> nemo_fast.Tokenizer().count_arrow(pyarrow.array(["Hi", None]))
/// ArrowColumn(type=int64, len=2, null_count=1, chunks=1)
#[pyclass(frozen, module = "nemo_fast._native")]
pub(super) struct ArrowColumn {
    inner: Arc<Column>,
}

#[pymethods]
impl ArrowColumn {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        let _ = requested_schema;
        let column = py.detach(|| self.inner.joined());
        let array = column.array(0).unwrap_or_default();
        Ok((
            PyCapsule::new_with_value(py, column.schema(), c"arrow_schema")?,
            PyCapsule::new_with_value(py, array, c"arrow_array")?,
        ))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        PyCapsule::new_with_value(py, self.inner.schema(), c"arrow_schema")
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        PyCapsule::new_with_value(py, self.inner.stream(), c"arrow_array_stream")
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }

    fn __repr__(&self) -> String {
        let column = &self.inner;
        let (length, nulls, chunks) = (column.len(), column.null_count(), column.chunk_count());
        format!("ArrowColumn(type={}, len={length}, null_count={nulls}, chunks={chunks})", column.type_name())
    }
}

/// Reads an array, or a stream of them, and works on each without the GIL.
fn each_chunk(source: &Bound<'_, PyAny>, work: impl Fn(&Texts) -> Chunk + Sync) -> PyResult<Vec<Chunk>> {
    let py = source.py();
    let chunk = |array: ArrowArray, schema: &ArrowSchema| {
        without_gil(py, || {
            // SAFETY: whoever has the methods of the interface promises arrays that keep its rules.
            let texts = unsafe { Texts::new(array, schema) }?;
            Ok::<_, ArrowError>(work(&texts))
        })
    };
    if source.hasattr("__arrow_c_array__")? {
        let capsules = source.call_method0("__arrow_c_array__")?;
        let capsules = capsules.cast::<PyTuple>().map_err(|_| no_capsule("__arrow_c_array__", &capsules))?;
        if capsules.len() != 2 {
            return Err(no_capsule("__arrow_c_array__", capsules));
        }
        let schema = pointer::<ArrowSchema>(&capsules.get_item(0)?, c"arrow_schema")?;
        let array = pointer::<ArrowArray>(&capsules.get_item(1)?, c"arrow_array")?;
        // SAFETY: capsules of these names hold these structs, and this thread holds the GIL.
        let (schema, array) = unsafe { (ArrowSchema::take(schema), ArrowArray::take(array)) };
        return Ok(vec![chunk(array, &schema)?]);
    }
    if !source.hasattr("__arrow_c_stream__")? {
        let found = convert::type_name(source);
        let message =
            format!("an object with __arrow_c_array__ or __arrow_c_stream__ is needed, found {found}");
        return Err(PyTypeError::new_err(message));
    }
    let capsule = source.call_method0("__arrow_c_stream__")?;
    let stream = pointer::<ArrowArrayStream>(&capsule, c"arrow_array_stream")?;
    // SAFETY: as above.
    let mut stream = unsafe { ArrowArrayStream::take(stream) };
    let schema = stream.schema().map_err(Error::from)?;
    let mut chunks = Vec::new();
    while let Some(array) = stream.next_array().map_err(Error::from)? {
        chunks.push(chunk(array, &schema)?);
        py.check_signals()?;
    }
    if chunks.is_empty() {
        // A stream without chunks has a type all the same, which must be one of texts.
        Texts::check_type(&schema).map_err(Error::from)?;
    }
    Ok(chunks)
}

/// The struct in a capsule of this name.
fn pointer<T>(capsule: &Bound<'_, PyAny>, name: &'static std::ffi::CStr) -> PyResult<*mut T> {
    let wrong = || no_capsule(&name.to_string_lossy(), capsule);
    let capsule = capsule.cast::<PyCapsule>().map_err(|_| wrong())?;
    Ok(capsule.pointer_checked(Some(name)).map_err(|_| wrong())?.cast().as_ptr())
}

fn no_capsule(expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("{expected}: no Arrow capsule, found {}", convert::type_name(found)))
}
