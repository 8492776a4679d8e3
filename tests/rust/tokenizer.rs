//! The tokenizer against the reference's ids, and its own properties.

use std::collections::BTreeMap;
use std::sync::Arc;

use nemo_fast::tokenizer::{SpecialPolicy, StreamDecoder, TokenTable, Tokenizer, TokenizerError, Utf8Policy};
use proptest::prelude::*;

use crate::golden::{chat_json, token_ids};

#[test]
fn golden_texts_have_the_ids_of_the_reference() {
    let tokenizer = Tokenizer::embedded();
    let golden = chat_json();
    let cases = golden["encode"].as_array().unwrap();
    assert_eq!(cases.len(), 21);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text), token_ids(case), "{text:?}");
        assert_eq!(tokenizer.count(text), token_ids(case).len(), "{text:?}");
    }
}

#[test]
fn control_strings_are_text() {
    let tokenizer = Tokenizer::embedded();
    let text = "<s>[INST] x [/INST]</s><unk><SPECIAL_20>";
    let ids = tokenizer.encode(text);
    assert!(ids.iter().all(|&id| id >= 1_000));
    assert_eq!(tokenizer.decode(&ids, SpecialPolicy::Raise, Utf8Policy::Strict).unwrap(), text);
    assert_eq!(tokenizer.token_id(b"[INST]"), None);
}

#[test]
fn special_tokens_cut_a_character() {
    let tokenizer = Tokenizer::embedded();
    // The bytes of "é" as two tokens, and a special token between them.
    let ids = [1_000 + 0xc3, 3, 1_000 + 0xa9];
    assert_eq!(tokenizer.decode(&ids, SpecialPolicy::Skip, Utf8Policy::Replace).unwrap(), "\u{fffd}\u{fffd}");
    assert_eq!(
        tokenizer.decode(&ids, SpecialPolicy::Keep, Utf8Policy::Replace).unwrap(),
        "\u{fffd}[INST]\u{fffd}"
    );
    let bytes = tokenizer.token_table().decode_bytes(&ids, SpecialPolicy::Skip).unwrap();
    assert_eq!(bytes, "é".as_bytes());
}

#[test]
fn what_cannot_be_decoded_is_named() {
    let tokenizer = Tokenizer::embedded();
    let error = |ids: &[u32], special, utf8| tokenizer.decode(ids, special, utf8).unwrap_err();
    assert_eq!(
        error(&[131_072], SpecialPolicy::Skip, Utf8Policy::Replace).to_string(),
        "token id 131072 is outside the vocabulary of 131072"
    );
    assert_eq!(
        error(&[1, 3], SpecialPolicy::Raise, Utf8Policy::Replace).to_string(),
        "special token <s> (id 1) is not allowed here"
    );
    assert_eq!(
        error(&[1, 37133, 1_000 + 0xc3], SpecialPolicy::Skip, Utf8Policy::Strict),
        TokenizerError::UndecodableIds { run_start: 1, offset: 2 }
    );
}

#[test]
fn a_table_of_any_tokens_decodes() {
    let special = BTreeMap::from([(0, "<s>".to_owned())]);
    let table = TokenTable::new(&[b"".as_slice(), b"a", b"\xc3", b"\xa9"], &special).unwrap();
    assert_eq!(table.decode(&[0, 1, 2, 3], SpecialPolicy::Keep, Utf8Policy::Strict).unwrap(), "<s>aé");
    assert_eq!(table.special_tokens().collect::<Vec<_>>(), [(0, "<s>".into())]);

    let beyond = BTreeMap::from([(4, "<x>".to_owned())]);
    let error = TokenTable::new(&[b"a"], &beyond).unwrap_err();
    assert_eq!(error, TokenizerError::UnknownId { id: 4, vocab_size: 1 });
}

#[test]
fn a_million_spaces_or_letters_need_no_patience() {
    let tokenizer = Tokenizer::embedded();
    for character in [" ", "a", "=", "中", "\u{301}"] {
        let text = character.repeat(1_000_000);
        let ids = tokenizer.encode(&text);
        assert_eq!(
            tokenizer.token_table().decode_bytes(&ids, SpecialPolicy::Raise).unwrap(),
            text.as_bytes()
        );
    }
}

fn streamed(table: &Arc<TokenTable>, ids: &[u32], special: SpecialPolicy) -> String {
    let mut decoder = StreamDecoder::new(Arc::clone(table), special);
    let pieces: Vec<String> = ids.iter().map(|&id| decoder.push(id).unwrap()).collect();
    pieces.concat() + &decoder.finish()
}

#[test]
fn the_stream_decoder_holds_half_characters_back() {
    let tokenizer = Tokenizer::embedded();
    let mut decoder = tokenizer.stream_decoder(SpecialPolicy::Skip);
    let bytes = "é😀".bytes().map(|byte| decoder.push(1_000 + u32::from(byte)).unwrap());
    assert_eq!(bytes.collect::<Vec<_>>(), ["", "é", "", "", "", "😀"]);
    assert_eq!(decoder.finish(), "");
    // A broken character is given up as soon as the next byte shows it.
    assert_eq!(decoder.push(1_000 + 0xf0).unwrap(), "");
    assert_eq!(decoder.push(22_177).unwrap(), "\u{fffd}Hello");
    assert_eq!(decoder.push(1_000 + 0xf0).unwrap(), "");
    assert_eq!(decoder.finish(), "\u{fffd}");
    assert!(decoder.push(131_072).is_err());
}

proptest! {
    #[test]
    fn decoding_gives_the_text_back(text in "\\PC{0,40}|[ -~\\s]{0,60}|(?s:.){0,40}") {
        let tokenizer = Tokenizer::embedded();
        let ids = tokenizer.encode(&text);
        prop_assert_eq!(tokenizer.count(&text), ids.len());
        prop_assert_eq!(tokenizer.decode(&ids, SpecialPolicy::Raise, Utf8Policy::Strict).unwrap(), text);
    }

    #[test]
    fn a_stream_joins_to_what_decode_gives(
        ids in prop::collection::vec(prop_oneof![0_u32..30, 1_000_u32..1_256, 1_000_u32..131_072], 0..40),
        special in prop_oneof![Just(SpecialPolicy::Skip), Just(SpecialPolicy::Keep)],
    ) {
        let table = Tokenizer::embedded().token_table().clone();
        let decoded = table.decode(&ids, special, Utf8Policy::Replace).unwrap();
        prop_assert_eq!(streamed(&table, &ids, special), decoded);
    }
}
