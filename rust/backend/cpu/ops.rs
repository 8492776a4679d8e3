//! The operations that are not products with E4M3 weights, each straight from its formula in
//! [`crate::backend::Backend`].

use super::fp8_matmul::ROWS_PER_TASK;
use super::fp8_matmul::scalar::{self, Bf16, F16, F32};
use super::{CpuBackend, KvCache, LARGEST_HEAD, PAGE, ThreadPool};
use crate::backend::Rows;
use crate::checkpoint::{Dtype, Tensor};
use crate::model::RopeTable;

/// The nearest bf16, ties to even, as an f32.
pub(super) fn round_bf16(x: f32) -> f32 {
    half::bf16::from_f32(x).to_f32()
}

fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

fn narrow(x: f32) -> u16 {
    half::bf16::from_f32(x).to_bits()
}

pub(super) fn embed(table: &Tensor, rows: &Rows<CpuBackend>, out: &mut [f32]) {
    let (n, width) = (rows.len, table.shape[1]);
    let mut element = [0.0];
    for (i, &id) in rows.token_ids[..n].iter().enumerate() {
        for feature in 0..width {
            table.read(id as usize * width + feature, &mut element);
            out[feature * n + i] = element[0];
        }
    }
}

pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, n: usize, out: &mut [f32]) {
    for i in 0..n {
        let squares: f32 =
            x.chunks_exact(n).take(weight.len()).fold(0.0, |sum, feature| sum + feature[i] * feature[i]);
        let inverse = 1.0 / (squares / weight.len() as f32 + eps).sqrt();
        for (feature, &weight) in weight.iter().enumerate() {
            out[feature * n + i] = round_bf16(x[feature * n + i] * inverse * weight);
        }
    }
}

pub(super) fn rope_append(
    qkv: &mut [f32],
    rope: &RopeTable<CpuBackend>,
    rows: &Rows<CpuBackend>,
    layer: usize,
    cache: &mut KvCache,
) {
    let (n, shape) = (rows.len, cache.shape);
    let half = shape.head_dim / 2;
    for i in 0..n {
        let position = rows.positions[i] as usize;
        let angles = &rope.cos_sin[position * shape.head_dim..(position + 1) * shape.head_dim];
        for head in 0..shape.query_heads + shape.heads {
            for d in 0..half {
                let (cos, sin) = (angles[2 * d], angles[2 * d + 1]);
                let first = (head * shape.head_dim + d) * n + i;
                let second = first + half * n;
                let (a, b) = (qkv[first], qkv[second]);
                qkv[first] = round_bf16(a * cos - b * sin);
                qkv[second] = round_bf16(b * cos + a * sin);
            }
        }
        let (page, slot) = place(rows, i, position);
        for head in 0..shape.heads {
            let start = cache.offset(page, head, slot);
            for d in 0..shape.head_dim {
                let key = (shape.query_heads + head) * shape.head_dim + d;
                let value = key + shape.heads * shape.head_dim;
                cache.keys[layer][start + d] = narrow(qkv[key * n + i]);
                cache.values[layer][start + d] = narrow(qkv[value * n + i]);
            }
        }
    }
}

/// Page and slot of a position of row i's sequence.
fn place(rows: &Rows<CpuBackend>, i: usize, position: usize) -> (usize, usize) {
    let table = rows.sequences[i] as usize * rows.pages_per_sequence;
    (rows.page_tables[table + position / PAGE] as usize, position % PAGE)
}

pub(super) fn attend(
    pool: &ThreadPool,
    qkv: &[f32],
    rows: &Rows<CpuBackend>,
    layer: usize,
    cache: &KvCache,
    out: &mut [f32],
) {
    let (n, shape) = (rows.len, cache.shape);
    let head_dim = shape.head_dim;
    let scale = 1.0 / (head_dim as f32).sqrt();
    pool.for_each_part(&mut out[..shape.query_heads * head_dim * n], head_dim * n, |head, out| {
        let kv_head = head / (shape.query_heads / shape.heads);
        let mut query = [0.0; LARGEST_HEAD];
        for i in 0..n {
            for (d, query) in query[..head_dim].iter_mut().enumerate() {
                *query = qkv[(head * head_dim + d) * n + i] * scale;
            }
            let mut softmax = OnlineSoftmax::new(head_dim);
            let length = rows.positions[i] as usize + 1;
            for first in (0..length).step_by(PAGE) {
                let (page, _) = place(rows, i, first);
                let start = cache.offset(page, kv_head, 0);
                let elements = start..start + PAGE.min(length - first) * head_dim;
                let (keys, values) = (&cache.keys[layer][elements.clone()], &cache.values[layer][elements]);
                softmax.page(&query[..head_dim], keys, values);
            }
            for (d, output) in softmax.output[..head_dim].iter().enumerate() {
                out[d * n + i] = round_bf16(output / softmax.sum);
            }
        }
    });
}

/// Softmax over scores that arrive a page at a time, and the weighted sum of values.
struct OnlineSoftmax {
    maximum: f32,
    sum: f32,
    output: [f32; LARGEST_HEAD],
    head_dim: usize,
}

impl OnlineSoftmax {
    fn new(head_dim: usize) -> OnlineSoftmax {
        OnlineSoftmax { maximum: f32::NEG_INFINITY, sum: 0.0, output: [0.0; LARGEST_HEAD], head_dim }
    }

    /// `keys`, `values`: `[positions of the page, head_dim]`.
    fn page(&mut self, query: &[f32], keys: &[u16], values: &[u16]) {
        let mut scores = [f32::NEG_INFINITY; PAGE];
        for (score, key) in scores.iter_mut().zip(keys.chunks_exact(self.head_dim)) {
            *score = query.iter().zip(key).fold(0.0, |sum, (query, &key)| sum + query * widen(key));
        }
        let maximum = scores.iter().fold(self.maximum, |largest, &score| largest.max(score));
        let shrink = (self.maximum - maximum).exp();
        self.maximum = maximum;
        self.sum *= shrink;
        self.output[..self.head_dim].iter_mut().for_each(|output| *output *= shrink);
        for (score, value) in scores.iter().zip(values.chunks_exact(self.head_dim)) {
            let weight = (score - maximum).exp();
            self.sum += weight;
            for (output, &value) in self.output.iter_mut().zip(value) {
                *output += weight * widen(value);
            }
        }
    }
}

pub(super) fn logits(
    pool: &ThreadPool,
    head: &Tensor,
    x: &[f32],
    n: usize,
    selected: &[u32],
    out: &mut [f32],
) {
    let (vocab, columns) = (head.shape[0], head.shape[1]);
    let count = selected.len();
    // Selected rows are products of their own: `x` viewed from the row on has the same stride.
    pool.for_each_part(&mut out[..vocab * count], ROWS_PER_TASK * count, |task, out| {
        let first = task * ROWS_PER_TASK;
        let rows = first..first + out.len() / count;
        for (j, &i) in selected.iter().enumerate() {
            let emit = |row: usize, sum: f32| out[(row - first) * count + j] = sum;
            match head.dtype {
                Dtype::Bf16 => {
                    scalar::one_token::<Bf16>(head.bytes(), columns, rows.clone(), x, n, i as usize, emit);
                }
                Dtype::F16 => {
                    scalar::one_token::<F16>(head.bytes(), columns, rows.clone(), x, n, i as usize, emit);
                }
                Dtype::F32 => {
                    scalar::one_token::<F32>(head.bytes(), columns, rows.clone(), x, n, i as usize, emit);
                }
                Dtype::F8E4M3 => unreachable!("a head is dense: checked when the checkpoint was opened"),
            }
        }
    });
}
