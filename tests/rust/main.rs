//! One test binary for the crate, a module a topic.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod golden;
mod prompt;
mod tokenizer;
