//! Speed of the tokenizer on text files, beside the plain path.
//!
//! `cargo bench --bench tokenizer -- FILE...` prints MB/s for each file (`.txt`, UTF-8) at each level of this CPU:
//!
//! | column | what |
//! |---|---|
//! | `cold` | encode in a new thread, whose memory is empty |
//! | `warm` | encode the same text again |
//! | `count cold`, `count warm` | the same for counting |
//! | `200` | microseconds a call of about 200 characters, warm |
//!
//! Ids are compared with those of the plain path before anything is timed. Best of several rounds, on a machine that
//! is often shared: trust the ratios. Without files it measures a text of its own making, so that it always runs.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use nemo_fast::tokenizer::{CpuLevel, TokenId, Tokenizer};

const ROUNDS: usize = 15;

fn main() {
    // Cargo adds `--bench`.
    let paths: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let read = |path: &String| {
        std::fs::read_to_string(path)
            .map(|text| (name(path).to_owned(), text))
            .map_err(|error| format!("{path}: {error}"))
    };
    let texts = match paths.iter().map(read).collect::<Result<Vec<_>, _>>() {
        Ok(texts) if texts.is_empty() => vec![("made".to_owned(), made_text())],
        Ok(texts) => texts,
        Err(message) => {
            println!("{message}");
            std::process::exit(1)
        }
    };
    let levels = match std::env::var("NEMO_FAST_CPU") {
        Ok(_) => vec![CpuLevel::in_use()],
        Err(_) => CpuLevel::available(),
    };
    println!(
        "{:14} {:8} {:>7} {:>7} {:>11} {:>11} {:>7}",
        "", "level", "cold", "warm", "count cold", "count warm", "200"
    );
    let mut logarithms = vec![[0.0_f64; 5]; levels.len()];
    for (name, text) in &texts {
        let tokenizer = Tokenizer::embedded();
        let truth = tokenizer.encode_plain(text);
        for (&level, sums) in levels.iter().zip(&mut logarithms) {
            let row = measure(&tokenizer, level, text, &truth);
            print_row(name, level, row);
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value.ln() / texts.len() as f64;
            }
        }
    }
    if texts.len() > 1 {
        for (&level, sums) in levels.iter().zip(&logarithms) {
            print_row("geometric mean", level, sums.map(f64::exp));
        }
    }
}

fn measure(tokenizer: &Tokenizer, level: CpuLevel, text: &str, truth: &[TokenId]) -> [f64; 5] {
    let encode = |text: &str, ids: &mut Vec<TokenId>| {
        ids.clear();
        tokenizer.encode_at(level, text, ids);
    };
    let mut ids = Vec::with_capacity(text.len() + 16);
    encode(text, &mut ids);
    assert!(ids == truth, "ids differ from those of the plain path at level {level}");
    assert_eq!(tokenizer.count_at(level, text), truth.len());

    let megabytes = text.len() as f64 / 1e6;
    let in_new_thread = |work: &(dyn Fn() -> Duration + Sync)| {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap_or(Duration::MAX))
    };
    let best =
        |work: &dyn Fn() -> Duration| (0..ROUNDS).map(|_| work()).min().unwrap_or_default().as_secs_f64();
    let cold = best(&|| {
        in_new_thread(&|| {
            let mut ids = vec![0; text.len() + 16];
            timed(|| encode(text, &mut ids))
        })
    });
    let count_cold = best(&|| in_new_thread(&|| timed(|| black_box(tokenizer.count_at(level, text)))));
    let mut warm = f64::MAX;
    for _ in 0..ROUNDS {
        warm = warm.min(timed(|| encode(text, &mut ids)).as_secs_f64());
    }
    let count_warm = best(&|| timed(|| black_box(tokenizer.count_at(level, text))));
    let short: Vec<&str> = short_texts(text).into_iter().take(2_000).collect();
    let mut calls = f64::MAX;
    for _ in 0..ROUNDS {
        calls = calls.min(timed(|| short.iter().for_each(|text| encode(text, &mut ids))).as_secs_f64());
    }
    [
        megabytes / cold,
        megabytes / warm,
        megabytes / count_cold,
        megabytes / count_warm,
        calls * 1e6 / short.len() as f64,
    ]
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn print_row(name: &str, level: CpuLevel, [cold, warm, count_cold, count_warm, call]: [f64; 5]) {
    println!("{name:14} {level:8} {cold:7.0} {warm:7.0} {count_cold:11.0} {count_warm:11.0} {call:7.2}");
}

fn name(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.strip_suffix(".txt").unwrap_or(file)
}

/// Pieces of 200 characters.
fn short_texts(text: &str) -> Vec<&str> {
    let mut bounds: Vec<usize> = text.char_indices().map(|(at, _)| at).step_by(200).collect();
    bounds.push(text.len());
    bounds.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect()
}

/// Words from a small generator: not real text, but of all the lengths that words have.
fn made_text() -> String {
    let mut state = 1_u64;
    let mut next = |bound: u64| {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        (state >> 33) % bound
    };
    let syllables =
        ["ta", "ri", "on", "men", "the", "al", "ст", "ро", "中", "文", "に", "e", "er", "\n", ".", "1"];
    let mut text = String::new();
    while text.len() < 300_000 {
        for _ in 0..=next(4) {
            text.push_str(syllables[next(syllables.len() as u64) as usize]);
        }
        text.push(' ');
    }
    text
}
