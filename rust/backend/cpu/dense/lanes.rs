//! Lanes of f32 side by side, compiled for AVX2 with FMA. It reads as fast as memory does, so AVX-512 without BF16 takes it, too.
//!
//! **Order.** An output has sixteen lanes, lane j one chain of fused additions over the columns j, j + 16, …; at the end the
//! lanes are added by halves.
//!
//! **Speed.** Four rows at a time are four streams of memory. More tokens find the rows in the cache.

use std::array;

use bytemuck::Pod;

use super::Operands;
use crate::backend::cpu::ops::{sum_by_halves, widen};
use crate::checkpoint::Dtype;

/// Rows at a time.
const ROWS: usize = 4;
/// Chains of an output.
const LANES: usize = 16;

/// See [`super::portable::multiply`].
///
/// Not a closure of `KernelLevel::run`, which is not inlined at this size: a fused addition without its instruction is a call.
#[target_feature(enable = "avx2,fma")]
pub(super) fn multiply(
    operands: &Operands<'_>,
    rows: usize,
    tokens: usize,
    products: &mut impl FnMut(usize, usize, f32),
) {
    match operands.dtype {
        Dtype::Bf16 => all(operands, rows, tokens, widen, products),
        Dtype::F16 => all(operands, rows, tokens, widen_f16, products),
        Dtype::F32 => all(operands, rows, tokens, f32::from_bits, products),
        Dtype::F8E4M3 => unreachable!("a head is dense: checked when the checkpoint was opened"),
    }
}

/// `W` is the bits of a weight.
#[inline(always)]
fn all<W: Pod>(
    operands: &Operands<'_>,
    rows: usize,
    tokens: usize,
    decode: impl Fn(W) -> f32 + Copy,
    products: &mut impl FnMut(usize, usize, f32),
) {
    let row_bytes = operands.columns * size_of::<W>();
    for first in (0..rows).step_by(ROWS) {
        let count = ROWS.min(rows - first);
        let group: [_; ROWS] =
            array::from_fn(|r| &operands.weights[(first + r.min(count - 1)) * row_bytes..][..row_bytes]);
        for token in 0..tokens {
            let sums = chains(group, operands.x(token), decode);
            for (r, lanes) in sums.into_iter().take(count).enumerate() {
                products(first + r, token, sum_by_halves(lanes));
            }
        }
    }
}

/// The lanes of each row, of any alignment.
#[inline(always)]
fn chains<W: Pod>(rows: [&[u8]; ROWS], x: &[u16], decode: impl Fn(W) -> f32) -> [[f32; LANES]; ROWS] {
    let mut sums = [[0.0; LANES]; ROWS];
    let bytes = LANES * size_of::<W>();
    let x = x.as_chunks::<LANES>().0;
    let whole = rows[0].len() / bytes;
    for (i, x) in x.iter().enumerate().take(whole) {
        let x = x.map(widen);
        for (sums, row) in sums.iter_mut().zip(rows) {
            let weights: [W; LANES] = bytemuck::pod_read_unaligned(&row[i * bytes..(i + 1) * bytes]);
            for lane in 0..LANES {
                sums[lane] = decode(weights[lane]).mul_add(x[lane], sums[lane]);
            }
        }
    }
    for (sums, row) in sums.iter_mut().zip(rows) {
        let rest = row[whole * bytes..].chunks_exact(size_of::<W>());
        for (lane, weight) in rest.enumerate() {
            let weight = decode(bytemuck::pod_read_unaligned(weight));
            sums[lane] = weight.mul_add(widen(x[whole][lane]), sums[lane]);
        }
    }
    sums
}

/// The value of an f16, in operations that vector registers have.
#[inline(always)]
fn widen_f16(bits: u16) -> f32 {
    let (sign, magnitude) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff) << 13);
    // The exponent's bias differs by 112; a product is exact for subnormals, too.
    let finite = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    let magnitude = if magnitude >= 0x1f << 23 { magnitude | 0xff << 23 } else { finite.to_bits() };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::widen_f16;

    #[test]
    fn every_f16_has_its_value() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (widen_f16(bits), half::f16::from_bits(bits).to_f32());
            assert!(
                found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                "{bits:#x}"
            );
        }
    }
}
