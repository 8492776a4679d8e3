//! The structs of Arrow's C data interface and C stream interface, which drop by the producer's `release`.
//!
//! Fields and their order are fixed by <https://arrow.apache.org/docs/format/CDataInterface.html>.

#![allow(unsafe_code, reason = "a producer's callbacks are C functions")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use super::ArrowError;

/// The type of an array.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs, reason = "the specification's names")]
pub struct ArrowSchema {
    pub format: *const c_char,
    pub name: *const c_char,
    pub metadata: *const c_char,
    pub flags: i64,
    pub n_children: i64,
    pub children: *mut *mut ArrowSchema,
    pub dictionary: *mut ArrowSchema,
    pub release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    pub private_data: *mut c_void,
}

/// The contents of an array.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs, reason = "the specification's names")]
pub struct ArrowArray {
    pub length: i64,
    pub null_count: i64,
    pub offset: i64,
    pub n_buffers: i64,
    pub n_children: i64,
    pub buffers: *mut *const c_void,
    pub children: *mut *mut ArrowArray,
    pub dictionary: *mut ArrowArray,
    pub release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    pub private_data: *mut c_void,
}

/// A source of arrays of one type.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs, reason = "the specification's names")]
pub struct ArrowArrayStream {
    pub get_schema: Option<unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowSchema) -> c_int>,
    pub get_next: Option<unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowArray) -> c_int>,
    pub get_last_error: Option<unsafe extern "C" fn(*mut ArrowArrayStream) -> *const c_char>,
    pub release: Option<unsafe extern "C" fn(*mut ArrowArrayStream)>,
    pub private_data: *mut c_void,
}

macro_rules! owned_by_release {
    ($name:ident) => {
        // SAFETY: the specification lets a struct be moved between threads, and be released on any.
        unsafe impl Send for $name {}
        // SAFETY: through a shared reference nothing is written.
        unsafe impl Sync for $name {}

        impl $name {
            /// Moves the struct out of a producer's memory and leaves a released one there.
            ///
            /// # Safety
            /// `source` points to a struct of this kind that nobody else uses meanwhile.
            pub unsafe fn take(source: *mut $name) -> $name {
                // SAFETY: promised by the caller.
                unsafe { ptr::replace(source, $name::default()) }
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                if let Some(release) = self.release {
                    // SAFETY: a struct with a `release` is live, and the callback marks it as released.
                    unsafe { release(self) };
                }
            }
        }
    };
}

owned_by_release!(ArrowSchema);
owned_by_release!(ArrowArray);
owned_by_release!(ArrowArrayStream);

impl Default for ArrowSchema {
    /// A released one.
    fn default() -> Self {
        ArrowSchema {
            format: ptr::null(),
            name: ptr::null(),
            metadata: ptr::null(),
            flags: 0,
            n_children: 0,
            children: ptr::null_mut(),
            dictionary: ptr::null_mut(),
            release: None,
            private_data: ptr::null_mut(),
        }
    }
}

impl Default for ArrowArray {
    /// A released one.
    fn default() -> Self {
        ArrowArray {
            length: 0,
            null_count: 0,
            offset: 0,
            n_buffers: 0,
            n_children: 0,
            buffers: ptr::null_mut(),
            children: ptr::null_mut(),
            dictionary: ptr::null_mut(),
            release: None,
            private_data: ptr::null_mut(),
        }
    }
}

impl Default for ArrowArrayStream {
    /// A released one.
    fn default() -> Self {
        ArrowArrayStream {
            get_schema: None,
            get_next: None,
            get_last_error: None,
            release: None,
            private_data: ptr::null_mut(),
        }
    }
}

impl ArrowArrayStream {
    /// The type of the arrays to come.
    ///
    /// # Errors
    /// [`ArrowError::Broken`] with what the producer says.
    pub fn schema(&mut self) -> Result<ArrowSchema, ArrowError> {
        let (Some(get_schema), Some(_)) = (self.get_schema, self.release) else {
            return Err(ArrowError::Broken("the stream is already released".to_owned()));
        };
        let mut schema = ArrowSchema::default();
        // SAFETY: the stream is live, and `schema` is a struct to write to.
        let code = unsafe { get_schema(self, &raw mut schema) };
        self.check(code)?;
        Ok(schema)
    }

    /// The next array, or `None` after the last one.
    ///
    /// # Errors
    /// [`ArrowError::Broken`] with what the producer says.
    pub fn next_array(&mut self) -> Result<Option<ArrowArray>, ArrowError> {
        let (Some(get_next), Some(_)) = (self.get_next, self.release) else {
            return Err(ArrowError::Broken("the stream is already released".to_owned()));
        };
        let mut array = ArrowArray::default();
        // SAFETY: the stream is live, and `array` is a struct to write to.
        let code = unsafe { get_next(self, &raw mut array) };
        self.check(code)?;
        Ok(array.release.is_some().then_some(array))
    }

    fn check(&mut self, code: c_int) -> Result<(), ArrowError> {
        if code == 0 {
            return Ok(());
        }
        let message = match self.get_last_error {
            // SAFETY: the stream is live, and its last call failed, which is when this may be called.
            Some(get_last_error) => unsafe { get_last_error(self) },
            None => ptr::null(),
        };
        let reason = if message.is_null() {
            "no reason given".to_owned()
        } else {
            // SAFETY: a message is a C string that lives until the next call on the stream.
            unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
        };
        Err(ArrowError::Broken(format!("the stream ended with error {code}: {reason}")))
    }
}
