//! Speed of attention and of the head, as shares of what this machine can read and multiply.
//!
//! `cargo bench --bench attention [-- THREADS]`. Heads are those of Nemo: 32 queries, 8 keys and values, 128 dimensions. For
//! each format of the cache and each context: a decode step, one of four drafts, and 512 rows of a prompt; then the head, in
//! bf16, for some tokens. Calls go round layers that do not fit the caches together; the best call counts.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::num::NonZero;
use std::time::{Duration, Instant};

use nemo_fast::backend::cpu::{CpuBackend, KvCache, Limits};
use nemo_fast::backend::{Backend, KvFormat, KvShape, PAGE, Rows};
use nemo_fast::checkpoint::SafetensorsFile;
use nemo_fast::model::{RopeTable, rope_frequencies};

const QUERY_HEADS: usize = 32;
const HEADS: usize = 8;
const HEAD_DIM: usize = 128;
const CONTEXTS: [usize; 2] = [2_048, 16_384];
const PROMPT: usize = 512;
/// Positions that all layers together hold.
const POSITIONS: usize = 65_536;
/// How long calls are repeated.
const REPEATED: Duration = Duration::from_millis(600);

const VOCAB: usize = 16_384;
const HIDDEN: usize = 5_120;

fn main() {
    // Cargo adds `--bench`.
    let threads = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(2);
    let backend = CpuBackend::new(NonZero::new(threads)).expect("threads");
    println!("{} threads, kernels {}", backend.threads(), backend.level().name());
    for context in CONTEXTS {
        for format in [KvFormat::Bf16, KvFormat::Fp8] {
            let limits = backend.limits().expect("memory");
            attention(&backend, limits, context, format);
        }
    }
    head(&backend, backend.limits().expect("memory"));
}

fn attention(backend: &CpuBackend, limits: Limits, context: usize, format: KvFormat) {
    let layers = POSITIONS / context;
    let pages = (context + PROMPT).div_ceil(PAGE);
    let shape = KvShape { layers, pages, heads: HEADS, query_heads: QUERY_HEADS, head_dim: HEAD_DIM, format };
    let mut cache = backend.kv_cache(shape).expect("memory");
    let frequencies = rope_frequencies(HEAD_DIM, 1e6, None);
    let mut rope = RopeTable::new(backend, frequencies, context + PROMPT).expect("memory");
    rope.reach(backend, context + PROMPT);
    let width = (QUERY_HEADS + 2 * HEADS) * HEAD_DIM;
    let mut rows: Rows<CpuBackend> = Rows {
        len: PROMPT,
        int8_len: 0,
        token_ids: vec![0; PROMPT],
        positions: vec![0; PROMPT],
        sequences: vec![0; PROMPT],
        page_tables: (0..pages as u32).collect(),
        pages_per_sequence: pages,
    };
    let mut qkv: Vec<f32> = (0..PROMPT * width).map(|i| (i * 37 % 101) as f32 / 101.0 - 0.5).collect();
    for first in (0..context).step_by(PROMPT) {
        rows.positions = (first as u32..).take(PROMPT).collect();
        (0..layers).for_each(|layer| backend.rope_append(&mut qkv, &rope, &rows, layer, &mut cache));
    }
    let bytes = KvCache::bytes(&KvShape { layers: 1, pages: context / PAGE, ..shape }) as f64;
    for (len, first) in [(1, context - 1), (4, context - 4), (PROMPT, context)] {
        rows.len = len;
        rows.positions = (first as u32..).take(PROMPT).collect();
        let mut out = backend.buffer(len, QUERY_HEADS * HEAD_DIM).expect("memory");
        let time = best(|round| backend.attend(&qkv, &rows, round % layers, &cache, &mut out));
        let dots = (len * (first + len / 2) * QUERY_HEADS * HEAD_DIM * 4) as f64;
        println!("{context:6} positions, {format:?}, {len:3} rows: {}", shares(bytes, dots, time, limits));
    }
}

fn head(backend: &CpuBackend, limits: Limits) {
    let bytes = vec![0x3c_u8; VOCAB * HIDDEN * 2];
    let header = format!(
        r#"{{"head":{{"dtype":"BF16","shape":[{VOCAB},{HIDDEN}],"data_offsets":[0,{}]}}}}"#,
        bytes.len()
    );
    let file = tempfile::NamedTempFile::new().expect("a file");
    let parts = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes].concat();
    std::fs::write(file.path(), parts).expect("a file");
    let head =
        SafetensorsFile::open(file.path()).expect("valid").tensor("head").expect("valid").expect("there");
    for tokens in [1, 2, 3, 4, 8, 16] {
        let x = vec![0.5; tokens * HIDDEN];
        let selected: Vec<u32> = (0..tokens as u32).collect();
        let mut out = backend.buffer(tokens, VOCAB).expect("memory");
        let time = best(|_round| backend.logits(&head, &x, &selected, tokens, &mut out));
        let dots = (2 * tokens * VOCAB * HIDDEN) as f64;
        println!("head, {tokens:2} tokens: {}", shares(bytes.len() as f64, dots, time, limits));
    }
}

fn shares(bytes: f64, operations: f64, time: Duration, limits: Limits) -> String {
    let (read, computed) = (bytes / time.as_secs_f64(), operations / time.as_secs_f64());
    format!(
        "{:6.1} GB/s {:5.1} % of {:.1}   {:7.1} GFLOP/s {:5.1} %",
        read / 1e9,
        100.0 * read / limits.read_bytes_per_second,
        limits.read_bytes_per_second / 1e9,
        computed / 1e9,
        limits.dot_operations_per_second.map_or(f64::NAN, |peak| 100.0 * computed / peak),
    )
}

/// The shortest call of `work`, which is given the number of the call.
fn best(mut work: impl FnMut(usize)) -> Duration {
    let start = Instant::now();
    let mut shortest = Duration::MAX;
    for round in 0.. {
        let call = Instant::now();
        work(round);
        // The first call brings memory and threads about.
        shortest = if round > 0 { shortest.min(call.elapsed()) } else { shortest };
        if round >= 5 && start.elapsed() > REPEATED {
            break;
        }
    }
    shortest
}
