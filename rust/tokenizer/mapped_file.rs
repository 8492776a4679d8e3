//! The bytes of a file, mapped into memory.

#![allow(unsafe_code, reason = "a mapped file is memory that another process may write to")]

use std::fs::File;

use memmap2::Mmap;

/// Maps a regular file that is not empty. Whoever shrinks the file ends this process; that is the caller's to say.
///
/// # Errors
/// What the system says.
pub fn map_file(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: nothing here writes to the file. Where another process does, the bytes that are read are old or new ones;
    // no index is made from them without a check, and text that was checked is read once more only as bytes.
    unsafe { Mmap::map(file) }
}
