//! Pairs of ranks and what they merge into.
//!
//! Every token is reached by merging, and by one pair only: the one of its last merge. (Whatever stands around a token's
//! bytes, the merges inside them up to the last are the same: none of them crosses the token's ends, else the token would
//! not come to be.) So a table with one pair a token is the whole of the merges.

use super::super::layout::{
    NO_RANK, PAIR_BUCKET_BITS, PAIR_SLOT_BITS, RANK_BITS, filter_bit, pair_key, word_hash,
};
use super::super::{Tables, TwoBytes, set_bit};
use super::Vocabulary;
use super::perfect_hash::PerfectHash;

const BYTES: usize = 256;

pub(super) fn lay_out(vocabulary: &Vocabulary<'_>, tables: &mut Tables) -> Option<()> {
    pairs(vocabulary, tables)?;
    two_bytes(vocabulary, tables);
    character_borders(vocabulary, tables);
    tables.token_halves[..vocabulary.halves.len()].copy_from_slice(vocabulary.halves);
    Some(())
}

/// A perfect hash of `pair << 17 | rank`, and a set of bits that most other pairs are not in.
fn pairs(vocabulary: &Vocabulary<'_>, tables: &mut Tables) -> Option<()> {
    let keys: Vec<(u64, u32)> = (0..)
        .zip(vocabulary.halves)
        .skip(BYTES)
        .map(|(rank, &[left, right])| (pair_key(left, right), rank))
        .collect();
    let hash = |key: usize, seed| word_hash(keys[key].0, seed);
    let perfect = PerfectHash::find(keys.len(), PAIR_BUCKET_BITS, PAIR_SLOT_BITS, hash)?;
    tables.pair_slots.fill(u64::MAX);
    for (key, &slot) in perfect.slots.iter().enumerate() {
        tables.pair_slots[slot] = keys[key].0 << RANK_BITS | u64::from(keys[key].1);
        set_bit(&mut tables.pair_filter, filter_bit(hash(key, perfect.seed)));
    }
    tables.pair_displacements.copy_from_slice(&perfect.displacements);
    tables.pair_seed = perfect.seed;
    Some(())
}

/// For every two bytes the rank of their token, and the lowest ranks of a token that ends and of one that begins with them.
fn two_bytes(vocabulary: &Vocabulary<'_>, tables: &mut Tables) {
    let mut facts = vec![[TwoBytes::NONE; 3]; 1 << 16];
    let keep_lowest = |fact: &mut u32, rank| *fact = (*fact).min(rank);
    for (rank, token) in vocabulary.iter() {
        if let (Some(&[first, second]), Some(&[before, last])) = (token.first_chunk(), token.last_chunk()) {
            let index = |first: u8, second: u8| usize::from(first) | usize::from(second) << 8;
            if token.len() == 2 {
                keep_lowest(&mut facts[index(first, second)][0], rank);
            }
            keep_lowest(&mut facts[index(before, last)][1], rank);
            keep_lowest(&mut facts[index(first, second)][2], rank);
        }
    }
    for (place, [rank, ends, begins]) in tables.two_bytes.iter_mut().zip(facts) {
        *place = TwoBytes::new(rank, ends, begins).0;
    }
}

/// The lowest rank of a token that takes a part of a character away: what starting from whole characters asks for.
///
/// `character_ends` is by the first byte of the character (lowest six bits) and the byte before: tokens that end inside
/// such a character. `character_begins` is by its last byte and the byte behind: tokens that begin inside it.
fn character_borders(vocabulary: &Vocabulary<'_>, tables: &mut Tables) {
    let is_inner = |byte: &u8| byte & 0xC0 == 0x80;
    let index = |inner: u8, outer: u8| usize::from(inner & 63) << 8 | usize::from(outer);
    tables.character_ends.fill(NO_RANK);
    tables.character_begins.fill(NO_RANK);
    for (rank, token) in vocabulary.iter() {
        for length in 1..token.len().min(4) {
            let (body, tail) = token.split_at(token.len() - length);
            let character_length = [2, 2, 3, 4][usize::from(tail[0] >> 4 & 3)];
            if tail[0] >= 0xC0 && tail[1..].iter().all(is_inner) && length < character_length {
                let end = &mut tables.character_ends[index(tail[0], body[body.len() - 1])];
                *end = (*end).min(rank);
            }
            if token[..length].iter().all(is_inner) {
                let begin = &mut tables.character_begins[index(token[length - 1], token[length])];
                *begin = (*begin).min(rank);
            }
        }
    }
}
