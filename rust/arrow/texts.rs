//! An array of texts from somebody else: utf8, `large_utf8`, `string_view`, and dictionaries of them.
//!
//! All of it is checked once, when it is read; after that a text is a borrowed `str`.

#![allow(unsafe_code, reason = "a producer's buffers are raw pointers")]

use std::ffi::CStr;
use std::ptr::NonNull;
use std::{slice, str};

use super::ArrowError;
use super::c_data::{ArrowArray, ArrowSchema};

/// The values of an array of texts, nulls included. The producer's buffers live as long as it does.
#[derive(Debug)]
pub struct Texts {
    values: Vec<Value>,
    /// What `values` point into.
    _array: ArrowArray,
}

type Value = Option<NonNull<str>>;

// SAFETY: `values` are read-only and point into buffers that may be read and released on any thread.
unsafe impl Send for Texts {}
// SAFETY: as above.
unsafe impl Sync for Texts {}

impl Texts {
    /// Reads an array of this type.
    ///
    /// # Safety
    /// The pointers of a struct that is not released lead where the specification says, and a buffer is as
    /// long as its type, the length and the last offset make it. Nobody writes to it during the life of `Texts`.
    ///
    /// # Errors
    /// Every [`ArrowError`].
    pub unsafe fn new(array: ArrowArray, schema: &ArrowSchema) -> Result<Texts, ArrowError> {
        // SAFETY: promised by the caller.
        let values = unsafe { read(&array, schema, true) }?;
        Ok(Texts { values, _array: array })
    }

    /// Refuses a type that is none of texts, before there is an array of it.
    ///
    /// # Errors
    /// [`ArrowError::NotTexts`], or [`ArrowError::Broken`] if the schema is released.
    pub fn check_type(schema: &ArrowSchema) -> Result<(), ArrowError> {
        if schema.release.is_none() || schema.format.is_null() {
            return Err(broken("the schema is already released"));
        }
        // SAFETY: the format of a live schema is a C string, and a dictionary is null or a schema.
        let (format, dictionary) =
            unsafe { (CStr::from_ptr(schema.format).to_bytes(), schema.dictionary.as_ref()) };
        match dictionary {
            Some(dictionary) => Texts::check_type(dictionary),
            None if is_text(format) => Ok(()),
            None => Err(ArrowError::NotTexts { found: type_name(format) }),
        }
    }

    /// Number of values, nulls included.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// No value at all.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The values in order; `None` is a null.
    pub fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        // SAFETY: a value points into a buffer of `_array`, which `self` owns and nobody changes.
        self.values.iter().map(|value| value.map(|text| unsafe { text.as_ref() }))
    }
}

/// A window of `length` values after the first `offset`, as an array or a buffer states it.
#[derive(Clone, Copy)]
struct Window {
    offset: usize,
    length: usize,
}

/// # Safety
/// As [`Texts::new`].
unsafe fn read(
    array: &ArrowArray,
    schema: &ArrowSchema,
    may_be_dictionary: bool,
) -> Result<Vec<Value>, ArrowError> {
    if array.release.is_none() || schema.release.is_none() || schema.format.is_null() {
        return Err(broken("the array or its schema is already released"));
    }
    let number = |value: i64| usize::try_from(value).ok();
    let window = match (number(array.offset), number(array.length)) {
        (Some(offset), Some(length))
            if offset.checked_add(length).is_some_and(|end| end < usize::MAX / 64) =>
        {
            Window { offset, length }
        }
        _ => return Err(broken(format!("offset {} and length {}", array.offset, array.length))),
    };
    // SAFETY: the format of a live schema is a C string.
    let format = unsafe { CStr::from_ptr(schema.format) }.to_bytes();
    // SAFETY: the pointer is null or leads to a schema.
    let dictionary = unsafe { schema.dictionary.as_ref() };
    if !is_text(format) && (dictionary.is_none() || !may_be_dictionary) {
        return Err(ArrowError::NotTexts { found: type_name(format) });
    }
    let expected = if dictionary.is_some() { 2 } else { 3 };
    if array.buffers.is_null()
        || array.n_buffers < expected
        || (format != b"vu" && array.n_buffers != expected)
    {
        return Err(broken(format!("{} buffers instead of {expected}", array.n_buffers)));
    }
    // SAFETY: `buffers` has `n_buffers` pointers, which is a small positive number.
    let buffers = unsafe {
        slice::from_raw_parts(array.buffers.cast::<*const u8>(), array.n_buffers.cast_unsigned() as usize)
    };
    // SAFETY: the buffers are those of an array with this window.
    unsafe {
        let valid = Validity::new(buffers[0], window, array.null_count)?;
        match (dictionary, format) {
            (Some(schema), _) => {
                let values = array.dictionary.as_ref().ok_or_else(|| broken("no dictionary"))?;
                let values = read(values, schema, false)?;
                dictionary_values(buffers[1], window, &valid, format, &values)
            }
            (None, b"u") => {
                offset_values::<4>(buffers, window, &valid, |bytes| i32::from_ne_bytes(bytes).into())
            }
            (None, b"U") => offset_values::<8>(buffers, window, &valid, i64::from_ne_bytes),
            (None, _) => view_values(buffers, window, &valid),
        }
    }
}

fn is_text(format: &[u8]) -> bool {
    matches!(format, b"u" | b"U" | b"vu")
}

/// Which values of a window are not null.
struct Validity<'a> {
    bitmap: Option<&'a [u8]>,
    offset: usize,
}

impl Validity<'_> {
    /// # Safety
    /// `bitmap` is null or has a bit for each value up to the window's end.
    unsafe fn new(bitmap: *const u8, window: Window, null_count: i64) -> Result<Self, ArrowError> {
        if bitmap.is_null() && null_count > 0 {
            return Err(broken(format!("{null_count} nulls and no bitmap")));
        }
        let bytes = (window.offset + window.length).div_ceil(8);
        // SAFETY: promised by the caller.
        let bitmap = if bitmap.is_null() { None } else { Some(unsafe { buffer(bitmap, bytes) }?) };
        Ok(Validity { bitmap, offset: window.offset })
    }

    fn at(&self, index: usize) -> bool {
        let bit = self.offset + index;
        self.bitmap.is_none_or(|bitmap| bitmap[bit / 8] >> (bit % 8) & 1 == 1)
    }
}

/// # Safety
/// `pointer` is null or leads to `bytes` bytes.
unsafe fn buffer<'a>(pointer: *const u8, bytes: usize) -> Result<&'a [u8], ArrowError> {
    match (pointer.is_null(), bytes) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(broken(format!("no buffer where {bytes} bytes are due"))),
        // A slice must not be longer than this; the address space is not, either.
        (false, _) if bytes > isize::MAX as usize => Err(broken(format!("a buffer of {bytes} bytes"))),
        // SAFETY: promised by the caller.
        (false, _) => Ok(unsafe { slice::from_raw_parts(pointer, bytes) }),
    }
}

fn text(bytes: &[u8], index: usize) -> Result<Value, ArrowError> {
    match str::from_utf8(bytes) {
        Ok(text) => Ok(Some(NonNull::from(text))),
        Err(error) => Err(ArrowError::NotUtf8 { index, offset: error.valid_up_to() }),
    }
}

/// Value `i` is `data[offsets[i]..offsets[i + 1]]`; offsets of `BYTES` bytes, at any address.
///
/// # Safety
/// As [`Texts::new`].
unsafe fn offset_values<const BYTES: usize>(
    buffers: &[*const u8],
    window: Window,
    valid: &Validity<'_>,
    number: impl Fn([u8; BYTES]) -> i64,
) -> Result<Vec<Value>, ArrowError> {
    if window.length == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: there is an offset for each value up to the window's end, and one more.
    let offsets = unsafe { buffer(buffers[1], (window.offset + window.length + 1) * BYTES) }?;
    let (offsets, _) = offsets[window.offset * BYTES..].as_chunks::<BYTES>();
    let mut last = 0;
    for (index, &offset) in offsets.iter().enumerate() {
        let offset = number(offset);
        if offset < last {
            return Err(broken(format!("offset {index} is {offset}, after {last}")));
        }
        last = offset;
    }
    // SAFETY: the data ends at the last offset at the earliest.
    let data = unsafe { buffer(buffers[2], last.cast_unsigned() as usize) }?;
    let value = |index: usize| {
        let at = |index: usize| number(offsets[index]).cast_unsigned() as usize;
        let (start, end) = (at(index), at(index + 1));
        if valid.at(index) { text(&data[start..end], index) } else { Ok(None) }
    };
    (0..window.length).map(value).collect()
}

/// A view is a length, then up to 12 bytes, or four of them, the number of a buffer and an offset in it.
///
/// # Safety
/// As [`Texts::new`].
unsafe fn view_values(
    buffers: &[*const u8],
    window: Window,
    valid: &Validity<'_>,
) -> Result<Vec<Value>, ArrowError> {
    const VIEW: usize = 16;
    let data = &buffers[2..buffers.len() - 1];
    // SAFETY: the last buffer has the sizes of those with data.
    let (sizes, _) = unsafe { buffer(buffers[buffers.len() - 1], data.len() * 8) }?.as_chunks::<8>();
    let sized = data.iter().zip(sizes).map(|(&pointer, &size)| {
        let size =
            usize::try_from(i64::from_ne_bytes(size)).map_err(|_| broken("a buffer of negative size"))?;
        // SAFETY: the producer states this size.
        unsafe { buffer(pointer, size) }
    });
    let data = sized.collect::<Result<Vec<_>, _>>()?;
    // SAFETY: there is a view for each value up to the window's end.
    let views = unsafe { buffer(buffers[1], (window.offset + window.length) * VIEW) }?;
    let (views, _) = views.as_chunks::<VIEW>();
    let value = |(index, view): (usize, &[u8; VIEW])| {
        if !valid.at(index) {
            return Ok(None);
        }
        let word =
            |at: usize| u32::from_ne_bytes([view[at], view[at + 1], view[at + 2], view[at + 3]]) as usize;
        let length = word(0);
        if length <= VIEW - 4 {
            return text(&view[4..4 + length], index);
        }
        let (number, start) = (word(8), word(12));
        match data.get(number).and_then(|bytes| bytes.get(start..start + length)) {
            Some(bytes) => text(bytes, index),
            None => Err(broken(format!("view {index} is {length} bytes at {start} of buffer {number}"))),
        }
    };
    views.iter().skip(window.offset).enumerate().map(value).collect()
}

/// # Safety
/// `keys` has an integer of the format for each value up to the window's end.
unsafe fn dictionary_values(
    keys: *const u8,
    window: Window,
    valid: &Validity<'_>,
    format: &[u8],
    values: &[Value],
) -> Result<Vec<Value>, ArrowError> {
    let width = match format {
        b"c" | b"C" => 1,
        b"s" | b"S" => 2,
        b"i" | b"I" => 4,
        b"l" | b"L" => 8,
        _ => return Err(broken(format!("keys of type {}", type_name(format)))),
    };
    // SAFETY: promised by the caller.
    let keys = unsafe { buffer(keys, (window.offset + window.length) * width) }?;
    let value = |(index, key): (usize, &[u8])| {
        if !valid.at(index) {
            return Ok(None);
        }
        // A negative key is a large one here, which no dictionary has.
        let number = key.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
        let value = usize::try_from(number).ok().and_then(|number| values.get(number));
        value.copied().ok_or_else(|| broken(format!("key {number} in a dictionary of {}", values.len())))
    };
    keys.chunks_exact(width).skip(window.offset).enumerate().map(value).collect()
}

fn broken(what: impl Into<String>) -> ArrowError {
    ArrowError::Broken(what.into())
}

/// Arrow's name for a format where it is likely to be met, else the format.
fn type_name(format: &[u8]) -> String {
    let name = match format {
        b"n" => "null",
        b"b" => "bool",
        b"z" => "binary",
        b"Z" => "large_binary",
        b"vz" => "binary_view",
        b"c" => "int8",
        b"C" => "uint8",
        b"s" => "int16",
        b"S" => "uint16",
        b"i" => "int32",
        b"I" => "uint32",
        b"l" => "int64",
        b"L" => "uint64",
        b"e" => "float16",
        b"f" => "float32",
        b"g" => "float64",
        b"+s" => "struct (of a table or record batch, take a column)",
        b"+l" => "list",
        b"+L" => "large_list",
        b"+r" => "run_end_encoded",
        _ => return format!("the format {}", String::from_utf8_lossy(format)),
    };
    name.to_owned()
}
