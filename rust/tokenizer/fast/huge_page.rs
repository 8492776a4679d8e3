//! Zeroed memory of 2 MB that the system gives in one page, where it can.
//!
//! A table that is filled at random touches each of its pages soon. In small pages that is 512 of them, twice each: a read
//! finds the page of zeros that all share, the first write asks for another. On the machine of the results that took
//! a quarter of the time of the first megabyte of text.

#![allow(unsafe_code, reason = "memory of the system is looked at as a table")]

use std::alloc::{Layout, handle_alloc_error};
use std::marker::PhantomData;

use bytemuck::Pod;
use memmap2::MmapMut;

const PAGE: usize = 1 << 21;

/// A zeroed table of at most 2 MB, which starts where a huge page may.
pub(super) struct HugePage<T> {
    memory: MmapMut,
    offset: usize,
    table: PhantomData<T>,
}

impl<T: Pod> HugePage<T> {
    pub(super) fn new() -> HugePage<T> {
        const { assert!(size_of::<T>() <= PAGE && align_of::<T>() <= PAGE) };
        // Twice the size, so that there is a place in it where a page can start; what is around it is never touched.
        let Ok(memory) = MmapMut::map_anon(2 * PAGE) else { handle_alloc_error(Layout::new::<T>()) };
        let offset = memory.as_ptr().align_offset(PAGE);
        // Advice only: a system without huge pages gives small ones.
        #[cfg(target_os = "linux")]
        let _ = memory.advise_range(memmap2::Advice::HugePage, offset, PAGE);
        HugePage { memory, offset, table: PhantomData }
    }

    #[inline(always)]
    pub(super) fn get(&self) -> &T {
        // SAFETY: `new` has checked that a `T` from the offset on is in the memory and is aligned there. The memory is
        // zeroed or was written as a `T`, of which any bits are one, and it is borrowed for as long as the table.
        unsafe { &*self.memory.as_ptr().add(self.offset).cast() }
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self) -> &mut T {
        // SAFETY: as in `get`; and nobody else has the memory.
        unsafe { &mut *self.memory.as_mut_ptr().add(self.offset).cast() }
    }
}
