//! AVX-512 with VBMI2: UTF-8 to Latin-1, UTF-16 and UTF-32, 64 bytes at a time.
//!
//! `vpcompressb` pushes the first bytes of the characters together, and likewise the bytes behind them: byte k of
//! character i is then byte i of vector k. What is left is arithmetic on whole vectors.

#![allow(unsafe_code, reason = "vector instructions are called under the proof that the CPU has them")]

use std::arch::x86_64::{
    __m256i, __m512i, _mm512_and_si512, _mm512_castsi512_si128, _mm512_castsi512_si256,
    _mm512_cmpge_epi8_mask, _mm512_cmpge_epu8_mask, _mm512_cmpge_epu16_mask, _mm512_cmpge_epu32_mask,
    _mm512_cvtepu8_epi16, _mm512_cvtepu8_epi32, _mm512_extracti32x4_epi32, _mm512_extracti64x4_epi64,
    _mm512_loadu_si512, _mm512_mask_mov_epi8, _mm512_mask_mov_epi16, _mm512_mask_mov_epi32,
    _mm512_maskz_compress_epi8, _mm512_set1_epi8, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_slli_epi16,
    _mm512_slli_epi32, _mm512_storeu_si512, _mm512_ternarylogic_epi32,
};
use std::mem::MaybeUninit;

use super::unit::Unit;

const WINDOW: usize = 64;
/// Bytes of the longest character.
const LONGEST: usize = 4;

/// Byte k of 64 characters, or anything where a character has none.
type Bytes = [__m512i; LONGEST];

/// See [`super::CpuLevel::unit_blocks`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn unit_blocks<U: Unit>(text: &str, units: &mut [MaybeUninit<U>]) -> (usize, usize) {
    let text = text.as_bytes();
    let (mut read, mut written) = (0, 0);
    while let Some(window) = text[read..].first_chunk()
        && let Some(room) = units[written..].first_chunk_mut::<WINDOW>()
    {
        let first = load(window, 0);
        // Bytes 80 to BF, which go on a character, are the lowest signed numbers.
        let leads = _mm512_cmpge_epi8_mask(first, _mm512_set1_epi8(0xC0_u8.cast_signed()));
        let mut bytes: Bytes = [_mm512_maskz_compress_epi8(leads, first); LONGEST];
        for (offset, bytes) in bytes.iter_mut().enumerate().take(U::BYTES).skip(1) {
            *bytes = _mm512_maskz_compress_epi8(leads, load(window, offset));
        }
        // SAFETY: there is room for 64 units of this size.
        unsafe {
            match size_of::<U>() {
                1 => write_latin_1(bytes, room.as_mut_ptr().cast()),
                2 => write_utf_16(bytes, room.as_mut_ptr().cast()),
                _ => write_utf_32(bytes, room.as_mut_ptr().cast()),
            }
        }
        (read, written) = (read + WINDOW, written + leads.count_ones() as usize);
    }
    // What is behind the last window may be the rest of its last character.
    let rest = text[read..].iter().take_while(|&byte| byte & 0xC0 == 0x80).count();
    (read + rest, written)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(window: &[u8; WINDOW + LONGEST], offset: usize) -> __m512i {
    assert!(offset < LONGEST);
    // SAFETY: 64 bytes from an offset below 4 are inside the window of 68.
    unsafe { _mm512_loadu_si512(window.as_ptr().add(offset).cast()) }
}

/// Writes 64 characters below U+0100.
///
/// # Safety
/// There must be room for 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn write_latin_1([first, second, ..]: Bytes, room: *mut __m512i) {
    let is_two = _mm512_cmpge_epu8_mask(first, _mm512_set1_epi8(0xC0_u8.cast_signed()));
    // (first << 6) & C0 | second & 3F
    let two = select(_mm512_set1_epi8(0x3F), second, _mm512_slli_epi16::<6>(first));
    // SAFETY: the caller's.
    unsafe { _mm512_storeu_si512(room, _mm512_mask_mov_epi8(first, is_two, two)) };
}

/// Writes 64 characters below U+10000.
///
/// # Safety
/// There must be room for 128 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn write_utf_16([first, second, third, _]: Bytes, room: *mut __m512i) {
    let bits = |bits: u16| _mm512_set1_epi16(bits.cast_signed());
    for (half, firsts, seconds, thirds) in [
        (0, low_half(first), low_half(second), low_half(third)),
        (1, high_half(first), high_half(second), high_half(third)),
    ] {
        let one = _mm512_cvtepu8_epi16(firsts);
        let (behind, last) = (_mm512_cvtepu8_epi16(seconds), _mm512_cvtepu8_epi16(thirds));
        let two = select(bits(0x3F), behind, _mm512_slli_epi16::<6>(_mm512_and_si512(one, bits(0x1F))));
        let upper = select(bits(0x0FFF), _mm512_slli_epi16::<6>(behind), _mm512_slli_epi16::<12>(one));
        let three = select(bits(0x3F), last, upper);
        let is_two = _mm512_cmpge_epu16_mask(one, bits(0xC0));
        let is_three = _mm512_cmpge_epu16_mask(one, bits(0xE0));
        let units = _mm512_mask_mov_epi16(_mm512_mask_mov_epi16(one, is_two, two), is_three, three);
        // SAFETY: the caller's: this is the first or the second of two vectors.
        unsafe { _mm512_storeu_si512(room.add(half), units) };
    }
}

/// Writes 64 characters.
///
/// # Safety
/// There must be room for 256 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn write_utf_32(bytes: Bytes, room: *mut __m512i) {
    let bits = |bits: i32| _mm512_set1_epi32(bits);
    for quarter in 0..4 {
        let [one, second, third, fourth] = [
            quarter_of(bytes[0], quarter),
            quarter_of(bytes[1], quarter),
            quarter_of(bytes[2], quarter),
            quarter_of(bytes[3], quarter),
        ];
        let two = select(bits(0x3F), second, _mm512_slli_epi32::<6>(_mm512_and_si512(one, bits(0x1F))));
        let upper = select(bits(0x0FFF), _mm512_slli_epi32::<6>(second), _mm512_slli_epi32::<12>(one));
        let three = _mm512_and_si512(select(bits(0x3F), third, upper), bits(0xFFFF));
        let upper = select(bits(0x3_FFFF), _mm512_slli_epi32::<12>(second), _mm512_slli_epi32::<18>(one));
        let upper = select(bits(0x0FFF), _mm512_slli_epi32::<6>(third), upper);
        let four = _mm512_and_si512(select(bits(0x3F), fourth, upper), bits(0x1F_FFFF));
        let units = _mm512_mask_mov_epi32(one, _mm512_cmpge_epu32_mask(one, bits(0xC0)), two);
        let units = _mm512_mask_mov_epi32(units, _mm512_cmpge_epu32_mask(one, bits(0xE0)), three);
        let units = _mm512_mask_mov_epi32(units, _mm512_cmpge_epu32_mask(one, bits(0xF0)), four);
        // SAFETY: the caller's: this is one of four vectors.
        unsafe { _mm512_storeu_si512(room.add(quarter), units) };
    }
}

/// The bits of `a` where `bits` are set, else those of `b`.
#[inline]
#[target_feature(enable = "avx512f")]
fn select(bits: __m512i, a: __m512i, b: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0b1100_1010>(bits, a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn low_half(bytes: __m512i) -> __m256i {
    _mm512_castsi512_si256(bytes)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn high_half(bytes: __m512i) -> __m256i {
    _mm512_extracti64x4_epi64::<1>(bytes)
}

/// Sixteen of 64 bytes, a word each.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarter_of(bytes: __m512i, quarter: usize) -> __m512i {
    _mm512_cvtepu8_epi32(match quarter {
        0 => _mm512_castsi512_si128(bytes),
        1 => _mm512_extracti32x4_epi32::<1>(bytes),
        2 => _mm512_extracti32x4_epi32::<2>(bytes),
        _ => _mm512_extracti32x4_epi32::<3>(bytes),
    })
}
