//! Python objects to JSON values: what `json.dumps` makes of them.
//!
//! `None`, truth values, numbers, strings, lists, tuples and dicts, and what is derived from these; anything else is a
//! `TypeError`. Where Python runs out of stack, or goes round in a value that contains itself, there is a limit.

use std::vec::IntoIter;

use pyo3::exceptions::PyValueError;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::convert::{string_text, type_name};
use crate::json::{self, Json, JsonError, MAX_DEPTH};
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
    match read(object) {
        Ok(value) => Ok(Ok(value)),
        Err(Failure::NotJson(reason)) => Ok(Err(reason)),
        Err(Failure::Raised(error)) => Err(error),
    }
}

/// A list or dict of which a part is read.
struct Open<'py> {
    /// Which one it is; only compared.
    object: *mut PyObject,
    rest: Rest<'py>,
}

enum Rest<'py> {
    List(IntoIter<Bound<'py, PyAny>>, Vec<Json>),
    Object(IntoIter<(String, Bound<'py, PyAny>)>, Vec<(String, Json)>, String),
}

impl Open<'_> {
    /// Takes the value of the element that came last.
    fn add(&mut self, value: Json) {
        match &mut self.rest {
            Rest::List(_, read) => read.push(value),
            Rest::Object(_, read, key) => read.push((std::mem::take(key), value)),
        }
    }
}

/// Reads with a list of what is open in place of recursion: the stack may be small.
fn read(object: &Bound<'_, PyAny>) -> Result<Json, Failure> {
    let mut within: Vec<Open<'_>> = Vec::new();
    let mut object = object.clone();
    loop {
        let mut value = scalar(&object)?;
        if value.is_none() {
            if within.len() == MAX_DEPTH {
                return Err(too_deep(&within));
            }
            within.push(open(&object)?);
        }
        object = loop {
            let Some(innermost) = within.last_mut() else {
                // The outermost value is whole.
                return Ok(value.unwrap_or(Json::Null));
            };
            if let Some(value) = value.take() {
                innermost.add(value);
            }
            let next = match &mut innermost.rest {
                Rest::List(rest, _) => rest.next(),
                Rest::Object(rest, _, key) => rest.next().map(|(next_key, next)| {
                    *key = next_key;
                    next
                }),
            };
            if let Some(next) = next {
                break next;
            }
            value = within.pop().map(|whole| match whole.rest {
                Rest::List(_, values) => Json::List(values),
                Rest::Object(_, fields, _) => Json::Object(fields),
            });
        };
    }
}

/// The value of what is no list and no dict, `None` for those.
fn scalar(object: &Bound<'_, PyAny>) -> Result<Option<Json>, Failure> {
    if let Ok(text) = object.cast::<PyString>() {
        return Ok(Some(Json::String(string_text(text)?.into_owned())));
    }
    if object.is_none() {
        return Ok(Some(Json::Null));
    }
    if let Ok(value) = object.cast::<PyBool>() {
        return Ok(Some(Json::Bool(value.is_true())));
    }
    if object.is_instance_of::<PyInt>() {
        return Ok(Some(Json::Int(digits(object)?)));
    }
    Ok(object.cast::<PyFloat>().ok().map(|number| Json::Float(number.value())))
}

fn open<'py>(object: &Bound<'py, PyAny>) -> Result<Open<'py>, Failure> {
    let rest = if let Ok(fields) = object.cast::<PyDict>() {
        let mut read = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            read.push((key_text(&key)?, value));
        }
        Rest::Object(read.into_iter(), Vec::with_capacity(fields.len()), String::new())
    } else if let Ok(values) = object.cast::<PyList>() {
        let values: Vec<_> = values.iter().collect();
        Rest::List(values.into_iter(), Vec::new())
    } else if let Ok(values) = object.cast::<PyTuple>() {
        let values: Vec<_> = values.iter().collect();
        Rest::List(values.into_iter(), Vec::new())
    } else {
        let message = format!("an object of type {} has no form in JSON", type_name(object));
        return Err(PromptError::new("TypeError", message).into());
    };
    Ok(Open { object: object.as_ptr(), rest })
}

fn too_deep(within: &[Open<'_>]) -> Failure {
    let mut objects: Vec<_> = within.iter().map(|open| open.object).collect();
    objects.sort_unstable();
    if objects.windows(2).any(|pair| pair[0] == pair[1]) {
        return Failure::NotJson(NotJson::BadValue("a value contains itself".to_owned()));
    }
    PromptError::new("RecursionError", JsonError::TooDeep.to_string()).into()
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
    let mut text = String::new();
    json::write(&scalar(key)?.unwrap_or(Json::Null), &mut text);
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
            Err(Failure::NotJson(NotJson::BadValue(JsonError::HugeInteger.to_string())))
        }
        Err(error) => Err(error.into()),
    }
}
