//! Matrix products with E4M3 weights: how the panels are shared out, and the epilogues.
//!
//! A task is a tile: up to four panels for all tokens. The sums of a tile are the kernel's, one file a level; each keeps one
//! order of accumulation, whatever the number of tokens and threads ([`portable`] is the plain one). Activations are bf16.

#[cfg(target_arch = "x86_64")]
mod avx512bf16;
mod portable;

use std::cell::RefCell;
use std::ops::RangeFrom;

#[cfg(target_arch = "x86_64")]
pub(super) use avx512bf16::Decoder;

use super::ThreadPool;
use super::level::KernelLevel;
use super::ops::{narrow, swiglu};
use crate::backend::Epilogue;
use crate::fp8::Panels;
use crate::fp8::panels::{PANEL, QUAD};

/// Panels of a tile.
const TILE: usize = 4;

/// What a kernel multiplies.
struct Operands<'a> {
    panels: &'a Panels,
    /// bf16, `[tokens, 4 · blocks]`; what is behind the columns is zero.
    x: &'a [u16],
    tokens: usize,
}

impl Operands<'_> {
    /// The activations of a token.
    fn row(&self, token: usize) -> &[u16] {
        let width = self.panels.blocks() * QUAD;
        &self.x[token * width..(token + 1) * width]
    }
}

/// Activations as kernels read them; kept for the next product.
#[derive(Default)]
pub(super) struct Narrowed(Vec<u16>);

impl Narrowed {
    /// Rounds `[n, columns]` to bf16 and fills the rows up to whole blocks.
    fn set(&mut self, pool: &ThreadPool, x: &[f32], n: usize, columns: usize) {
        let width = columns.next_multiple_of(QUAD);
        if self.0.len() < n * width {
            self.0.resize(n * width, 0);
        }
        pool.for_each_part(&mut self.0[..n * width], width, |row, narrowed| {
            let (values, filling) = narrowed.split_at_mut(columns);
            for (narrowed, &value) in values.iter_mut().zip(&x[row * columns..(row + 1) * columns]) {
                *narrowed = narrow(value);
            }
            filling.fill(0);
        });
    }
}

/// `out[i, f] = scale[f] · Σ_k W[f, k] · x[i, k]`, then the epilogue; see [`crate::backend::Backend::matmul`].
#[allow(clippy::too_many_arguments, reason = "those of the operation, and who works on it")]
pub(super) fn matmul(
    level: KernelLevel,
    pool: &ThreadPool,
    narrowed: &mut Narrowed,
    panels: &Panels,
    x: &[f32],
    n: usize,
    epilogue: Epilogue,
    out: &mut [f32],
) {
    assert_eq!(panels.is_gated, epilogue == Epilogue::SwiGlu, "gates need values, and nothing else has them");
    narrowed.set(pool, &x[..n * panels.columns], n, panels.columns);
    let operands = Operands { panels, x: &narrowed.0, tokens: n };
    let outputs = panels.outputs;
    let panels_per_output = if panels.is_gated { 2 } else { 1 };
    let width = TILE / panels_per_output * PANEL;
    pool.for_each_band(&mut out[..n * outputs], outputs, width, |task, mut band| {
        let first = task * TILE;
        let count = TILE.min(panels.panels() - first);
        let scales = &panels.scales[first * PANEL..(first + count) * PANEL];
        SUMS.with_borrow_mut(|sums| {
            sums.resize(sums.len().max(n * TILE * PANEL), 0.0);
            write_sums(level, &operands, first, count, sums);
            for (token, sums) in sums.chunks_exact(TILE * PANEL).take(n).enumerate() {
                finish(level, epilogue, scales, sums, band.row(token));
            }
        });
    });
}

thread_local! {
    /// The sums of a tile: `[tokens, TILE, PANEL]`.
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The epilogue of a token and a tile.
fn finish(level: KernelLevel, epilogue: Epilogue, scales: &[f32], sums: &[f32], out: &mut [f32]) {
    let products = scales.iter().zip(sums).map(|(scale, sum)| scale * sum);
    match epilogue {
        Epilogue::Store => out.iter_mut().zip(products).for_each(|(out, y)| *out = y),
        Epilogue::Add => out.iter_mut().zip(products).for_each(|(out, y)| *out += y),
        Epilogue::SwiGlu => {
            for (panel, out) in out.chunks_mut(PANEL).enumerate() {
                let (gates, values) = (2 * panel * PANEL.., (2 * panel + 1) * PANEL..);
                let part = |part: RangeFrom<usize>| (&sums[part.clone()], &scales[part]);
                swiglu(level, part(gates), part(values), out);
            }
        }
    }
}

/// The sums of a tile, in the order of a level.
fn write_sums(level: KernelLevel, operands: &Operands<'_>, first: usize, count: usize, sums: &mut [f32]) {
    match level {
        KernelLevel::Portable => portable::tile(operands, first, count, sums),
        #[cfg(target_arch = "x86_64")]
        KernelLevel::Avx512Bf16 => {
            #[allow(unsafe_code, reason = "the call of a function for one kind of processor")]
            // SAFETY: a backend has only levels that `KernelLevel::available` lists.
            unsafe {
                avx512bf16::tile(operands, first, count, sums);
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        KernelLevel::Avx512Bf16 => unreachable!("not available here"),
    }
}
