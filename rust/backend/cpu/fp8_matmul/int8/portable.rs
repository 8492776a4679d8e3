//! The plain kernel: integers in sixteen bits, whose products are added by pairs, which sixteen bits hold, then in 32.

use super::super::TILE;
use super::{BLOCKS, OFFSET, Operands, TABLES, exponent};
use crate::fp8::GROUP;
use crate::fp8::panels::{BLOCK, PANEL, QUAD, place};

/// Tokens whose sums are computed side by side.
const TOKENS: usize = 2;

/// Two columns of a panel, `[column, row]`.
type Pair = [[i16; PANEL]; 2];

/// Writes the sums of up to [`TILE`] panels and all tokens, `[tokens, TILE, PANEL]`, in the order of the module above.
#[inline(always)]
pub(super) fn tile(operands: &Operands<'_>, first: usize, count: usize, sums: &mut [f32]) {
    let mut weights = [[[0; PANEL]; 2]; GROUP / 2];
    sums[..operands.tokens * TILE * PANEL].fill(0.0);
    for panel in 0..count {
        for group in 0..operands.groups() {
            let codes = operands.codes(first + panel, group);
            let weights = &mut weights[..codes.len() / BLOCK * QUAD / 2];
            let factors = operands.factors(first + panel, group, decode(codes, weights));
            let mut token = 0;
            while token < operands.tokens {
                if operands.tokens - token >= TOKENS {
                    add::<TOKENS>(operands, weights, &factors, group, token, panel, sums);
                    token += TOKENS;
                } else {
                    add::<1>(operands, weights, &factors, group, token, panel, sums);
                    token += 1;
                }
            }
        }
    }
}

/// Writes the integers of a group of a panel; their exponent.
#[inline(always)]
fn decode(codes: &[u8], weights: &mut [Pair]) -> usize {
    debug_assert!(codes.len() <= BLOCKS * BLOCK);
    let exponent = exponent(codes.iter().fold(0, |most, code| most.max(code & 0x7f)));
    let table = &TABLES[exponent];
    for (block, pairs) in codes.chunks_exact(BLOCK).zip(weights.chunks_exact_mut(QUAD / 2)) {
        for k in 0..QUAD {
            for row in 0..PANEL {
                let code = block[place(row, k)];
                let magnitude = i16::from(table[usize::from(code & 0x7f)]);
                pairs[k / 2][k % 2][row] = if code & 0x80 == 0 { magnitude } else { -magnitude };
            }
        }
    }
    exponent
}

/// Adds the products of a group to the sums of `T` tokens.
#[inline(always)]
fn add<const T: usize>(
    operands: &Operands<'_>,
    weights: &[Pair],
    factors: &[f32; PANEL],
    group: usize,
    token: usize,
    panel: usize,
    sums: &mut [f32],
) {
    let x: [_; T] = std::array::from_fn(|t| &operands.row(token + t)[group]);
    let mut products = [[0_i32; PANEL]; T];
    for (pair, [first, second]) in weights.iter().enumerate() {
        for (products, x) in products.iter_mut().zip(x) {
            let [a, b] = [0, 1].map(|k| i16::from(x.codes[2 * pair + k]) - i16::from(OFFSET));
            for row in 0..PANEL {
                products[row] += i32::from(first[row] * a + second[row] * b);
            }
        }
    }
    for (t, (products, x)) in products.iter().zip(x).enumerate() {
        let sums = &mut sums[((token + t) * TILE + panel) * PANEL..][..PANEL];
        for row in 0..PANEL {
            sums[row] += products[row] as f32 * factors[row] * x.scale;
        }
    }
}
