//! Python objects to JSON values: what `json.dumps` makes of them.
//!
//! `None`, truth values, numbers, strings, lists, tuples and dicts, and what is derived from these; anything else is a
//! `TypeError`. Where Python runs out of stack, or goes round in a value that contains itself, there is a limit.

use pyo3::exceptions::PyValueError;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::convert::{string_text, type_name};
use crate::json::{self, Json, MAX_DEPTH};
use crate::prompt::{NotJson, PromptError};

/// Why an object is no JSON: its own code raised, or it has no form there.
enum Failure {
    Raised(PyErr),
    NotJson(NotJson),
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Failure {
        Failure::Raised(error)
    }
}

impl From<PromptError> for Failure {
    fn from(error: PromptError) -> Failure {
        Failure::NotJson(NotJson::Raised(error))
    }
}

/// The JSON value of an object.
pub(super) fn to_json(object: &Bound<'_, PyAny>) -> PyResult<Result<Json, NotJson>> {
    match (Reader { within: Vec::new() }).read(object) {
        Ok(value) => Ok(Ok(value)),
        Err(Failure::NotJson(reason)) => Ok(Err(reason)),
        Err(Failure::Raised(error)) => Err(error),
    }
}

struct Reader {
    /// The lists and dicts around the object that is read. They are alive, for something holds them.
    within: Vec<*mut PyObject>,
}

impl Reader {
    fn read(&mut self, object: &Bound<'_, PyAny>) -> Result<Json, Failure> {
        if let Ok(text) = object.cast::<PyString>() {
            return Ok(Json::String(string_text(text)?.into_owned()));
        }
        if object.is_none() {
            return Ok(Json::Null);
        }
        if let Ok(value) = object.cast::<PyBool>() {
            return Ok(Json::Bool(value.is_true()));
        }
        if object.is_instance_of::<PyInt>() {
            return digits(object).map(Json::Int);
        }
        if let Ok(number) = object.cast::<PyFloat>() {
            return Ok(Json::Float(number.value()));
        }
        if let Ok(fields) = object.cast::<PyDict>() {
            return self.enter(object, |reader| reader.read_fields(fields));
        }
        if let Ok(values) = object.cast::<PyList>() {
            return self.enter(object, |reader| {
                Ok(Json::List(values.iter().map(|value| reader.read(&value)).collect::<Result<_, _>>()?))
            });
        }
        if let Ok(values) = object.cast::<PyTuple>() {
            return self.enter(object, |reader| {
                Ok(Json::List(values.iter().map(|value| reader.read(&value)).collect::<Result<_, _>>()?))
            });
        }
        let message = format!("an object of type {} has no form in JSON", type_name(object));
        Err(PromptError::new("TypeError", message).into())
    }

    fn read_fields(&mut self, fields: &Bound<'_, PyDict>) -> Result<Json, Failure> {
        let mut read = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            read.push((key_text(&key)?, self.read(&value)?));
        }
        Ok(Json::Object(read))
    }

    fn enter(
        &mut self,
        object: &Bound<'_, PyAny>,
        read: impl FnOnce(&mut Self) -> Result<Json, Failure>,
    ) -> Result<Json, Failure> {
        if self.within.len() == MAX_DEPTH {
            return Err(self.too_deep());
        }
        self.within.push(object.as_ptr());
        let value = read(self);
        self.within.pop();
        value
    }

    fn too_deep(&mut self) -> Failure {
        self.within.sort_unstable();
        if self.within.windows(2).any(|pair| pair[0] == pair[1]) {
            return Failure::NotJson(NotJson::BadValue("a value contains itself".to_owned()));
        }
        PromptError::new("RecursionError", json::JsonError::TooDeep.to_string()).into()
    }
}

/// Keys that are not strings are written as the values are.
fn key_text(key: &Bound<'_, PyAny>) -> Result<String, Failure> {
    if let Ok(text) = key.cast::<PyString>() {
        return Ok(string_text(text)?.into_owned());
    }
    if !(key.is_none() || key.is_instance_of::<PyInt>() || key.is_instance_of::<PyFloat>()) {
        let message = format!("a key of type {} has no form in JSON", type_name(key));
        return Err(PromptError::new("TypeError", message).into());
    }
    let value = Reader { within: Vec::new() }.read(key)?;
    let mut text = String::new();
    json::write(&value, &mut text);
    Ok(text)
}

/// The decimal digits of an `int`, whatever a class derived from it prints.
fn digits(object: &Bound<'_, PyAny>) -> Result<String, Failure> {
    if let Ok(number) = object.extract::<i64>() {
        return Ok(number.to_string());
    }
    let py = object.py();
    match py.get_type::<PyInt>().call_method1("__repr__", (object,)) {
        Ok(digits) => Ok(digits.extract()?),
        Err(error) if error.is_instance_of::<PyValueError>(py) => {
            Err(Failure::NotJson(NotJson::BadValue(json::JsonError::HugeInteger.to_string())))
        }
        Err(error) => Err(error.into()),
    }
}
