//! Every operation of a backend against its formula in f64: one body, run on every device there is.

use std::num::NonZero;

use nemo_fast::backend::cpu::{CpuBackend, KernelLevel};
use nemo_fast::backend::{Backend, Epilogue, KvShape, PAGE, Rows};
use nemo_fast::checkpoint::SafetensorsFile;
use nemo_fast::fp8::{Fp8Rows, Panels, e4m3, quantize_rows};
use nemo_fast::model::RopeTable;

use crate::numbers::{Numbers, bf16};

/// What a device's buffer holds, as rows of f64.
fn rows_of<B: Backend>(backend: &B, buffer: &B::Buffer, n: usize, width: usize) -> Vec<Vec<f64>> {
    let mut row = vec![0.0; width];
    (0..n)
        .map(|i| {
            backend.read(buffer, i, &mut row);
            row.iter().map(|&value| f64::from(value)).collect()
        })
        .collect()
}

fn assert_near(found: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64, what: &str) {
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let size = expected.iter().map(|value| value * value).sum::<f64>().sqrt();
        let error = found.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        assert!(error <= tolerance * size, "{what}: row {i} is off by {} of its size", error / size);
    }
}

/// A buffer of `n` rows, filled through `embed`: there is no other way in from the host.
fn filled<B: Backend>(backend: &B, values: &[Vec<f32>], rows: &mut Rows<B>) -> B::Buffer {
    let (n, width) = (values.len(), values[0].len());
    let table = dense(backend, n, width, &values.concat());
    rows.len = n;
    backend.write(&(0..n as u32).collect::<Vec<_>>(), &mut rows.token_ids);
    let mut buffer = backend.buffer(n, width).unwrap();
    backend.embed(&table, rows, &mut buffer);
    buffer
}

fn dense<B: Backend>(backend: &B, rows: usize, columns: usize, values: &[f32]) -> B::DenseMatrix {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let header = format!(
        r#"{{"table":{{"dtype":"F32","shape":[{rows},{columns}],"data_offsets":[0,{}]}}}}"#,
        bytes.len()
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes].concat())
        .unwrap();
    let tensor = SafetensorsFile::open(file.path()).unwrap().tensor("table").unwrap().unwrap();
    backend.dense_matrix(tensor).unwrap()
}

fn row_buffers<B: Backend>(backend: &B, n: usize, sequences: usize, pages_per_sequence: usize) -> Rows<B> {
    let indices = |len| backend.indices(len).unwrap();
    Rows {
        len: n,
        token_ids: indices(n),
        positions: indices(n),
        sequences: indices(n),
        page_tables: indices(sequences * pages_per_sequence),
        pages_per_sequence,
    }
}

fn conformance<B: Backend>(backend: &B) {
    let mut numbers = Numbers::new(1);
    for n in [1, 2, 3, 4, 5, 7, 10, 11, 17, 33] {
        for (outputs, inputs) in [(1, 1), (7, 5), (40, 33), (66, 130), (70, 1_100)] {
            products(backend, &mut numbers, n, outputs, inputs);
        }
        norm_and_logits(backend, &mut numbers, n);
        packed_head(backend, &mut numbers, n);
    }
    for (query_heads, heads, head_dim) in [(1, 1, 2), (4, 2, 8), (6, 1, 34)] {
        attention(backend, &mut numbers, query_heads, heads, head_dim);
    }
}

fn products<B: Backend>(backend: &B, numbers: &mut Numbers, n: usize, outputs: usize, inputs: usize) {
    let mut rows = row_buffers(backend, n, 1, 1);
    let mut x = numbers.matrix(n, inputs);
    x.iter_mut().flatten().for_each(|x| *x = bf16(*x));
    let before = numbers.matrix(n, outputs);
    let buffer = filled(backend, &x, &mut rows);
    let weights = numbers.matrix(2 * outputs, inputs);
    let quantized = |first: usize| {
        quantize_rows(outputs, inputs, |row, target| target.copy_from_slice(&weights[first + row]))
    };
    let (gates, values) = (quantized(0), quantized(outputs));
    let y = |quantized: &Fp8Rows, i: usize, row: usize| {
        let code = |k| e4m3::VALUES[quantized.codes[row * inputs + k] as usize];
        let sum: f64 = (0..inputs).map(|k| f64::from(code(k)) * f64::from(x[i][k])).sum();
        sum * f64::from(quantized.scales[row])
    };
    let expected = |f: &dyn Fn(usize, usize) -> f64| -> Vec<Vec<f64>> {
        (0..n).map(|i| (0..outputs).map(|row| f(i, row)).collect()).collect()
    };
    let half = backend.fp8_matrix(gates.clone()).unwrap();
    let whole = backend.gated_matrix(gates.clone(), values.clone()).unwrap();

    let mut out = backend.buffer(n, outputs).unwrap();
    backend.matmul(&half, &buffer, n, Epilogue::Store, &mut out);
    assert_near(&rows_of(backend, &out, n, outputs), &expected(&|i, row| y(&gates, i, row)), 1e-5, "store");

    let mut out = filled(backend, &before, &mut rows);
    backend.matmul(&half, &buffer, n, Epilogue::Add, &mut out);
    let added = expected(&|i, row| y(&gates, i, row) + f64::from(before[i][row]));
    assert_near(&rows_of(backend, &out, n, outputs), &added, 1e-5, "add");

    backend.matmul(&whole, &buffer, n, Epilogue::SwiGlu, &mut out);
    let gated = expected(&|i, row| {
        let gate = y(&gates, i, row);
        gate / (1.0 + (-gate).exp()) * y(&values, i, row)
    });
    assert_near(&rows_of(backend, &out, n, outputs), &gated, 0.004, "swiglu, which rounds to bf16");
}

fn norm_and_logits<B: Backend>(backend: &B, numbers: &mut Numbers, n: usize) {
    let (width, vocab, eps) = (37, 45, 0.25_f32);
    let mut rows = row_buffers(backend, n, 1, 1);
    let x = numbers.matrix(n, width);
    let weight = numbers.matrix(1, width).remove(0);
    let head = numbers.matrix(vocab, width);
    let buffer = filled(backend, &x, &mut rows);
    assert_eq!(rows_of(backend, &buffer, n, width), wide(&x), "embed copies");

    let mut normed = backend.buffer(n, width).unwrap();
    backend.rms_norm(&buffer, &backend.vector(weight.clone()).unwrap(), eps, n, &mut normed);
    let expected: Vec<Vec<f64>> = wide(&x)
        .iter()
        .map(|row| {
            let mean = row.iter().map(|value| value * value).sum::<f64>() / width as f64;
            row.iter()
                .zip(&weight)
                .map(|(value, &weight)| value / (mean + f64::from(eps)).sqrt() * f64::from(weight))
                .collect()
        })
        .collect();
    let found = rows_of(backend, &normed, n, width);
    assert_near(&found, &expected, 0.004, "rms_norm, which rounds to bf16");
    assert!(
        found.iter().flatten().all(|&value| f64::from(bf16(value as f32)) == value),
        "rms_norm gives bf16"
    );

    let selected: Vec<u32> = (0..n as u32).rev().step_by(2).collect();
    let mut indices = backend.indices(n).unwrap();
    backend.write(&selected, &mut indices);
    let mut logits = backend.buffer(n, vocab).unwrap();
    let table = dense(backend, vocab, width, &head.concat());
    backend.logits(&table, &buffer, &indices, selected.len(), &mut logits);
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let expected: Vec<Vec<f64>> =
        selected.iter().map(|&i| head.iter().map(|row| dot(row, &x[i as usize])).collect()).collect();
    assert_near(&rows_of(backend, &logits, selected.len(), vocab), &expected, 1e-5, "logits");
}

/// A matrix that is packed already is the one that the backend would pack, and a head is a product of the rows selected.
fn packed_head<B: Backend>(backend: &B, numbers: &mut Numbers, n: usize) {
    let (width, vocab) = (37, 45);
    let mut rows = row_buffers(backend, n, 1, 1);
    let mut x = numbers.matrix(n, width);
    x.iter_mut().flatten().for_each(|x| *x = bf16(*x));
    let buffer = filled(backend, &x, &mut rows);
    let weights = numbers.matrix(vocab, width);
    let head = quantize_rows(vocab, width, |row, target| target.copy_from_slice(&weights[row]));
    let packed = backend.packed_matrix(Panels::pack(&head)).unwrap();
    let mut products = backend.buffer(n, vocab).unwrap();
    backend.matmul(&backend.fp8_matrix(head).unwrap(), &buffer, n, Epilogue::Store, &mut products);
    let products = rows_of(backend, &products, n, vocab);

    let selected: Vec<u32> = (0..n as u32).rev().step_by(2).collect();
    let mut indices = backend.indices(n).unwrap();
    backend.write(&selected, &mut indices);
    let mut logits = backend.buffer(n, vocab).unwrap();
    backend.fp8_logits(&packed, &buffer, &indices, selected.len(), &mut logits);
    let expected: Vec<Vec<f64>> = selected.iter().map(|&i| products[i as usize].clone()).collect();
    assert_eq!(rows_of(backend, &logits, selected.len(), vocab), expected, "fp8_logits");
}

/// Two sequences of unlike lengths, in pages out of order, computed in passes of several rows; the last pass has
/// rows of both.
fn attention<B: Backend>(
    backend: &B,
    numbers: &mut Numbers,
    query_heads: usize,
    heads: usize,
    head_dim: usize,
) {
    let lengths = [PAGE * 2 + 9, PAGE - 1];
    let pages: [&[u32]; 2] = [&[4, 0, 2], &[3, 0, 0]];
    let width = (query_heads + 2 * heads) * head_dim;
    let theta = 100.0;
    let shape = KvShape { layers: 2, pages: 5, heads, query_heads, head_dim };
    let mut cache = backend.kv_cache(shape).unwrap();
    let rope = RopeTable::new(backend, head_dim, theta, lengths[0]).unwrap();
    let qkv: Vec<Vec<Vec<f32>>> = lengths.iter().map(|&length| numbers.matrix(length, width)).collect();
    let mut found = [vec![Vec::new(); lengths[0]], vec![Vec::new(); lengths[1]]];

    let all = |sequence: usize| (0..lengths[sequence]).map(move |position| (sequence, position));
    let (first, second): (Vec<_>, Vec<_>) = (all(0).collect(), all(1).collect());
    let last = [first[lengths[0] - 1], second[lengths[1] - 1]];
    let passes = [&first[..100], &first[100..lengths[0] - 1], &second[..lengths[1] - 1], &last];
    for pass in passes {
        let n = pass.len();
        let mut rows = row_buffers(backend, n, 2, 3);
        let values: Vec<Vec<f32>> =
            pass.iter().map(|&(sequence, position)| qkv[sequence][position].clone()).collect();
        let mut buffer = filled(backend, &values, &mut rows);
        backend.write(
            &pass.iter().map(|&(_, position)| position as u32).collect::<Vec<_>>(),
            &mut rows.positions,
        );
        backend.write(
            &pass.iter().map(|&(sequence, _)| sequence as u32).collect::<Vec<_>>(),
            &mut rows.sequences,
        );
        backend.write(&pages.concat(), &mut rows.page_tables);
        backend.rope_append(&mut buffer, &rope, &rows, 1, &mut cache);
        let mut out = backend.buffer(n, query_heads * head_dim).unwrap();
        backend.attend(&buffer, &rows, 1, &cache, &mut out);
        for (&(sequence, position), row) in pass.iter().zip(rows_of(backend, &out, n, query_heads * head_dim))
        {
            found[sequence][position] = row;
        }
    }
    for (sequence, found) in found.iter().enumerate() {
        let expected = attended(&qkv[sequence], query_heads, heads, head_dim, theta);
        // As one row: where the values of a single row cancel, what bf16 rounded away is all that is left.
        assert_near(&[found.concat()], &[expected.concat()], 0.006, "attend, which rounds to bf16");
    }
}

/// The textbook: rotary positions, then softmax(q·K/√d)·V over everything up to the position.
fn attended(
    qkv: &[Vec<f32>],
    query_heads: usize,
    heads: usize,
    head_dim: usize,
    theta: f64,
) -> Vec<Vec<f64>> {
    let head = |position: usize, head: usize, turn: bool| -> Vec<f64> {
        let values: Vec<f64> = qkv[position][head * head_dim..(head + 1) * head_dim]
            .iter()
            .map(|&value| f64::from(value))
            .collect();
        let half = head_dim / 2;
        let turned = |d: usize| {
            let pair = d % half;
            let angle = position as f64 * theta.powf(-2.0 * pair as f64 / head_dim as f64);
            let (a, b) = (values[pair], values[pair + half]);
            if d < half { a * angle.cos() - b * angle.sin() } else { b * angle.cos() + a * angle.sin() }
        };
        if turn { (0..head_dim).map(turned).collect() } else { values }
    };
    let all = |heads: std::ops::Range<usize>, turn: bool| -> Vec<Vec<Vec<f64>>> {
        heads.map(|index| (0..qkv.len()).map(|position| head(position, index, turn)).collect()).collect()
    };
    let (queries, keys) = (all(0..query_heads, true), all(query_heads..query_heads + heads, true));
    let values = all(query_heads + heads..query_heads + 2 * heads, false);
    let one = |position: usize, query: usize| -> Vec<f64> {
        let kv = query / (query_heads / heads);
        let score = |key: &Vec<f64>| {
            let dot: f64 = queries[query][position].iter().zip(key).map(|(q, k)| q * k).sum();
            (dot / (head_dim as f64).sqrt()).exp()
        };
        let scores: Vec<f64> = keys[kv][..=position].iter().map(score).collect();
        let sum: f64 = scores.iter().sum();
        (0..head_dim)
            .map(|d| scores.iter().zip(&values[kv]).map(|(score, value)| score / sum * value[d]).sum())
            .collect()
    };
    (0..qkv.len()).map(|position| (0..query_heads).flat_map(|query| one(position, query)).collect()).collect()
}

fn wide(rows: &[Vec<f32>]) -> Vec<Vec<f64>> {
    rows.iter().map(|row| row.iter().map(|&value| f64::from(value)).collect()).collect()
}

#[test]
fn the_cpu_conforms_at_every_level() {
    for level in KernelLevel::available() {
        for threads in [1, 3] {
            conformance(&CpuBackend::at_level(level, NonZero::new(threads)).unwrap());
        }
    }
}

#[test]
fn a_cache_beyond_the_address_space_is_refused_with_the_numbers() {
    let shape = KvShape { layers: 1, pages: 1 << 40, heads: 1, query_heads: 1, head_dim: 64 };
    let error = CpuBackend::new(NonZero::new(1)).unwrap().kv_cache(shape).err().unwrap().to_string();
    assert!(
        error.starts_with("a KV cache of 70368744177664 positions needs 18014398509481984 bytes"),
        "{error}"
    );
}
