//! Ids and counts of any text, at every level of the CPU, are those of the plain path.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nemo_fast::tokenizer::{CpuLevel, Tokenizer};

fuzz_target!(|text: &str| {
    let tokenizer = Tokenizer::embedded();
    let truth = tokenizer.encode_plain(text);
    for level in CpuLevel::available() {
        let mut ids = Vec::new();
        tokenizer.encode_at(level, text, &mut ids);
        assert_eq!(ids, truth, "{level}: {text:?}");
        assert_eq!(tokenizer.count_at(level, text), truth.len(), "{level}: {text:?}");
    }
});
