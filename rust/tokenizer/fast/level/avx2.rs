//! AVX2 with BMI: 32 ASCII bytes at a time. What is not ASCII is looked at one character after the other.

#![allow(unsafe_code, reason = "vector instructions are called under the proof that the CPU has them")]

use std::arch::x86_64::{
    __m256i, _mm_set_epi64x, _mm256_add_epi8, _mm256_and_si256, _mm256_broadcastsi128_si256,
    _mm256_cmpeq_epi8, _mm256_cmpgt_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_or_si256,
    _mm256_set1_epi8, _mm256_set1_epi32, _mm256_shuffle_epi8, _mm256_srlv_epi32, _mm256_storeu_si256,
};

use super::Instructions;
use super::scalar::write_bit_by_bit;
use crate::tokenizer::TokenId;
use crate::tokenizer::fast::cache::{Packed, SMALL_IDS};
use crate::tokenizer::fast::class_masks::{ClassMasks, READ, first_bits};
use crate::tokenizer::tables::layout::RANK_BITS;

/// The CPU has AVX2, BMI1, BMI2, LZCNT and POPCNT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Avx2> {
        let has_all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        has_all.then_some(Avx2(()))
    }
}

impl Instructions for Avx2 {
    #[inline(always)]
    fn class_masks(self, window: &[u8; READ], length: usize) -> ClassMasks {
        // SAFETY: `self` is the proof that the CPU has the instructions (see `detect`).
        unsafe { class_masks(window, length) }
    }

    #[inline(always)]
    fn unpack(self, packed: Packed, ids: &mut [TokenId; SMALL_IDS + 1]) {
        // SAFETY: `self` is the proof that the CPU has the instructions (see `detect`).
        unsafe { unpack(packed, ids) }
    }

    #[inline(always)]
    fn write_positions(self, bits: u64, base: u32, positions: &mut [u32; 64]) {
        write_bit_by_bit(bits, base, positions);
    }
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn class_masks(window: &[u8; READ], length: usize) -> ClassMasks {
    // SAFETY: a vector of 32 bytes is read from the first and from the second 32 of the 128 bytes of `window`.
    let halves = unsafe {
        [_mm256_loadu_si256(window.as_ptr().cast()), _mm256_loadu_si256(window.as_ptr().add(32).cast())]
    };
    let valid = first_bits(length);
    let mask = |of: &dyn Fn(__m256i) -> __m256i| both_masks(of(halves[0]), of(halves[1])) & valid;
    let is = |byte: u8| both_masks(equals(halves[0], byte), equals(halves[1], byte)) & valid;

    let letter = mask(&|bytes| in_range(_mm256_or_si256(bytes, _mm256_set1_epi8(0x20)), b'a', b'z'));
    let small = both_masks(
        _mm256_cmpgt_epi8(_mm256_and_si256(halves[0], _mm256_set1_epi8(0x20)), _mm256_set1_epi8(0)),
        _mm256_cmpgt_epi8(_mm256_and_si256(halves[1], _mm256_set1_epi8(0x20)), _mm256_set1_epi8(0)),
    );
    let number = mask(&|bytes| in_range(bytes, b'0', b'9'));
    let newline = is(b'\n') | is(b'\r');
    let blank = is(b' ');
    let space = blank | (mask(&|bytes| in_range(bytes, b'\t', 12)) & !newline);
    let above_ascii = both_masks(halves[0], halves[1]) & valid;
    let mut masks = ClassMasks {
        upper: letter & !small,
        lower: letter & small,
        number,
        space,
        newline,
        other: valid & !(letter | number | space | newline | above_ascii),
        blank,
        slash: is(b'/'),
        ..ClassMasks::default()
    };
    let inner = both_masks(below(halves[0], 0xC0), below(halves[1], 0xC0));
    let mut leads = above_ascii & !inner;
    while leads != 0 {
        masks.add_wide(window, leads.trailing_zeros() as usize, length);
        leads &= leads - 1;
    }
    masks
}

/// For each id of [`Packed`] the four bytes that have its bits, and where among them they start.
static ID_BYTES: [u8; 32] = {
    let mut bytes = [0; 32];
    let mut i = 0;
    while i < 32 {
        bytes[i] = (i / 4 * RANK_BITS as usize / 8 + i % 4) as u8;
        i += 1;
    }
    bytes
};
static ID_SHIFTS: [u32; 8] = {
    let mut shifts = [0; 8];
    let mut i = 0;
    while i < 8 {
        shifts[i] = i as u32 * RANK_BITS % 8;
        i += 1;
    }
    shifts
};

/// See [`Packed::unpack`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn unpack(packed: Packed, ids: &mut [TokenId; SMALL_IDS + 1]) {
    let bits = packed.bits();
    let packed = _mm256_broadcastsi128_si256(_mm_set_epi64x((bits >> 64) as i64, bits as i64));
    // SAFETY: vectors of 32 bytes are read from arrays of 32.
    let (bytes, shifts) = unsafe {
        (_mm256_loadu_si256(ID_BYTES.as_ptr().cast()), _mm256_loadu_si256(ID_SHIFTS.as_ptr().cast()))
    };
    let words = _mm256_srlv_epi32(_mm256_shuffle_epi8(packed, bytes), shifts);
    let unpacked = _mm256_and_si256(words, _mm256_set1_epi32((1 << RANK_BITS) - 1));
    // SAFETY: a vector of eight numbers is written to eight.
    unsafe { _mm256_storeu_si256(ids.as_mut_ptr().cast(), unpacked) };
}

/// The top bits of 64 bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn both_masks(first: __m256i, second: __m256i) -> u64 {
    let bits = |half| u64::from(_mm256_movemask_epi8(half).cast_unsigned());
    bits(first) | bits(second) << 32
}

#[inline]
#[target_feature(enable = "avx2")]
fn equals(bytes: __m256i, byte: u8) -> __m256i {
    _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte.cast_signed()))
}

/// Bytes from `first` to `last`, both ASCII: shifted so that the range ends at the greatest signed byte.
#[inline]
#[target_feature(enable = "avx2")]
fn in_range(bytes: __m256i, first: u8, last: u8) -> __m256i {
    let shifted = _mm256_add_epi8(bytes, _mm256_set1_epi8((127 - last).cast_signed()));
    _mm256_cmpgt_epi8(shifted, _mm256_set1_epi8((127 - last + first - 1).cast_signed()))
}

/// Bytes above ASCII and below `bound`: as signed numbers they are the lowest.
#[inline]
#[target_feature(enable = "avx2")]
fn below(bytes: __m256i, bound: u8) -> __m256i {
    _mm256_cmpgt_epi8(_mm256_set1_epi8(bound.cast_signed()), bytes)
}
