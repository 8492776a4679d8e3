//! Token ids as a `list[int]` and back. Lists are of int objects that are made once: a new object for each id would cost ten times
//! as much.
//!
//! The table has a place for each id below [`CACHED`]: a megabyte of zero pages, of which the system maps those that are
//! used. It keeps the objects for as long as the process lives. There is one interpreter: a second one cannot import the
//! module. In a build without a GIL two threads may make the same object: both are good, and one of them stays in the
//! table. Larger ids are new objects.

#![allow(unsafe_code, reason = "a new list is filled through CPython's own macros")]

use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::PyList;

use crate::tokenizer::TokenId;

/// Ids of the embedded vocabulary.
const CACHED: usize = 131_072;

static INTS: [AtomicPtr<ffi::PyObject>; CACHED] = [const { AtomicPtr::new(std::ptr::null_mut()) }; CACHED];

/// A list of ids.
pub(super) fn int_list<'py>(py: Python<'py>, ids: &[TokenId]) -> PyResult<Bound<'py, PyList>> {
    // SAFETY: the thread is attached. The result is a new reference to a list, or null with an exception set.
    let list = unsafe {
        let list = ffi::PyList_New(ids.len() as ffi::Py_ssize_t);
        Bound::from_owned_ptr_or_err(py, list)?.cast_into_unchecked::<PyList>()
    };
    for (index, &id) in ids.iter().enumerate() {
        let int = new_reference(py, id)?;
        // SAFETY: the list is new, has `ids.len()` places, and takes the reference over. Where an error ends the loop, the
        // places left are null, which a list that is thrown away may have.
        unsafe { ffi::PyList_SET_ITEM(list.as_ptr(), index as ffi::Py_ssize_t, int) };
    }
    Ok(list)
}

/// The ids in a list of ints; `None` if an element is no int, or none that can be an id: then the slow way says what is
/// wrong.
pub(super) fn list_ids(list: &Bound<'_, PyList>) -> Option<Vec<TokenId>> {
    // In a build without a GIL this locks the list.
    with_critical_section(list, || (0..list.len()).map(|index| list_id(list, index)).collect())
}

/// The id at an index below the length of a list that is locked.
#[inline(always)]
fn list_id(list: &Bound<'_, PyList>, index: usize) -> Option<TokenId> {
    // SAFETY: the thread is attached and runs no Python code here (an exact int is read, nothing is called), so the list
    // keeps its length, and its elements live for as long as they are in it.
    let value = unsafe {
        let item = ffi::PyList_GET_ITEM(list.as_ptr(), index as ffi::Py_ssize_t);
        if ffi::PyLong_CheckExact(item) == 0 {
            return None;
        }
        let mut overflow = 0;
        let value = ffi::PyLong_AsLongAndOverflow(item, &raw mut overflow);
        if overflow == 0 { value } else { -1 }
    };
    TokenId::try_from(value).ok()
}

/// A new reference to the int object of an id.
#[inline(always)]
fn new_reference(py: Python<'_>, id: TokenId) -> PyResult<*mut ffi::PyObject> {
    if let Some(place) = INTS.get(id as usize) {
        let int = place.load(Ordering::Acquire);
        let int = if int.is_null() { fill(py, place, id)? } else { int };
        // SAFETY: the table has a reference of its own to each object in it, for ever; the thread is attached.
        unsafe { ffi::Py_INCREF(int) };
        return Ok(int);
    }
    new_int(py, id)
}

#[cold]
fn fill(py: Python<'_>, place: &AtomicPtr<ffi::PyObject>, id: TokenId) -> PyResult<*mut ffi::PyObject> {
    let int = new_int(py, id)?;
    place.store(int, Ordering::Release);
    Ok(int)
}

fn new_int(py: Python<'_>, id: TokenId) -> PyResult<*mut ffi::PyObject> {
    // SAFETY: the thread is attached. The result is a new reference, or null with an exception set.
    let int = unsafe { ffi::PyLong_FromUnsignedLong(id.into()) };
    if int.is_null() { Err(PyErr::fetch(py)) } else { Ok(int) }
}
