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
//! 2. *Chunks*: about 1,024 pieces go through each step together (`steps.rs`).
//! 3. *One look-up* (`look_up.rs`) in a perfect hash tells whether a piece of at most 12 bytes is a token; 99 of 100 that are
//!    tokens are that short. A piece of 13 and more that is a token counts as one of several, with one id.
//! 4. *The cache* (`cache.rs`) has the ids of pieces that were merged before.
//! 5. *Merges* of the pieces that are new are made in turns (`merge.rs`).
//!
//! An encoder is the memory of one thread: bounded, and not shared.

use super::backtrack::encode_long;
use super::cache::Cache;
use super::class_masks::READ;
use super::level::Instructions;
use super::merge::Merges;
use super::output::{Output, SLACK};
use super::scanner::{LAST_CHUNK, STARTS, Scanner};
use super::steps::{Missed, Steps};
use crate::tokenizer::tables::Tables;

/// Texts up to this length, and what the last windows of longer ones leave, are copied to where bytes may be read
/// beyond their end. A copy of 200 bytes takes a few nanoseconds.
const COPIED: usize = 2_048;
/// The memory of a thread.
pub(super) struct Encoder {
    starts: [u32; STARTS],
    pieces: Pieces,
    copy: [u8; COPIED + READ],
}

struct Pieces {
    cache: Cache,
    merges: Merges,
    steps: Steps<{ STARTS + SLACK }>,
}

impl Encoder {
    pub(super) fn new() -> Encoder {
        Encoder {
            starts: [0; STARTS],
            pieces: Pieces { cache: Cache::new(), merges: Merges::new(), steps: Steps::new() },
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
        let Encoder { starts, pieces, copy } = self;
        let mut rest = text.as_bytes();
        while rest.len() > COPIED {
            let scanner = Scanner::new(rest, rest.len());
            let done = pieces.encode(instructions, tables, starts, scanner, output);
            // A scanner stops at the greatest position it can name, or near the end, where less than `COPIED` is left.
            assert!(done > 0, "a scanner goes on where much is left");
            rest = &rest[done..];
        }
        let length = rest.len();
        copy[..length].copy_from_slice(rest);
        copy[length..length + READ].fill(0);
        let scanner = Scanner::new(&copy[..length + READ], length);
        pieces.encode(instructions, tables, starts, scanner, output);
    }
}

impl Pieces {
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
                self.encode_chunk(instructions, tables, scanner.readable(), &starts[..=chunk.pieces], output);
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

    /// Encodes the pieces between `starts`. 48 bytes can be read from each start.
    #[inline(always)]
    fn encode_chunk<I: Instructions, O: Output>(
        &mut self,
        instructions: I,
        tables: &Tables,
        readable: &[u8],
        starts: &[u32],
        output: &mut O,
    ) {
        let Pieces { cache, merges, steps } = self;
        let pieces = starts.len() - 1;
        let Missed { missed, unknown } =
            steps.look_up(instructions, tables, cache, readable, starts, O::WANTS_IDS);
        for u in 0..unknown {
            let m = steps.unknown[u] as usize;
            steps.encode_unknown(tables, (cache, merges), readable, starts, m);
        }
        steps.finish(tables, (cache, merges), readable, starts);
        let total = pieces - missed + steps.counts[..missed].iter().sum::<u32>() as usize;
        output.add_chunk(&*steps.ids, pieces, &steps.misses[..missed], |m| steps.result(m), total);
    }
}
