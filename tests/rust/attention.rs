//! Attention against its formula in f64, and against itself: at every level, for both formats of the cache.

use std::num::NonZero;
use std::ops::Range;

use nemo_fast::backend::cpu::{CpuBackend, KernelLevel, KvCache};
use nemo_fast::backend::{Backend, KvFormat, KvShape, PAGE};
use nemo_fast::model::{RopeTable, rope_frequencies};
use proptest::prelude::*;

use crate::backend::{assert_near, filled, row_buffers, rows_of};
use crate::numbers::Numbers;

const THETA: f64 = 100.0;
const LAYER: usize = 1;
const FORMATS: [KvFormat; 2] = [KvFormat::Bf16, KvFormat::Fp8];

/// Sequences whose queries, keys and values are made up, and the cache that they share.
struct Context<'a> {
    backend: &'a CpuBackend,
    shape: KvShape,
    rope: RopeTable<CpuBackend>,
    cache: KvCache,
    /// `[sequences][positions]`
    qkv: &'a [Vec<Vec<f32>>],
    page_tables: Vec<u32>,
    pages_per_sequence: usize,
}

impl<'a> Context<'a> {
    fn new(
        backend: &'a CpuBackend,
        heads: &Heads,
        format: KvFormat,
        qkv: &'a [Vec<Vec<f32>>],
    ) -> Context<'a> {
        let longest = qkv.iter().map(Vec::len).max().unwrap();
        let pages_per_sequence = longest.div_ceil(PAGE);
        let pages = pages_per_sequence * qkv.len();
        let shape = KvShape {
            layers: LAYER + 1,
            pages,
            heads: heads.key_value,
            query_heads: heads.query,
            head_dim: heads.dimensions,
            format,
        };
        // Neighbours of a sequence are not neighbours in the cache.
        let page = |sequence: usize, index: usize| (pages - 1 - index * qkv.len() - sequence) as u32;
        let page_tables =
            (0..qkv.len()).flat_map(|s| (0..pages_per_sequence).map(move |index| page(s, index))).collect();
        let frequencies = rope_frequencies(heads.dimensions, THETA, None);
        let mut rope = RopeTable::new(backend, frequencies, longest).unwrap();
        rope.reach(backend, longest);
        Context {
            rope,
            cache: backend.kv_cache(shape).unwrap(),
            backend,
            shape,
            qkv,
            page_tables,
            pages_per_sequence,
        }
    }

    /// One pass over (sequence, position)s.
    fn pass(&mut self, tokens: &[(usize, usize)]) -> Vec<Vec<f64>> {
        let Context { backend, shape, .. } = self;
        let mut rows = row_buffers(*backend, tokens.len(), self.qkv.len(), self.pages_per_sequence);
        let values: Vec<_> = tokens.iter().map(|&(s, position)| self.qkv[s][position].clone()).collect();
        let mut buffer = filled(*backend, &values, &mut rows);
        let column = |f: fn(&(usize, usize)) -> usize| tokens.iter().map(|t| f(t) as u32).collect::<Vec<_>>();
        backend.write(&column(|token| token.1), &mut rows.positions);
        backend.write(&column(|token| token.0), &mut rows.sequences);
        backend.write(&self.page_tables, &mut rows.page_tables);
        backend.rope_append(&mut buffer, &self.rope, &rows, LAYER, &mut self.cache);
        let width = shape.query_heads * shape.head_dim;
        let mut out = backend.buffer(tokens.len(), width).unwrap();
        backend.attend(&buffer, &rows, LAYER, &self.cache, &mut out);
        rows_of(*backend, &out, tokens.len(), width)
    }

    /// Positions of a sequence, in passes of up to `chunk`.
    fn prefill(&mut self, sequence: usize, positions: Range<usize>, chunk: usize) -> Vec<Vec<f64>> {
        let tokens: Vec<_> = positions.map(|position| (sequence, position)).collect();
        tokens.chunks(chunk).flat_map(|tokens| self.pass(tokens)).collect()
    }
}

#[derive(Clone, Copy, Debug)]
struct Heads {
    query: usize,
    key_value: usize,
    dimensions: usize,
}

impl Heads {
    fn made_up(&self, numbers: &mut Numbers, length: usize) -> Vec<Vec<f32>> {
        numbers.matrix(length, (self.query + 2 * self.key_value) * self.dimensions)
    }
}

const HEADS: [Heads; 6] = [
    Heads { query: 1, key_value: 1, dimensions: 2 },
    Heads { query: 4, key_value: 2, dimensions: 8 },
    Heads { query: 6, key_value: 1, dimensions: 34 },
    Heads { query: 9, key_value: 3, dimensions: 64 },
    Heads { query: 4, key_value: 1, dimensions: 128 },
    Heads { query: 2, key_value: 2, dimensions: 96 },
];

fn backends() -> impl Iterator<Item = CpuBackend> {
    KernelLevel::available()
        .into_iter()
        .flat_map(|level| [1, 3].map(|threads| CpuBackend::at_level(level, NonZero::new(threads)).unwrap()))
}

/// What rounding to bf16 and E4M3 may cost, of the size of the outputs of a sequence: where the values of a single row
/// cancel, what was rounded away is all that is left.
fn tolerance(format: KvFormat) -> f64 {
    match format {
        KvFormat::Bf16 => 0.006,
        KvFormat::Fp8 => 0.06,
    }
}

/// Two sequences of unlike lengths, computed in passes of several rows; the last pass has rows of both.
#[test]
fn attention_is_the_textbooks() {
    for backend in backends() {
        for (heads, format) in HEADS.iter().flat_map(|heads| FORMATS.map(|format| (heads, format))) {
            let mut numbers = Numbers::new(1);
            let lengths = [PAGE * 2 + 9, PAGE - 1];
            let qkv = lengths.map(|length| heads.made_up(&mut numbers, length));
            let mut context = Context::new(&backend, heads, format, &qkv);
            let mut found =
                [context.prefill(0, 0..lengths[0] - 1, 100), context.prefill(1, 0..lengths[1] - 1, 100)];
            let last = context.pass(&[(0, lengths[0] - 1), (1, lengths[1] - 1)]);
            found.iter_mut().zip(last).for_each(|(found, last)| found.push(last));
            for (qkv, found) in qkv.iter().zip(found) {
                let expected: Vec<_> = (0..qkv.len()).map(|p| attended(qkv, heads, p)).collect();
                let what = format!("{:?}, {heads:?}, {format:?}", backend.level());
                assert_near(&[found.concat()], &[expected.concat()], tolerance(format), &what);
            }
        }
    }
}

/// Thousands of positions: around each end of a part.
#[test]
fn a_long_context_is_the_textbooks() {
    let heads = Heads { query: 2, key_value: 1, dimensions: 16 };
    let qkv = [heads.made_up(&mut Numbers::new(2), 4_200)];
    let positions = [2_046, 2_047, 2_048, 2_111, 4_095, 4_096, 4_199];
    let expected: Vec<_> = positions.iter().map(|&p| attended(&qkv[0], &heads, p)).collect();
    for backend in backends() {
        for format in FORMATS {
            let mut context = Context::new(&backend, &heads, format, &qkv);
            let outputs = context.prefill(0, 0..qkv[0].len(), 512);
            let found: Vec<_> = positions.iter().map(|&position| outputs[position].clone()).collect();
            assert_near(&[found.concat()], &[expected.concat()], tolerance(format), "a long context");
        }
    }
}

fn bits(rows: &[Vec<f64>]) -> Vec<u64> {
    rows.iter().flatten().map(|value| value.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 40, ..ProptestConfig::default() })]

    /// Whatever else is in the pass, however a prompt is cut, and however many threads there are: the same bits.
    #[test]
    fn attention_does_not_depend_on_the_pass(
        heads in prop::sample::select(&HEADS[..5]),
        level in prop::sample::select(KernelLevel::available()),
        format in prop::sample::select(&FORMATS[..]),
        // What is there before, and how much comes.
        sequences in prop::collection::vec((prop::sample::select(vec![0, 60, 2_040, 4_090]), 1_usize..90), 1..4),
        chunks in prop::collection::vec(1_usize..=512, 1..4),
        threads in 1_usize..=4,
    ) {
        let mut numbers = Numbers::new(7);
        let qkv: Vec<_> =
            sequences.iter().map(|&(before, more)| heads.made_up(&mut numbers, before + more)).collect();
        let alone = CpuBackend::at_level(level, NonZero::new(1)).unwrap();
        let mut context = Context::new(&alone, &heads, format, &qkv);
        let expected: Vec<_> = (0..sequences.len())
            .map(|s| {
                let (before, more) = sequences[s];
                context.prefill(s, 0..before, 512);
                context.prefill(s, before..before + more, 1)
            })
            .collect();

        let backend = CpuBackend::at_level(level, NonZero::new(threads)).unwrap();
        let mut context = Context::new(&backend, &heads, format, &qkv);
        let mut found: Vec<Vec<Vec<f64>>> = vec![Vec::new(); sequences.len()];
        for (s, &(before, _)) in sequences.iter().enumerate() {
            context.prefill(s, 0..before, 300);
        }
        for pass in 0.. {
            let tokens: Vec<(usize, usize)> = (0..sequences.len())
                .flat_map(|s| {
                    let (before, more) = sequences[s];
                    let chunk = chunks[(pass + s) % chunks.len()].min(512 / sequences.len());
                    let first = found[s].len();
                    (first..more.min(first + chunk)).map(move |position| (s, before + position))
                })
                .collect();
            if tokens.is_empty() {
                break;
            }
            for (&(s, _), row) in tokens.iter().zip(context.pass(&tokens)) {
                found[s].push(row);
            }
        }
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert_eq!(bits(found), bits(expected));
        }
    }
}

/// What another sequence left behind in a page, be it infinite, changes nothing.
#[test]
fn what_is_behind_the_last_position_does_not_count() {
    let heads = Heads { query: 4, key_value: 2, dimensions: 64 };
    let mut numbers = Numbers::new(5);
    let clean = [heads.made_up(&mut numbers, 40)];
    let broken = [clean[0].clone(), vec![vec![f32::INFINITY; clean[0][0].len()]; 64]];
    for backend in backends() {
        for format in FORMATS {
            let expected = Context::new(&backend, &heads, format, &clean).prefill(0, 0..40, 7);
            let mut context = Context::new(&backend, &heads, format, &broken);
            let outputs = context.prefill(1, 0..64, 64);
            assert!(outputs.iter().flatten().all(|value| value.is_nan()), "infinite keys must show");
            // The page of the second sequence goes to the first.
            context.page_tables.swap(0, 1);
            assert_eq!(bits(&context.prefill(0, 0..40, 7)), bits(&expected));
        }
    }
}

/// The textbook, at a position: rotary positions, then softmax(q·K/√d)·V over everything up to it.
fn attended(qkv: &[Vec<f32>], heads: &Heads, position: usize) -> Vec<f64> {
    let d = heads.dimensions;
    let head = |position: usize, head: usize| -> Vec<f64> {
        qkv[position][head * d..(head + 1) * d].iter().map(|&value| f64::from(value)).collect()
    };
    let turned = |position: usize, values: &[f64]| -> Vec<f64> {
        let turn = |index: usize| {
            let pair = index % (d / 2);
            let angle = position as f64 * THETA.powf(-2.0 * pair as f64 / d as f64);
            let (a, b) = (values[pair], values[pair + d / 2]);
            if index < d / 2 { a * angle.cos() - b * angle.sin() } else { b * angle.cos() + a * angle.sin() }
        };
        (0..d).map(turn).collect()
    };
    let one = |query: usize| -> Vec<f64> {
        let kv = query / (heads.query / heads.key_value);
        let query = turned(position, &head(position, query));
        let score = |before: usize| {
            let key = turned(before, &head(before, heads.query + kv));
            (query.iter().zip(&key).map(|(q, k)| q * k).sum::<f64>() / (d as f64).sqrt()).exp()
        };
        let scores: Vec<f64> = (0..=position).map(score).collect();
        let sum: f64 = scores.iter().sum();
        let mut out = vec![0.0; d];
        for (before, score) in scores.iter().enumerate() {
            let value = head(before, heads.query + heads.key_value + kv);
            out.iter_mut().zip(value).for_each(|(out, value)| *out += score / sum * value);
        }
        out
    };
    (0..heads.query).flat_map(one).collect()
}
