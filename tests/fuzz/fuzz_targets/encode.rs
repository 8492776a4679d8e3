//! Ids and counts of any text, at every level of the CPU, are those of the plain path.

#![no_main]

mod levels;

use libfuzzer_sys::fuzz_target;
use nemo_fast::tokenizer::Tokenizer;

fuzz_target!(|text: &str| {
    levels::check(&Tokenizer::embedded(), text);
});
