//! The fast path: exact to the id, linear on every input, without a heap but for long pieces.
//!
//! | module | what |
//! |---|---|
//! | `level` | what the CPU can do, chosen once |
//! | `class_masks`, `boundaries`, `pretoken`, `scanner` | text to pretokens, 64 bytes at a time |
//! | `look_up` | pieces that are tokens |
//! | `hard_cuts` | positions that no token spans |
//! | `merge`, `backtrack` | pieces to tokens: short ones, long ones |
//! | `part_counts` | counts of all prefixes or suffixes of a piece |
//! | `cache`, `huge_page`, `encoder`, `output` | the pipeline, and the memory of a thread |
//!
//! The plain twin (`pretokenizer.rs`, `bpe.rs`) is the specification; the tests compare the two on every level.

mod backtrack;
mod boundaries;
mod cache;
mod class_masks;
mod encoder;
mod hard_cuts;
mod huge_page;
mod level;
mod look_up;
mod merge;
mod output;
mod part_counts;
mod prefetch;
mod pretoken;
mod run;
mod scanner;
mod steps;

pub(super) use level::UTF8_ROOM;
pub(crate) use level::Unit;
pub use level::{CpuChoice, CpuLevel};
pub(super) use part_counts::{PrefixCounts, SuffixCounts};
pub(super) use run::{VocabularyKey, count, encode_into};
