//! Classes of characters: a byte for every code point of the first plane, pages of 64 above it.

use std::collections::HashMap;

use bytemuck::{Pod, Zeroable, zeroed_box};

/// Class bits of a character, one a class of `CharClass`, so that a test against several is one `and`.
pub(crate) mod class {
    /// Upper and title case.
    pub(crate) const UPPER: u8 = 1;
    /// Lower case.
    pub(crate) const LOWER: u8 = 2;
    /// Letters without case: parts of either.
    pub(crate) const BOTH: u8 = 4;
    /// Combining marks.
    pub(crate) const MARK: u8 = 8;
    /// Numbers.
    pub(crate) const NUMBER: u8 = 16;
    /// White space but `\r` and `\n`.
    pub(crate) const SPACE: u8 = 32;
    /// `\r` and `\n`.
    pub(crate) const NEWLINE: u8 = 64;
    /// Everything else.
    pub(crate) const OTHER: u8 = 128;
}

const FIRST_PLANE: usize = 0x1_0000;
const CODE_POINTS: usize = 0x11_0000;
const PAGE: usize = 64;

/// The class bit of every code point.
#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct ClassTables {
    first_plane: [[u8; PAGE]; FIRST_PLANE / PAGE],
    /// `[page of the first plane]` the class of all its characters, or 0 if they differ.
    uniform_pages: [[u8; PAGE]; FIRST_PLANE / PAGE / PAGE],
    /// `[page above the first plane]` its number among `upper_pages`.
    upper_page_index: [u16; (CODE_POINTS - FIRST_PLANE) / PAGE],
    /// Pages above the first plane, each of a kind once; 12 kB of Unicode 16.
    upper_pages: [[u8; PAGE]; 256],
}

impl ClassTables {
    /// Tables of runs of code points: where each starts, and its class bit.
    pub(crate) fn build(runs: impl Iterator<Item = (u32, u8)>) -> Box<ClassTables> {
        let mut classes = vec![0; CODE_POINTS];
        for (start, class) in runs {
            classes[start as usize..].fill(class);
        }
        let mut tables: Box<ClassTables> = zeroed_box();
        let (first, rest) = classes.as_chunks::<PAGE>().0.split_at(FIRST_PLANE / PAGE);
        tables.first_plane.copy_from_slice(first);
        for (uniform, page) in tables.uniform_pages.as_flattened_mut().iter_mut().zip(first) {
            *uniform = if page.iter().all(|class| class == &page[0]) { page[0] } else { 0 };
        }
        let mut numbers = HashMap::new();
        for (index, page) in tables.upper_page_index.iter_mut().zip(rest) {
            let next = numbers.len();
            let number = *numbers.entry(page).or_insert(next);
            tables.upper_pages[number] = *page;
            *index = number as u16;
        }
        tables
    }

    /// The class bit of a code point.
    #[inline(always)]
    pub(crate) fn class_of(&self, code_point: u32) -> u8 {
        match self.first_plane.as_flattened().get(code_point as usize) {
            Some(&class) => class,
            None => self.upper_class(code_point),
        }
    }

    #[inline(never)]
    fn upper_class(&self, code_point: u32) -> u8 {
        let page = self.upper_page_index.get((code_point >> 6) as usize - FIRST_PLANE / PAGE);
        self.upper_pages[usize::from(page.copied().unwrap_or(0) & 255)][(code_point & 63) as usize]
    }

    /// The classes of the 64 characters from `page * 64` on, in the first plane.
    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only vectors look up whole pages"))]
    pub(crate) fn page(&self, page: usize) -> &[u8; PAGE] {
        &self.first_plane[page % (FIRST_PLANE / PAGE)]
    }

    /// For the 64 pages of a lead byte of three: the class that all characters of a page have, or 0.
    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only vectors look up whole pages"))]
    pub(crate) fn uniform_pages(&self, lead: u8) -> &[u8; PAGE] {
        &self.uniform_pages[usize::from(lead & 15)]
    }
}
