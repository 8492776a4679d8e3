//! The plain kernel: for each output one chain of f32 additions over ascending k, multiply and add rounded separately.
//!
//! A chain waits for its own last addition, so several rows are computed side by side, which changes no result.

use std::array;

use super::Operands;
use crate::backend::cpu::ops::widen;
use crate::checkpoint::Dtype;

/// Rows whose chains are computed side by side.
const ROWS: usize = 8;

/// Gives `products` each product: row, token, value.
#[inline(always)]
pub(super) fn multiply(
    operands: &Operands<'_>,
    rows: usize,
    tokens: usize,
    products: &mut impl FnMut(usize, usize, f32),
) {
    for token in 0..tokens {
        let mut product = |row, value| products(row, token, value);
        let x = &operands.x(token)[..operands.columns];
        match operands.dtype {
            Dtype::Bf16 => {
                chains(operands.weights, rows, x, |bytes| widen(u16::from_le_bytes(bytes)), &mut product);
            }
            Dtype::F16 => {
                let decode = |bytes| half::f16::from_le_bytes(bytes).to_f32();
                chains(operands.weights, rows, x, decode, &mut product);
            }
            Dtype::F32 => chains(operands.weights, rows, x, f32::from_le_bytes, &mut product),
            Dtype::F8E4M3 => unreachable!("a head is dense: checked when the checkpoint was opened"),
        }
    }
}

/// A weight has `SIZE` bytes.
#[inline(always)]
fn chains<const SIZE: usize>(
    weights: &[u8],
    rows: usize,
    x: &[u16],
    decode: impl Fn([u8; SIZE]) -> f32,
    product: &mut impl FnMut(usize, f32),
) {
    let weights = weights.as_chunks::<SIZE>().0;
    for first in (0..rows).step_by(ROWS) {
        let count = ROWS.min(rows - first);
        let group: [_; ROWS] =
            array::from_fn(|r| &weights[(first + r.min(count - 1)) * x.len()..][..x.len()]);
        let mut sums = [0.0_f32; ROWS];
        for (k, &x) in x.iter().enumerate() {
            for (sum, row) in sums.iter_mut().zip(group) {
                *sum += decode(row[k]) * widen(x);
            }
        }
        sums[..count].iter().enumerate().for_each(|(r, &sum)| product(first + r, sum));
    }
}
