//! The types of a request's fields, as leniently as the reference takes them: a number may be a text, a truth value a
//! number. What is not taken is its `ValidationError`.

use super::PromptError;
use super::value::{Key, Kind, Value};

/// A field that is not what it should be.
pub(super) fn invalid(key: Key, expected: &str) -> PromptError {
    PromptError::new("ValidationError", format!("{} must be {expected}", key.name()))
}

/// The text of a text, or of bytes.
pub(super) fn text_of<V: Value>(value: &V) -> Result<Option<V::Text>, V::Error> {
    Ok(match value.kind()? {
        Kind::Text(text) | Kind::Bytes(text) => Some(text),
        _ => None,
    })
}

/// A field that has to be there and a text.
pub(super) fn required_text<V: Value>(fields: &V, key: Key) -> Result<V::Text, V::Error> {
    let text = fields.field(key)?.map(|value| text_of(&value)).transpose()?.flatten();
    text.ok_or_else(|| invalid(key, "a text").into())
}

/// A field that may be missing or null.
pub(super) fn optional_text<V: Value>(fields: &V, key: Key) -> Result<Option<V::Text>, V::Error> {
    let Some(value) = fields.field(key)? else { return Ok(None) };
    if matches!(value.kind()?, Kind::Null) {
        return Ok(None);
    }
    Ok(Some(text_of(&value)?.ok_or_else(|| invalid(key, "a text or null"))?))
}

/// A truth value that may be missing.
pub(super) fn switch<V: Value>(fields: &V, key: Key) -> Result<Option<bool>, V::Error> {
    let Some(value) = fields.field(key)? else { return Ok(None) };
    let state = match value.kind()? {
        Kind::Bool(state) => Some(state),
        Kind::Int(0) | Kind::Float(0.0) => Some(false),
        Kind::Int(1) | Kind::Float(1.0) => Some(true),
        Kind::Text(text) | Kind::Bytes(text) => match text.as_ref().to_ascii_lowercase().as_str() {
            "0" | "off" | "f" | "false" | "n" | "no" => Some(false),
            "1" | "on" | "t" | "true" | "y" | "yes" => Some(true),
            _ => None,
        },
        _ => None,
    };
    match state {
        Some(_) => Ok(state),
        None => Err(invalid(key, "true or false").into()),
    }
}

/// A truth value that may be missing or null.
pub(super) fn check_switch<V: Value>(fields: &V, key: Key) -> Result<(), V::Error> {
    match fields.field(key)? {
        Some(value) if matches!(value.kind()?, Kind::Null) => Ok(()),
        _ => switch(fields, key).map(|_| ()),
    }
}

/// A number from 0 to 1 that may be missing.
pub(super) fn check_fraction<V: Value>(fields: &V, key: Key) -> Result<(), V::Error> {
    let Some(value) = fields.field(key)? else { return Ok(()) };
    let number = match value.kind()? {
        Kind::Bool(state) => Some(f64::from(u8::from(state))),
        Kind::Int(number) => Some(number as f64),
        Kind::Float(number) => Some(number),
        Kind::Text(text) | Kind::Bytes(text) => number_in(text.as_ref()),
        _ => None,
    };
    if number.is_some_and(|number| (0.0..=1.0).contains(&number)) {
        return Ok(());
    }
    Err(invalid(key, "a number from 0 to 1").into())
}

/// The number in a text; single underscores may stand between digits.
fn number_in(text: &str) -> Option<f64> {
    let text = text.trim();
    if !text.contains('_') {
        return text.parse().ok();
    }
    is_grouped(text).then(|| text.replace('_', "").parse().ok()).flatten()
}

/// An integer of at least 0; it may be missing or null.
pub(super) fn check_natural<V: Value>(value: Option<&V>, key: Key) -> Result<(), V::Error> {
    let Some(value) = value else { return Ok(()) };
    let is_natural = match value.kind()? {
        Kind::Null | Kind::Bool(_) => true,
        Kind::Int(number) => number >= 0,
        // Beyond 64 bits the reference takes no float.
        Kind::Float(number) => number >= 0.0 && number.fract() == 0.0 && number < 9_223_372_036_854_775_808.0,
        Kind::Text(text) | Kind::Bytes(text) => is_natural_number(text.as_ref()),
        _ => false,
    };
    if is_natural { Ok(()) } else { Err(invalid(key, "an integer of 0 or more").into()) }
}

/// Whether a text is a natural number: digits with a sign before and `.0` behind them.
fn is_natural_number(text: &str) -> bool {
    /// More are not taken.
    const MOST_DIGITS: usize = 4_300;
    let text = text.trim();
    let (text, is_negative) = match text.as_bytes().first() {
        Some(b'+') => (&text[1..], false),
        Some(b'-') => (&text[1..], true),
        _ => (text, false),
    };
    let whole = match text.split_once('.') {
        Some((_, zeros)) if zeros.is_empty() || zeros.bytes().any(|byte| byte != b'0') => return false,
        Some((whole, _)) => whole,
        None => text,
    };
    let is_number = !whole.is_empty()
        && is_grouped(whole)
        && whole.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
        && whole.len() <= MOST_DIGITS;
    is_number && (!is_negative || whole.bytes().all(|byte| byte == b'0' || byte == b'_'))
}

/// Whether underscores only stand between digits, one at a time.
fn is_grouped(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    (0..bytes.len()).all(|at| bytes[at] != b'_' || (is_digit(at.checked_sub(1)) && is_digit(Some(at + 1))))
}
