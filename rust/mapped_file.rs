//! The bytes of a file, mapped into memory.

#![allow(unsafe_code, reason = "a mapped file is memory that another process may write to")]

use std::fmt;
use std::fs::File;
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

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

/// Bytes that are copied at a time: many pages, and little beside a tensor.
const PIECE: usize = 1 << 24;

/// A part of a mapped file, used in place. A clone shares the map.
#[derive(Clone)]
pub struct MappedBytes {
    map: Arc<Mmap>,
    range: Range<usize>,
}

impl MappedBytes {
    /// # Panics
    /// If the file is shorter.
    pub(crate) fn new(map: &Arc<Mmap>, range: Range<usize>) -> MappedBytes {
        assert!(range.start <= range.end && range.end <= map.len(), "a part of the file");
        MappedBytes { map: Arc::clone(map), range }
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
            let _ = self.map.advise_range(Advice::WillNeed, self.range.start, self.range.len());
            match self.map.advise_range(Advice::PopulateRead, self.range.start, self.range.len()) {
                // Linux before 5.14 does not know it.
                Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {}
                // "Bad address", where the file has ended.
                Err(error) if error.raw_os_error() == Some(14) => {
                    return Err(std::io::Error::other("the file has become shorter since it was opened"));
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

    /// Copies it to `target`, which is as long, and gives back the pages of each piece before the next is read.
    ///
    /// # Errors
    /// As [`populate`](Self::populate).
    pub(crate) fn move_to(&self, target: &mut [u8]) -> std::io::Result<()> {
        for (index, target) in target.chunks_mut(PIECE).enumerate() {
            let start = self.range.start + index * PIECE;
            let piece = MappedBytes::new(&self.map, start..start + target.len());
            piece.populate()?;
            target.copy_from_slice(&piece);
            piece.release();
        }
        Ok(())
    }

    /// Gives its pages back to the system, which keeps them as long as it has room; reading maps them again.
    pub(crate) fn release(&self) {
        #[cfg(unix)]
        {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the pages of a read-only map of a file come from the file again.
            let given_back =
                unsafe { self.map.unchecked_advise_range(advice, self.range.start, self.range.len()) };
            // It only saves memory.
            drop(given_back);
        }
    }
}

impl Deref for MappedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map[self.range.clone()]
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
    fn pages_come_back_and_lost_ones_are_errors() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..100_000_u32).map(|index| (index % 251) as u8).collect();
        file.write_all(&content).unwrap();
        let map = Arc::new(map_file(&file).unwrap());
        let part = MappedBytes::new(&map, 5_000..90_000);
        part.populate().unwrap();
        part.release();
        assert_eq!(part[..], content[5_000..90_000]);
        let mut moved = vec![0; part.len()];
        part.move_to(&mut moved).unwrap();
        assert_eq!(moved, content[5_000..90_000]);
        if cfg!(target_os = "linux") {
            file.set_len(10_000).unwrap();
            let error = part.move_to(&mut moved).unwrap_err();
            assert_eq!(error.to_string(), "the file has become shorter since it was opened");
        }
    }
}
