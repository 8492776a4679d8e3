//! The bytes of a file, mapped into memory.

#![allow(unsafe_code, reason = "a mapped file is memory that another process may write to")]

use std::fs::File;

use memmap2::Mmap;

/// Maps a regular file. Whoever shrinks the file ends this process; that is the caller's to say.
///
/// # Errors
/// What the system says.
pub(crate) fn map_file(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only. Where another process writes to the file, the bytes that are read are old or new ones:
    // the weights among them are numbers without invariants, no index is made from the others without a check, and text
    // that was checked is read once more only as bytes.
    unsafe { Mmap::map(file) }
}
