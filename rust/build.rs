//! Lays out the static tables of the tokenizer, from what the repository holds, into `OUT_DIR`.
//!
//! The tables are a function of `nemo_vocabulary.bin` (every token as the pair of its last merge) and of the
//! Unicode classes in `unicode_classes.rs`. They are binary files that the crate includes as read-only data:
//! as Rust source they would take minutes to compile. Laying them out takes a second, needs no network, and
//! gives the same bytes on every machine: nothing depends on the order of a random hash.
//!
//! `tokenizer/tables` is compiled twice: here, and in the crate, which reads the tables and builds others for
//! vocabularies that come from a file.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a build script fails by panicking and speaks by printing"
)]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "what is shared with the crate says what the crate needs of it"
)]

#[path = "tokenizer/char_class.rs"]
mod char_class;
#[path = "tokenizer/merge_list.rs"]
mod merge_list;
#[path = "tokenizer/special_tokens.rs"]
mod special_tokens;
#[path = "tokenizer/tables/mod.rs"]
mod tables;
#[path = "tokenizer/unicode_classes.rs"]
mod unicode_classes;

use std::path::PathBuf;

use char_class::CharClass;
use tables::Tables;
use tables::classes::ClassTables;
use tables::layout::COPIED;

type TokenId = u32;

fn main() {
    for source in ["build.rs", "tokenizer"] {
        println!("cargo::rerun-if-changed=rust/{source}");
    }
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names the folder"));
    let write = |name: &str, content: &[u8]| {
        std::fs::write(folder.join(name), content).expect("the folder can be written to");
    };

    let planes =
        std::fs::read("rust/tokenizer/nemo_vocabulary.bin").expect("the vocabulary is in the repository");
    let halves = merge_list::halves(&planes);
    let tokens = merge_list::tokens(&halves);
    let names: Vec<String> = special_tokens::special_token_names().collect();
    let tables = Tables::build(&tokens, &halves, names.len() as u32)
        .expect("the sizes of the tables were chosen for this vocabulary");
    write("tables", bytemuck::bytes_of(&*tables));

    let runs = unicode_classes::RUNS.iter().map(|&(start, class)| (start, class_bit(class)));
    write("class_tables", bytemuck::bytes_of(&*ClassTables::build(runs)));

    let (mut starts, mut bytes) = (vec![0_u32], vec![]);
    for token in names.iter().map(String::as_bytes).chain(tokens.iter().map(Vec::as_slice)) {
        bytes.extend_from_slice(token);
        starts.push(bytes.len() as u32);
    }
    write("token_starts", bytemuck::cast_slice(&starts));
    bytes.resize(bytes.len() + COPIED, 0);
    write("token_bytes", &bytes);
}

fn class_bit(class: CharClass) -> u8 {
    use tables::classes::class;
    match class {
        CharClass::Upper => class::UPPER,
        CharClass::Lower => class::LOWER,
        CharClass::BothCases => class::BOTH,
        CharClass::Mark => class::MARK,
        CharClass::Number => class::NUMBER,
        CharClass::Space => class::SPACE,
        CharClass::Newline => class::NEWLINE,
        CharClass::Other => class::OTHER,
    }
}
