//! Products in eight-bit integers, to the bit: the definition written out, at every level, for any number of tokens and
//! threads; and the engine that reads prompts with them.

use std::num::NonZero;
use std::ops::Range;
use std::path::Path;

use nemo_fast::backend::cpu::{CpuBackend, KernelLevel};
use nemo_fast::backend::{Backend, Epilogue, KvFormat, PAGE};
use nemo_fast::checkpoint::Checkpoint;
use nemo_fast::fp8::{Fp8Rows, GROUP, e4m3};
use nemo_fast::generation::{Engine, Prefill, Request, Sampling, Stopping};
use nemo_fast::model::Model;
use proptest::prelude::*;

use crate::backend::{filled, row_buffers, rows_of};
use crate::numbers::Numbers;

/// Rows of a panel, which share the power of two of their integers.
const PANEL: usize = 16;

/// A matrix of codes with any exponents (mostly up to a drawn one), with a scale a row or one for each group, and activations
/// of sizes that differ by group.
fn operands(
    seed: u64,
    rows: usize,
    columns: usize,
    tokens: usize,
    grouped: bool,
) -> (Fp8Rows, Vec<Vec<f32>>) {
    let mut numbers = Numbers::new(seed);
    let mut byte = || (numbers.next().to_bits() >> 16) as u8;
    let groups = columns.div_ceil(GROUP);
    let tops: Vec<u8> = (0..rows.div_ceil(PANEL) * groups).map(|_| byte().max(1)).collect();
    let codes = (0..rows * columns).map(|at| {
        let top = tops[at / columns / PANEL * groups + at % columns / GROUP] & 0x7f;
        let code = byte();
        code & 0x80 | (code & 0x7f).min(top).min(0x7e)
    });
    let codes = codes.collect();
    let scales = numbers.matrix(1, rows * if grouped { groups } else { 1 }).remove(0);
    let mut x = numbers.matrix(tokens, columns);
    for (token, x) in x.iter_mut().enumerate() {
        for (group, x) in x.chunks_mut(GROUP).enumerate() {
            let size = [1.0, 300.0, 0.01, 0.0][(token + group) % 4];
            for x in x {
                *x *= size;
            }
        }
    }
    (Fp8Rows { codes, scales, columns }, x)
}

fn products(backend: &CpuBackend, matrix: &Fp8Rows, x: &[Vec<f32>], rows: Range<usize>) -> Vec<Vec<f32>> {
    let mut buffers = row_buffers(backend, x.len(), 1, 1);
    let x = filled(backend, x, &mut buffers);
    let mut out = backend.buffer(buffers.len, matrix.rows()).unwrap();
    backend.int8_matmul(
        &backend.fp8_matrix(matrix.clone()).unwrap(),
        &x,
        rows.clone(),
        Epilogue::Store,
        &mut out,
    );
    rows.map(|row| {
        let mut values = vec![0.0; matrix.rows()];
        backend.read(&out, row, &mut values);
        values
    })
    .collect()
}

/// The product as its module defines it.
fn by_definition(matrix: &Fp8Rows, x: &[f32]) -> Vec<f32> {
    let columns = matrix.columns;
    let groups = columns.div_ceil(GROUP);
    let mut y = vec![0.0_f32; matrix.rows()];
    for (group, x) in x.chunks(GROUP).enumerate() {
        let codes = |row: usize| &matrix.codes[row * columns..][..columns][group * GROUP..][..x.len()];
        let largest = x.iter().fold(1e-30_f32, |most, x| most.max(x.abs()));
        let (scale, inverse) = (largest / 127.0, 127.0 / largest);
        let x: Vec<i32> = x.iter().map(|x| (x * inverse).round_ties_even() as i32).collect();
        for panel in (0..matrix.rows()).step_by(PANEL) {
            let panel = panel..matrix.rows().min(panel + PANEL);
            let largest = panel.clone().flat_map(codes).map(|code| code & 0x7f).max().unwrap();
            let unit = 2.0_f32.powi(i32::from(largest >> 3).max(1) - 13);
            for row in panel {
                let weights = codes(row)
                    .iter()
                    .map(|&code| (e4m3::VALUES[usize::from(code)] / unit).round_ties_even() as i32);
                let sum: i32 = weights.zip(&x).map(|(weight, x)| weight * x).sum();
                let factor =
                    if matrix.groups() == 1 { unit } else { matrix.scales[row * groups + group] * unit };
                y[row] += sum as f32 * factor * scale;
            }
        }
    }
    if matrix.groups() == 1 {
        y.iter_mut().zip(&matrix.scales).for_each(|(y, scale)| *y *= scale);
    }
    y
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 10, ..ProptestConfig::default() })]

    #[test]
    fn every_level_has_the_bits_of_the_definition(
        seed in any::<u64>(), rows in 1_usize..150, columns in 1_usize..1_300, tokens in 1_usize..30,
        grouped in any::<bool>(),
    ) {
        // With a single group of columns, a scale for it is one a row.
        let (matrix, x) = operands(seed, rows, columns, tokens, grouped && columns > GROUP);
        for level in KernelLevel::available() {
            for threads in [1, 3] {
                let backend = CpuBackend::at_level(level, NonZero::new(threads)).unwrap();
                let found = products(&backend, &matrix, &x, 0..tokens);
                for (x, found) in x.iter().zip(&found) {
                    for (found, expected) in found.iter().zip(by_definition(&matrix, x)) {
                        prop_assert_eq!(found.to_bits(), expected.to_bits(), "{:?}: {} {}", level, found, expected);
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_range(
        seed in any::<u64>(), rows in 1_usize..200, columns in 1_usize..1_300, tokens in 1_usize..65,
        cuts in prop::collection::vec(0_usize..65, 0..4),
    ) {
        let (matrix, x) = operands(seed, rows, columns, tokens, false);
        let mut ends: Vec<usize> = cuts.into_iter().filter(|&cut| cut < tokens).chain([tokens]).collect();
        ends.sort_unstable();
        let whole: Vec<Vec<f32>> = x.iter().map(|x| by_definition(&matrix, x)).collect();
        for level in KernelLevel::available() {
            let backend = CpuBackend::at_level(level, NonZero::new(2)).unwrap();
            let mut start = 0;
            let mut found = Vec::new();
            for &end in &ends {
                found.extend(products(&backend, &matrix, &x, start..end));
                start = end;
            }
            prop_assert_eq!(&found, &whole, "{:?}", level);
        }
    }
}

/// How far integers are from E4M3 weights and exact activations, and what the epilogues make of them.
#[test]
fn epilogues_take_products_in_integers_too() {
    let (outputs, columns, n) = (40, 1_000, 7);
    let mut numbers = Numbers::new(5);
    let mut rows = |scale: f32| {
        let weights = numbers.matrix(outputs, columns);
        nemo_fast::fp8::quantize_rows(outputs, columns, |row, target| {
            target.iter_mut().zip(&weights[row]).for_each(|(target, weight)| *target = weight * scale);
        })
    };
    let (gates, values) = (rows(0.05), rows(1.0));
    let x = numbers.matrix(n, columns);
    let before = numbers.matrix(n, outputs);
    for level in KernelLevel::available() {
        let backend = CpuBackend::at_level(level, NonZero::new(2)).unwrap();
        let of_gates = products(&backend, &gates, &x, 0..n);
        let of_values = products(&backend, &values, &x, 0..n);
        let mut buffers = row_buffers(&backend, n, 1, 1);
        let x = filled(&backend, &x, &mut buffers);

        let mut exact = backend.buffer(n, outputs).unwrap();
        backend.matmul(&backend.fp8_matrix(gates.clone()).unwrap(), &x, n, Epilogue::Store, &mut exact);
        for (exact, found) in rows_of(&backend, &exact, n, outputs).iter().zip(&of_gates) {
            let size: f64 = exact.iter().map(|y| y * y).sum();
            let error: f64 = exact.iter().zip(found).map(|(y, &found)| (y - f64::from(found)).powi(2)).sum();
            assert!((1e-4..0.015).contains(&(error / size).sqrt()), "{}", (error / size).sqrt());
        }

        let mut out = filled(&backend, &before, &mut buffers);
        backend.int8_matmul(&backend.fp8_matrix(gates.clone()).unwrap(), &x, 0..n, Epilogue::Add, &mut out);
        for ((found, before), y) in rows_of(&backend, &out, n, outputs).iter().zip(&before).zip(&of_gates) {
            for ((&found, before), y) in found.iter().zip(before).zip(y) {
                assert!((found as f32 - (before + y)).abs() == 0.0);
            }
        }

        let gated = backend.gated_matrix(gates.clone(), values.clone()).unwrap();
        backend.int8_matmul(&gated, &x, 0..n, Epilogue::SwiGlu, &mut out);
        let found = rows_of(&backend, &out, n, outputs);
        for ((found, gates), values) in found.iter().zip(&of_gates).zip(&of_values) {
            for ((found, &gate), &value) in found.iter().zip(gates).zip(values) {
                let (gate, value) = (f64::from(gate), f64::from(value));
                let expected = gate / (1.0 + (-gate).exp()) * value;
                assert!((found - expected).abs() <= 0.004 * expected.abs() + 1e-30, "{found} {expected}");
            }
        }
    }
}

/// A value that is no number is not hidden by its integer.
#[test]
fn what_is_no_number_stays_so() {
    let (matrix, mut x) = operands(1, 20, 300, 3, false);
    x[0][299] = f32::NAN;
    x[1][0] = f32::INFINITY;
    for level in KernelLevel::available() {
        let found = products(&CpuBackend::at_level(level, NonZero::new(1)).unwrap(), &matrix, &x, 0..3);
        assert!(found[..2].iter().flatten().all(|y| !y.is_finite()), "{level:?}");
        assert!(found[2].iter().all(|y| y.is_finite()));
    }
}

fn model(threads: usize) -> Model<CpuBackend> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny-nemo-fp8-channel");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let backend = CpuBackend::new(NonZero::new(threads)).unwrap();
    let mut model = Model::load(&checkpoint, backend, 4 * PAGE, &mut |_, _| Ok(())).unwrap();
    model.reach(4 * PAGE);
    model
}

/// Logits of each row of passes over one sequence: token ids, and how many of them are in bf16.
fn pass_by_pass(model: &Model<CpuBackend>, passes: &[(&[u32], usize)]) -> Vec<Vec<f32>> {
    let mut cache = model.kv_cache(4, KvFormat::Bf16).unwrap();
    let mut activations = model.activations(16).unwrap();
    let mut rows = model.rows(1).unwrap();
    model.backend.write(&[0, 1, 2, 3], &mut rows.page_tables);
    let mut logits = Vec::new();
    let mut position = 0;
    for &(ids, bf16_len) in passes {
        (rows.len, rows.int8_len) = (ids.len(), ids.len() - bf16_len);
        model.backend.write(ids, &mut rows.token_ids);
        model.backend.write(&(position..).take(ids.len()).collect::<Vec<u32>>(), &mut rows.positions);
        position += ids.len() as u32;
        model.forward(&rows, &mut cache, &mut activations);
        for row in 0..ids.len() as u32 {
            logits.extend(model.logits(&[row], &mut activations));
        }
    }
    logits
}

#[test]
fn rows_of_both_kinds_share_a_pass() {
    let ids: Vec<u32> = (0..60).map(|k| k * 37 % 1000).collect();
    for threads in [1, 3] {
        let model = model(threads);
        for bf16_len in [0, 1, 7, 59, 60] {
            let (first, rest) = ids.split_at(bf16_len);
            let together = pass_by_pass(&model, &[(&ids, bf16_len)]);
            let apart: Vec<_> = first
                .iter()
                .map(|id| (std::slice::from_ref(id), 1))
                .chain(rest.chunks(11).map(|ids| (ids, 0)))
                .collect();
            assert!(together == pass_by_pass(&model, &apart), "{bf16_len} of 60 in bf16");
        }
        assert!(pass_by_pass(&model, &[(&ids, 0)]) != pass_by_pass(&model, &[(&ids, 60)]));
    }
}

/// Prompts, one-token ones too, are read in integers; each token of the answer in bf16.
#[test]
fn prompts_are_in_integers_and_answers_in_bf16() {
    let sampling = Sampling { seed: 3, ..Sampling::default() };
    let model = model(1);
    let answer = |prompt: &[u32], of_prompt: usize, of_answer: usize| {
        let mut ids = prompt.to_vec();
        for position in prompt.len()..prompt.len() + 60 {
            let mut passes = vec![(prompt, of_prompt * prompt.len())];
            passes.extend(ids[prompt.len()..].iter().map(|id| (std::slice::from_ref(id), of_answer)));
            let logits = pass_by_pass(&model, &passes).pop().unwrap();
            ids.push(sampling.choose(&logits, 0, position));
        }
        ids.split_off(prompt.len())
    };
    for prompt in [&[7][..], &[1, 5, 9, 44, 12]] {
        let mixed = answer(prompt, 0, 1);
        let others = [answer(prompt, 1, 1), answer(prompt, 0, 0)];
        assert!(
            others.iter().all(|other| *other != mixed),
            "the arithmetic does not show in so short an answer"
        );
        let mut engine =
            Engine::new(self::model(2), KvFormat::Bf16, None).unwrap().with_prefill(Prefill::Int8);
        let stopping = Stopping { max_tokens: Some(60), ignore_eos: true, ..Stopping::default() };
        let request = Request { prompt: prompt.to_vec(), choices: 1, sampling: sampling.clone(), stopping };
        engine.submit(&request).unwrap();
        let mut found = Vec::new();
        while !engine.is_idle() {
            found.extend(engine.step().into_iter().map(|event| event.result.unwrap().token_id));
        }
        assert_eq!(found, mixed);
    }
}
