//! Products with a matrix that is kept as the source has it: the head.
//!
//! For each output one chain of f32 additions over ascending k, multiply and add rounded separately. A chain waits for its
//! own last addition, so several rows are computed side by side, which changes no result.

use std::array;

use super::ThreadPool;
use super::ops::widen;
use crate::checkpoint::{Dtype, Tensor};

/// Rows that a task computes.
const ROWS_PER_TASK: usize = 64;
/// Rows whose chains are computed side by side.
const ROWS: usize = 8;

/// See [`crate::backend::Backend::logits`]. `x`: `[_, columns]`; `out`: `[selected, vocab]`.
pub(super) fn logits(pool: &ThreadPool, head: &Tensor, x: &[f32], selected: &[u32], out: &mut [f32]) {
    let (vocab, columns) = (head.shape[0], head.shape[1]);
    pool.for_each_band(&mut out[..vocab * selected.len()], vocab, ROWS_PER_TASK, |task, mut band| {
        for (j, &i) in selected.iter().enumerate() {
            let x = &x[i as usize * columns..(i as usize + 1) * columns];
            let (first, out) = (task * ROWS_PER_TASK, band.row(j));
            match head.dtype {
                Dtype::Bf16 => {
                    rows::<2>(head.bytes(), x, first, out, |bytes| widen(u16::from_le_bytes(bytes)))
                }
                Dtype::F16 => {
                    rows::<2>(head.bytes(), x, first, out, |bytes| half::f16::from_le_bytes(bytes).to_f32());
                }
                Dtype::F32 => rows::<4>(head.bytes(), x, first, out, f32::from_le_bytes),
                Dtype::F8E4M3 => unreachable!("a head is dense: checked when the checkpoint was opened"),
            }
        }
    });
}

/// The products of the rows from `first` on, as many as `out` has room for. A weight has `SIZE` bytes.
fn rows<const SIZE: usize>(
    weights: &[u8],
    x: &[f32],
    first: usize,
    out: &mut [f32],
    decode: impl Fn([u8; SIZE]) -> f32,
) {
    let row = |row: usize| {
        let bytes = &weights[row * x.len() * SIZE..(row + 1) * x.len() * SIZE];
        bytes.as_chunks::<SIZE>().0
    };
    for (group, out) in out.chunks_mut(ROWS).enumerate() {
        let last = out.len() - 1;
        let rows: [_; ROWS] = array::from_fn(|r| row(first + group * ROWS + r.min(last)));
        let mut sums = [0.0_f32; ROWS];
        for (k, x) in x.iter().enumerate() {
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum += decode(row[k]) * x;
            }
        }
        out.copy_from_slice(&sums[..out.len()]);
    }
}
