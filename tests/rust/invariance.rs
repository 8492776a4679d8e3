//! A whole model, to the bit: the logits of a token are the same alone and among others, however prompts are cut into passes
//! and however many threads work, at every level, in both arithmetics and for both formats of the cache.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;

use nemo_fast::backend::cpu::{CpuBackend, KernelLevel, KvCache};
use nemo_fast::backend::{Backend, KvFormat, PAGE, Rows};
use nemo_fast::checkpoint::Checkpoint;
use nemo_fast::fp8::{GROUP, e4m3};
use nemo_fast::model::{Activations, MAX_ROWS, Model};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use crate::numbers::Numbers;

const VOCABULARY: usize = 50;
const LAYERS: usize = 2;
const MOST_SEQUENCES: usize = 64;

#[derive(Debug)]
struct Shape {
    hidden: usize,
    intermediate: usize,
    heads: usize,
    key_value_heads: usize,
    head_dim: usize,
    /// A scale for each block of weights, not for each row.
    has_blocks: bool,
    has_fp8_head: bool,
}

/// Of the first, `down_proj` has more columns than a kernel takes at a time where there are many tokens; of the second, columns
/// have several scales.
const SHAPES: [Shape; 2] = [
    Shape {
        hidden: 72,
        intermediate: 2_180,
        heads: 4,
        key_value_heads: 2,
        head_dim: 20,
        has_blocks: false,
        has_fp8_head: false,
    },
    Shape {
        hidden: 264,
        intermediate: 200,
        heads: 6,
        key_value_heads: 1,
        head_dim: 64,
        has_blocks: true,
        has_fp8_head: true,
    },
];

impl Shape {
    /// Random weights: E4M3 for the linear layers, bf16 for the rest.
    fn write(&self, folder: &Path) {
        let (query, key_value) = (self.heads * self.head_dim, self.key_value_heads * self.head_dim);
        let quantization = if self.has_blocks {
            json!({"quant_method": "fp8", "weight_block_size": [GROUP, GROUP]})
        } else {
            json!({"quant_method": "fp8", "activation_scheme": "dynamic"})
        };
        let config = json!({
            "hidden_size": self.hidden, "intermediate_size": self.intermediate, "num_hidden_layers": LAYERS,
            "num_attention_heads": self.heads, "num_key_value_heads": self.key_value_heads,
            "head_dim": self.head_dim, "vocab_size": VOCABULARY, "rope_theta": 1e4,
            "quantization_config": quantization,
        });
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let mut weights = Weights { numbers: Numbers::new(3), tensors: BTreeMap::new() };
        for layer in 0..LAYERS {
            for (name, rows, columns) in [
                ("self_attn.q_proj", query, self.hidden),
                ("self_attn.k_proj", key_value, self.hidden),
                ("self_attn.v_proj", key_value, self.hidden),
                ("self_attn.o_proj", self.hidden, query),
                ("mlp.gate_proj", self.intermediate, self.hidden),
                ("mlp.up_proj", self.intermediate, self.hidden),
                ("mlp.down_proj", self.hidden, self.intermediate),
            ] {
                weights.linear(
                    &format!("model.layers.{layer}.{name}.weight"),
                    rows,
                    columns,
                    self.has_blocks,
                );
            }
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                weights.dense(&format!("model.layers.{layer}.{norm}.weight"), vec![self.hidden]);
            }
        }
        weights.dense("model.norm.weight", vec![self.hidden]);
        for name in ["model.embed_tokens.weight", "lm_head.weight"] {
            weights.dense(name, vec![VOCABULARY, self.hidden]);
        }
        let views = weights.tensors.iter().map(|(name, (dtype, shape, bytes))| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let file = folder.join("model.safetensors");
        safetensors::serialize_to_file(views, None, &file).unwrap();
    }
}

struct Weights {
    numbers: Numbers,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Weights {
    /// Outputs are about as large as inputs.
    fn linear(&mut self, name: &str, rows: usize, columns: usize, has_blocks: bool) {
        let codes = (0..rows * columns).map(|_| e4m3::from_f32(100.0 * self.numbers.next())).collect();
        self.tensors.insert(name.to_owned(), (Dtype::F8_E4M3, vec![rows, columns], codes));
        let shape =
            if has_blocks { vec![rows.div_ceil(GROUP), columns.div_ceil(GROUP)] } else { vec![rows, 1] };
        let scale = |x: f32| (x.abs() + 0.5) / 100.0 / (columns as f32).sqrt();
        let scales = (0..shape.iter().product()).flat_map(|_| scale(self.numbers.next()).to_le_bytes());
        let scales = scales.collect();
        self.tensors.insert(format!("{name}_scale"), (Dtype::F32, shape, scales));
    }

    fn dense(&mut self, name: &str, shape: Vec<usize>) {
        // Exact in bf16, which is the upper half of an f32.
        let upper_half = |x: f32| ((x.to_bits() >> 16) as u16).to_le_bytes();
        let bytes = (0..shape.iter().product()).flat_map(|_| upper_half(self.numbers.next())).collect();
        self.tensors.insert(name.to_owned(), (Dtype::BF16, shape, bytes));
    }
}

/// A model with a KV cache, and sequences that are being computed.
struct Runner<'a> {
    model: Model<CpuBackend>,
    cache: KvCache,
    activations: Activations<CpuBackend>,
    rows: Rows<CpuBackend>,
    page_tables: Vec<u32>,
    prompts: &'a [Vec<u32>],
    /// Of each sequence, how many of its first tokens are multiplied in integers.
    in_integers: &'a [usize],
    /// Of each sequence, the bits of the logits of each position so far.
    logits: Vec<Vec<Vec<u32>>>,
}

impl<'a> Runner<'a> {
    fn new(
        folder: &Path,
        shape: &Shape,
        backend: CpuBackend,
        format: KvFormat,
        prompts: &'a [Vec<u32>],
        in_integers: &'a [usize],
    ) -> Runner<'a> {
        let checkpoint = Checkpoint::open(folder).unwrap();
        let checkpoint = if shape.has_fp8_head { checkpoint.with_fp8_head() } else { checkpoint };
        let longest = prompts.iter().map(Vec::len).max().unwrap();
        let mut model = Model::load(&checkpoint, backend, longest, &mut |_, _| Ok(())).unwrap();
        model.reach(longest);
        let pages = prompts.len() * longest.div_ceil(PAGE);
        Runner {
            cache: model.kv_cache(pages, format).unwrap(),
            activations: model.activations(MAX_ROWS).unwrap(),
            rows: model.rows(prompts.len()).unwrap(),
            // Neighbours of a sequence are not neighbours in the cache.
            page_tables: (0..pages as u32).rev().collect(),
            logits: vec![Vec::new(); prompts.len()],
            prompts,
            in_integers,
            model,
        }
    }

    fn left(&self, sequence: usize) -> usize {
        self.prompts[sequence].len() - self.logits[sequence].len()
    }

    /// Whether the next token of a sequence is multiplied in integers, and how many more are as it is.
    fn alike(&self, sequence: usize) -> (bool, usize) {
        match self.in_integers[sequence].checked_sub(self.logits[sequence].len()) {
            None | Some(0) => (false, self.left(sequence)),
            Some(count) => (true, count.min(self.left(sequence))),
        }
    }

    /// One pass over the next positions of sequences, all of one kind: (which, how many).
    fn pass(&mut self, plan: &mut [(usize, usize)]) {
        plan.sort_by_key(|&(sequence, _)| self.alike(sequence).0);
        let of_integers = plan.iter().filter(|&&(sequence, _)| self.alike(sequence).0);
        let int8_len = of_integers.map(|&(_, count)| count).sum();
        let [mut token_ids, mut positions, mut sequences] = [const { Vec::new() }; 3];
        for &(sequence, count) in &*plan {
            let first = self.logits[sequence].len();
            token_ids.extend(&self.prompts[sequence][first..first + count]);
            positions.extend(first as u32..(first + count) as u32);
            sequences.extend(std::iter::repeat_n(sequence as u32, count));
        }
        let (backend, rows) = (&self.model.backend, &mut self.rows);
        (rows.len, rows.int8_len) = (token_ids.len(), int8_len);
        backend.write(&token_ids, &mut rows.token_ids);
        backend.write(&positions, &mut rows.positions);
        backend.write(&sequences, &mut rows.sequences);
        backend.write(&self.page_tables, &mut rows.page_tables);
        self.model.forward(rows, &mut self.cache, &mut self.activations);
        let selected: Vec<u32> = (0..token_ids.len() as u32).collect();
        let logits = self.model.logits(&selected, &mut self.activations);
        for (sequence, logits) in sequences.iter().zip(logits) {
            self.logits[*sequence as usize].push(logits.iter().map(|logit| logit.to_bits()).collect());
        }
    }
}

#[test]
fn the_arithmetics_differ() {
    let prompts = [(0..20).map(|position| position * 37 % VOCABULARY as u32).collect()];
    for shape in &SHAPES {
        let folder = tempfile::tempdir().unwrap();
        shape.write(folder.path());
        for level in KernelLevel::available() {
            let logits = |in_integers: usize| {
                let backend = CpuBackend::at_level(level, NonZero::new(1)).unwrap();
                let in_integers = [in_integers];
                let mut runner =
                    Runner::new(folder.path(), shape, backend, KvFormat::Bf16, &prompts, &in_integers);
                while runner.left(0) > 0 {
                    let count = runner.alike(0).1;
                    runner.pass(&mut [(0, count)]);
                }
                runner.logits.remove(0)
            };
            let (in_bf16, mixed, in_integers) = (logits(0), logits(10), logits(20));
            assert_eq!(mixed[..10], in_integers[..10], "{level:?}");
            for position in 0..20 {
                assert_ne!(in_bf16[position], in_integers[position], "{level:?}, position {position}");
            }
            assert!((10..20).all(|k| mixed[k] != in_bf16[k] && mixed[k] != in_integers[k]), "{level:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 16, ..ProptestConfig::default() })]

    #[test]
    fn logits_do_not_depend_on_the_pass(
        shape in prop::sample::select(&[0, 1][..]),
        level in prop::sample::select(KernelLevel::available()),
        format in prop::sample::select(&[KvFormat::Bf16, KvFormat::Fp8][..]),
        lengths in prop::collection::vec(1_usize..24, 1..=MOST_SEQUENCES),
        // One prompt is longer than a pass, or than what attention computes as one part.
        longer in prop::sample::select(&[0, 0, 100, 700, 2_100][..]),
        chunks in prop::collection::vec(prop_oneof![1_usize..8, 1..=MAX_ROWS], 1..4),
        in_integers in prop::collection::vec(prop_oneof![Just(0_usize), 1_usize..24, Just(1_000)], 1..4),
        threads in 1_usize..=4,
    ) {
        let shape = &SHAPES[shape];
        let folder = tempfile::tempdir().unwrap();
        shape.write(folder.path());
        let mut lengths = lengths;
        lengths[0] += longer;
        let token = |sequence: usize, position: usize| ((sequence * 31 + position * 37) % VOCABULARY) as u32;
        let prompts: Vec<Vec<u32>> = lengths
            .iter()
            .enumerate()
            .map(|(sequence, &length)| (0..length).map(|position| token(sequence, position)).collect())
            .collect();
        let in_integers: Vec<usize> = in_integers.iter().copied().cycle().take(prompts.len()).collect();
        let runner = |threads| {
            let backend = CpuBackend::at_level(level, NonZero::new(threads)).unwrap();
            Runner::new(folder.path(), shape, backend, format, &prompts, &in_integers)
        };

        let mut alone = runner(1);
        for (sequence, &length) in lengths.iter().enumerate() {
            (0..length).for_each(|_| alone.pass(&mut [(sequence, 1)]));
        }

        let mut together = runner(threads);
        for pass in 0.. {
            let mut room = MAX_ROWS;
            let mut plan = Vec::new();
            // Each pass begins with another sequence.
            for sequence in (0..prompts.len()).map(|sequence| (sequence + pass) % prompts.len()) {
                let chunk = chunks[(pass + sequence) % chunks.len()];
                let count = together.alike(sequence).1.min(chunk).min(room);
                room -= count;
                if count > 0 {
                    plan.push((sequence, count));
                }
            }
            if plan.is_empty() {
                break;
            }
            together.pass(&mut plan);
        }
        for (sequence, expected) in alone.logits.iter().enumerate() {
            for (position, (found, expected)) in together.logits[sequence].iter().zip(expected).enumerate() {
                prop_assert_eq!(found, expected, "sequence {}, position {}", sequence, position);
            }
            prop_assert_eq!(together.left(sequence), 0);
        }
    }
}
