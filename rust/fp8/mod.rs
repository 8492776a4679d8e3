//! Eight-bit floats: the one conversion between E4M3 and other floats, and the choice of a row's scale.
//!
//! Knows no tensor names and no device.

pub mod e4m3;
pub mod panels;
mod quantize;

use std::num::NonZero;

pub use panels::Panels;

pub use crate::mapped_file::Bytes;
pub use quantize::{Fp8Rows, GROUP, quantize_rows};

/// Calls `work(i, codes, scales)` for the items of two arrays, each of so many elements a piece, on all cores.
fn on_all_cores(
    (codes, code_width): (&mut [u8], usize),
    (scales, scale_width): (&mut [f32], usize),
    work: impl Fn(usize, &mut [u8], &mut [f32]) + Sync,
) {
    if codes.is_empty() {
        return;
    }
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = (codes.len() / code_width).div_ceil(threads);
    std::thread::scope(|scope| {
        let parts = codes.chunks_mut(share * code_width).zip(scales.chunks_mut(share * scale_width));
        for (part, (codes, scales)) in parts.enumerate() {
            let work = &work;
            scope.spawn(move || {
                let items = codes.chunks_exact_mut(code_width).zip(scales.chunks_exact_mut(scale_width));
                items.enumerate().for_each(|(i, (codes, scales))| work(part * share + i, codes, scales));
            });
        }
    });
}
