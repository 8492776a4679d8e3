//! The packed layout of E4M3 weights, `panel16`: panels of sixteen rows, interleaved.
//!
//! A panel is a sequence of blocks of 64 bytes, one for every four columns k, k + 1, k + 2, k + 3. A block has four lanes
//! of sixteen bytes, and a lane has four rows r, …, r + 3:
//!
//! ```text
//! byte    0      1      2        3          …  7          8        9        …  15
//! weight  r, k   r, k+1 r+1, k   r+1, k+1      r+3, k+1   r, k+2   r, k+3      r+3, k+3
//! ```
//!
//! So a kernel that widens the lower halves of all lanes has the pair of columns k, k + 1 of all sixteen rows in row
//! order, which is what `vdpbf16ps` multiplies with one pair of activations: no sum across a register is ever needed.
//! The same block serves any number of activations. Rows and columns are filled up with zeros.
//!
//! Gates and values of a gated layer alternate by panel, so that whoever has a gate has its value, too.

use std::ops::Range;

use super::{Fp8Rows, on_all_cores};
use crate::mapped_file::Bytes;

/// Rows of a panel.
pub const PANEL: usize = 16;
/// Columns of a block.
pub const QUAD: usize = 4;
/// Bytes of a block.
pub const BLOCK: usize = PANEL * QUAD;

/// A matrix of E4M3 rows in panels, with a scale a row or a scale for each group of a row's columns.
#[derive(Debug, Clone)]
pub struct Panels {
    /// `[panels, blocks, BLOCK]`
    pub codes: Bytes,
    /// `[panels, groups, PANEL]`; a single group is all columns, several have [`GROUP`](super::GROUP) each.
    pub scales: Vec<f32>,
    /// Outputs: rows, or gates of a gated matrix.
    pub outputs: usize,
    /// Columns that are not filled up.
    pub columns: usize,
    /// Whether panels of gates and of values alternate.
    pub is_gated: bool,
}

impl Panels {
    /// Packs rows.
    pub fn pack(rows: &Fp8Rows) -> Panels {
        Panels::alternating([rows])
    }

    /// Packs the rows of gates and of as many values, which have as many scales (see [`Fp8Rows::alike`]).
    ///
    /// # Panics
    /// If they have not, or are of another shape.
    pub fn pack_gated(gates: &Fp8Rows, values: &Fp8Rows) -> Panels {
        assert_eq!(
            (gates.rows(), gates.columns, gates.groups()),
            (values.rows(), values.columns, values.groups())
        );
        Panels::alternating([gates, values])
    }

    /// Packs a panel of each source in turn.
    fn alternating<const N: usize>(sources: [&Fp8Rows; N]) -> Panels {
        let (outputs, columns, groups) = (sources[0].rows(), sources[0].columns, sources[0].groups());
        let panels = outputs.div_ceil(PANEL) * N;
        let bytes = columns.div_ceil(QUAD) * BLOCK;
        let mut codes = vec![0; panels * bytes];
        let mut scales = vec![0.0; panels * groups * PANEL];
        on_all_cores((&mut codes, bytes), (&mut scales, groups * PANEL), |index, codes, scales| {
            pack_panel(sources[index % N], index / N, codes, scales);
        });
        Panels { codes: Bytes::Owned(codes), scales, outputs, columns, is_gated: N > 1 }
    }

    /// Unpacks rows. Of a gated matrix the values are rows, too: those from `outputs` on.
    pub fn rows(&self, rows: Range<usize>) -> Fp8Rows {
        let groups = self.groups();
        let mut codes = Vec::with_capacity(rows.len() * self.columns);
        let mut scales = Vec::with_capacity(rows.len() * groups);
        for row in rows {
            let (half, output) = (row / self.outputs, row % self.outputs);
            let panel = if self.is_gated { output / PANEL * 2 + half } else { output / PANEL };
            let (blocks, within) = (self.panel(panel), output % PANEL);
            codes.extend((0..self.columns).map(|k| blocks[k / QUAD * BLOCK + place(within, k % QUAD)]));
            scales.extend((0..groups).map(|group| self.scales[(panel * groups + group) * PANEL + within]));
        }
        Fp8Rows { codes, scales, columns: self.columns }
    }

    /// Blocks of a panel.
    pub fn blocks(&self) -> usize {
        self.columns.div_ceil(QUAD)
    }

    /// Bytes of a panel.
    pub fn panel_bytes(&self) -> usize {
        self.blocks() * BLOCK
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL) * if self.is_gated { 2 } else { 1 }
    }

    /// Scales of a row.
    pub fn groups(&self) -> usize {
        self.scales.len() / (self.panels() * PANEL).max(1)
    }

    /// The codes of a panel.
    pub fn panel(&self, index: usize) -> &[u8] {
        &self.codes[index * self.panel_bytes()..(index + 1) * self.panel_bytes()]
    }
}

/// Writes a panel of `rows` to `codes`, `[blocks, BLOCK]`, and `scales`, `[groups, PANEL]`, which are zero.
fn pack_panel(rows: &Fp8Rows, panel: usize, codes: &mut [u8], scales: &mut [f32]) {
    let groups = rows.groups();
    let first = panel * PANEL;
    for row in 0..PANEL.min(rows.rows() - first) {
        let source = &rows.codes[(first + row) * rows.columns..][..rows.columns];
        for (block, quad) in codes.chunks_exact_mut(BLOCK).zip(source.chunks(QUAD)) {
            for (k, &code) in quad.iter().enumerate() {
                block[place(row, k)] = code;
            }
        }
        for group in 0..groups {
            scales[group * PANEL + row] = rows.scales[(first + row) * groups + group];
        }
    }
}

/// Where in a block the weight of a row of the panel and a column of the four is.
pub const fn place(row: usize, k: usize) -> usize {
    row / 4 * 16 + k / 2 * 8 + row % 4 * 2 + k % 2
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "scales are copied")]
mod tests {
    use super::*;

    fn rows(count: usize, columns: usize) -> Fp8Rows {
        let codes = (0..count * columns).map(|index| (index % 251) as u8).collect();
        Fp8Rows { codes, scales: (0..count).map(|row| row as f32).collect(), columns }
    }

    #[test]
    fn every_weight_has_its_place_and_the_rest_is_zero() {
        for (count, columns) in [(1, 1), (16, 4), (17, 5), (40, 33)] {
            let rows = rows(count, columns);
            let packed = Panels::pack(&rows);
            assert_eq!((packed.panels(), packed.blocks()), (count.div_ceil(16), columns.div_ceil(4)));
            let mut sum = 0;
            for row in 0..count {
                assert_eq!(packed.scales[row].to_bits(), rows.scales[row].to_bits());
                for k in 0..columns {
                    let code = packed.panel(row / 16)[k / 4 * BLOCK + place(row % 16, k % 4)];
                    assert_eq!(code, rows.codes[row * columns + k]);
                    sum += u64::from(code);
                }
            }
            assert_eq!(packed.codes.iter().map(|&code| u64::from(code)).sum::<u64>(), sum);
            assert_eq!(packed.rows(0..count), rows);
        }
    }

    #[test]
    fn scales_of_groups_stand_by_panel_and_group() {
        let scales = (0..20 * 3).map(|index| index as f32).collect();
        let rows = Fp8Rows { scales, ..rows(20, 300) };
        let packed = Panels::pack(&rows);
        assert_eq!(packed.rows(0..20), rows);
        assert_eq!((packed.panels(), packed.groups(), packed.scales.len()), (2, 3, 2 * 3 * 16));
        for (row, group) in [(0, 0), (0, 2), (15, 1), (16, 0), (19, 2)] {
            let at = (row / 16 * 3 + group) * 16 + row % 16;
            assert_eq!(packed.scales[at], (row * 3 + group) as f32);
        }
        assert_eq!(packed.scales[3 * 16 + 4], 0.0, "behind the last row");
    }

    #[test]
    fn gates_and_values_alternate() {
        let (gates, mut values) = (rows(20, 6), rows(20, 6));
        values.scales.iter_mut().for_each(|scale| *scale += 100.0);
        let packed = Panels::pack_gated(&gates, &values);
        assert_eq!(packed.rows(0..20), gates);
        assert_eq!(packed.rows(20..40), values);
        assert_eq!(packed.rows(17..23).scales, [17.0, 18.0, 19.0, 100.0, 101.0, 102.0]);
        let (gates, values) = (Panels::pack(&gates), Panels::pack(&values));
        assert_eq!((packed.panels(), packed.outputs), (4, 20));
        for panel in 0..2 {
            assert_eq!(packed.panel(2 * panel), gates.panel(panel));
            assert_eq!(packed.panel(2 * panel + 1), values.panel(panel));
            assert_eq!(packed.scales[2 * panel * 16 + 16].to_bits(), values.scales[panel * 16].to_bits());
        }
    }

    #[test]
    fn places_are_all_of_a_block() {
        let mut places: Vec<usize> =
            (0..PANEL).flat_map(|row| (0..QUAD).map(move |k| place(row, k))).collect();
        places.sort_unstable();
        assert!(places.into_iter().eq(0..BLOCK));
        assert_eq!((place(1, 0), place(0, 2), place(4, 0)), (2, 8, 16));
    }
}
