//! The campaign of exactness: the tokenizer as everyone gets it against the plain path, on very many texts.
//!
//! `tests/exactness.py` runs it, once for each level of the CPU, and gives it by environment variables what it shall
//! do. A stage prints a line of JSON; differences are counted, and the first of each stage is shown.

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::env;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::mem;
use std::num::NonZero;

use nemo_fast::tokenizer::{CpuChoice, EncodeOptions, Text, TokenId, Tokenizer};
use serde_json::json;

/// Tokens whose pairs are texts.
const SAMPLE: usize = 2_000;

/// Of so many texts of a stage, the first is compared with the reference too.
const REFERENCE_STEP: u64 = 101;

/// A few characters of each class of the pattern, and those that it names.
const CLASSES: [&str; 9] = [
    "AZÀΩДǅᾈ𝐀Ჾ",
    "azßωдⅎ𝐚ꭰ",
    "ªʰ中あאक한ๆ𠀀ー",
    "\u{301}\u{903}\u{20dd}\u{fe0f}\u{e0101}",
    "09²½Ⅻ٣𝟘",
    " \t\u{b}\u{c}\u{85}\u{a0}\u{2003}\u{2028}\u{3000}",
    "\r\n",
    "/",
    "'/_-.,!<[\"`~+€😀\0\u{1c}\u{7f}\u{200b}\u{200d}\u{feff}\u{fffd}\u{e000}\u{a7ce}\u{323b0}\u{10ffff}",
];

/// Letters whose random words are merged as one long piece.
const WORDS: [&str; 6] = ["ab", "aé", "etaoin", "中文字", "=-", "abcdefghijklmnopqrstuvwxyz"];

/// A generator of numbers (`SplitMix64`): the same texts on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn choose<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// So many of them, each at most once.
    fn sample<'a, T>(&mut self, all: &'a [T], length: usize) -> Vec<&'a T> {
        let mut order: Vec<&T> = all.iter().collect();
        for place in 0..length {
            let other = place + self.below(all.len() - place);
            order.swap(place, other);
        }
        order.truncate(length);
        order
    }
}

/// What was compared in a stage.
#[derive(Default)]
struct Tally {
    texts: u64,
    bytes: u64,
    ids: u64,
    differences: u64,
    first: Option<String>,
}

impl Tally {
    fn add(&mut self, text: &str, truth: &[TokenId], is_equal: bool) {
        self.texts += 1;
        self.bytes += text.len() as u64;
        self.ids += truth.len() as u64;
        if !is_equal {
            self.differences += 1;
            self.first.get_or_insert_with(|| text.chars().take(4_000).collect());
        }
    }
}

struct Campaign {
    tokenizer: Tokenizer,
    stage: Tally,
    differences: u64,
    /// A line for every text that the script compares with the reference.
    sample: BufWriter<File>,
}

impl Campaign {
    fn compare(&mut self, text: &str) {
        let (tokenizer, stage) = (&self.tokenizer, &mut self.stage);
        let truth = tokenizer.encode_plain(text);
        // In turn, so that each of the two meets texts that this thread has not seen.
        let (ids, count) = if stage.texts % 2 == 0 {
            let ids = tokenizer.encode(text);
            (ids, tokenizer.count(text))
        } else {
            let count = tokenizer.count(text);
            (tokenizer.encode(text), count)
        };
        if stage.texts % REFERENCE_STEP == 0 {
            writeln!(self.sample, "{}", json!([text, truth])).unwrap();
        }
        stage.add(text, &truth, ids == truth && count == truth.len());
    }

    /// Encodes the two parts at each cut that work in parallel may make, of the text in two encodings.
    fn compare_cuts(&mut self, text: &str) {
        let truth = self.tokenizer.encode_plain(text);
        let utf16: Vec<u16> = text.encode_utf16().collect();
        for whole in [Text::Utf8(text), Text::Utf16(&utf16)] {
            let mut from = 0;
            while let Some((left, right)) = whole.cut(from) {
                let mut ids = Vec::new();
                for part in [left, right] {
                    self.tokenizer.encode_text(part, EncodeOptions::default(), &mut ids).unwrap();
                }
                let count = self.tokenizer.count_text(left) + self.tokenizer.count_text(right);
                self.stage.add(text, &truth, ids == truth && count == truth.len());
                from = left.len() + 1;
            }
        }
    }

    /// Whole files, alone and shared between threads.
    fn compare_file(&mut self, text: &str) {
        self.compare(text);
        let truth = self.tokenizer.encode_plain(text);
        for threads in [2, 3].map(|threads| NonZero::new(threads).unwrap()) {
            let texts = [Text::Utf8(text)];
            let encoded = self.tokenizer.encode_texts(&texts, EncodeOptions::default(), threads).unwrap();
            let count = self.tokenizer.count_bytes(text.as_bytes(), threads).unwrap();
            self.stage.add(text, &truth, encoded.ids == truth && count == truth.len());
        }
    }

    fn end_stage(&mut self, name: &str) {
        let Tally { texts, bytes, ids, differences, first } = mem::take(&mut self.stage);
        let line = json!({
            "stage": name,
            "texts": texts,
            "bytes": bytes,
            "ids": ids,
            "differences": differences,
            "first": first,
        });
        println!("{line}");
        self.differences += differences;
    }

    /// Every character alone, between letters and between spaces: as texts of their own and in long texts.
    fn compare_code_points(&mut self) {
        let characters: Vec<char> = ('\0'..=char::MAX).collect();
        for (before, behind) in [("", ""), ("a", "B"), (" ", " ")] {
            for some in characters.chunks(10_000) {
                let texts: Vec<String> =
                    some.iter().map(|character| format!("{before}{character}{behind}")).collect();
                for text in &texts {
                    self.compare(text);
                }
                self.compare(&texts.concat());
            }
        }
        self.end_stage("every code point in three surroundings");
    }

    /// Every ordered pair of a sample of tokens: as texts of their own, and those of a left token as one text.
    fn compare_pairs(&mut self, sample: &[&String]) {
        let pairs_of =
            |left: &String| -> Vec<String> { sample.iter().map(|right| format!("{left}{right}")).collect() };
        for left in sample {
            for text in pairs_of(left) {
                self.compare(&text);
            }
        }
        self.end_stage("pairs of tokens");
        for left in sample {
            self.compare(&pairs_of(left).concat());
        }
        self.end_stage("pairs of tokens, those of a left token joined");
    }
}

/// A kind of generated texts.
type Maker = fn(&mut Sources) -> String;

/// What generated texts are made of.
struct Sources {
    files: Vec<Vec<char>>,
    tokens: Vec<String>,
    random: Random,
}

impl Sources {
    fn class_soup(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..=self.random.below(60) {
            let member = self.class_member();
            // Rarely as many as fill a window of the vector path, or several.
            let times = match self.random.below(100) {
                0 => 40 + self.random.below(300),
                1..30 => 1 + self.random.below(5),
                _ => 1,
            };
            text.extend(std::iter::repeat_n(member, times));
        }
        text
    }

    fn class_member(&mut self) -> char {
        let members: Vec<char> = self.random.choose(&CLASSES).chars().collect();
        *self.random.choose(&members)
    }

    fn token_join(&mut self) -> String {
        (0..=self.random.below(80)).map(|_| self.random.choose(&self.tokens).as_str()).collect()
    }

    fn word(&mut self) -> String {
        let letters: Vec<char> = self.random.choose(&WORDS).chars().collect();
        (0..200 + self.random.below(3_000)).map(|_| *self.random.choose(&letters)).collect()
    }

    /// A part of a file with a few things changed.
    fn mutation(&mut self) -> String {
        let mut text = self.part(3_000);
        for _ in 0..self.random.below(12) {
            let start = self.random.below(text.len() + 1);
            let end = (start + self.random.below(20)).min(text.len());
            match self.random.below(6) {
                0 => drop(text.drain(start..end)),
                1 => text.extend_from_within(start..end),
                2 => drop(text.splice(start..end, [self.class_member()])),
                3 => drop(text.splice(start..start, self.part(40))),
                4 => text[start..end].reverse(),
                _ => text[start..end].iter_mut().for_each(|character| *character = other_case(*character)),
            }
        }
        text.into_iter().collect()
    }

    /// A part of a file, of fewer characters than that.
    fn part(&mut self, length: usize) -> Vec<char> {
        let file = self.random.below(self.files.len());
        let start = self.random.below(self.files[file].len());
        let rest = &self.files[file][start..];
        rest[..self.random.below(length).min(rest.len())].to_vec()
    }
}

fn other_case(character: char) -> char {
    let mut upper = character.to_uppercase();
    match upper.next() {
        Some(single) if single != character => single,
        _ => character.to_lowercase().next().unwrap_or(character),
    }
}

/// The tokens that are texts: others have a part of a character.
fn text_tokens(tokenizer: &Tokenizer) -> Vec<String> {
    let table = tokenizer.token_table();
    let ids = 1_000..table.len() as u32;
    ids.filter_map(|id| String::from_utf8(table.token_bytes(id).unwrap().to_vec()).ok()).collect()
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: start tests/exactness.py"))
}

fn number(name: &str) -> u64 {
    variable(name).parse().unwrap()
}

#[test]
#[ignore = "takes minutes, and files: tests/exactness.py runs it"]
fn campaign() {
    let choice = CpuChoice::of_process();
    assert_eq!(choice.refusal, None);
    println!("{}", json!({"level": choice.level.name()}));
    let mut campaign = Campaign {
        tokenizer: Tokenizer::embedded(),
        stage: Tally::default(),
        differences: 0,
        sample: BufWriter::new(File::create(variable("NEMO_FAST_EXACTNESS_SAMPLE")).unwrap()),
    };

    let mut files = Vec::new();
    for path in env::split_paths(&variable("NEMO_FAST_EXACTNESS_FILES")) {
        let text = fs::read_to_string(path).unwrap();
        campaign.compare_file(&text);
        files.push(text.chars().collect());
    }
    campaign.end_stage("files, and on two and three threads");
    campaign.compare_code_points();
    let mut random = Random(number("NEMO_FAST_EXACTNESS_SEED"));
    let tokens = text_tokens(&campaign.tokenizer);
    campaign.compare_pairs(&random.sample(&tokens, SAMPLE));

    let makers: [(&str, Maker); 4] = [
        ("class soup", Sources::class_soup),
        ("mutations of files", Sources::mutation),
        ("joins of tokens", Sources::token_join),
        ("long words", Sources::word),
    ];
    let bytes = number("NEMO_FAST_EXACTNESS_BYTES").div_ceil(makers.len() as u64);
    let mut sources = Sources { files, tokens, random };
    for (stage, make) in makers {
        while campaign.stage.bytes < bytes {
            campaign.compare(&make(&mut sources));
        }
        campaign.end_stage(stage);
    }
    while campaign.stage.bytes < bytes {
        campaign.compare_cuts(&sources.class_soup());
        let part: String = sources.part(300).iter().collect();
        campaign.compare_cuts(&part);
    }
    campaign.end_stage("cuts at every offset");
    assert_eq!(campaign.differences, 0);
}
