//! One test binary for the crate, a module a topic.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::float_cmp, reason = "where results must be equal to the bit, or are exact")]

mod arrow;
mod attention;
mod backend;
mod budget;
mod completion;
mod conversation;
mod engine;
mod exactness;
mod fp8;
mod golden;
mod int8;
mod invariance;
mod json;
mod matmul;
mod numbers;
mod prompt;
mod tekken_file;
mod tokenizer;
mod tokenizer_levels;
