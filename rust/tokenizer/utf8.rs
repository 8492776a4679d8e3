//! Whether bytes are UTF-8.

#![allow(unsafe_code, reason = "bytes that a library has checked are not checked again")]

use std::string::FromUtf8Error;

/// The text of bytes, or how many of them are one.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, usize> {
    simdutf8::basic::from_utf8(bytes)
        .or_else(|_| std::str::from_utf8(bytes).map_err(|error| error.valid_up_to()))
}

/// The text of bytes that become it.
pub(super) fn utf8_string(bytes: Vec<u8>) -> Result<String, FromUtf8Error> {
    if simdutf8::basic::from_utf8(&bytes).is_err() {
        return String::from_utf8(bytes);
    }
    // SAFETY: the library has just found that these bytes are UTF-8.
    Ok(unsafe { String::from_utf8_unchecked(bytes) })
}
