//! The plain kernel: for each output one chain of f32 additions over ascending k, multiply and add rounded
//! separately.
//!
//! ```text
//! for row: for token: sum = 0; for k: sum = sum + w[row, k] * x[k, token]
//! ```
//!
//! A chain waits for its own last addition, so several are computed side by side (a tile of rows and tokens),
//! which changes no result.

use std::array;
use std::ops::Range;

use crate::fp8::e4m3;

/// How a weight is stored.
pub(in crate::backend::cpu) trait Element {
    /// Bytes of a weight.
    const SIZE: usize;
    /// The weight in the first [`SIZE`](Self::SIZE) bytes.
    fn decode(bytes: &[u8]) -> f32;
}

/// An element type and its decoding.
macro_rules! element {
    ($name:ident, $size:literal, $bytes:ident => $decode:expr) => {
        pub(in crate::backend::cpu) enum $name {}
        impl Element for $name {
            const SIZE: usize = $size;
            #[inline(always)]
            #[allow(clippy::inline_always, reason = "one load in the innermost loop")]
            fn decode($bytes: &[u8]) -> f32 {
                $decode
            }
        }
    };
}

element!(E4m3, 1, bytes => e4m3::VALUES[bytes[0] as usize]);
element!(Bf16, 2, bytes => f32::from_bits(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 16));
element!(F16, 2, bytes => half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32());
element!(F32, 4, bytes => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));

/// Calls `emit(row, token, Σ_k w[row, k] · x[k, token])` for the rows and all `n` tokens.
///
/// `weights`: `[_, columns]`; `x`: `[columns, n]`.
pub(in crate::backend::cpu) fn sums<E: Element>(
    weights: &[u8],
    columns: usize,
    rows: Range<usize>,
    x: &[f32],
    n: usize,
    mut emit: impl FnMut(usize, usize, f32),
) {
    let mut token = 0;
    while token < n {
        let matrix = Matrix { weights, columns, x, n };
        token += match n - token {
            16.. => band::<E, 2, 16>(&matrix, rows.clone(), token, &mut emit),
            4.. => band::<E, 4, 4>(&matrix, rows.clone(), token, &mut emit),
            _ => band::<E, 8, 1>(&matrix, rows.clone(), token, &mut emit),
        };
    }
}

/// The same for a single token of the `n` in `x`: `emit(row, sum)`.
pub(in crate::backend::cpu) fn one_token<E: Element>(
    weights: &[u8],
    columns: usize,
    rows: Range<usize>,
    x: &[f32],
    n: usize,
    token: usize,
    mut emit: impl FnMut(usize, f32),
) {
    band::<E, 8, 1>(&Matrix { weights, columns, x, n }, rows, token, &mut |row, _, sum| emit(row, sum));
}

/// The operands of a product.
struct Matrix<'a> {
    weights: &'a [u8],
    columns: usize,
    x: &'a [f32],
    n: usize,
}

/// All rows for `T` tokens, `R` rows at a time; returns `T`.
fn band<E: Element, const R: usize, const T: usize>(
    matrix: &Matrix,
    rows: Range<usize>,
    token: usize,
    emit: &mut impl FnMut(usize, usize, f32),
) -> usize {
    let mut row = rows.start;
    while row < rows.end {
        if row + R <= rows.end {
            emit_tile(&tile::<E, R, T>(matrix, row, token), row, token, emit);
            row += R;
        } else {
            emit_tile(&tile::<E, 1, T>(matrix, row, token), row, token, emit);
            row += 1;
        }
    }
    T
}

fn emit_tile<const R: usize, const T: usize>(
    tile: &[[f32; T]; R],
    row: usize,
    token: usize,
    emit: &mut impl FnMut(usize, usize, f32),
) {
    for (r, sums) in tile.iter().enumerate() {
        for (t, &sum) in sums.iter().enumerate() {
            emit(row + r, token + t, sum);
        }
    }
}

fn tile<E: Element, const R: usize, const T: usize>(
    matrix: &Matrix,
    row: usize,
    token: usize,
) -> [[f32; T]; R] {
    let width = matrix.columns * E::SIZE;
    let rows: [&[u8]; R] = array::from_fn(|r| &matrix.weights[(row + r) * width..(row + r + 1) * width]);
    let mut sums = [[0.0; T]; R];
    for k in 0..matrix.columns {
        let x: [f32; T] = array::from_fn(|t| matrix.x[k * matrix.n + token + t]);
        for (sums, row) in sums.iter_mut().zip(rows) {
            let weight = E::decode(&row[k * E::SIZE..(k + 1) * E::SIZE]);
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum += weight * x;
            }
        }
    }
    sums
}
