//! AVX-512 with VBMI2: 64 bytes of any script at a time.
//!
//! A class table of 64 entries is one vector, and `vpermb` looks all 64 bytes of a window up in it at once.
//!
//! 1. ASCII: one look-up in the 128 entries of two vectors.
//! 2. Two bytes: each lead byte that occurs has a table for its 64 second bytes.
//! 3. Three bytes: most of U+4000 to U+9FFF is Han without a look-up. Of the rest, each lead byte that occurs has a table
//!    of its 64 pages: most pages (a lead and a second byte) are of one class. The few mixed pages that occur have
//!    tables of their own.
//! 4. Four bytes are rare: one by one.
//!
//! Then every byte of a character gets the class of its first.

#![allow(unsafe_code, reason = "vector instructions are called under the proof that the CPU has them")]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_castsi512_si128, _mm512_cmpeq_epi8_mask, _mm512_cmplt_epi8_mask,
    _mm512_cvtepu8_epi32, _mm512_extracti32x4_epi32, _mm512_loadu_si512, _mm512_mask_cmpeq_epi8_mask,
    _mm512_mask_cmpge_epu8_mask, _mm512_mask_cmple_epu8_mask, _mm512_mask_cmplt_epu8_mask,
    _mm512_mask_mov_epi8, _mm512_mask_permutexvar_epi8, _mm512_mask_testn_epi8_mask,
    _mm512_maskz_compress_epi8, _mm512_maskz_permutex2var_epi8, _mm512_movepi8_mask,
    _mm512_permutex2var_epi8, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_slli_epi16, _mm512_storeu_si512,
    _mm512_sub_epi8, _mm512_ternarylogic_epi64, _mm512_test_epi8_mask,
};
use std::mem::MaybeUninit;

use super::Instructions;
use super::avx2::unpack;
use super::avx512_look_up::look_up;
use super::avx512_units::unit_blocks;
use super::avx512_utf8::utf8_blocks;
use super::unit::Unit;
use crate::tokenizer::TokenId;
use crate::tokenizer::embedded::class_tables;
use crate::tokenizer::fast::cache::{Packed, SMALL_IDS};
use crate::tokenizer::fast::class_masks::{ClassMasks, READ, WINDOW, ascii_classes, decode, first_bits};
use crate::tokenizer::fast::look_up::Block;
use crate::tokenizer::tables::Tables;
use crate::tokenizer::tables::classes::class;

/// The CPU has AVX-512 F, BW, DQ, VL, VBMI and VBMI2, BMI1, BMI2, LZCNT and POPCNT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Avx512> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vbmi2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        has_all.then_some(Avx512(()))
    }
}

impl Avx512 {
    /// See [`super::CpuLevel::utf8_blocks`].
    #[inline]
    pub(super) fn utf8_blocks<U: Unit>(self, units: &[U], bytes: &mut [u8]) -> (usize, usize) {
        let Avx512(()) = self;
        // SAFETY: `self` is the proof that the CPU has the instructions (see `detect`).
        unsafe { utf8_blocks(units, bytes) }
    }

    /// See [`super::CpuLevel::unit_blocks`].
    #[inline]
    pub(super) fn unit_blocks<U: Unit>(self, text: &str, units: &mut [MaybeUninit<U>]) -> (usize, usize) {
        let Avx512(()) = self;
        // SAFETY: `self` is the proof that the CPU has the instructions (see `detect`).
        unsafe { unit_blocks(text, units) }
    }
}

impl Instructions for Avx512 {
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
        // SAFETY: `self` is the proof that the CPU has the instructions (see `detect`).
        unsafe { write_positions(bits, base, positions) }
    }

    #[inline(always)]
    fn look_up(
        self,
        block: &mut Block,
        tables: &Tables,
        readable: &[u8],
        starts: &[u32],
        ids: &mut [TokenId],
        misses: (u32, &mut [u32]),
    ) -> usize {
        // SAFETY: `self` is the proof that the CPU has the instructions (see `detect`).
        unsafe { look_up(block, tables, readable, starts, ids, misses) }
    }
}

static IOTA: [u8; WINDOW] = {
    let mut numbers = [0; WINDOW];
    let mut i = 0;
    while i < WINDOW {
        numbers[i] = i as u8;
        i += 1;
    }
    numbers
};
/// The place before each.
static BEFORE: [u8; WINDOW] = {
    let mut numbers = [0; WINDOW];
    let mut i = 1;
    while i < WINDOW {
        numbers[i] = i as u8 - 1;
        i += 1;
    }
    numbers
};

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; WINDOW]) -> __m512i {
    // SAFETY: a vector of 64 bytes is read from an array of 64 bytes.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// The 64 bytes from `offset` on; at most 64.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_from(window: &[u8; READ], offset: usize) -> __m512i {
    assert!(offset <= READ - WINDOW);
    // SAFETY: 64 bytes from an offset of at most 64 are inside the 128 bytes of the window.
    unsafe { _mm512_loadu_si512(window.as_ptr().add(offset).cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn splat(byte: u8) -> __m512i {
    _mm512_set1_epi8(byte.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt")]
fn class_masks(window: &[u8; READ], length: usize) -> ClassMasks {
    let bytes = load_from(window, 0);
    let tables = ascii_classes().as_chunks().0;
    let above_ascii = _mm512_movepi8_mask(bytes);
    let valid = first_bits(length);
    let mut classes = _mm512_maskz_permutex2var_epi8(!above_ascii, load(&tables[0]), bytes, load(&tables[1]));
    let mut masks = ClassMasks::default();
    if above_ascii != 0 {
        classes = wide_classes(window, bytes, above_ascii, classes, &mut masks);
        masks.inner &= valid;
        masks.three &= valid;
        masks.four &= valid;
        masks.both = _mm512_test_epi8_mask(classes, splat(class::BOTH)) & valid;
        masks.mark = _mm512_test_epi8_mask(classes, splat(class::MARK)) & valid;
    }
    let has = |class| _mm512_test_epi8_mask(classes, splat(class)) & valid;
    let is = |byte| _mm512_cmpeq_epi8_mask(bytes, splat(byte)) & valid;
    ClassMasks {
        upper: has(class::UPPER),
        lower: has(class::LOWER),
        number: has(class::NUMBER),
        space: has(class::SPACE),
        newline: has(class::NEWLINE),
        other: has(class::OTHER),
        blank: is(b' '),
        slash: is(b'/'),
        ..masks
    }
}

/// Adds the classes of what is not ASCII; sets the masks of the bytes of characters.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt")]
fn wide_classes(
    window: &[u8; READ],
    bytes: __m512i,
    above_ascii: u64,
    mut classes: __m512i,
    masks: &mut ClassMasks,
) -> __m512i {
    // Bytes 80 to BF are the lowest signed numbers.
    let inner = _mm512_cmplt_epi8_mask(bytes, splat(0xC0));
    let leads = above_ascii & !inner;
    let from_three = _mm512_mask_cmpge_epu8_mask(leads, bytes, splat(0xE0));
    let second = load_from(window, 1);
    let mut rest = leads & !from_three;
    while rest != 0 {
        let lead = window[rest.trailing_zeros() as usize];
        let same = _mm512_mask_cmpeq_epi8_mask(leads, bytes, splat(lead));
        let table = load(class_tables().page(usize::from(lead & 31)));
        classes = _mm512_mask_permutexvar_epi8(classes, same, second, table);
        rest &= !same;
    }
    masks.inner = inner;
    if from_three != 0 {
        masks.four = _mm512_mask_cmpge_epu8_mask(from_three, bytes, splat(0xF0));
        masks.three = from_three & !masks.four;
        classes = three_byte_classes(window, bytes, masks.three, second, classes);
        let mut rest = masks.four;
        while rest != 0 {
            let (code_point, _) = decode(window, rest.trailing_zeros() as usize);
            let place = rest & rest.wrapping_neg();
            // What is behind the end of the text need not be a character.
            classes = _mm512_mask_mov_epi8(
                classes,
                place,
                splat(class_tables().class_of(code_point.min(0x10_FFFF))),
            );
            rest ^= place;
        }
    }
    let before = load(&BEFORE);
    classes = _mm512_mask_permutexvar_epi8(classes, inner, before, classes);
    if from_three != 0 {
        let third = inner & inner << 1;
        classes = _mm512_mask_permutexvar_epi8(classes, third, before, classes);
        classes = _mm512_mask_permutexvar_epi8(classes, third & inner << 2, before, classes);
    }
    classes
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt")]
fn three_byte_classes(
    window: &[u8; READ],
    bytes: __m512i,
    three: u64,
    second: __m512i,
    mut classes: __m512i,
) -> __m512i {
    // Leads E4 to E9: U+4000 to U+9FFF, in which only the hexagrams from U+4DC0 to U+4DFF are no letters.
    let han = _mm512_mask_cmple_epu8_mask(three, _mm512_sub_epi8(bytes, splat(0xE4)), splat(5));
    let hexagrams = _mm512_mask_cmpeq_epi8_mask(
        _mm512_mask_cmpeq_epi8_mask(han, bytes, splat(0xE4)),
        second,
        splat(0xB7),
    );
    let han = han & !hexagrams;
    classes = _mm512_mask_mov_epi8(classes, han, splat(class::BOTH));
    let kana = _mm512_mask_cmplt_epu8_mask(
        _mm512_mask_cmpeq_epi8_mask(three, bytes, splat(0xE3)),
        second,
        splat(0x84),
    );
    if kana != 0 {
        classes = kana_classes(window, kana, second, classes);
    }
    let mut mixed = 0;
    let mut rest = three & !han & !kana;
    while rest != 0 {
        let lead = window[rest.trailing_zeros() as usize];
        let same = _mm512_mask_cmpeq_epi8_mask(rest, bytes, splat(lead));
        classes =
            _mm512_mask_permutexvar_epi8(classes, same, second, load(class_tables().uniform_pages(lead)));
        mixed |= _mm512_mask_testn_epi8_mask(same, classes, classes);
        rest &= !same;
    }
    if mixed != 0 {
        let third = load_from(window, 2);
        while mixed != 0 {
            let at = mixed.trailing_zeros() as usize;
            let (lead, next) = (window[at], window[at + 1]);
            let same = _mm512_mask_cmpeq_epi8_mask(mixed, bytes, splat(lead));
            let same = _mm512_mask_cmpeq_epi8_mask(same, second, splat(next));
            let page = usize::from(lead & 15) << 6 | usize::from(next & 63);
            classes = _mm512_mask_permutexvar_epi8(classes, same, third, load(class_tables().page(page)));
            mixed &= !same;
        }
    }
    classes
}

/// Adds the classes of U+3000 to U+30FF, punctuation and Kana: four pages of which none is of one class.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn kana_classes(window: &[u8; READ], kana: u64, second: __m512i, classes: __m512i) -> __m512i {
    let page = |number: usize| load(class_tables().page(0x3000 / 64 + number));
    // Lowest six bits of the third byte, and above them the lowest of the second.
    let low_bits = _mm512_set1_epi8(0x3F);
    let index = _mm512_ternarylogic_epi64::<0b1100_1010>(
        low_bits,
        load_from(window, 2),
        _mm512_slli_epi16::<6>(second),
    );
    let first_two = _mm512_permutex2var_epi8(page(0), index, page(1));
    let last_two = _mm512_permutex2var_epi8(page(2), index, page(3));
    let is_last_two = _mm512_test_epi8_mask(second, splat(2));
    _mm512_mask_mov_epi8(classes, kana, _mm512_mask_mov_epi8(first_two, is_last_two, last_two))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt")]
fn write_positions(bits: u64, base: u32, positions: &mut [u32; 64]) {
    let count = bits.count_ones();
    let places = _mm512_maskz_compress_epi8(bits, load(&IOTA));
    let base = _mm512_set1_epi32(base.cast_signed());
    let mut sixteens = positions.as_chunks_mut::<16>().0.iter_mut();
    let mut write = |quarter| {
        let sum = _mm512_add_epi32(base, _mm512_cvtepu8_epi32(quarter));
        if let Some(sixteen) = sixteens.next() {
            // SAFETY: a vector of sixteen numbers of 32 bits is written to an array of sixteen.
            unsafe { _mm512_storeu_si512(sixteen.as_mut_ptr().cast(), sum) };
        }
    };
    write(_mm512_castsi512_si128(places));
    if count > 16 {
        write(_mm512_extracti32x4_epi32(places, 1));
        if count > 32 {
            write(_mm512_extracti32x4_epi32(places, 2));
            write(_mm512_extracti32x4_epi32(places, 3));
        }
    }
}
