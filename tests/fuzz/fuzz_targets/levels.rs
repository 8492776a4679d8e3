//! What the targets that encode check of a text.

use nemo_fast::tokenizer::{CpuLevel, Tokenizer};

/// Ids and counts of the text at every level of the CPU are those of the plain path.
pub fn check(tokenizer: &Tokenizer, text: &str) {
    let truth = tokenizer.encode_plain(text);
    for level in CpuLevel::available() {
        let mut ids = Vec::new();
        tokenizer.encode_at(level, text, &mut ids);
        assert_eq!(ids, truth, "{level}: {text:?}");
        assert_eq!(tokenizer.count_at(level, text), truth.len(), "{level}: {text:?}");
    }
}
