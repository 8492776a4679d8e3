//! A JSON object of a config, read key by key; errors name the file and the key.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::CheckpointError;
use crate::error::{Error, Result};

/// A JSON object with the path it came from, for messages.
pub(super) struct ConfigObject {
    path: PathBuf,
    /// What stands before a key in messages: "" or `rope_scaling.`
    prefix: String,
    pub(super) object: Map<String, Value>,
}

impl ConfigObject {
    /// Reads a file that holds a JSON object.
    pub(super) fn read(path: &Path) -> Result<ConfigObject> {
        let text = std::fs::read(path).map_err(Error::io(path))?;
        let fault = |reason: String| CheckpointError::Config { path: path.to_owned(), reason };
        match serde_json::from_slice(&text) {
            Ok(Value::Object(object)) => {
                Ok(ConfigObject { path: path.to_owned(), prefix: String::new(), object })
            }
            Ok(_) => Err(fault("expected a JSON object".to_owned()).into()),
            Err(error) => Err(fault(error.to_string()).into()),
        }
    }

    /// An error that names the key.
    pub(super) fn wrong(&self, key: &str, reason: &str) -> Error {
        let reason = format!("`{}{key}`: {reason}", self.prefix);
        CheckpointError::Config { path: self.path.clone(), reason }.into()
    }

    /// An error for a key whose value is known, and not supported.
    pub(super) fn unsupported(&self, key: &str, value: &Value) -> Error {
        let mut shown = value.to_string();
        if shown.len() > 80 {
            shown = shown.chars().take(80).chain("…".chars()).collect();
        }
        self.wrong(key, &format!("{shown} changes the arithmetic and is not supported"))
    }

    /// The value, or `None` where it is missing or null.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// A whole number.
    pub(super) fn size(&self, key: &str, default: Option<usize>) -> Result<usize> {
        match (self.get(key), default) {
            (Some(value), _) => value
                .as_u64()
                .and_then(|size| usize::try_from(size).ok())
                .ok_or_else(|| self.wrong(key, &format!("expected a whole number, found {value}"))),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.wrong(key, "is missing")),
        }
    }

    /// Any number.
    pub(super) fn number(&self, key: &str, default: Option<f64>) -> Result<f64> {
        match (self.get(key), default) {
            (Some(value), _) => {
                value.as_f64().ok_or_else(|| self.wrong(key, &format!("expected a number, found {value}")))
            }
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.wrong(key, "is missing")),
        }
    }

    /// true or false; false where it is missing.
    pub(super) fn flag(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            None => Ok(false),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.wrong(key, &format!("expected true or false, found {value}"))),
        }
    }

    /// One id or a list of ids.
    pub(super) fn token_ids(&self, key: &str) -> Result<Vec<u32>> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values.iter().map(id).collect(),
            Some(value) => id(value).map(|id| vec![id]),
        };
        ids.ok_or_else(|| self.wrong(key, "expected a token id or a list of them"))
    }

    /// An object under a key.
    pub(super) fn inner(&self, key: &str) -> Result<Option<ConfigObject>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(ConfigObject {
                path: self.path.clone(),
                prefix: format!("{}{key}.", self.prefix),
                object: object.clone(),
            })),
            Some(value) => Err(self.wrong(key, &format!("expected an object, found {value}"))),
        }
    }
}
