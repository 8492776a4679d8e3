//! Products of f32 by fused multiply-add: what AVX2 and AVX-512 without BF16 have in common, to the bit.
//!
//! **Order.** For each output one f32 chain over ascending k, each step one fused multiply-add with the weight divided by 2⁸; at
//! the end the sum is multiplied by 2⁸. The order is the same for every number of tokens: chains are kept as f32 and taken
//! up again.
//!
//! **Decoding.** Shifted by seven places, the sign kept apart, a code is the f16 of its value divided by 2⁸, subnormals
//! included. The halves are stored, sixteen rows of a column side by side, and widened as they are loaded: `vcvtph2ps` is exact,
//! and takes one operation from memory where it takes two from a register.
//!
//! **Few tokens** decode two blocks ahead into a ring of four, so that decoding and products, which need different ports, overlap.
//! **Many** decode a chunk of the columns of a tile (16 KiB, half of a first-level cache) and multiply it by up to six
//! tokens at a time. Activations stand in the same chunks: rows that are a power of two apart would share the places of a cache.

#![allow(unsafe_code, reason = "loads and stores through pointers whose bounds are checked once a chunk")]

use std::array;
use std::ops::Range;

use super::{Operands, Rows, TILE};
use crate::backend::cpu::fetch::{AHEAD, fetch};
use crate::fp8::GROUP;
use crate::fp8::panels::{BLOCK, PANEL, QUAD};

/// Columns whose activations stand together, and that are decoded at a time.
pub(super) const CHUNK: usize = 128;
/// A group of columns begins with a chunk.
const _: () = assert!(GROUP.is_multiple_of(CHUNK) && CHUNK.is_multiple_of(QUAD));
/// Most tokens that are multiplied at a time where there are many.
pub(super) const BAND: usize = 6;
/// Activations of a line of the cache.
const LINE: usize = 16;
/// Blocks that are decoded before they are needed, and room for them.
const LEAD: usize = 2;
const RING: usize = 4;
/// What the decoded values lack.
pub(super) const MISSING: f32 = 256.0;

/// The registers of a level.
///
/// # Safety
/// All functions need the instructions of the level, and as much behind their pointers as they say.
pub(super) trait Lanes {
    /// f32 of the sixteen rows of a panel, in any order.
    type Rows: Copy;

    unsafe fn zero() -> Self::Rows;

    /// Sixteen sums.
    unsafe fn load(sums: *const f32) -> Self::Rows;

    /// Sixteen sums.
    unsafe fn store(rows: Self::Rows, sums: *mut f32);

    /// The halves of a block, `[QUAD, PANEL]`, aligned to 64 bytes; rows may stand as [`Lanes::widen`] wants them.
    unsafe fn halve(block: *const u8, halves: *mut u16);

    /// The weights of a column, from sixteen aligned halves.
    unsafe fn widen(halves: *const u16) -> Self::Rows;

    /// One activation for all rows.
    unsafe fn spread(x: *const f32) -> Self::Rows;

    /// `sum + weights · x`, rounded once.
    unsafe fn add_product(sum: Self::Rows, weights: Self::Rows, x: Self::Rows) -> Self::Rows;

    /// The product with [`MISSING`].
    unsafe fn complete(sum: Self::Rows) -> Self::Rows;

    /// [`Chunk::multiply`], compiled for the level.
    unsafe fn multiply<const P: usize, const T: usize>(
        chunk: &Chunk<'_>,
        token: usize,
        panel: usize,
        sums: &mut [f32],
    );
}

/// Halves of several blocks.
#[repr(align(64))]
struct Halves<const BLOCKS: usize>([[u16; BLOCK]; BLOCKS]);

/// `P` panels for `T` tokens; returns `P`. `out` has `TILE` panels for each token.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "several arrays go by the same index, and stay registers")]
pub(super) unsafe fn few<L: Lanes, const P: usize, const T: usize>(
    operands: &Operands<'_, Rows<'_>>,
    first: usize,
    panel: usize,
    out: &mut [f32],
) -> usize {
    const { assert!(P <= TILE) };
    let blocks = operands.blocks.len();
    assert!(blocks > 0, "there is a last block");
    let codes: [*const u8; P] = array::from_fn(|p| operands.codes(first + p).as_ptr());
    let mut ring = Halves([[0; BLOCK]; RING * TILE]);
    let ring: *mut [u16; BLOCK] = ring.0.as_mut_ptr();
    let decode = |block: usize| {
        // Behind the end the last block takes the place of none.
        let (at, slot) = (block.min(blocks - 1) * BLOCK, block % RING * P);
        for (p, codes) in codes.iter().enumerate() {
            fetch(codes.wrapping_add(at + AHEAD / P));
            // SAFETY: `codes` has `blocks` blocks of each panel, and the ring `RING` times `P`.
            unsafe { L::halve(codes.add(at), ring.add(slot + p).cast()) };
        }
    };
    (0..LEAD).for_each(decode);
    // SAFETY: the caller's promise.
    let mut sums = [[unsafe { L::zero() }; P]; T];
    for start in (0..blocks).step_by(CHUNK / QUAD) {
        let end = blocks.min(start + CHUNK / QUAD);
        let x = chunk_of(operands, 0..T, start);
        for block in start..end {
            decode(block + LEAD);
            for k in 0..QUAD {
                // SAFETY: the block was decoded `LEAD` rounds before, and each token has the chunk's activations.
                unsafe {
                    let halves = ring.add(block % RING * P);
                    for p in 0..P {
                        let weights = L::widen(halves.add(p).cast::<u16>().add(k * PANEL));
                        for t in 0..T {
                            let x = L::spread(x.add(t * CHUNK + (block - start) * QUAD + k));
                            sums[t][p] = L::add_product(sums[t][p], weights, x);
                        }
                    }
                }
            }
        }
    }
    for (t, sums) in sums.iter().enumerate() {
        for (p, &sum) in sums.iter().enumerate() {
            let out = &mut out[(t * TILE + panel + p) * PANEL..][..PANEL];
            // SAFETY: room for sixteen sums.
            unsafe { L::store(L::complete(sum), out.as_mut_ptr()) };
        }
    }
    P
}

/// [`Operands::chunk`], `[tokens, CHUNK]`.
fn chunk_of(operands: &Operands<'_, Rows<'_>>, tokens: Range<usize>, block: usize) -> *const f32 {
    assert_eq!(operands.x.chunk, CHUNK, "activations stand in chunks");
    operands.chunk(tokens, block).as_ptr()
}

/// The first `count` panels of a tile for any number of tokens, `P` panels at a time.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn many<L: Lanes, const P: usize>(
    operands: &Operands<'_, Rows<'_>>,
    first: usize,
    count: usize,
    sums: &mut [f32],
) {
    let mut halves = Halves([[0; BLOCK]; TILE * CHUNK / QUAD]);
    let blocks = operands.blocks.len();
    let bands = operands.tokens.div_ceil(BAND);
    for start in (0..blocks).step_by(CHUNK / QUAD) {
        let end = blocks.min(start + CHUNK / QUAD);
        for (p, halves) in halves.0.chunks_exact_mut(CHUNK / QUAD).take(count).enumerate() {
            let codes = &operands.codes(first + p)[start * BLOCK..end * BLOCK];
            for (codes, halves) in codes.as_chunks::<BLOCK>().0.iter().zip(halves) {
                fetch(codes.as_ptr().wrapping_add(AHEAD / TILE));
                // SAFETY: a block of codes and the halves of one.
                unsafe { L::halve(codes.as_ptr(), halves.as_mut_ptr()) };
            }
        }
        let chunk = Chunk { operands, halves: &halves.0, blocks: start..end };
        for band in 0..bands {
            let [token, end, next] =
                [band, band + 1, band + 2].map(|band| (band * operands.tokens / bands).min(operands.tokens));
            // Of hundreds of tokens a chunk is more than the cache holds beside the weights.
            operands.chunk(end..next, start).chunks(LINE).for_each(|x| fetch(x.as_ptr()));
            for panel in (0..count).step_by(P) {
                // SAFETY: the caller's promise.
                unsafe {
                    if count - panel >= P {
                        chunk.multiply_band::<L, P>(token..end, panel, sums);
                    } else {
                        (panel..count).for_each(|panel| chunk.multiply_band::<L, 1>(token..end, panel, sums));
                    }
                }
            }
        }
    }
}

/// A chunk of the columns of a tile, decoded.
pub(super) struct Chunk<'a> {
    operands: &'a Operands<'a, Rows<'a>>,
    /// As many blocks as a chunk may have, for each panel.
    halves: &'a [[u16; BLOCK]; TILE * CHUNK / QUAD],
    blocks: Range<usize>,
}

impl Chunk<'_> {
    /// Goes on with the chains of up to [`BAND`] tokens and `P` panels.
    #[inline(always)]
    unsafe fn multiply_band<L: Lanes, const P: usize>(
        &self,
        tokens: Range<usize>,
        panel: usize,
        sums: &mut [f32],
    ) {
        let (token, count) = (tokens.start, tokens.len());
        // SAFETY: the caller has what `L` needs.
        unsafe {
            match count {
                1 => L::multiply::<P, 1>(self, token, panel, sums),
                2 => L::multiply::<P, 2>(self, token, panel, sums),
                3 => L::multiply::<P, 3>(self, token, panel, sums),
                4 => L::multiply::<P, 4>(self, token, panel, sums),
                5 => L::multiply::<P, 5>(self, token, panel, sums),
                _ => L::multiply::<P, BAND>(self, token, panel, sums),
            }
        }
    }

    /// The same for `T` tokens.
    ///
    /// # Safety
    /// The processor has the instructions of `L`.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "several arrays go by the same index, and stay registers")]
    pub(super) unsafe fn multiply<L: Lanes, const P: usize, const T: usize>(
        &self,
        token: usize,
        panel: usize,
        sums: &mut [f32],
    ) {
        let columns = self.blocks.len() * QUAD;
        let x = chunk_of(self.operands, token..token + T, self.blocks.start);
        let halves: [*const u16; P] =
            array::from_fn(|p| self.halves[(panel + p) * CHUNK / QUAD..][..columns / QUAD].as_ptr().cast());
        let chains = &mut sums[token * TILE * PANEL..][..T * TILE * PANEL];
        let at = |t: usize, p: usize| (t * TILE + panel + p) * PANEL;
        assert!(panel + P <= TILE);
        // SAFETY: `chains` has `TILE` panels of sixteen sums for each token; `halves` and `x` have `columns` columns.
        unsafe {
            let mut sums = [[L::zero(); P]; T];
            if self.blocks.start > 0 {
                for (t, sums) in sums.iter_mut().enumerate() {
                    for (p, sum) in sums.iter_mut().enumerate() {
                        *sum = L::load(chains.as_ptr().add(at(t, p)));
                    }
                }
            }
            for k in 0..columns {
                let weights: [L::Rows; P] = array::from_fn(|p| L::widen(halves[p].add(k * PANEL)));
                for t in 0..T {
                    let x = L::spread(x.add(t * CHUNK + k));
                    for p in 0..P {
                        sums[t][p] = L::add_product(sums[t][p], weights[p], x);
                    }
                }
            }
            let is_last = self.blocks.end == self.operands.blocks.len();
            for (t, sums) in sums.iter().enumerate() {
                for (p, &sum) in sums.iter().enumerate() {
                    let sum = if is_last { L::complete(sum) } else { sum };
                    L::store(sum, chains.as_mut_ptr().add(at(t, p)));
                }
            }
        }
    }
}
