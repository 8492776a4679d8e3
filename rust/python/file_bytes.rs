//! The bytes of a file that is counted as a whole.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::Error;
use crate::mapped_file::map_file;

/// Works on the bytes of a file: a regular one is mapped into memory, any other is read to its end.
pub(super) fn with_file_bytes<R>(
    path: &Path,
    work: impl FnOnce(&[u8]) -> Result<R, Error>,
) -> Result<R, Error> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let metadata = file.metadata().map_err(Error::io(path))?;
    // Files of the kernel say that they are empty, and are not.
    if metadata.is_file() && metadata.len() > 0 {
        return work(&map_file(&file).map_err(Error::io(path))?);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(Error::io(path))?;
    work(&bytes)
}
