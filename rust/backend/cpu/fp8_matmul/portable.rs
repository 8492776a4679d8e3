//! The plain kernel: for each output one chain of f32 additions over ascending k, multiply and add rounded separately.
//!
//! ```text
//! for row: for token: sum = 0; for k: sum = sum + w[row, k] * x[token, k]
//! ```

use super::{Operands, Rows, TILE};
use crate::fp8::e4m3;
use crate::fp8::panels::{BLOCK, PANEL, QUAD, place};

/// Tokens whose chains are computed side by side, which changes no result.
const TOKENS: usize = 4;

/// Writes the sums of up to [`TILE`] panels and all tokens: `[tokens, TILE, PANEL]`.
pub(super) fn tile(operands: &Operands<'_, Rows<'_>>, first: usize, count: usize, sums: &mut [f32]) {
    for panel in 0..count {
        let codes = operands.codes(first + panel);
        let mut token = 0;
        while token < operands.tokens {
            if operands.tokens - token >= TOKENS {
                store(&chains::<TOKENS>(operands, codes, token), panel, &mut sums[token * TILE * PANEL..]);
                token += TOKENS;
            } else {
                store(&chains::<1>(operands, codes, token), panel, &mut sums[token * TILE * PANEL..]);
                token += 1;
            }
        }
    }
}

fn chains<const T: usize>(
    operands: &Operands<'_, Rows<'_>>,
    codes: &[u8],
    token: usize,
) -> [[f32; PANEL]; T] {
    let x: [&[f32]; T] = std::array::from_fn(|t| operands.row(token + t));
    let mut sums = [[0.0_f32; PANEL]; T];
    for (quad, block) in codes.chunks_exact(BLOCK).enumerate() {
        for k in 0..QUAD {
            let weights: [f32; PANEL] =
                std::array::from_fn(|row| e4m3::VALUES[usize::from(block[place(row, k)])]);
            for (sums, x) in sums.iter_mut().zip(x) {
                let x = x[quad * QUAD + k];
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += weight * x;
                }
            }
        }
    }
    sums
}

fn store<const T: usize>(chains: &[[f32; PANEL]; T], panel: usize, sums: &mut [f32]) {
    for (t, chains) in chains.iter().enumerate() {
        sums[(t * TILE + panel) * PANEL..][..PANEL].copy_from_slice(chains);
    }
}
