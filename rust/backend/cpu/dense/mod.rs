//! Products with a matrix that is kept as the source has it: the head.
//!
//! A task is some rows of the matrix, for all selected rows of activations; the kernels, one file a level, read each row of the
//! matrix from memory once.

#[cfg(target_arch = "x86_64")]
mod avx512bf16;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod portable;

use super::ThreadPool;
use super::level::KernelLevel;
use super::ops::narrow;
use crate::checkpoint::{Dtype, Tensor};

/// Bytes of the rows that a task computes: streams of memory that end soon are read a tenth slower.
const TASK_BYTES: usize = 640 << 10;
/// Activations of a row are filled up with zeros to whole steps of a kernel.
const STEP: usize = 64;

/// Some rows of the matrix, and what they are multiplied with.
struct Operands<'a> {
    /// `[rows, columns]`, little-endian, of any alignment.
    weights: &'a [u8],
    dtype: Dtype,
    columns: usize,
    /// bf16, `[tokens, columns filled up]`
    x: &'a [u16],
}

impl Operands<'_> {
    /// The activations of a token.
    fn x(&self, token: usize) -> &[u16] {
        let width = self.columns.next_multiple_of(STEP);
        &self.x[token * width..(token + 1) * width]
    }
}

/// See [`crate::backend::Backend::logits`]. `x`: `[_, columns]`; `out`: `[selected, vocab]`. `narrowed` is kept for the next.
pub(super) fn logits(
    level: KernelLevel,
    pool: &ThreadPool,
    narrowed: &mut Vec<u16>,
    head: &Tensor,
    x: &[f32],
    selected: &[u32],
    out: &mut [f32],
) {
    let (vocab, columns) = (head.shape[0], head.shape[1]);
    narrowed.clear();
    for &i in selected {
        narrowed.extend(x[i as usize * columns..(i as usize + 1) * columns].iter().map(|&x| narrow(x)));
        narrowed.resize(narrowed.len().next_multiple_of(STEP), 0);
    }
    let x: &[u16] = narrowed;
    let row_bytes = columns * head.dtype.size();
    let rows_of_task = (TASK_BYTES / row_bytes).max(1);
    pool.for_each_band(&mut out[..vocab * selected.len()], vocab, rows_of_task, |task, mut band| {
        let first = task * rows_of_task;
        let rows = rows_of_task.min(vocab - first);
        let weights = &head.bytes()[first * row_bytes..(first + rows) * row_bytes];
        let operands = Operands { weights, dtype: head.dtype, columns, x };
        let mut products = |row: usize, token: usize, product| band.row(token)[row] = product;
        match level {
            #[cfg(target_arch = "x86_64")]
            KernelLevel::Avx512Bf16 => {
                #[allow(unsafe_code, reason = "the call of a function for one kind of processor")]
                // SAFETY: a backend has only levels that `KernelLevel::available` lists.
                unsafe {
                    avx512bf16::multiply(&operands, rows, selected.len(), &mut products);
                }
            }
            #[cfg(target_arch = "x86_64")]
            KernelLevel::Avx2 | KernelLevel::Avx512 => {
                #[allow(unsafe_code, reason = "the call of a function for one kind of processor")]
                // SAFETY: as above.
                unsafe {
                    lanes::multiply(&operands, rows, selected.len(), &mut products);
                }
            }
            _ => portable::multiply(&operands, rows, selected.len(), &mut products),
        }
    });
}
