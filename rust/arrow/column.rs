//! Results as an Arrow column: counts (int64) or token ids (a list of uint32 for each text), in chunks.
//!
//! What a consumer gets owns a share of its chunk, so it outlives the column and may be released on any thread.

#![allow(unsafe_code, reason = "a consumer reads and releases through C structs")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use super::c_data::{ArrowArray, ArrowArrayStream, ArrowSchema};
use crate::tokenizer::TokenId;

/// Results of the texts of one array; where a text is null, so is its result.
#[derive(Debug)]
pub struct Chunk {
    length: usize,
    null_count: usize,
    /// A bit for each value, set where it is not null.
    validity: Vec<u8>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Counts(Vec<i64>),
    /// The ids of text `i` are `ids[offsets[i]..offsets[i + 1]]`.
    Ids {
        offsets: Offsets,
        ids: Vec<TokenId>,
    },
}

#[derive(Debug)]
enum Offsets {
    Small(Vec<i32>),
    Large(Vec<i64>),
}

impl Chunk {
    /// The count of each text.
    pub fn counts(counts: impl Iterator<Item = Option<usize>>) -> Chunk {
        let mut validity = Bitmap::default();
        let values = counts.map(|count| validity.push(count).map_or(0, |count| count as i64)).collect();
        validity.chunk(Values::Counts(values))
    }

    /// The ids of each text, which `encode` appends.
    pub fn ids<'a>(
        texts: impl Iterator<Item = Option<&'a str>>,
        mut encode: impl FnMut(&str, &mut Vec<TokenId>),
    ) -> Chunk {
        let (mut validity, mut ids, mut offsets) = (Bitmap::default(), Vec::new(), vec![0]);
        for text in texts {
            if let Some(text) = validity.push(text) {
                encode(text, &mut ids);
            }
            offsets.push(ids.len() as i64);
        }
        validity.chunk(Values::Ids { offsets: Offsets::Large(offsets), ids })
    }
}

/// The validity of values that come one by one.
#[derive(Default)]
struct Bitmap {
    bytes: Vec<u8>,
    length: usize,
    null_count: usize,
}

impl Bitmap {
    fn push<T>(&mut self, value: Option<T>) -> Option<T> {
        if self.length.is_multiple_of(8) {
            self.bytes.push(0);
        }
        self.bytes[self.length / 8] |= u8::from(value.is_some()) << (self.length % 8);
        self.length += 1;
        self.null_count += usize::from(value.is_none());
        value
    }

    fn chunk(self, values: Values) -> Chunk {
        Chunk { length: self.length, null_count: self.null_count, validity: self.bytes, values }
    }
}

/// Chunks of one type.
#[derive(Debug)]
pub struct Column {
    format: &'static CStr,
    chunks: Vec<Arc<Chunk>>,
}

impl Column {
    /// The counts of any number of chunks.
    pub fn counts(chunks: Vec<Chunk>) -> Column {
        Column { format: c"l", chunks: chunks.into_iter().map(Arc::new).collect() }
    }

    /// The ids of any number of chunks: a list, or a `large_list` where a chunk has more ids than `list_max`.
    /// That is [`Column::LIST_MAX`], but for tests.
    pub fn ids(mut chunks: Vec<Chunk>, list_max: usize) -> Column {
        let is_large =
            |chunk: &Chunk| matches!(&chunk.values, Values::Ids { ids, .. } if ids.len() > list_max);
        if chunks.iter().any(is_large) {
            return Column { format: c"+L", chunks: chunks.into_iter().map(Arc::new).collect() };
        }
        for chunk in &mut chunks {
            if let Values::Ids { offsets: offsets @ Offsets::Large(_), .. } = &mut chunk.values
                && let Offsets::Large(large) = offsets
            {
                *offsets = Offsets::Small(large.iter().map(|&offset| offset as i32).collect());
            }
        }
        Column { format: c"+l", chunks: chunks.into_iter().map(Arc::new).collect() }
    }

    /// The most ids that a list can have in one chunk.
    pub const LIST_MAX: usize = i32::MAX as usize;

    /// Number of values, nulls included.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.length).sum()
    }

    /// No value at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of chunks.
    pub fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// Number of nulls.
    pub fn null_count(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.null_count).sum()
    }

    /// Arrow's name of the type.
    pub fn type_name(&self) -> &'static str {
        match self.format.to_bytes() {
            b"l" => "int64",
            b"+l" => "list<uint32>",
            _ => "large_list<uint32>",
        }
    }

    /// The type, for a consumer.
    pub fn schema(&self) -> ArrowSchema {
        let is_list = self.format != c"l";
        let child = is_list.then(|| schema(c"I", c"item", None));
        schema(self.format, c"", child)
    }

    /// A chunk, for a consumer.
    pub fn array(&self, chunk: usize) -> Option<ArrowArray> {
        self.chunks.get(chunk).map(array)
    }

    /// The same values in one chunk: itself where it is one already.
    pub fn joined(self: &Arc<Self>) -> Arc<Column> {
        if self.chunks.len() == 1 {
            return Arc::clone(self);
        }
        let (mut validity, mut counts) = (Bitmap::default(), Vec::new());
        let (mut ids, mut offsets) = (Vec::new(), vec![0]);
        for chunk in &self.chunks {
            for index in 0..chunk.length {
                let is_valid = chunk.validity[index / 8] >> (index % 8) & 1 == 1;
                validity.push(is_valid.then_some(()));
            }
            match &chunk.values {
                Values::Counts(more) => counts.extend_from_slice(more),
                Values::Ids { offsets: more_offsets, ids: more } => {
                    let before = ids.len() as i64;
                    ids.extend_from_slice(more);
                    match more_offsets {
                        Offsets::Small(more) => {
                            offsets.extend(more[1..].iter().map(|&end| before + i64::from(end)));
                        }
                        Offsets::Large(more) => offsets.extend(more[1..].iter().map(|&end| before + end)),
                    }
                }
            }
        }
        Arc::new(if self.format == c"l" {
            Column::counts(vec![validity.chunk(Values::Counts(counts))])
        } else {
            let chunk = validity.chunk(Values::Ids { offsets: Offsets::Large(offsets), ids });
            Column::ids(vec![chunk], Column::LIST_MAX)
        })
    }

    /// All chunks, for a consumer.
    pub fn stream(self: &Arc<Self>) -> ArrowArrayStream {
        let source = Box::new(Source { column: Arc::clone(self), next: 0 });
        ArrowArrayStream {
            get_schema: Some(get_schema),
            get_next: Some(get_next),
            get_last_error: Some(get_last_error),
            release: Some(release_stream),
            private_data: Box::into_raw(source).cast(),
        }
    }
}

/// What an exported schema points to.
struct SchemaParts {
    /// Null where the type has no child.
    children: [*mut ArrowSchema; 1],
}

fn schema(format: &'static CStr, name: &'static CStr, child: Option<ArrowSchema>) -> ArrowSchema {
    const NULLABLE: i64 = 2;
    let n_children = i64::from(child.is_some());
    let parts = Box::into_raw(Box::new(SchemaParts { children: [child.map_or(ptr::null_mut(), boxed)] }));
    ArrowSchema {
        format: format.as_ptr(),
        name: name.as_ptr(),
        metadata: ptr::null(),
        flags: NULLABLE,
        n_children,
        // SAFETY: `parts` was just made.
        children: unsafe { (&raw mut (*parts).children).cast() },
        dictionary: ptr::null_mut(),
        release: Some(release_schema),
        private_data: parts.cast(),
    }
}

fn boxed<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
    // SAFETY: only schemas made by `schema` have this callback, and it is called once: it marks them as released.
    // A child that the consumer has moved away is marked so too, and its drop does nothing.
    unsafe {
        let parts = Box::from_raw((*schema).private_data.cast::<SchemaParts>());
        if !parts.children[0].is_null() {
            drop(Box::from_raw(parts.children[0]));
        }
        (*schema).release = None;
    }
}

/// What an exported array points to.
struct ArrayParts {
    buffers: [*const c_void; 2],
    /// Null where the type has no child.
    children: [*mut ArrowArray; 1],
    /// Owns what `buffers` lead to.
    _chunk: Arc<Chunk>,
}

fn array(chunk: &Arc<Chunk>) -> ArrowArray {
    let validity = if chunk.null_count == 0 { ptr::null() } else { chunk.validity.as_ptr().cast() };
    let (values, child) = match &chunk.values {
        Values::Counts(counts) => (counts.as_ptr().cast(), None),
        Values::Ids { offsets, ids } => {
            let offsets = match offsets {
                Offsets::Small(offsets) => offsets.as_ptr().cast(),
                Offsets::Large(offsets) => offsets.as_ptr().cast(),
            };
            (offsets, Some(array_of(chunk, ids.len(), 0, [ptr::null(), ids.as_ptr().cast()], None)))
        }
    };
    array_of(chunk, chunk.length, chunk.null_count, [validity, values], child)
}

fn array_of(
    chunk: &Arc<Chunk>,
    length: usize,
    null_count: usize,
    buffers: [*const c_void; 2],
    child: Option<ArrowArray>,
) -> ArrowArray {
    let n_children = i64::from(child.is_some());
    let children = [child.map_or(ptr::null_mut(), boxed)];
    let parts = boxed(ArrayParts { buffers, children, _chunk: Arc::clone(chunk) });
    ArrowArray {
        length: length as i64,
        null_count: null_count as i64,
        offset: 0,
        n_buffers: 2,
        n_children,
        // SAFETY: `parts` was just made.
        buffers: unsafe { (&raw mut (*parts).buffers).cast() },
        // SAFETY: as above.
        children: unsafe { (&raw mut (*parts).children).cast() },
        dictionary: ptr::null_mut(),
        release: Some(release_array),
        private_data: parts.cast(),
    }
}

unsafe extern "C" fn release_array(array: *mut ArrowArray) {
    // SAFETY: as in `release_schema`, for what `array_of` makes.
    unsafe {
        let parts = Box::from_raw((*array).private_data.cast::<ArrayParts>());
        if !parts.children[0].is_null() {
            drop(Box::from_raw(parts.children[0]));
        }
        (*array).release = None;
    }
}

/// What an exported stream points to.
struct Source {
    column: Arc<Column>,
    next: usize,
}

unsafe extern "C" fn get_schema(stream: *mut ArrowArrayStream, out: *mut ArrowSchema) -> c_int {
    // SAFETY: a consumer passes a live stream, made by `stream`, and room for a schema, which may not be initialised.
    unsafe {
        let source = &*(*stream).private_data.cast::<Source>();
        out.write(source.column.schema());
    }
    0
}

unsafe extern "C" fn get_next(stream: *mut ArrowArrayStream, out: *mut ArrowArray) -> c_int {
    // SAFETY: as in `get_schema`; calls on one stream do not overlap.
    unsafe {
        let source = &mut *(*stream).private_data.cast::<Source>();
        out.write(source.column.array(source.next).unwrap_or_default());
        source.next += 1;
    }
    0
}

/// No call on our streams fails.
unsafe extern "C" fn get_last_error(_: *mut ArrowArrayStream) -> *const c_char {
    ptr::null()
}

unsafe extern "C" fn release_stream(stream: *mut ArrowArrayStream) {
    // SAFETY: only streams made by `stream` have this callback, and it is called once.
    unsafe {
        drop(Box::from_raw((*stream).private_data.cast::<Source>()));
        (*stream).release = None;
    }
}
