//! Tokens by their bytes.

use std::collections::HashMap;

use super::super::layout::{
    LENGTHS_BITS, LONG_LENGTHS_BITS, LONG_SLOT_BITS, LONG_TOKENS_BYTES, NO_RANK, PIECE_BUCKET_BITS,
    PIECE_BYTES, PIECE_SLOT_BITS, context_slot, fingerprint, long_lengths_slot, long_slot, piece_hash,
};
use super::super::{Tables, first_word, key_of};
use super::Vocabulary;
use super::perfect_hash::PerfectHash;

pub(super) fn lay_out(vocabulary: &Vocabulary<'_>, tables: &mut Tables) -> Option<()> {
    for (rank, token) in vocabulary.iter() {
        tables.token_lengths[rank as usize] = token.len() as u8;
    }
    short_tokens(vocabulary, tables)?;
    long_tokens(vocabulary, tables)?;
    lengths(vocabulary, tables);
    prefixes(vocabulary, tables);
    Some(())
}

/// Tokens of at most 12 bytes: slots of 16 bytes with the bytes of the token, its id from bit 96 on and its length in the
/// top byte. An empty slot has length 0, which no piece has.
fn short_tokens(vocabulary: &Vocabulary<'_>, tables: &mut Tables) -> Option<()> {
    let keys: Vec<(u32, [u64; 2])> = vocabulary
        .iter()
        .filter(|(_, token)| token.len() <= PIECE_BYTES)
        .map(|(rank, token)| (rank + tables.first_id, key_of(token)))
        .collect();
    let hash = |key: usize, seed| piece_hash(keys[key].1, seed);
    let perfect = PerfectHash::find(keys.len(), PIECE_BUCKET_BITS, PIECE_SLOT_BITS, hash)?;
    for (key, &slot) in perfect.slots.iter().enumerate() {
        let (id, [low, high]) = keys[key];
        tables.piece_slots[slot] = [low, high | u64::from(id) << 32];
        tables.piece_fingerprints[slot] = fingerprint(hash(key, perfect.seed));
    }
    tables.piece_displacements.copy_from_slice(&perfect.displacements);
    tables.piece_seed = perfect.seed;
    Some(())
}

/// Tokens above 12 bytes: an open table, at most half full, of ranks whose bytes are to be compared.
fn long_tokens(vocabulary: &Vocabulary<'_>, tables: &mut Tables) -> Option<()> {
    tables.long_slots.fill([NO_RANK, 0]);
    let (mut start, mut count) = (0, 0);
    for (rank, token) in vocabulary.iter().filter(|(_, token)| token.len() > PIECE_BYTES) {
        count += 1;
        if start + token.len() > LONG_TOKENS_BYTES || count > 1 << (LONG_SLOT_BITS - 1) {
            return None;
        }
        let mut slot = long_slot(first_word(token), first_word(&token[token.len() - 8..]), token.len());
        while tables.long_slots[slot][0] != NO_RANK {
            slot = (slot + 1) % tables.long_slots.len();
        }
        tables.long_slots[slot] = [rank, start as u32];
        tables.long_tokens[start..start + token.len()].copy_from_slice(token);
        start += token.len();
    }
    Some(())
}

/// Which lengths tokens have: 4 to 12 by their first four bytes (bit 15: above 12), 13 to 76 by their first eight.
fn lengths(vocabulary: &Vocabulary<'_>, tables: &mut Tables) {
    for (_, token) in vocabulary.iter().filter(|(_, token)| token.len() >= 4) {
        let is_long = token.len() > PIECE_BYTES;
        let four = key_of(&token[..4])[0] as u32;
        tables.lengths[context_slot(four, LENGTHS_BITS)] |= 1 << if is_long { 15 } else { token.len() };
        if is_long {
            let slot = long_lengths_slot(first_word(token)) % (1 << LONG_LENGTHS_BITS);
            tables.long_lengths[slot] |= 1 << (token.len() - PIECE_BYTES - 1);
        }
    }
}

/// The longest token that is a proper prefix of each token.
fn prefixes(vocabulary: &Vocabulary<'_>, tables: &mut Tables) {
    let ranks: HashMap<&[u8], u32> = vocabulary.iter().map(|(rank, token)| (token, rank)).collect();
    tables.token_prefixes.fill(NO_RANK);
    for (rank, token) in vocabulary.iter() {
        let prefix = (1..token.len()).rev().find_map(|length| ranks.get(&token[..length]));
        tables.token_prefixes[rank as usize] = prefix.copied().unwrap_or(NO_RANK);
    }
}
