//! The bytes of a file, mapped into memory.

#![allow(unsafe_code, reason = "a mapped file is memory that another process may write to")]

use std::fmt;
use std::fs::File;
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

/// Bytes that are read alike wherever they are.
#[derive(Debug, Clone)]
pub enum Bytes {
    /// In memory of this process.
    Owned(Vec<u8>),
    /// In a file that is used in place.
    Mapped(MappedBytes),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Owned(bytes) => bytes,
            Bytes::Mapped(bytes) => bytes,
        }
    }
}

/// An open file and its map.
#[derive(Debug)]
pub(crate) struct MappedFile {
    file: File,
    map: Mmap,
}

impl MappedFile {
    /// See [`map_file`].
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn new(file: File) -> std::io::Result<MappedFile> {
        let map = map_file(&file)?;
        Ok(MappedFile { file, map })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

/// Maps a regular file. Whoever shrinks the file ends this process; that is the caller's to say.
///
/// Linux is asked for pages of 2 MiB: a file that is read with them for the first time is mapped in a tenth of the time or less
/// from then on, and addresses in it cost less to look up.
///
/// # Errors
/// What the system says.
pub(crate) fn map_file(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only. Where another process writes to the file, the bytes that are read are old or new ones:
    // the weights among them are numbers without invariants, no index is made from the others without a check, and text
    // that was checked is read once more only as bytes.
    let map = unsafe { Mmap::map(file) }?;
    // Where there are none, smaller ones do.
    #[cfg(target_os = "linux")]
    let _advice = map.advise(memmap2::Advice::HugePage);
    Ok(map)
}

/// No system has smaller ones.
const SMALLEST_PAGE: usize = 4096;

/// A part of a mapped file, used in place. A clone shares the map.
#[derive(Clone)]
pub struct MappedBytes {
    source: Arc<MappedFile>,
    range: Range<usize>,
}

impl MappedBytes {
    /// # Panics
    /// If the file is shorter.
    pub(crate) fn new(source: &Arc<MappedFile>, range: Range<usize>) -> MappedBytes {
        assert!(range.start <= range.end && range.end <= source.len(), "a part of the file");
        MappedBytes { source: Arc::clone(source), range }
    }

    /// Where in the file it begins.
    pub(crate) fn start(&self) -> usize {
        self.range.start
    }

    /// Reads what is not in memory yet and maps it, so that no later access waits for the disk.
    ///
    /// # Errors
    /// What the system says of a page that cannot be read; a plain access would end the process.
    pub(crate) fn populate(&self) -> std::io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            use memmap2::Advice;
            // A hint, so that the disk is asked for all of it at once; then page by page.
            let _ = self.source.map.advise_range(Advice::WillNeed, self.range.start, self.range.len());
            match self.source.map.advise_range(Advice::PopulateRead, self.range.start, self.range.len()) {
                // Linux before 5.14 does not know it.
                Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {}
                // "Bad address", where the file has ended.
                Err(error) if error.raw_os_error() == Some(14) => {
                    return Err(shorter());
                }
                populated => return populated,
            }
        }
        // The first byte need not be the first of its page, so the steps may end before the last page.
        for byte in self.iter().step_by(SMALLEST_PAGE).chain(self.last()) {
            std::hint::black_box(*byte);
        }
        Ok(())
    }

    /// Reads it to `target`, which is as long, past the map: of a file that is cut meanwhile no access ends the process, and its
    /// pages do not stay in memory beside the copy.
    ///
    /// # Errors
    /// What the system says, and where the file has become shorter.
    pub(crate) fn read_to(&self, target: &mut [u8]) -> std::io::Result<()> {
        assert_eq!(target.len(), self.len());
        #[cfg(unix)]
        {
            use std::os::unix::fs::FileExt;
            let read = self.source.file.read_exact_at(target, self.range.start as u64);
            read.map_err(
                |error| if error.kind() == std::io::ErrorKind::UnexpectedEof { shorter() } else { error },
            )
        }
        // Other systems do not let a mapped file become shorter.
        #[cfg(not(unix))]
        {
            target.copy_from_slice(self);
            Ok(())
        }
    }
}

fn shorter() -> std::io::Error {
    std::io::Error::other("the file has become shorter since it was opened")
}

impl Deref for MappedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.source.map[self.range.clone()]
    }
}

impl fmt::Debug for MappedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedBytes({:?})", self.range)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_no_longer_there_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..100_000_u32).map(|index| (index % 251) as u8).collect();
        file.write_all(&content).unwrap();
        let source = Arc::new(MappedFile::new(file).unwrap());
        let part = MappedBytes::new(&source, 5_000..90_000);
        part.populate().unwrap();
        assert_eq!(part[..], content[5_000..90_000]);
        let mut read = vec![0; part.len()];
        part.read_to(&mut read).unwrap();
        assert_eq!(read, content[5_000..90_000]);
        if cfg!(target_os = "linux") {
            source.file.set_len(10_000).unwrap();
            for result in [part.read_to(&mut read), part.populate()] {
                assert_eq!(
                    result.unwrap_err().to_string(),
                    "the file has become shorter since it was opened"
                );
            }
        }
    }
}
