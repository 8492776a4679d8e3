//! Matrix products with E4M3 weights: how the rows are shared out, and the epilogues.
//!
//! The sums themselves are in [`scalar`], the plain kernel that every faster one is compared with.

pub(super) mod scalar;

use super::ThreadPool;
use super::ops::round_bf16;
use crate::backend::Epilogue;
use crate::fp8::Fp8Rows;

/// Output rows a task computes.
pub(super) const ROWS_PER_TASK: usize = 32;

/// `out[f, i] = scale[f] · Σ_k W[f, k] · x[k, i]`, then the epilogue; see [`crate::backend::Backend::matmul`].
pub(super) fn matmul(
    pool: &ThreadPool,
    w: &Fp8Rows,
    x: &[f32],
    n: usize,
    epilogue: Epilogue,
    out: &mut [f32],
) {
    let outputs = if epilogue == Epilogue::SwiGlu { w.rows() / 2 } else { w.rows() };
    let x = &x[..w.columns * n];
    pool.for_each_part(&mut out[..outputs * n], ROWS_PER_TASK * n, |task, out| {
        let first = task * ROWS_PER_TASK;
        let rows = first..first + out.len() / n;
        let sums = |from: usize, out: &mut [f32], store: &dyn Fn(&mut f32, f32)| {
            let rows = from + rows.start..from + rows.end;
            scalar::sums::<scalar::E4m3>(&w.codes, w.columns, rows, x, n, |row, token, sum| {
                store(&mut out[(row - from - first) * n + token], w.scales[row] * sum);
            });
        };
        match epilogue {
            Epilogue::Store => sums(0, out, &|out, y| *out = y),
            Epilogue::Add => sums(0, out, &|out, y| *out += y),
            Epilogue::SwiGlu => {
                sums(0, out, &|out, gate| *out = gate);
                sums(outputs, out, &|out, value| *out = round_bf16(*out / (1.0 + (-*out).exp()) * value));
            }
        }
    });
}
