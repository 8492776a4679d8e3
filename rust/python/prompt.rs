//! Python objects as values of a request: they are read where they lie.
//!
//! What a request may hold is checked by `prompt`; here is what `dict`, `str` and their like are to it. An object that
//! is no mapping but has a `model_dump`, as pydantic's have, stands for what that returns.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyByteArray, PyByteArrayMethods, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString,
};

use super::convert::{string_text, type_name};
use super::json_values;
use crate::error::Error;
use crate::json::Json;
use crate::prompt::{Key, Kind, NotJson, PromptError, Value};
use crate::tokenizer::utf8;

impl From<PromptError> for PyErr {
    fn from(error: PromptError) -> PyErr {
        Error::from(error).into()
    }
}

/// An object of Python.
#[derive(Clone)]
pub(super) struct PyValue<'py>(pub(super) Bound<'py, PyAny>);

/// A text of Python: a `str` of ASCII where it lies, the UTF-8 of any other.
pub(super) enum PyText {
    Ascii(PyBackedStr),
    Transcoded(String),
}

impl AsRef<str> for PyText {
    fn as_ref(&self) -> &str {
        match self {
            PyText::Ascii(text) => text,
            PyText::Transcoded(text) => text,
        }
    }
}

impl PyText {
    fn new(string: &Bound<'_, PyString>) -> PyResult<PyText> {
        let text = string_text(string)?;
        if let std::borrow::Cow::Owned(text) = text {
            return Ok(PyText::Transcoded(text));
        }
        Ok(PyText::Ascii(PyBackedStr::try_from(string.clone())?))
    }
}

/// The elements of an iterable of mappings: `None` for what is no iterable, or one value.
pub(super) fn elements<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Vec<PyValue<'py>>>> {
    if value.is_instance_of::<PyString>() || value.cast::<PyMapping>().is_ok() {
        return Ok(None);
    }
    PyValue(value.clone()).elements()
}

impl Value for PyValue<'_> {
    type Text = PyText;
    type Error = PyErr;

    fn kind(&self) -> PyResult<Kind<PyText>> {
        let object = &self.0;
        if let Ok(string) = object.cast::<PyString>() {
            return Ok(Kind::Text(PyText::new(string)?));
        }
        if object.is_none() {
            return Ok(Kind::Null);
        }
        if object.is_instance_of::<PyDict>() {
            return Ok(Kind::Mapping);
        }
        if object.is_instance_of::<PyList>() {
            return Ok(Kind::List);
        }
        if let Ok(value) = object.cast::<PyBool>() {
            return Ok(Kind::Bool(value.is_true()));
        }
        if object.is_instance_of::<PyInt>() {
            let beyond = if object.lt(0)? { i64::MIN } else { i64::MAX };
            return Ok(Kind::Int(object.extract().unwrap_or(beyond)));
        }
        if let Ok(number) = object.cast::<PyFloat>() {
            return Ok(Kind::Float(number.value()));
        }
        let bytes = match object.cast::<PyBytes>() {
            Ok(bytes) => Some(bytes.as_bytes().to_vec()),
            Err(_) => object.cast::<PyByteArray>().ok().map(PyByteArrayMethods::to_vec),
        };
        if let Some(bytes) = bytes {
            let text = utf8(&bytes).ok().map(|text| PyText::Transcoded(text.to_owned()));
            return Ok(text.map_or(Kind::Other, Kind::Bytes));
        }
        if self.mapping()?.is_some() {
            return Ok(Kind::Mapping);
        }
        // Numbers of other libraries.
        Ok(object.extract().map_or(Kind::Other, Kind::Float))
    }

    fn mapping(&self) -> PyResult<Option<Self>> {
        let object = &self.0;
        if object.is_instance_of::<PyDict>() || object.cast::<PyMapping>().is_ok() {
            return Ok(Some(self.clone()));
        }
        match object.getattr_opt("model_dump")? {
            Some(dump) => {
                Ok(dump.call0()?.cast_into::<PyDict>().ok().map(|fields| PyValue(fields.into_any())))
            }
            None => Ok(None),
        }
    }

    fn field(&self, key: Key) -> PyResult<Option<Self>> {
        let name = key_name(self.0.py(), key);
        if let Ok(fields) = self.0.cast::<PyDict>() {
            return Ok(fields.get_item(name)?.map(PyValue));
        }
        if self.0.contains(name)? {
            self.0.get_item(name).map(|value| Some(PyValue(value)))
        } else {
            Ok(None)
        }
    }

    fn field_count(&self) -> PyResult<usize> {
        self.0.len()
    }

    fn elements(&self) -> PyResult<Option<Vec<Self>>> {
        if let Ok(list) = self.0.cast::<PyList>() {
            return Ok(Some(list.iter().map(PyValue).collect()));
        }
        let Ok(iterator) = self.0.try_iter() else { return Ok(None) };
        iterator.map(|value| value.map(PyValue)).collect::<PyResult<_>>().map(Some)
    }

    fn has_text_keys(&self) -> PyResult<bool> {
        let Ok(fields) = self.0.cast::<PyDict>() else { return Ok(true) };
        Ok(fields.iter().all(|(key, _)| key.is_instance_of::<PyString>()))
    }

    fn to_json(&self) -> PyResult<Result<Json, NotJson>> {
        json_values::to_json(&self.0)
    }

    fn type_name(&self) -> String {
        type_name(&self.0)
    }
}

/// The keys as objects, made once.
fn key_name(py: Python<'_>, key: Key) -> &Bound<'_, PyString> {
    static NAMES: PyOnceLock<Vec<Py<PyString>>> = PyOnceLock::new();
    let names = NAMES
        .get_or_init(py, || Key::ALL.iter().map(|key| PyString::intern(py, key.name()).unbind()).collect());
    names[key as usize].bind(py)
}
