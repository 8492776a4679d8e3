//! Matrix products with E4M3 weights: how the panels are shared out, and the epilogues.
//!
//! A task is a tile: up to four panels for all tokens. The sums of a tile are the kernel's, one file a level; each keeps one
//! order of accumulation, whatever the number of tokens and threads ([`portable`] is the plain one). Activations are bf16;
//! [`int8`] is another product, with activations and weights in integers.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512bf16;
#[cfg(target_arch = "x86_64")]
mod bands;
#[cfg(target_arch = "x86_64")]
mod fused;
mod groups;
pub(super) mod int8;
mod portable;

use std::cell::RefCell;
use std::ops::{Range, RangeFrom};

#[cfg(target_arch = "x86_64")]
pub(super) use avx512bf16::Decoder;
#[cfg(target_arch = "x86_64")]
use bands::Bands;

use super::ThreadPool;
use super::level::KernelLevel;
use super::ops::{round_bf16, rows_of_task, swiglu};
use crate::backend::Epilogue;
use crate::fp8::Panels;
use crate::fp8::panels::{BLOCK, PANEL, QUAD};

/// Panels of a tile.
const TILE: usize = 4;

/// What a kernel multiplies. `X` is how it reads activations: [`Rows`] of them, or [`Bands`].
struct Operands<'a, X> {
    panels: &'a Panels,
    x: X,
    tokens: usize,
    /// The blocks of each panel that are summed: all, or those of a group of columns.
    blocks: Range<usize>,
}

impl<X> Operands<'_, X> {
    /// The codes of a panel, `[blocks, BLOCK]`.
    fn codes(&self, panel: usize) -> &[u8] {
        &self.panels.panel(panel)[self.blocks.start * BLOCK..self.blocks.end * BLOCK]
    }
}

/// Activations row by row.
#[derive(Clone, Copy)]
struct Rows<'a> {
    /// `[columns / chunk, tokens, chunk]`, rounded to bf16; what is behind the columns is zero.
    x: &'a [f32],
    /// Columns that stand together: those of all blocks, or fewer.
    chunk: usize,
}

impl Operands<'_, Rows<'_>> {
    /// The activations of a token, `[4 · blocks]`, where those of all columns stand together.
    fn row(&self, token: usize) -> &[f32] {
        &self.x.x[token * self.x.chunk..][..self.x.chunk][self.blocks.start * QUAD..self.blocks.end * QUAD]
    }

    /// The activations of some tokens for the columns of a chunk, `[tokens, chunk]`; it begins with one of the `blocks`.
    fn chunk(&self, tokens: Range<usize>, block: usize) -> &[f32] {
        let Rows { x, chunk } = self.x;
        let column = (self.blocks.start + block) * QUAD;
        assert!(column.is_multiple_of(chunk), "a chunk begins with a block");
        &x[(column / chunk * self.tokens + tokens.start) * chunk..][..tokens.len() * chunk]
    }
}

/// Room for activations as kernels read them; kept for the next product.
#[derive(Default)]
pub(super) struct Rounded {
    pairs: Vec<u32>,
    rows: Vec<f32>,
}

/// Rounds `[n, columns]` to bf16.
fn round_rows<'a>(
    pool: &ThreadPool,
    x: &[f32],
    (n, columns): (usize, usize),
    chunk: usize,
    room: &'a mut Vec<f32>,
) -> Rows<'a> {
    let total = columns.div_ceil(chunk) * n * chunk;
    room.resize(room.len().max(total), 0.0);
    let rows = rows_of_task(chunk);
    pool.for_each_part(&mut room[..total], rows * chunk, |task, rounded| {
        for (row, rounded) in (task * rows..).zip(rounded.chunks_exact_mut(chunk)) {
            let (first, token) = (row / n * chunk, row % n);
            let x = &x[token * columns..][first..columns.min(first + chunk)];
            let (values, filling) = rounded.split_at_mut(x.len());
            values.iter_mut().zip(x).for_each(|(rounded, &x)| *rounded = round_bf16(x));
            filling.fill(0.0);
        }
    });
    Rows { x: &room[..total], chunk }
}

/// `out[i, f] = scale[f] · Σ_k W[f, k] · x[i, k]`, then the epilogue; with several scales a row as in [`groups`]. See
/// [`crate::backend::Backend::matmul`].
#[allow(clippy::too_many_arguments, reason = "those of the operation, and who works on it")]
pub(super) fn matmul(
    level: KernelLevel,
    pool: &ThreadPool,
    rounded: &mut Rounded,
    panels: &Panels,
    x: &[f32],
    n: usize,
    epilogue: Epilogue,
    out: &mut [f32],
) {
    if n == 0 {
        return;
    }
    let (tokens, blocks) = (n, 0..panels.blocks());
    let shape = (n, panels.columns);
    let operands = match level {
        #[cfg(target_arch = "x86_64")]
        KernelLevel::Avx2 | KernelLevel::Avx512 => {
            let x = round_rows(pool, x, shape, fused::CHUNK, &mut rounded.rows);
            let operands = Operands { panels, x, tokens, blocks };
            if level == KernelLevel::Avx2 {
                LevelOperands::Avx2(operands)
            } else {
                LevelOperands::Avx512(operands)
            }
        }
        #[cfg(target_arch = "x86_64")]
        KernelLevel::Avx512Bf16 => {
            let x = Bands::round(pool, x, shape, &mut rounded.pairs);
            LevelOperands::Avx512Bf16(Operands { panels, x, tokens, blocks })
        }
        _ => {
            let x = round_rows(pool, x, shape, blocks.len() * QUAD, &mut rounded.rows);
            LevelOperands::Portable(Operands { panels, x, tokens, blocks })
        }
    };
    share_out(level, pool, panels, n, epilogue, out, |tile, sums| {
        if panels.groups() == 1 {
            operands.write_sums(tile.start, tile.len(), sums);
        } else {
            groups::write_scaled_sums(&operands, panels, n, tile, sums);
        }
    });
}

/// Shares out tiles, and finishes what `write_sums` writes for the panels of each: `[n, TILE, PANEL]`, the sums over all
/// columns, which are scaled already where there are several scales a row.
fn share_out(
    level: KernelLevel,
    pool: &ThreadPool,
    panels: &Panels,
    n: usize,
    epilogue: Epilogue,
    out: &mut [f32],
    write_sums: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    assert_eq!(panels.is_gated, epilogue == Epilogue::SwiGlu, "gates need values, and nothing else has them");
    let outputs = panels.outputs;
    let panels_per_output = if panels.is_gated { 2 } else { 1 };
    let width = TILE / panels_per_output * PANEL;
    pool.for_each_band(&mut out[..n * outputs], outputs, width, |task, mut band| {
        let first = task * TILE;
        let tile = first..panels.panels().min(first + TILE);
        SUMS.with_borrow_mut(|sums| {
            sums.resize(sums.len().max(n * TILE * PANEL), 0.0);
            let scales = if panels.groups() == 1 {
                &panels.scales[tile.start * PANEL..tile.end * PANEL]
            } else {
                &SCALED[..tile.len() * PANEL]
            };
            write_sums(tile, sums);
            for (token, sums) in sums.chunks_exact(TILE * PANEL).take(n).enumerate() {
                finish(level, epilogue, scales, sums, band.row(token));
            }
        });
    });
}

/// The scales of sums that have been multiplied with theirs: a product with one is the same bits.
const SCALED: [f32; TILE * PANEL] = [1.0; TILE * PANEL];

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

/// What the kernel of a level multiplies.
enum LevelOperands<'a> {
    Portable(Operands<'a, Rows<'a>>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Operands<'a, Rows<'a>>),
    #[cfg(target_arch = "x86_64")]
    Avx512(Operands<'a, Rows<'a>>),
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Operands<'a, Bands<'a>>),
}

impl LevelOperands<'_> {
    /// The same of some blocks only.
    fn of_blocks(&self, blocks: Range<usize>) -> LevelOperands<'_> {
        match self {
            LevelOperands::Portable(operands) => LevelOperands::Portable(Operands { blocks, ..*operands }),
            #[cfg(target_arch = "x86_64")]
            LevelOperands::Avx2(operands) => LevelOperands::Avx2(Operands { blocks, ..*operands }),
            #[cfg(target_arch = "x86_64")]
            LevelOperands::Avx512(operands) => LevelOperands::Avx512(Operands { blocks, ..*operands }),
            #[cfg(target_arch = "x86_64")]
            LevelOperands::Avx512Bf16(operands) => {
                LevelOperands::Avx512Bf16(Operands { blocks, ..*operands })
            }
        }
    }

    /// The sums of up to [`TILE`] panels and all tokens, `[tokens, TILE, PANEL]`, in the order of the level.
    #[allow(unsafe_code, reason = "calls of functions for one kind of processor")]
    fn write_sums(&self, first: usize, count: usize, sums: &mut [f32]) {
        match self {
            LevelOperands::Portable(operands) => portable::tile(operands, first, count, sums),
            // SAFETY: a backend has only levels that `KernelLevel::available` lists.
            #[cfg(target_arch = "x86_64")]
            LevelOperands::Avx2(operands) => unsafe { avx2::tile(operands, first, count, sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            LevelOperands::Avx512(operands) => unsafe { avx512::tile(operands, first, count, sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            LevelOperands::Avx512Bf16(operands) => unsafe { avx512bf16::tile(operands, first, count, sums) },
        }
    }
}
