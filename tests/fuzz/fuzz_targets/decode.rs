//! Any ids decode or are refused, and a stream of them joins to the same text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nemo_fast::tokenizer::{SpecialPolicy, Tokenizer, Utf8Policy};

fuzz_target!(|numbers: Vec<u32>| {
    let tokenizer = Tokenizer::embedded();
    // Most numbers are no ids; of every eight, seven are made to be some, half of them single bytes.
    let ids: Vec<u32> = numbers
        .iter()
        .map(|&number| match number % 8 {
            0 => number / 8,
            1..4 => number / 8 % 131_072,
            _ => number / 8 % 1_256,
        })
        .collect();
    for special in [SpecialPolicy::Skip, SpecialPolicy::Keep, SpecialPolicy::Raise] {
        let text = tokenizer.decode(&ids, special, Utf8Policy::Replace);
        let mut decoder = tokenizer.stream_decoder(special);
        let pieces: Result<Vec<String>, _> = ids.iter().map(|&id| decoder.push(id)).collect();
        assert_eq!(text.is_ok(), pieces.is_ok());
        if let (Ok(text), Ok(pieces)) = (&text, pieces) {
            assert_eq!(pieces.concat() + &decoder.finish(), *text);
        }
        if let Ok(strict) = tokenizer.decode(&ids, special, Utf8Policy::Strict) {
            assert_eq!(Ok(strict), text);
        }
    }
});
