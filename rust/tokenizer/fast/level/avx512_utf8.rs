//! AVX-512 with VBMI2: Latin-1, UTF-16 and UTF-32 to UTF-8, sixteen units at a time.
//!
//! Each unit becomes a word of its bytes in UTF-8, the first one lowest; `vpcompressb` pushes the bytes that are used
//! together.

#![allow(unsafe_code, reason = "vector instructions are called under the proof that the CPU has them")]

use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm_storeu_si128, _mm256_loadu_si256, _mm512_cmpge_epu32_mask,
    _mm512_cmplt_epu32_mask, _mm512_cvtepi32_epi8, _mm512_cvtepu8_epi32, _mm512_cvtepu16_epi32,
    _mm512_loadu_si512, _mm512_mask_mov_epi32, _mm512_maskz_compress_epi8, _mm512_movepi8_mask,
    _mm512_set1_epi32, _mm512_slli_epi32, _mm512_srli_epi32, _mm512_storeu_si512, _mm512_sub_epi32,
    _mm512_ternarylogic_epi32,
};

use super::unit::{UTF8_ROOM, Unit};

const SIXTEEN: usize = 16;

#[inline]
#[target_feature(enable = "avx512f")]
fn splat(number: u32) -> __m512i {
    _mm512_set1_epi32(number.cast_signed())
}

/// `bits | 0x80` of the lowest six bits: a byte that goes on a character.
#[inline]
#[target_feature(enable = "avx512f")]
fn inner(bits: __m512i) -> __m512i {
    // (bits & 3F) | 80
    _mm512_ternarylogic_epi32::<0b1110_1010>(bits, splat(0x3F), splat(0x80))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn or(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0b1111_1110>(a, b, c)
}

/// Sixteen units, a word each.
#[inline]
#[target_feature(enable = "avx512f")]
fn load<U: Unit>(units: &[U; SIXTEEN]) -> __m512i {
    let units = units.as_ptr();
    // SAFETY: sixteen units are read, of the size that they have.
    unsafe {
        match size_of::<U>() {
            1 => _mm512_cvtepu8_epi32(_mm_loadu_si128(units.cast())),
            2 => _mm512_cvtepu16_epi32(_mm256_loadu_si256(units.cast())),
            _ => _mm512_loadu_si512(units.cast()),
        }
    }
}

/// See [`super::CpuLevel::utf8_blocks`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn utf8_blocks<U: Unit>(units: &[U], bytes: &mut [u8]) -> (usize, usize) {
    let (mut read, mut written) = (0, 0);
    for block in units.as_chunks::<SIXTEEN>().0 {
        let Some(room) = bytes[written..].first_chunk_mut::<UTF8_ROOM>() else { break };
        let unit = load(block);
        let is_two = _mm512_cmpge_epu32_mask(unit, splat(0x80));
        if is_two == 0 {
            // SAFETY: a vector of 16 bytes is written to an array of 64.
            unsafe { _mm_storeu_si128(room.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(unit)) };
            (read, written) = (read + SIXTEEN, written + SIXTEEN);
            continue;
        }
        let is_three = _mm512_cmpge_epu32_mask(unit, splat(0x800));
        let no_character = _mm512_cmplt_epu32_mask(_mm512_sub_epi32(unit, splat(0xD800)), splat(0x800))
            | _mm512_cmpge_epu32_mask(unit, splat(0x11_0000));
        if no_character != 0 {
            break;
        }
        let (by_6, by_12) = (_mm512_srli_epi32::<6>(unit), _mm512_srli_epi32::<12>(unit));
        let second_of_two = _mm512_slli_epi32::<8>(inner(unit));
        let two = or(by_6, splat(0xC0), second_of_two);
        let second_of_three = _mm512_slli_epi32::<8>(inner(by_6));
        let third_of_three = _mm512_slli_epi32::<8>(second_of_two);
        let three = or(or(by_12, splat(0xE0), second_of_three), third_of_three, third_of_three);
        let mut words = _mm512_mask_mov_epi32(unit, is_two, two);
        words = _mm512_mask_mov_epi32(words, is_three, three);
        let mut used = _mm512_mask_mov_epi32(splat(0xFF), is_two, splat(0xFFFF));
        used = _mm512_mask_mov_epi32(used, is_three, splat(0xFF_FFFF));
        let is_four = _mm512_cmpge_epu32_mask(unit, splat(0x1_0000));
        if is_four != 0 {
            let first = or(_mm512_srli_epi32::<18>(unit), splat(0xF0), _mm512_slli_epi32::<8>(inner(by_12)));
            let four = or(first, _mm512_slli_epi32::<16>(inner(by_6)), _mm512_slli_epi32::<24>(inner(unit)));
            words = _mm512_mask_mov_epi32(words, is_four, four);
            used = _mm512_mask_mov_epi32(used, is_four, splat(u32::MAX));
        }
        let used = _mm512_movepi8_mask(used);
        // SAFETY: a vector of 64 bytes is written to an array of 64.
        unsafe { _mm512_storeu_si512(room.as_mut_ptr().cast(), _mm512_maskz_compress_epi8(used, words)) };
        (read, written) = (read + SIXTEEN, written + used.count_ones() as usize);
    }
    (read, written)
}
