//! Attention, in the order that [`crate::backend::Backend::attend`] gives.

use super::ops::{place, round_bf16, widen};
use super::{CpuBackend, KvCache, LARGEST_HEAD, PAGE, ThreadPool};
use crate::backend::Rows;

pub(super) fn attend(
    pool: &ThreadPool,
    qkv: &[f32],
    rows: &Rows<CpuBackend>,
    layer: usize,
    cache: &KvCache,
    out: &mut [f32],
) {
    let shape = cache.shape;
    let head_dim = shape.head_dim;
    let width = shape.query_heads * head_dim;
    let qkv_width = width + 2 * shape.heads * head_dim;
    let scale = 1.0 / (head_dim as f32).sqrt();
    pool.for_each_band(&mut out[..width * rows.len], width, head_dim, |head, mut band| {
        let kv_head = head / (shape.query_heads / shape.heads);
        let mut query = [0.0; LARGEST_HEAD];
        for i in 0..rows.len {
            let source = &qkv[i * qkv_width + head * head_dim..][..head_dim];
            for (query, source) in query.iter_mut().zip(source) {
                *query = source * scale;
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
            for (out, output) in band.row(i).iter_mut().zip(&softmax.output) {
                *out = round_bf16(output / softmax.sum);
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
