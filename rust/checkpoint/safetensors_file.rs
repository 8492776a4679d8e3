//! One safetensors file, memory-mapped: the header is checked, then tensors are views of the map.
//!
//! Knows no tensor names: what must be there, in which shape, is the business of `weights`.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::SafeTensors;

use super::CheckpointError;
use crate::error::{Error, Result};
use crate::mapped_file::{Bytes, MappedBytes, MappedFile};

/// The element types that a checkpoint may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// The upper half of an f32.
    Bf16,
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
    /// See [`crate::fp8::e4m3`].
    F8E4M3,
}

impl Dtype {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F8E4M3 => 1,
            Dtype::Bf16 | Dtype::F16 => 2,
            Dtype::F32 => 4,
        }
    }

    /// As safetensors files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::Bf16 => "BF16",
            Dtype::F16 => "F16",
            Dtype::F32 => "F32",
            Dtype::F8E4M3 => "F8_E4M3",
        }
    }

    fn of(dtype: safetensors::Dtype) -> Option<Dtype> {
        match dtype {
            safetensors::Dtype::BF16 => Some(Dtype::Bf16),
            safetensors::Dtype::F16 => Some(Dtype::F16),
            safetensors::Dtype::F32 => Some(Dtype::F32),
            safetensors::Dtype::F8_E4M3 => Some(Dtype::F8E4M3),
            _ => None,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor of a file, mapped or read. Cloning shares the map.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Its name in the file.
    pub name: String,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Row-major.
    pub shape: Vec<usize>,
    bytes: Bytes,
}

impl Tensor {
    /// Its elements, little-endian and row-major, of any alignment.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Copies the bytes to `target`, which is as long, without mapping them.
    ///
    /// # Errors
    /// What the system says of bytes that cannot be read.
    pub fn copy_bytes(&self, target: &mut [u8]) -> std::io::Result<()> {
        match &self.bytes {
            Bytes::Owned(bytes) => target.copy_from_slice(bytes),
            Bytes::Mapped(bytes) => bytes.read_to(target)?,
        }
        Ok(())
    }

    /// The same in memory of this process: whatever becomes of the file, it can be read.
    ///
    /// # Errors
    /// As [`copy_bytes`](Self::copy_bytes).
    pub(crate) fn read_whole(self) -> std::io::Result<Tensor> {
        let mut bytes = vec![0; self.bytes.len()];
        self.copy_bytes(&mut bytes)?;
        Ok(Tensor { bytes: Bytes::Owned(bytes), ..self })
    }

    /// The part of a file that it is, if it was not read.
    pub(crate) fn mapped(&self) -> Option<&MappedBytes> {
        match &self.bytes {
            Bytes::Owned(_) => None,
            Bytes::Mapped(bytes) => Some(bytes),
        }
    }

    /// Its bytes.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Refuses infinities and what is no number, by the element's index.
    pub(super) fn check_finite(&self) -> Result<()> {
        let mut row = vec![0.0; 4096.min(self.len())];
        for first in (0..self.len()).step_by(4096) {
            let part = row.len().min(self.len() - first);
            self.read(first, &mut row[..part]);
            if let Some(index) = row[..part].iter().position(|value| !value.is_finite()) {
                return Err(
                    CheckpointError::NotFinite { name: self.name.clone(), index: first + index }.into()
                );
            }
        }
        Ok(())
    }

    /// Converts the elements from `first` on into `row`, exactly.
    pub fn read(&self, first: usize, row: &mut [f32]) {
        let size = self.dtype.size();
        let bytes = &self.bytes()[first * size..(first + row.len()) * size];
        let pairs = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        match self.dtype {
            Dtype::Bf16 => fill(row, pairs().map(|pair| half::bf16::from_le_bytes(pair).to_f32())),
            Dtype::F16 => fill(row, pairs().map(|pair| half::f16::from_le_bytes(pair).to_f32())),
            Dtype::F32 => fill(
                row,
                bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])),
            ),
            Dtype::F8E4M3 => fill(row, bytes.iter().map(|&code| crate::fp8::e4m3::VALUES[code as usize])),
        }
    }
}

fn fill(row: &mut [f32], values: impl Iterator<Item = f32>) {
    for (target, value) in row.iter_mut().zip(values) {
        *target = value;
    }
}

/// An open file: names to tensors.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    map: Arc<MappedFile>,
    entries: HashMap<String, (safetensors::Dtype, Vec<usize>, Range<usize>)>,
    metadata: HashMap<String, String>,
}

impl SafetensorsFile {
    /// Maps the file and checks its header: the length, the JSON, and that the tensors' ranges fit their shapes
    /// and cover the rest of the file exactly.
    ///
    /// The file must not be cut while it is mapped: the operating system would then end the process at the
    /// first read beyond its new end. Writing a new file and renaming it over the old one is safe.
    pub fn open(path: &Path) -> Result<SafetensorsFile> {
        let file = File::open(path).map_err(Error::io(path))?;
        let map = MappedFile::new(file).map_err(Error::io(path))?;
        let header = |reason: String| CheckpointError::Header { path: path.to_owned(), reason };
        let (header_length, read) =
            SafeTensors::read_metadata(&map).map_err(|error| header(error.to_string()))?;
        let data = 8 + header_length;
        let mut entries = HashMap::new();
        for (name, info) in read.tensors() {
            let (start, end) = info.data_offsets;
            entries.insert(name, (info.dtype, info.shape.clone(), data + start..data + end));
        }
        let metadata = read.metadata().clone().unwrap_or_default();
        Ok(SafetensorsFile { path: path.to_owned(), map: Arc::new(map), entries, metadata })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    #[allow(clippy::len_without_is_empty, reason = "a file that opened has a header")]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// What the writer said about the whole file: `__metadata__`.
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }

    /// The tensors' names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The tensor of that name, if it is there; an error if its type is not one of [`Dtype`].
    pub fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        let Some((dtype, shape, range)) = self.entries.get(name) else { return Ok(None) };
        let Some(known) = Dtype::of(*dtype) else {
            return Err(CheckpointError::Dtype {
                name: name.to_owned(),
                expected: "BF16, F16, F32 or F8_E4M3",
                found: format!("{dtype:?}"),
            }
            .into());
        };
        Ok(Some(Tensor {
            name: name.to_owned(),
            dtype: known,
            shape: shape.clone(),
            bytes: Bytes::Mapped(MappedBytes::new(&self.map, range.clone())),
        }))
    }
}
