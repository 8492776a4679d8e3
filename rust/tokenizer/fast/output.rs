//! Where token ids go: into a vector, or nowhere when they are only counted.

#![allow(unsafe_code, reason = "ids are copied eight at a time, past the end of short runs")]

use crate::tokenizer::TokenId;

/// Ids that the block copies of [`Output`] may write or read beyond a run.
pub(super) const SLACK: usize = 16;

/// Takes ids in order.
pub(super) trait Output {
    /// Whether ids are wanted, or only how many.
    const WANTS_IDS: bool;

    /// Adds the ids of a chunk: `ids` with each place in `gaps` replaced by the ids that `filling` returns for its
    /// number. They are `total` in all. `ids` and fillings have [`SLACK`] more than they count.
    fn add_chunk<'a>(
        &mut self,
        ids: &[TokenId],
        pieces: usize,
        gaps: &[u32],
        filling: impl Fn(usize) -> (&'a [TokenId], usize),
        total: usize,
    );

    /// Adds one id.
    fn add(&mut self, id: TokenId);
}

/// Counts.
pub(super) struct Count(pub(super) usize);

impl Output for Count {
    const WANTS_IDS: bool = false;

    #[inline(always)]
    fn add_chunk<'a>(
        &mut self,
        _ids: &[TokenId],
        _pieces: usize,
        _gaps: &[u32],
        _filling: impl Fn(usize) -> (&'a [TokenId], usize),
        total: usize,
    ) {
        self.0 += total;
    }

    #[inline(always)]
    fn add(&mut self, _id: TokenId) {
        self.0 += 1;
    }
}

impl Output for Vec<TokenId> {
    const WANTS_IDS: bool = true;

    #[inline(always)]
    fn add_chunk<'a>(
        &mut self,
        ids: &[TokenId],
        pieces: usize,
        gaps: &[u32],
        filling: impl Fn(usize) -> (&'a [TokenId], usize),
        total: usize,
    ) {
        self.reserve(total + SLACK);
        let mut writer = Writer { next: self.spare_capacity_mut().as_mut_ptr().cast(), left: total };
        let mut start = 0;
        for (number, &gap) in gaps.iter().enumerate() {
            let gap = gap as usize;
            writer.copy(&ids[start..], gap - start);
            let (filling, count) = filling(number);
            writer.copy(filling, count);
            start = gap + 1;
        }
        writer.copy(&ids[start..], pieces - start);
        assert_eq!(writer.left, 0, "a chunk has as many ids as its parts");
        // SAFETY: the writer wrote `total` ids behind the length, into room that was reserved for more.
        unsafe { self.set_len(self.len() + total) };
    }

    #[inline(always)]
    fn add(&mut self, id: TokenId) {
        self.push(id);
    }
}

/// Writes to reserved room, of which `left` ids and [`SLACK`] more are left.
struct Writer {
    next: *mut TokenId,
    left: usize,
}

impl Writer {
    /// Copies the first `count` ids, eight at a time: `ids` has up to seven more that are copied and overwritten.
    #[inline(always)]
    fn copy(&mut self, ids: &[TokenId], count: usize) {
        // Runs are short: most are copied at once, and those without an id, too, so that no branch is guessed wrong.
        assert!(count <= self.left && count.next_multiple_of(8).max(8) <= ids.len());
        let mut done = 0;
        loop {
            // SAFETY: `done` is a multiple of eight, 0 or less than `count`. So eight ids from it on end at eight, or at the next
            // multiple of `count`, at most: inside `ids` by the assertion, and in the room, which has `SLACK` more than `left`.
            unsafe {
                let eight = ids.as_ptr().add(done).cast::<[TokenId; 8]>().read_unaligned();
                self.next.add(done).cast::<[TokenId; 8]>().write_unaligned(eight);
            }
            done += 8;
            if done >= count {
                break;
            }
        }
        // SAFETY: `count` ids of the room were written; the next place is in it, or at its end.
        self.next = unsafe { self.next.add(count) };
        self.left -= count;
    }
}
