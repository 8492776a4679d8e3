//! The operations on rows of activations, each straight from its formula in [`crate::backend::Backend`].
//!
//! They are written for vector registers (lanes side by side, no branches) and compiled once for each level, so every level
//! has the same bits. A task is many small rows: to wake a thread for less would cost more than it saves.

use super::exp::exp;
use super::level::KernelLevel;
use super::{CpuBackend, KvCache, PAGE, ThreadPool};
use crate::backend::Rows;
use crate::checkpoint::Tensor;
use crate::model::RopeTable;

/// Elements of a task at least, where there are as many.
const TASK: usize = 16_384;
/// Chains of a sum of squares.
const LANES: usize = 32;

/// The nearest bf16, ties to even, as an f32.
#[inline(always)]
pub(super) fn round_bf16(x: f32) -> f32 {
    widen(narrow(x))
}

#[inline(always)]
pub(super) fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[inline(always)]
pub(super) fn narrow(x: f32) -> u16 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // Not a number stays so, though all that told it may have been in the lower half.
    (if x.is_nan() { bits >> 16 | 0x40 } else { nearest }) as u16
}

/// The sum of lanes, a power of two of them: the second half is added to the first until one is left.
#[inline(always)]
pub(super) fn sum_by_halves<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut half = N / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Rows of a task.
pub(super) fn rows_of_task(width: usize) -> usize {
    (TASK / width).max(1)
}

pub(super) fn embed(table: &Tensor, rows: &Rows<CpuBackend>, out: &mut [f32]) {
    let width = table.shape[1];
    for (&id, out) in rows.token_ids[..rows.len].iter().zip(out.chunks_exact_mut(width)) {
        table.read(id as usize * width, out);
    }
}

/// The squares are added as 32 lanes, lane j those of features j, j + 32, …, and the lanes by halves.
pub(super) fn rms_norm(
    level: KernelLevel,
    pool: &ThreadPool,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    n: usize,
    out: &mut [f32],
) {
    let width = weight.len();
    let rows = rows_of_task(width);
    pool.for_each_part(&mut out[..n * width], rows * width, |task, out| {
        let x = &x[task * rows * width..][..out.len()];
        level.run(|| {
            for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                norm(x, weight, eps, out);
            }
        });
    });
}

#[inline(always)]
fn norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mut lanes = [0.0_f32; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        lanes.iter_mut().zip(x).for_each(|(lane, x)| *lane += x * x);
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane += x * x);
    let inverse = 1.0 / (sum_by_halves(lanes) / x.len() as f32 + eps).sqrt();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = round_bf16(x * inverse * weight);
    }
}

pub(super) fn rope_append(
    level: KernelLevel,
    pool: &ThreadPool,
    qkv: &mut [f32],
    rope: &RopeTable<CpuBackend>,
    rows: &Rows<CpuBackend>,
    layer: usize,
    cache: &mut KvCache,
) {
    let shape = *cache.shape();
    let head_dim = shape.head_dim;
    let turned = (shape.query_heads + shape.heads) * head_dim;
    let width = turned + shape.heads * head_dim;
    let rows_of_task = rows_of_task(width);
    let qkv = &mut qkv[..rows.len * width];
    pool.for_each_part(qkv, rows_of_task * width, |task, qkv| {
        level.run(|| {
            for (row, position) in qkv.chunks_exact_mut(width).zip(&rows.positions[task * rows_of_task..]) {
                let angles = &rope.cos_sin[*position as usize * head_dim..][..head_dim];
                turn(&mut row[..turned], angles.as_chunks().0);
            }
        });
    });
    for (i, row) in qkv.chunks_exact(width).enumerate() {
        let place = place(rows, i, rows.positions[i] as usize);
        let (keys, values) = row[shape.query_heads * head_dim..].split_at(shape.heads * head_dim);
        let heads = keys.chunks_exact(head_dim).zip(values.chunks_exact(head_dim));
        for (head, (key, value)) in heads.enumerate() {
            cache.append(layer, place, head, key, value);
        }
    }
}

/// Turns each head by the angles of its position.
#[inline(always)]
fn turn(heads: &mut [f32], angles: &[[f32; 2]]) {
    for head in heads.chunks_exact_mut(2 * angles.len()) {
        let (first, second) = head.split_at_mut(angles.len());
        for ((a, b), [cos, sin]) in first.iter_mut().zip(second).zip(angles) {
            let turned = (*a * cos - *b * sin, *b * cos + *a * sin);
            (*a, *b) = (round_bf16(turned.0), round_bf16(turned.1));
        }
    }
}

/// `out = bf16(silu(gate · its scale) · value · its scale)`, element by element.
pub(super) fn swiglu(
    level: KernelLevel,
    (gates, gate_scales): (&[f32], &[f32]),
    (values, value_scales): (&[f32], &[f32]),
    out: &mut [f32],
) {
    level.run(|| {
        let gates = gates.iter().zip(gate_scales).map(|(gate, scale)| scale * gate);
        let values = values.iter().zip(value_scales).map(|(value, scale)| scale * value);
        for ((out, gate), value) in out.iter_mut().zip(gates).zip(values) {
            *out = round_bf16(gate / (1.0 + exp(-gate)) * value);
        }
    });
}

/// Page and slot of a position of row i's sequence.
pub(super) fn place(rows: &Rows<CpuBackend>, i: usize, position: usize) -> (usize, usize) {
    let table = rows.sequences[i] as usize * rows.pages_per_sequence;
    (rows.page_tables[table + position / PAGE] as usize, position % PAGE)
}

#[cfg(test)]
mod tests {
    use super::narrow;

    #[test]
    fn rounding_to_bf16_is_that_of_half() {
        for high in 0..=u16::MAX {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(u32::from(high) << 16 | low);
                assert_eq!(narrow(x), half::bf16::from_f32(x).to_bits(), "{x}");
            }
        }
    }
}
