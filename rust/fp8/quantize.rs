//! Rows of floats to E4M3 rows with one f32 scale each: `row[k] ≈ scale · value(code[k])`.
//!
//! A row's largest magnitude need not land on 448. E4M3 is a floating format, so a scale that is larger by
//! less than a power of two moves every weight to another place between two representable values, at no cost
//! in range; which place is best depends on the row. [`SCALES`] such scales are tried and the one with the
//! least squared error is kept. On a real model that is 8 % less error than `amax / 448` gives; more than 32
//! trials bring less than 1 % more, and smaller scales, which cut the largest weights off, bring nothing.
//! `benches/python/scale_choice.py` compares the choices.

use super::{e4m3, on_all_cores};

/// Scales tried a row, in equal ratios from `amax / 448` up to twice that.
const SCALES: u8 = 32;

/// Columns of a group, where a row has a scale for each group of columns; the last group may have fewer.
pub const GROUP: usize = 128;

/// A matrix of E4M3 rows: `weight[r][k] = scales[r, g] · e4m3(codes[r, k])`, g being 0, or k / [`GROUP`].
#[derive(Debug, Clone, PartialEq)]
pub struct Fp8Rows {
    /// E4M3 codes, `[rows, columns]`.
    pub codes: Vec<u8>,
    /// `[rows]`, or `[rows, groups]`.
    pub scales: Vec<f32>,
    /// Width of a row.
    pub columns: usize,
}

impl Fp8Rows {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.codes.len() / self.columns.max(1)
    }

    /// Scales of a row.
    pub fn groups(&self) -> usize {
        self.scales.len() / self.rows().max(1)
    }

    /// These rows and others of the same width, with as many scales a row: where only one of the two has groups, the
    /// other repeats the scale of the row for each.
    pub fn alike(self, other: Fp8Rows) -> (Fp8Rows, Fp8Rows) {
        debug_assert_eq!(self.columns, other.columns);
        let groups = self.groups().max(other.groups());
        let spread = |rows: Fp8Rows| match rows.groups() {
            1 => {
                let repeated = rows.scales.iter().flat_map(|&scale| std::iter::repeat_n(scale, groups));
                Fp8Rows { scales: repeated.collect(), ..rows }
            }
            _ => rows,
        };
        (spread(self), spread(other))
    }

    /// Puts `below` under these rows; both have the same width.
    pub fn stack(self, below: Fp8Rows) -> Fp8Rows {
        let (mut above, below) = self.alike(below);
        above.codes.extend(below.codes);
        above.scales.extend(below.scales);
        above
    }
}

/// Quantizes `rows · columns` floats, row by row, on all cores.
///
/// `read` writes row `r` into its buffer, so that a source of any type is converted a row at a time.
pub fn quantize_rows(rows: usize, columns: usize, read: impl Fn(usize, &mut [f32]) + Sync) -> Fp8Rows {
    let mut codes = vec![0; rows * columns];
    let mut scales = vec![0.0; rows];
    on_all_cores((&mut codes, columns), (&mut scales, 1), |index, codes, scale| {
        let mut row = vec![0.0; columns];
        read(index, &mut row);
        scale[0] = best_scale(&row);
        let inverse = scale[0].recip();
        for (code, &weight) in codes.iter_mut().zip(&row) {
            *code = e4m3::from_f32(weight * inverse);
        }
    });
    Fp8Rows { codes, scales, columns }
}

/// The scale with the least squared error; 1 for a row of zeros.
fn best_scale(row: &[f32]) -> f32 {
    let amax = row.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
    // A scale below the smallest normal f32 has no exact reciprocal: such a row is zero for every purpose.
    if amax < e4m3::MAX * f32::MIN_POSITIVE {
        return 1.0;
    }
    let candidates = (0..SCALES).map(|i| amax / e4m3::MAX * (f32::from(i) / f32::from(SCALES)).exp2());
    let errors = candidates.map(|scale| (squared_error(row, scale), scale));
    errors.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(1.0, |(_, scale)| scale)
}

fn squared_error(row: &[f32], scale: f32) -> f32 {
    let inverse = scale.recip();
    // Sixteen partial sums: one f32 chain would lose the small errors of a long row, and would not vectorise.
    let mut sums = [0.0_f32; 16];
    for chunk in row.chunks(16) {
        for (sum, &weight) in sums.iter_mut().zip(chunk) {
            let error = e4m3::round(weight * inverse) - weight * inverse;
            *sum += error * error;
        }
    }
    sums.iter().sum::<f32>() * scale * scale
}
