//! The operations on rows of activations, each straight from its formula in [`crate::backend::Backend`].

use super::{CpuBackend, KvCache, PAGE, ThreadPool};
use crate::backend::Rows;
use crate::checkpoint::Tensor;
use crate::model::RopeTable;

/// The nearest bf16, ties to even, as an f32.
pub(super) fn round_bf16(x: f32) -> f32 {
    half::bf16::from_f32(x).to_f32()
}

pub(super) fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

pub(super) fn narrow(x: f32) -> u16 {
    half::bf16::from_f32(x).to_bits()
}

pub(super) fn embed(table: &Tensor, rows: &Rows<CpuBackend>, out: &mut [f32]) {
    let width = table.shape[1];
    for (&id, out) in rows.token_ids[..rows.len].iter().zip(out.chunks_exact_mut(width)) {
        table.read(id as usize * width, out);
    }
}

pub(super) fn rms_norm(pool: &ThreadPool, x: &[f32], weight: &[f32], eps: f32, n: usize, out: &mut [f32]) {
    let width = weight.len();
    pool.for_each_part(&mut out[..n * width], width, |i, out| {
        let x = &x[i * width..(i + 1) * width];
        let squares: f32 = x.iter().fold(0.0, |sum, x| sum + x * x);
        let inverse = 1.0 / (squares / width as f32 + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = round_bf16(x * inverse * weight);
        }
    });
}

pub(super) fn rope_append(
    qkv: &mut [f32],
    rope: &RopeTable<CpuBackend>,
    rows: &Rows<CpuBackend>,
    layer: usize,
    cache: &mut KvCache,
) {
    let shape = cache.shape;
    let head_dim = shape.head_dim;
    let turned = (shape.query_heads + shape.heads) * head_dim;
    let width = turned + shape.heads * head_dim;
    for (i, row) in qkv.chunks_exact_mut(width).take(rows.len).enumerate() {
        let position = rows.positions[i] as usize;
        let angles = rope.cos_sin[position * head_dim..(position + 1) * head_dim].as_chunks::<2>().0;
        for head in row[..turned].chunks_exact_mut(head_dim) {
            let (first, second) = head.split_at_mut(head_dim / 2);
            for ((a, b), [cos, sin]) in first.iter_mut().zip(second).zip(angles) {
                let turned = (*a * cos - *b * sin, *b * cos + *a * sin);
                (*a, *b) = (round_bf16(turned.0), round_bf16(turned.1));
            }
        }
        let (page, slot) = place(rows, i, position);
        let (keys, values) = row[shape.query_heads * head_dim..].split_at(shape.heads * head_dim);
        for head in 0..shape.heads {
            let start = cache.offset(page, head, slot);
            let append = |cache: &mut [u16], source: &[f32]| {
                let source = &source[head * head_dim..(head + 1) * head_dim];
                for (cache, &value) in cache[start..start + head_dim].iter_mut().zip(source) {
                    *cache = narrow(value);
                }
            };
            append(&mut cache.keys[layer], keys);
            append(&mut cache.values[layer], values);
        }
    }
}

/// Page and slot of a position of row i's sequence.
pub(super) fn place(rows: &Rows<CpuBackend>, i: usize, position: usize) -> (usize, usize) {
    let table = rows.sequences[i] as usize * rows.pages_per_sequence;
    (rows.page_tables[table + position / PAGE] as usize, position % PAGE)
}
