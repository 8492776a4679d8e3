//! AVX-512: eight pieces are looked up together. What it does is [`Block::look_up`].
//!
//! The keys of pieces 0, 2, 4 and 6 of a step are the 128-bit lanes of one vector, those of 1, 3, 5 and 7 of another: so the
//! low halves of both, interleaved, are in the order of the pieces, and so are the high ones.

#![allow(unsafe_code, reason = "vector instructions are called under the proof that the CPU has them")]

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_loadu_si128, _mm256_add_epi32, _mm256_and_si256, _mm256_castsi128_si256,
    _mm256_cmpgt_epu32_mask, _mm256_i32gather_epi32, _mm256_inserti128_si256, _mm256_loadu_si256,
    _mm256_maskz_compress_epi32, _mm256_min_epu32, _mm256_set1_epi32, _mm256_setr_epi32, _mm256_slli_epi32,
    _mm256_storeu_si256, _mm256_sub_epi32, _mm256_xor_si256, _mm512_castsi256_si512, _mm512_cmplt_epu8_mask,
    _mm512_cvtepi64_epi32, _mm512_inserti64x4, _mm512_loadu_si512, _mm512_mask_mov_epi8,
    _mm512_maskz_mov_epi8, _mm512_mullo_epi64, _mm512_permutexvar_epi8, _mm512_set1_epi64, _mm512_srli_epi64,
    _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_test_epi64_mask, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use crate::tokenizer::TokenId;
use crate::tokenizer::fast::look_up::{BLOCK, Block, STEP};
use crate::tokenizer::fast::prefetch::prefetch;
use crate::tokenizer::tables::layout::{
    PIECE_BUCKET_BITS, PIECE_MIX, PIECE_SLOT_BITS, RANK_BITS, SLOT_SHIFT,
};
use crate::tokenizer::tables::{ENTRY_KEY_BITS, KEY_BYTES, Tables};

/// For each byte of a lane its number.
static IN_LANE: [u8; 64] = {
    let mut numbers = [0; 64];
    let mut i = 0;
    while i < 64 {
        numbers[i] = i as u8 % 16;
        i += 1;
    }
    numbers
};

/// For each byte of lane `i` where the lowest byte of the number `2 * i` is, of eight numbers of 32 bits; then that of the
/// number behind.
static NUMBER_OF_LANE: [[u8; 64]; 2] = {
    let mut places = [[0; 64]; 2];
    let mut i = 0;
    while i < 64 {
        places[0][i] = i as u8 / 16 * 8;
        places[1][i] = places[0][i] + 4;
        i += 1;
    }
    places
};

/// The byte of a lane that has the length of a piece.
const LENGTH_BYTES: u64 = 0x8000_8000_8000_8000;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn look_up(
    block: &mut Block,
    tables: &Tables,
    readable: &[u8],
    starts: &[u32],
    ids: &mut [TokenId],
    (first, misses): (u32, &mut [u32]),
) -> usize {
    let pieces = starts.len() - 1;
    assert!(pieces <= BLOCK && pieces + STEP <= ids.len() && pieces + STEP <= misses.len());
    // The last pieces are filled up with empty ones.
    let mut padded = [starts[pieces]; STEP + 1];
    let whole = pieces / STEP * STEP;
    padded[..=pieces - whole].copy_from_slice(&starts[whole..]);
    let starts_of = |step: usize| starts[step * STEP..].first_chunk().unwrap_or(&padded);

    let Block { slots, keys, hashes } = block;
    let steps = pieces.div_ceil(STEP);
    let rooms = keys.as_chunks_mut::<STEP>().0.iter_mut().zip(hashes.as_chunks_mut().0);
    for (step, ((keys, hashes), slots)) in rooms.zip(slots.as_chunks_mut().0).enumerate().take(steps) {
        ask(tables, readable, starts_of(step), keys, hashes, slots);
    }

    let mut missed = 0;
    let rooms = keys.as_chunks::<STEP>().0.iter().zip(slots.as_chunks().0).zip(ids.as_chunks_mut().0);
    for (step, ((keys, slots), ids)) in rooms.enumerate().take(steps) {
        let not_found = answer(tables, keys, slots, ids);
        let left = (pieces - step * STEP).min(STEP);
        let not_found = not_found & ((1_u16 << left) - 1) as u8;
        let Some(room) = misses[missed..].first_chunk_mut::<STEP>() else { break };
        write_misses(not_found, first + (step * STEP) as u32, room);
        missed += not_found.count_ones() as usize;
    }
    missed
}

/// The first round for eight pieces.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt")]
fn ask(
    tables: &Tables,
    readable: &[u8],
    starts: &[u32; STEP + 1],
    keys: &mut [[u64; 2]; STEP],
    hashes: &mut [u64; STEP],
    slots: &mut [u32; STEP],
) {
    // SAFETY: eight numbers are read from an array of nine, from its start and from the second on.
    let (from, to) = unsafe {
        (_mm256_loadu_si256(starts.as_ptr().cast()), _mm256_loadu_si256(starts.as_ptr().add(1).cast()))
    };
    let last = (readable.len() - KEY_BYTES).min(i32::MAX as usize) as i32;
    assert!(_mm256_cmpgt_epu32_mask(from, _mm256_set1_epi32(last)) == 0);
    let bytes = |piece: usize| -> __m128i {
        // SAFETY: the start was just found to have sixteen bytes from it on.
        unsafe { _mm_loadu_si128(readable.as_ptr().add(starts[piece] as usize).cast()) }
    };
    let four = |piece: usize| -> __m512i {
        let two =
            |piece| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(bytes(piece)), bytes(piece + 2));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(two(piece)), two(piece + 4))
    };
    let lengths = _mm256_min_epu32(_mm256_sub_epi32(to, from), _mm256_set1_epi32(KEY_BYTES as i32));
    let even = key(four(0), lengths, &NUMBER_OF_LANE[0]);
    let odd = key(four(1), lengths, &NUMBER_OF_LANE[1]);
    let [even_keys, odd_keys] = keys.as_chunks_mut::<4>().0 else { unreachable!() };
    // SAFETY: a vector of 64 bytes is written to four keys of sixteen, twice.
    unsafe {
        _mm512_storeu_si512(even_keys.as_mut_ptr().cast(), even);
        _mm512_storeu_si512(odd_keys.as_mut_ptr().cast(), odd);
    }

    // As in `piece_hash`, `bucket` and `displaced_slot`.
    let mix = |step: usize| _mm512_set1_epi64(PIECE_MIX[step].cast_signed());
    let (low, high) = (_mm512_unpacklo_epi64(even, odd), _mm512_unpackhi_epi64(even, odd));
    let seed = _mm512_set1_epi64(tables.piece_seed().cast_signed());
    let word = _mm512_ternarylogic_epi64::<0b1001_0110>(low, seed, _mm512_mullo_epi64(high, mix(0)));
    let word = _mm512_mullo_epi64(word, mix(1));
    let hash = _mm512_mullo_epi64(_mm512_xor_si512(word, _mm512_srli_epi64::<32>(word)), mix(2));
    // SAFETY: a vector of eight words is written to eight.
    unsafe { _mm512_storeu_si512(hashes.as_mut_ptr().cast(), hash) };
    let bucket = _mm512_cvtepi64_epi32(_mm512_srli_epi64::<{ 64 - PIECE_BUCKET_BITS }>(hash));
    // SAFETY: a bucket has `PIECE_BUCKET_BITS` bits, so that it has a displacement; two bytes more can be read.
    let displacement = unsafe { _mm256_i32gather_epi32::<2>(tables.piece_displacements().cast(), bucket) };
    let displacement = _mm256_and_si256(displacement, _mm256_set1_epi32(0xFFFF));
    let displaced = _mm256_xor_si256(
        _mm512_cvtepi64_epi32(_mm512_srli_epi64::<SLOT_SHIFT>(hash)),
        _mm256_slli_epi32::<{ PIECE_SLOT_BITS as i32 - 16 }>(displacement),
    );
    let slot = _mm256_and_si256(displaced, _mm256_set1_epi32((1 << PIECE_SLOT_BITS) - 1));
    // SAFETY: a vector of eight numbers is written to eight.
    unsafe { _mm256_storeu_si256(slots.as_mut_ptr().cast(), slot) };
    for &slot in &*slots {
        prefetch(tables.piece_entry(slot as usize));
    }
}

/// The keys of four pieces: their bytes, and their lengths in the top bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn key(bytes: __m512i, lengths: __m256i, of_lane: &[u8; 64]) -> __m512i {
    // SAFETY: vectors of 64 bytes are read from arrays of 64.
    let (of_lane, in_lane) =
        unsafe { (_mm512_loadu_si512(of_lane.as_ptr().cast()), _mm512_loadu_si512(IN_LANE.as_ptr().cast())) };
    let length = _mm512_permutexvar_epi8(of_lane, _mm512_castsi256_si512(lengths));
    let bytes = _mm512_maskz_mov_epi8(_mm512_cmplt_epu8_mask(in_lane, length), bytes);
    _mm512_mask_mov_epi8(bytes, LENGTH_BYTES, length)
}

/// The second round for eight pieces: their ids, and which of them have none.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt")]
fn answer(tables: &Tables, keys: &[[u64; 2]; STEP], slots: &[u32; STEP], ids: &mut [TokenId; STEP]) -> u8 {
    let entry = |piece: usize| -> __m128i {
        // SAFETY: sixteen bytes are read from an entry of sixteen.
        unsafe { _mm_loadu_si128(std::ptr::from_ref(tables.piece_entry(slots[piece] as usize)).cast()) }
    };
    let four = |piece: usize| -> __m512i {
        let two =
            |piece| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(entry(piece)), entry(piece + 2));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(two(piece)), two(piece + 4))
    };
    let (even, odd) = (four(0), four(1));
    // SAFETY: vectors of 64 bytes are read from the first and the last four of eight keys of sixteen.
    let (even_keys, odd_keys) = unsafe {
        (_mm512_loadu_si512(keys.as_ptr().cast()), _mm512_loadu_si512(keys.as_ptr().add(4).cast()))
    };
    let (even_difference, odd_difference) =
        (_mm512_xor_si512(even, even_keys), _mm512_xor_si512(odd, odd_keys));
    let low = _mm512_unpacklo_epi64(even_difference, odd_difference);
    let high = _mm512_unpackhi_epi64(even_difference, odd_difference);
    // As in `entry_id`: low | high & bits
    let bits = _mm512_set1_epi64(ENTRY_KEY_BITS.cast_signed());
    let difference = _mm512_ternarylogic_epi64::<0b1111_1000>(low, high, bits);
    let id = _mm512_cvtepi64_epi32(_mm512_srli_epi64::<32>(_mm512_unpackhi_epi64(even, odd)));
    let id = _mm256_and_si256(id, _mm256_set1_epi32((1 << RANK_BITS) - 1));
    // SAFETY: a vector of eight numbers is written to eight.
    unsafe { _mm256_storeu_si256(ids.as_mut_ptr().cast(), id) };
    _mm512_test_epi64_mask(difference, difference)
}

/// Writes `first` plus the number of each bit. What is behind them in `room` may be overwritten.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn write_misses(bits: u8, first: u32, room: &mut [u32; STEP]) {
    let numbers =
        _mm256_add_epi32(_mm256_set1_epi32(first.cast_signed()), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    // SAFETY: a vector of eight numbers is written to eight.
    unsafe {
        _mm256_storeu_si256(room.as_mut_ptr().cast(), _mm256_maskz_compress_epi32(bits, numbers));
    }
}
