//! Products in eight-bit integers, for rows of a prompt: of the same panels, less exact than in bf16, and faster.
//!
//! **Integers.** Columns are taken in groups of 128. A token has a scale a for each group, the largest |x| of the group / 127,
//! and q(x) is the integer nearest to x / a. A panel has a power of two for each group, by the largest exponent e among its
//! 16 × 128 codes (at least 1): q(w) is the integer nearest to w · 2^(13 − e), at most 120. Weights of the largest
//! four binades are exact; ties go to even in both.
//!
//! **Order.** For each output and group, ascending: Σ q(w) · q(x), an integer that f32 holds; times 2^(e − 13), which is multiplied with
//! the scale of row and group first where there is one; times a; added to what the groups before gave. Each of these is rounded by
//! itself. So the bits are the same at every level, and whatever else is in the pass.

#[cfg(target_arch = "x86_64")]
mod avx512vnni;
mod portable;

use std::ops::Range;

use super::share_out;
use crate::backend::Epilogue;
use crate::backend::cpu::ThreadPool;
use crate::backend::cpu::level::KernelLevel;
use crate::fp8::panels::{BLOCK, PANEL, QUAD};
use crate::fp8::{GROUP, Panels};

/// Blocks of a group.
const BLOCKS: usize = GROUP / QUAD;
/// The integer of the largest activation of a group.
const MOST: f32 = 127.0;
/// What counts as the largest of a group whose activations are all smaller: the inverse of less may be no number.
const LEAST: f32 = 1e-30;
/// Activations are kept as q(x) + 128.
const OFFSET: u8 = 128;

/// A token's activations of a group of columns, as integers.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in crate::backend::cpu) struct Group {
    codes: [u8; GROUP],
    scale: f32,
}

impl Group {
    /// Behind the last column are zeros.
    #[inline(always)]
    fn new(x: &[f32]) -> Group {
        // By their bits, in which what is no number is the largest: a scale that is none makes a product that is none.
        let largest = x.iter().fold(LEAST.to_bits(), |most, x| most.max(x.abs().to_bits()));
        let largest = f32::from_bits(largest);
        let inverse = MOST / largest;
        let mut codes = [OFFSET; GROUP];
        for (code, x) in codes.iter_mut().zip(x) {
            // A sum of this size has no fraction, and its last byte is the nearest integer's.
            const NEAREST: f32 = 12_582_912.0;
            *code = ((x * inverse + NEAREST).to_bits() as u8).wrapping_add(OFFSET);
        }
        Group { codes, scale: largest / MOST }
    }
}

/// q(w) of each exponent e and magnitude of a code.
static TABLES: [[u8; 128]; 16] = {
    let mut tables = [[0; 128]; 16];
    let mut largest = 1;
    while largest < 16 {
        let mut code = 0;
        while code < 128 {
            tables[largest][code] = integer(code, largest);
            code += 1;
        }
        largest += 1;
    }
    tables
};

/// The integer nearest to value · 2^(13 − largest). A code is a multiple of 2^(its exponent − 10).
const fn integer(code: usize, largest: usize) -> u8 {
    let exponent = if code < 8 { 1 } else { code >> 3 };
    let multiple = if code < 8 { code } else { 8 + (code & 7) };
    if exponent > largest {
        // No such code is in a group of that exponent.
        return 0;
    }
    let wide = multiple << 3;
    let down = largest - exponent;
    let (floor, rest, half) = (wide >> down, wide & ((1 << down) - 1), (1 << down) >> 1);
    let rounds_up = down > 0 && (rest > half || rest == half && floor & 1 == 1);
    (floor + rounds_up as usize) as u8
}

/// The exponent of codes whose largest magnitude is given.
fn exponent(largest_magnitude: u8) -> usize {
    usize::from(largest_magnitude >> 3).max(1)
}

/// 2^(e − 13)
fn unit(exponent: usize) -> f32 {
    f32::from_bits((exponent as u32 + 127 - 13) << 23)
}

/// What a kernel multiplies.
struct Operands<'a> {
    panels: &'a Panels,
    /// `[tokens, groups of 128 columns]`
    x: &'a [Group],
    tokens: usize,
}

impl Operands<'_> {
    /// Groups of columns.
    fn groups(&self) -> usize {
        self.panels.columns.div_ceil(GROUP)
    }

    /// The groups of a token.
    fn row(&self, token: usize) -> &[Group] {
        &self.x[token * self.groups()..(token + 1) * self.groups()]
    }

    /// The codes of a panel and a group, `[blocks, BLOCK]`.
    fn codes(&self, panel: usize, group: usize) -> &[u8] {
        let codes = self.panels.panel(panel);
        &codes[group * BLOCKS * BLOCK..codes.len().min((group + 1) * BLOCKS * BLOCK)]
    }

    /// What the sums of integers of a panel and a group are multiplied with, before the scale of the token.
    fn factors(&self, panel: usize, group: usize, exponent: usize) -> [f32; PANEL] {
        let groups = self.panels.groups();
        if groups == 1 {
            return [unit(exponent); PANEL];
        }
        let scales = &self.panels.scales[(panel * groups + group) * PANEL..][..PANEL];
        std::array::from_fn(|row| scales[row] * unit(exponent))
    }
}

/// Whether the fast kernel runs: with the levels of AVX-512, on processors that have VNNI.
#[cfg(target_arch = "x86_64")]
fn has_vnni(level: KernelLevel) -> bool {
    level > KernelLevel::Avx2
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512vbmi")
        && std::is_x86_feature_detected!("avx512vnni")
}

/// The product and its epilogue, see [`crate::backend::Backend::int8_matmul`]. `integers` is room for the activations.
#[allow(clippy::too_many_arguments, reason = "those of the operation, and who works on it")]
pub(in crate::backend::cpu) fn matmul(
    level: KernelLevel,
    pool: &ThreadPool,
    integers: &mut Vec<Group>,
    panels: &Panels,
    x: &[f32],
    n: usize,
    epilogue: Epilogue,
    out: &mut [f32],
) {
    let groups = panels.columns.div_ceil(GROUP);
    let empty = Group { codes: [OFFSET; GROUP], scale: 0.0 };
    integers.resize(integers.len().max(n * groups), empty);
    let integers = &mut integers[..n * groups];
    pool.for_each_part(integers, groups, |token, integers| {
        let x = &x[token * panels.columns..(token + 1) * panels.columns];
        level.run(|| {
            for (integers, x) in integers.iter_mut().zip(x.chunks(GROUP)) {
                *integers = Group::new(x);
            }
        });
    });
    let operands = Operands { panels, x: integers, tokens: n };
    let write_sums = |tile: Range<usize>, sums: &mut [f32]| {
        #[cfg(target_arch = "x86_64")]
        if has_vnni(level) {
            #[allow(unsafe_code, reason = "the call of a function for one kind of processor")]
            // SAFETY: just asked for.
            return unsafe { avx512vnni::tile(&operands, tile.start, tile.len(), sums) };
        }
        level.run(|| portable::tile(&operands, tile.start, tile.len(), sums));
    };
    share_out(level, pool, panels, n, epilogue, out, write_sums);
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "integers")]
mod tests {
    use super::*;
    use crate::fp8::e4m3;

    #[test]
    fn weights_are_the_nearest_integers_and_the_upper_binades_are_exact() {
        for (largest, table) in TABLES.iter().enumerate().skip(1) {
            let codes = 0..((largest + 1) * 8).min(0x7f);
            for code in codes {
                let exact = e4m3::VALUES[code] / unit(largest);
                assert_eq!(f32::from(table[code]), exact.round_ties_even(), "{code} {largest}");
                assert!(code >> 3 < largest.saturating_sub(3) || exact.fract() == 0.0);
                assert!(exact <= 120.0);
            }
            assert_eq!(exponent((largest * 8 + 7) as u8), largest);
        }
        assert_eq!(exponent(0), 1);
    }

    #[test]
    fn activations_are_the_nearest_integers_of_their_group() {
        let x: Vec<f32> = (0..100).map(|k| (k as f32 - 50.0) * 0.37).collect();
        let group = Group::new(&x);
        assert!((group.scale - 18.5 / 127.0).abs() < 1e-6);
        for (code, x) in group.codes.iter().zip(&x) {
            assert!((f32::from(*code) - 128.0 - x / group.scale).abs() < 0.501);
        }
        assert!(group.codes[100..].iter().all(|&code| code == OFFSET));
        let zeros = Group::new(&[0.0, -0.0, 1e-40]);
        assert!(zeros.codes.iter().all(|&code| code == OFFSET));
        for wrong in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!Group::new(&[1.0, wrong, f32::INFINITY]).scale.is_finite());
        }
    }
}
