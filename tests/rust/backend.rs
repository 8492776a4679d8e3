//! Every operation of a backend against its formula in f64: one body, run on every device there is. Attention has a file of its
//! own.

use std::num::NonZero;

use nemo_fast::backend::cpu::{CpuBackend, KernelLevel};
use nemo_fast::backend::{Backend, Epilogue, KvFormat, KvShape, Rows};
use nemo_fast::checkpoint::SafetensorsFile;
use nemo_fast::fp8::{Fp8Rows, GROUP, Panels, e4m3, quantize_rows};

use crate::numbers::{Numbers, bf16};

/// What a device's buffer holds, as rows of f64.
pub(crate) fn rows_of<B: Backend>(backend: &B, buffer: &B::Buffer, n: usize, width: usize) -> Vec<Vec<f64>> {
    let mut row = vec![0.0; width];
    (0..n)
        .map(|i| {
            backend.read(buffer, i, &mut row);
            row.iter().map(|&value| f64::from(value)).collect()
        })
        .collect()
}

pub(crate) fn assert_near(found: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64, what: &str) {
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let size = expected.iter().map(|value| value * value).sum::<f64>().sqrt();
        let error = found.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        assert!(error <= tolerance * size, "{what}: row {i} is off by {} of its size", error / size);
    }
}

/// A buffer of `n` rows, filled through `embed`: there is no other way in from the host.
pub(crate) fn filled<B: Backend>(backend: &B, values: &[Vec<f32>], rows: &mut Rows<B>) -> B::Buffer {
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
    typed(backend, "F32", rows, columns, &bytes).0
}

/// A matrix of a type, and what its elements are.
fn typed<B: Backend>(
    backend: &B,
    dtype: &str,
    rows: usize,
    columns: usize,
    bytes: &[u8],
) -> (B::DenseMatrix, Vec<f32>) {
    let header = format!(
        r#"{{"table":{{"dtype":"{dtype}","shape":[{rows},{columns}],"data_offsets":[0,{}]}}}}"#,
        bytes.len()
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [&(header.len() as u64).to_le_bytes(), header.as_bytes(), bytes].concat())
        .unwrap();
    let tensor = SafetensorsFile::open(file.path()).unwrap().tensor("table").unwrap().unwrap();
    let mut values = vec![0.0; rows * columns];
    tensor.read(0, &mut values);
    (backend.dense_matrix(tensor).unwrap(), values)
}

pub(crate) fn row_buffers<B: Backend>(
    backend: &B,
    n: usize,
    sequences: usize,
    pages_per_sequence: usize,
) -> Rows<B> {
    let indices = |len| backend.indices(len).unwrap();
    Rows {
        len: n,
        int8_len: 0,
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
        for (outputs, inputs) in [(1, 1), (7, 5), (40, 33), (66, 130), (70, 1_100), (5, 2_100)] {
            products(backend, &mut numbers, n, outputs, inputs, false);
        }
        for (outputs, inputs) in [(7, 130), (70, 128), (40, 1_301)] {
            products(backend, &mut numbers, n, outputs, inputs, true);
            groups_add_up(backend, &mut numbers, n, outputs, inputs);
        }
        norm_and_logits(backend, &mut numbers, n);
        packed_head(backend, &mut numbers, n);
        heads(backend, &mut numbers, n);
    }
}

/// E4M3 rows, with a scale for each group of columns where they are `grouped`.
fn fp8_rows(numbers: &mut Numbers, rows: usize, columns: usize, grouped: bool) -> Fp8Rows {
    let weights = numbers.matrix(rows, columns);
    let mut quantized = quantize_rows(rows, columns, |row, target| target.copy_from_slice(&weights[row]));
    if grouped {
        let groups = columns.div_ceil(GROUP);
        quantized.scales = numbers.matrix(1, rows * groups).concat();
        assert_eq!((quantized.rows(), quantized.groups()), (rows, groups));
    }
    quantized
}

/// Every product with a scale or with groups of columns, and every epilogue.
fn products<B: Backend>(
    backend: &B,
    numbers: &mut Numbers,
    n: usize,
    outputs: usize,
    inputs: usize,
    grouped: bool,
) {
    let mut rows = row_buffers(backend, n, 1, 1);
    let mut x = numbers.matrix(n, inputs);
    x.iter_mut().flatten().for_each(|x| *x = bf16(*x));
    let before = numbers.matrix(n, outputs);
    let buffer = filled(backend, &x, &mut rows);
    let gates = fp8_rows(numbers, outputs, inputs, grouped);
    let values = fp8_rows(numbers, outputs, inputs, grouped);
    let y = |quantized: &Fp8Rows, i: usize, row: usize| -> f64 {
        let groups = quantized.groups();
        let group = |k| if grouped { k / GROUP } else { 0 };
        let code = |k| f64::from(e4m3::VALUES[quantized.codes[row * inputs + k] as usize]);
        let scale = |k| f64::from(quantized.scales[row * groups + group(k)]);
        (0..inputs).map(|k| scale(k) * code(k) * f64::from(x[i][k])).sum()
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

/// The bits of a product with groups are those of the products of its groups, added one after the other.
fn groups_add_up<B: Backend>(backend: &B, numbers: &mut Numbers, n: usize, outputs: usize, inputs: usize) {
    let mut rows = row_buffers(backend, n, 1, 1);
    let x = numbers.matrix(n, inputs);
    let weights = fp8_rows(numbers, outputs, inputs, true);
    let groups = weights.groups();
    let mut expected = filled(backend, &vec![vec![0.0; outputs]; n], &mut rows);
    for group in 0..groups {
        let columns = group * GROUP..inputs.min((group + 1) * GROUP);
        let x: Vec<Vec<f32>> = x.iter().map(|x| x[columns.clone()].to_vec()).collect();
        let part = Fp8Rows {
            codes: weights.codes.chunks(inputs).flat_map(|row| row[columns.clone()].to_vec()).collect(),
            scales: weights.scales.iter().skip(group).step_by(groups).copied().collect(),
            columns: columns.len(),
        };
        let x = filled(backend, &x, &mut rows);
        backend.matmul(&backend.fp8_matrix(part).unwrap(), &x, n, Epilogue::Add, &mut expected);
    }
    let x = filled(backend, &x, &mut rows);
    let mut found = backend.buffer(n, outputs).unwrap();
    backend.matmul(&backend.fp8_matrix(weights).unwrap(), &x, n, Epilogue::Store, &mut found);
    assert_eq!(rows_of(backend, &found, n, outputs), rows_of(backend, &expected, n, outputs));
}

/// The head in each of its types, with rows and columns that fill no register.
fn heads<B: Backend>(backend: &B, numbers: &mut Numbers, n: usize) {
    for (vocab, width) in [(3, 1), (70, 33), (9, 64), (131, 200)] {
        let x = numbers.matrix(n, width);
        let head = numbers.matrix(vocab, width);
        let mut rows = row_buffers(backend, n, 1, 1);
        let buffer = filled(backend, &x, &mut rows);
        let selected: Vec<u32> = (0..n as u32).rev().collect();
        let mut indices = backend.indices(n).unwrap();
        backend.write(&selected, &mut indices);
        let mut logits = backend.buffer(n, vocab).unwrap();
        for dtype in ["BF16", "F16", "F32"] {
            let encode = |x: f32| match dtype {
                "BF16" => half::bf16::from_f32(x).to_le_bytes().to_vec(),
                "F16" => half::f16::from_f32(x).to_le_bytes().to_vec(),
                // Not exact in the other two.
                _ => (x + 1e-4).to_le_bytes().to_vec(),
            };
            let bytes: Vec<u8> = head.concat().into_iter().flat_map(encode).collect();
            let (table, weights) = typed(backend, dtype, vocab, width, &bytes);
            backend.logits(&table, &buffer, &indices, n, &mut logits);
            let product = |i: usize, row: &[f32]| {
                row.iter().zip(&x[i]).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>()
            };
            let expected: Vec<Vec<f64>> = selected
                .iter()
                .map(|&i| weights.chunks(width).map(|row| product(i as usize, row)).collect())
                .collect();
            assert_near(&rows_of(backend, &logits, n, vocab), &expected, 1e-5, dtype);
        }
    }
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

/// A small operation cannot see what else is in the pass, nor how many threads there are: bit for bit.
#[test]
fn norms_and_logits_are_the_same_alone_and_among_others() {
    let (width, vocab) = (1_000, 90);
    for level in KernelLevel::available() {
        let backends = [1, 4].map(|threads| CpuBackend::at_level(level, NonZero::new(threads)).unwrap());
        let mut numbers = Numbers::new(3);
        let x = numbers.matrix(40, width);
        let weight = numbers.matrix(1, width).remove(0);
        let head = numbers.matrix(vocab, width).concat();
        let outputs = |backend: &CpuBackend, x: &[Vec<f32>]| {
            let mut rows = row_buffers(backend, x.len(), 1, 1);
            let buffer = filled(backend, x, &mut rows);
            let mut normed = backend.buffer(x.len(), width).unwrap();
            backend.rms_norm(&buffer, &weight, 1e-5, x.len(), &mut normed);
            let selected: Vec<u32> = (0..x.len() as u32).collect();
            let mut logits = backend.buffer(x.len(), vocab).unwrap();
            let bytes: Vec<u8> = head.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect();
            let head = typed(backend, "BF16", vocab, width, &bytes).0;
            backend.logits(&head, &normed, &selected, x.len(), &mut logits);
            rows_of(backend, &logits, x.len(), vocab)
        };
        let alone: Vec<_> =
            x.iter().map(|row| outputs(&backends[0], std::slice::from_ref(row)).remove(0)).collect();
        for n in [2, 3, 4, 5, 16, 40] {
            for backend in &backends {
                assert_eq!(outputs(backend, &x[..n]), alone[..n], "{level:?}, {n} rows");
            }
        }
    }
}

#[test]
fn a_cache_beyond_the_address_space_is_refused_with_the_numbers() {
    let shape =
        KvShape { layers: 1, pages: 1 << 40, heads: 1, query_heads: 1, head_dim: 64, format: KvFormat::Bf16 };
    let error = CpuBackend::new(NonZero::new(1)).unwrap().kv_cache(shape).err().unwrap().to_string();
    assert!(
        error.starts_with("a KV cache of 70368744177664 positions needs 18014398509481984 bytes"),
        "{error}"
    );
}
