//! Arrays with any contents in buffers of the size that the interface promises: read, or refused.

#![no_main]

use std::ffi::{CString, c_void};
use std::ptr;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nemo_fast::arrow::Texts;
use nemo_fast::arrow::c_data::{ArrowArray, ArrowSchema};

#[derive(Arbitrary, Debug)]
struct Input {
    format: u8,
    length: u8,
    offset: u8,
    null_count: i64,
    has_bitmap: bool,
    bitmap: Vec<u8>,
    /// Offsets, views or keys.
    fixed: Vec<u8>,
    data: Vec<u8>,
    dictionary: Option<Box<Input>>,
}

unsafe extern "C" fn release_array(array: *mut ArrowArray) {
    // SAFETY: `array` points to the argument of the callback.
    unsafe { (*array).release = None };
}

unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
    // SAFETY: as above.
    unsafe { (*schema).release = None };
}

/// Calls `read` with the array; its buffers are exactly as long as they must be, so that a sanitizer sees a step
/// beyond them.
fn with_array(input: &Input, depth: usize, read: &mut dyn FnMut(ArrowArray, ArrowSchema)) {
    let formats = ["u", "U", "vu", "c", "S", "i", "L", "z", "+s", "n"];
    let format = formats[usize::from(input.format) % formats.len()];
    let end = usize::from(input.length) + usize::from(input.offset);
    let fitted = |bytes: &[u8], size: usize| {
        let mut bytes = bytes.to_vec();
        bytes.resize(size, 0);
        bytes.into_boxed_slice()
    };
    let bitmap = fitted(&input.bitmap, end.div_ceil(8));
    let width = match format {
        "c" => 1,
        "S" => 2,
        "u" | "i" => 4,
        "vu" => 16,
        _ => 8,
    };
    let values = if matches!(format, "u" | "U") { end + 1 } else { end };
    let mut fixed = fitted(&input.fixed, values * width);
    // How long the data is, the last offset alone says, so that one must be true.
    let size = input.data.len() as u64;
    if matches!(format, "u" | "U") {
        fixed[end * width..].copy_from_slice(&size.to_ne_bytes()[..width]);
    }
    let data = input.data.clone().into_boxed_slice();
    let pointer = |bytes: &[u8]| bytes.as_ptr().cast::<c_void>();
    let bitmap = if input.has_bitmap { pointer(&bitmap) } else { ptr::null() };
    let mut buffers = vec![bitmap, pointer(&fixed), pointer(&data)];
    if format == "vu" {
        buffers.push((&raw const size).cast());
    }
    let c_format = CString::new(format).unwrap_or_default();
    let is_dictionary = depth < 2 && input.dictionary.is_some();
    let mut make = |dictionary: *mut ArrowArray, dictionary_type: *mut ArrowSchema| {
        let array = ArrowArray {
            length: input.length.into(),
            null_count: input.null_count,
            offset: input.offset.into(),
            n_buffers: if is_dictionary { 2 } else { buffers.len() as i64 },
            n_children: 0,
            buffers: buffers.as_mut_ptr(),
            children: ptr::null_mut(),
            dictionary,
            release: Some(release_array),
            private_data: ptr::null_mut(),
        };
        let schema = ArrowSchema {
            format: c_format.as_ptr(),
            name: ptr::null(),
            metadata: ptr::null(),
            flags: 2,
            n_children: 0,
            children: ptr::null_mut(),
            dictionary: dictionary_type,
            release: Some(release_schema),
            private_data: ptr::null_mut(),
        };
        read(array, schema);
    };
    match &input.dictionary {
        Some(dictionary) if is_dictionary => with_array(dictionary, depth + 1, &mut |mut array, mut schema| {
            make(&raw mut array, &raw mut schema);
        }),
        _ => make(ptr::null_mut(), ptr::null_mut()),
    }
}

fuzz_target!(|input: Input| {
    with_array(&input, 0, &mut |array, schema| {
        // SAFETY: every buffer is as long as `with_array` has made it, and outlives this call.
        if let Ok(texts) = unsafe { Texts::new(array, &schema) } {
            assert_eq!(texts.iter().count(), usize::from(input.length));
            for text in texts.iter().flatten() {
                assert!(std::str::from_utf8(text.as_bytes()).is_ok());
            }
        }
    });
});
