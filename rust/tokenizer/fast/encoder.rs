//! The pipeline: chunks of pieces, one look-up each; what is no short token goes to the cache, and what the cache does
//! not know is merged; then the ids in order.
//!
//! ```text
//! for each pretoken of the text:
//!     if it is a token: emit its id
//!     else: merge its bytes
//! ```
//!
//! The departures made for speed:
//!
//! 1. *Pieces* are pretokens and their parts between hard cuts (`scanner.rs`, `hard_cuts.rs`).
//! 2. *Chunks*: 256 pieces go through each step together. The lines of memory that a step reads are prefetched by
//!    the step before, and no step branches on whether one piece was found: those that were not are listed.
//! 3. *One look-up* in a perfect hash tells whether a piece of at most 12 bytes is a token; 99 of 100 that are
//!    tokens are that short. A piece of 13 and more that is a token counts as one of several, with one id.
//! 4. *The cache* (`cache.rs`) has the ids of pieces that were merged before.
//!
//! An encoder is the memory of one thread: bounded, and not shared.

use super::backtrack::encode_long;
use super::cache::{
    Cache, LARGE_BYTES, RESULT, SMALL_BYTES, find_large, find_small, large_key, packed_count, unpack,
};
use super::class_masks::READ;
use super::level::Instructions;
use super::merge::{MERGE_BYTES, merge};
use super::output::{Output, SLACK};
use super::prefetch::prefetch;
use super::scanner::{LAST_CHUNK, STARTS, Scanner};
use crate::tokenizer::TokenId;
use crate::tokenizer::tables::layout::large_hash;
use crate::tokenizer::tables::{Tables, entry_id, split_words};

/// Texts up to this length, and what the last windows of longer ones leave, are copied to where bytes may be read
/// beyond their end. A copy of 200 bytes takes a few nanoseconds.
const COPIED: usize = 2_048;

/// A piece as the steps hand it on.
#[derive(Clone, Copy, Default)]
struct Key {
    /// Its first 16 bytes, zero padded.
    low: u64,
    high: u64,
    /// Of these and the length; for a piece of more bytes, in the end, that of its large key.
    hash: u64,
    slot: u32,
    /// Its length; 16 stands for that and more.
    length: u32,
}

/// The memory of a thread.
pub(super) struct Encoder {
    starts: [u32; STARTS],
    steps: Steps,
    copy: [u8; COPIED + READ],
}

/// What the steps of a chunk leave for one another. Index `i` is a piece of the chunk, `m` one of its misses.
struct Steps {
    /// `[i]`
    keys: [Key; STARTS],
    /// `[i]`; of a miss, any number.
    ids: [TokenId; STARTS + SLACK],
    /// `[m]` its `i`.
    misses: [u32; STARTS],
    /// `[m]` its ids. Where they are more than [`RESULT`], the first is their place in `long_results`.
    results: [[TokenId; RESULT]; STARTS],
    /// `[m]` how many ids.
    counts: [u32; STARTS],
    /// The `m` of those that the cache does not know.
    unknown: [u32; STARTS],
    long_results: Vec<TokenId>,
    cache: Cache,
}

impl Encoder {
    #[expect(clippy::large_stack_arrays, reason = "60 kB, once a thread, on their way to the heap")]
    pub(super) fn new() -> Encoder {
        Encoder {
            starts: [0; STARTS],
            steps: Steps {
                keys: [Key::default(); STARTS],
                ids: [0; STARTS + SLACK],
                misses: [0; STARTS],
                results: [[0; RESULT]; STARTS],
                counts: [0; STARTS],
                unknown: [0; STARTS],
                long_results: Vec::new(),
                cache: Cache::new(),
            },
            copy: [0; COPIED + READ],
        }
    }

    /// Encodes a text.
    #[inline(always)]
    pub(super) fn encode<I: Instructions, O: Output>(
        &mut self,
        instructions: I,
        tables: &Tables,
        text: &str,
        output: &mut O,
    ) {
        let Encoder { starts, steps, copy } = self;
        let mut rest = text.as_bytes();
        while rest.len() > COPIED {
            let done = steps.encode(instructions, tables, starts, Scanner::new(rest, rest.len()), output);
            // A scanner stops at the greatest position it can name, or near the end, where less than `COPIED` is left.
            assert!(done > 0, "a scanner goes on where much is left");
            rest = &rest[done..];
        }
        let length = rest.len();
        copy[..length].copy_from_slice(rest);
        copy[length..length + READ].fill(0);
        steps.encode(instructions, tables, starts, Scanner::new(&copy[..length + READ], length), output);
    }
}

impl Steps {
    /// Encodes chunk after chunk until the scanner stops; returns where.
    #[inline(always)]
    fn encode<I: Instructions, O: Output>(
        &mut self,
        instructions: I,
        tables: &Tables,
        starts: &mut [u32; STARTS],
        mut scanner: Scanner<'_>,
        output: &mut O,
    ) -> usize {
        while scanner.at < LAST_CHUNK {
            let chunk = scanner.next_chunk(instructions, tables, starts);
            if chunk.pieces > 0 {
                self.encode_chunk(tables, scanner.readable(), &starts[..=chunk.pieces], output);
            }
            if let Some(end) = chunk.long_end {
                encode_long(tables, &scanner.readable()[scanner.at..end], |id| output.add(id));
                scanner.at = end;
            } else if chunk.pieces == 0 {
                break;
            }
        }
        scanner.at
    }

    /// Encodes the pieces between `starts`. 32 bytes can be read from each start.
    #[inline(always)]
    fn encode_chunk<O: Output>(&mut self, tables: &Tables, readable: &[u8], starts: &[u32], output: &mut O) {
        let pieces = starts.len() - 1;
        self.make_keys(tables, readable, starts);
        let missed = self.look_up(tables, pieces);
        let mut total = pieces - missed;
        if missed > 0 {
            self.long_results.clear();
            self.ask_cache::<O>(tables, readable, starts, missed);
            total += self.counts[..missed].iter().sum::<u32>() as usize;
        }
        let filling = |m: usize| {
            let count = self.counts[m] as usize;
            let ids = &self.results[m];
            if count <= RESULT { (&ids[..], count) } else { (&self.long_results[ids[0] as usize..], count) }
        };
        output.add_chunk(&self.ids, pieces, &self.misses[..missed], filling, total);
    }

    /// Reads each piece, and asks for the line where it stands if it is a token.
    #[inline(always)]
    fn make_keys(&mut self, tables: &Tables, readable: &[u8], starts: &[u32]) {
        for (key, ends) in self.keys.iter_mut().zip(starts.windows(2)) {
            let (start, end) = (ends[0] as usize, ends[1] as usize);
            let length = (end - start).min(16);
            let (low, high) = split_words(*first_bytes(readable, start));
            let [low_mask, high_mask] = KEY_MASKS[length];
            let (low, high) = (low & low_mask, high & high_mask);
            let hash = tables.hash_of_piece(low, high, length as u64);
            let slot = tables.piece_slot(hash);
            prefetch(tables.piece_entry(slot));
            *key = Key { low, high, hash, slot: slot as u32, length: length as u32 };
        }
    }

    /// Looks each piece up among the short tokens; returns how many are none, which are listed in `misses`.
    #[inline(always)]
    fn look_up(&mut self, tables: &Tables, pieces: usize) -> usize {
        let mut missed = 0;
        for (piece, (key, id)) in self.keys[..pieces].iter().zip(&mut self.ids).enumerate() {
            let entry = tables.piece_entry(key.slot as usize);
            let (entry_id, difference) = entry_id(entry, key.low, key.high, u64::from(key.length));
            *id = entry_id;
            self.misses[missed] = piece as u32;
            missed += usize::from(difference != 0);
        }
        missed
    }

    /// Finds the ids of the misses: in the cache, else by encoding them.
    #[inline(always)]
    fn ask_cache<O: Output>(&mut self, tables: &Tables, readable: &[u8], starts: &[u32], missed: usize) {
        for &piece in &self.misses[..missed] {
            let (start, end) = (starts[piece as usize] as usize, starts[piece as usize + 1] as usize);
            let key = &mut self.keys[piece as usize];
            if end - start <= SMALL_BYTES {
                prefetch(self.cache.small_set(key.hash));
            } else if end - start <= LARGE_BYTES {
                key.hash = large_hash(&large_key(first_bytes(readable, start), end - start));
                prefetch(self.cache.large_set(key.hash));
            }
        }
        let mut unknown = 0;
        for (m, &piece) in self.misses[..missed].iter().enumerate() {
            let (start, end) = (starts[piece as usize] as usize, starts[piece as usize + 1] as usize);
            let key = &self.keys[piece as usize];
            let is_known = if end - start <= SMALL_BYTES {
                let set = self.cache.small_set(key.hash);
                let (words, is_known) = find_small(set, key.low, key.high, u64::from(key.length));
                self.counts[m] = packed_count(words);
                if O::WANTS_IDS {
                    unpack(words, &mut self.results[m]);
                }
                is_known
            } else if end - start <= LARGE_BYTES {
                let set = self.cache.large_set(key.hash);
                let (words, is_known) =
                    find_large(set, &large_key(first_bytes(readable, start), end - start));
                self.counts[m] = packed_count(words);
                if O::WANTS_IDS {
                    unpack(words, &mut self.results[m]);
                }
                is_known
            } else {
                false
            };
            self.unknown[unknown] = m as u32;
            unknown += usize::from(!is_known);
        }
        for i in 0..unknown {
            let m = self.unknown[i] as usize;
            let piece = self.misses[m] as usize;
            self.encode_miss(tables, &readable[starts[piece] as usize..starts[piece + 1] as usize], m);
        }
    }

    /// Encodes miss `m` and remembers what became of it.
    fn encode_miss(&mut self, tables: &Tables, piece: &[u8], m: usize) {
        let mut ids = [0; MERGE_BYTES];
        let hash = self.keys[self.misses[m] as usize].hash;
        if piece.len() > LARGE_BYTES {
            let long_results = &mut self.long_results;
            let from = long_results.len();
            encode_long(tables, piece, |id| long_results.push(id));
            let count = long_results.len() - from;
            self.keep_result(m, from, count);
            return;
        }
        let count = match tables.rank_of_long(piece) {
            Some(rank) => {
                ids[0] = rank + tables.first_id();
                1
            }
            None => merge(tables, piece, &mut ids),
        };
        self.cache.remember(piece, hash, &ids[..count]);
        let from = self.long_results.len();
        self.long_results.extend_from_slice(&ids[..count]);
        self.keep_result(m, from, count);
    }

    /// Makes the ids that were put at the end of `long_results` the result of miss `m`.
    fn keep_result(&mut self, m: usize, from: usize, count: usize) {
        self.counts[m] = count as u32;
        if count <= RESULT {
            self.results[m][..count].copy_from_slice(&self.long_results[from..]);
            self.long_results.truncate(from);
        } else {
            self.results[m][0] = from as u32;
            self.long_results.resize(from + count + SLACK, 0);
        }
    }
}

/// For each length the bits of its bytes in two words.
static KEY_MASKS: [[u64; 2]; 17] = {
    let mut masks = [[0; 2]; 17];
    let mut length = 1;
    while length < masks.len() {
        let mask = u128::MAX >> (128 - 8 * length);
        masks[length] = [mask as u64, (mask >> 64) as u64];
        length += 1;
    }
    masks
};

/// The bytes from `start` on.
#[inline(always)]
fn first_bytes<const COUNT: usize>(readable: &[u8], start: usize) -> &[u8; COUNT] {
    const { assert!(COUNT <= READ) };
    match readable[start..start + COUNT].first_chunk() {
        Some(bytes) => bytes,
        None => &[0; COUNT],
    }
}
