//! The way in: the encoder of this thread, compiled once for each level.

#![allow(
    unsafe_code,
    reason = "code that is compiled for a level is called under the proof that the CPU has it"
)]

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::encoder::Encoder;
use super::level::{CpuLevel, Kind};
use super::output::{Count, Output};
use crate::tokenizer::TokenId;
use crate::tokenizer::tables::Tables;

/// Vocabularies whose memory a thread keeps: more than most programs use.
const VOCABULARIES: usize = 4;

thread_local! {
    /// The encoders of this thread, the last used first. Allocated at the first text of a vocabulary.
    static ENCODERS: RefCell<Vec<(VocabularyKey, Box<Encoder>)>> = const { RefCell::new(Vec::new()) };
}

/// A number for each set of tables that was ever made: what an encoder remembers holds for one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct VocabularyKey(u64);

impl VocabularyKey {
    /// A new one.
    pub(in super::super) fn next() -> VocabularyKey {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        VocabularyKey(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Appends the token ids of a text.
pub(in super::super) fn encode_into(
    level: CpuLevel,
    key: VocabularyKey,
    tables: &Tables,
    text: &str,
    ids: &mut Vec<TokenId>,
) {
    // Texts have a token in three to five bytes; the vector grows where that is too few.
    ids.reserve(text.len() / 4);
    encode(level, key, tables, text, ids);
}

/// The number of token ids of a text.
pub(in super::super) fn count(level: CpuLevel, key: VocabularyKey, tables: &Tables, text: &str) -> usize {
    let mut count = Count(0);
    encode(level, key, tables, text, &mut count);
    count.0
}

fn encode<O: Output>(level: CpuLevel, key: VocabularyKey, tables: &Tables, text: &str, output: &mut O) {
    let with_thread = ENCODERS.try_with(|encoders| {
        run(level, encoder_of(key, &mut encoders.borrow_mut()), tables, text, output);
    });
    if with_thread.is_err() {
        // The thread ends, and its memory is gone.
        run(level, &mut Encoder::new(), tables, text, output);
    }
}

/// The encoder of a vocabulary, moved to the front; a new one takes the place of the one that was not used for longest.
fn encoder_of(key: VocabularyKey, encoders: &mut Vec<(VocabularyKey, Box<Encoder>)>) -> &mut Encoder {
    if encoders.first().is_none_or(|first| first.0 != key) {
        if let Some(place) = encoders.iter().position(|encoder| encoder.0 == key) {
            encoders[..=place].rotate_right(1);
        } else {
            encoders.truncate(VOCABULARIES - 1);
            encoders.insert(0, (key, Box::new(Encoder::new())));
        }
    }
    &mut encoders[0].1
}

fn run<O: Output>(level: CpuLevel, encoder: &mut Encoder, tables: &Tables, text: &str, output: &mut O) {
    match level.kind() {
        Kind::Scalar(scalar) => encoder.encode(scalar, tables, text, output),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level in the arm is the proof that the CPU has the instructions that the function is compiled for.
        Kind::Avx2(avx2) => unsafe { x86_64::run_avx2(avx2, encoder, tables, text, output) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Kind::Avx512(avx512) => unsafe { x86_64::run_avx512(avx512, encoder, tables, text, output) },
    }
}

/// The same code, compiled for more than every x86-64 has. Everything on the way is inlined into these functions.
#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::super::level::{Avx2, Avx512};
    use super::{Encoder, Output, Tables};

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn run_avx2<O: Output>(
        avx2: Avx2,
        encoder: &mut Encoder,
        tables: &Tables,
        text: &str,
        output: &mut O,
    ) {
        encoder.encode(avx2, tables, text, output);
    }

    #[target_feature(
        enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt"
    )]
    pub(super) fn run_avx512<O: Output>(
        avx512: Avx512,
        encoder: &mut Encoder,
        tables: &Tables,
        text: &str,
        output: &mut O,
    ) {
        encoder.encode(avx512, tables, text, output);
    }
}
