//! Rows with a scale for each group of 128 columns, at every level.
//!
//! **Order.** For each output and group, ascending, the kernel's own sum over the columns of the group, from zero; times the
//! scale of row and group; added to what the groups before gave. Product and sum are rounded separately. So a product with
//! groups is the sum of the products of the groups, each of them a matrix with a scale a row.

use std::cell::RefCell;
use std::ops::Range;

use super::{LevelOperands, TILE};
use crate::fp8::panels::{PANEL, QUAD};
use crate::fp8::{GROUP, Panels};

/// Blocks of a group.
const BLOCKS: usize = GROUP / QUAD;

thread_local! {
    /// The sums of a tile over a group: `[tokens, TILE, PANEL]`.
    static OF_GROUP: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Writes the scaled sums of a tile, some panels for all tokens; `operands` has all blocks.
pub(super) fn write_scaled_sums(
    operands: &LevelOperands<'_>,
    panels: &Panels,
    tokens: usize,
    tile: Range<usize>,
    sums: &mut [f32],
) {
    let sums = &mut sums[..tokens * TILE * PANEL];
    sums.fill(0.0);
    OF_GROUP.with_borrow_mut(|of_group| {
        of_group.resize(of_group.len().max(sums.len()), 0.0);
        for (group, start) in (0..panels.blocks()).step_by(BLOCKS).enumerate() {
            let blocks = start..panels.blocks().min(start + BLOCKS);
            operands.of_blocks(blocks).write_sums(tile.start, tile.len(), of_group);
            for (sums, of_group) in
                sums.chunks_exact_mut(PANEL * TILE).zip(of_group.chunks_exact(PANEL * TILE))
            {
                let panels_of_tile = sums.chunks_exact_mut(PANEL).zip(of_group.chunks_exact(PANEL));
                for (panel, (sums, of_group)) in tile.clone().zip(panels_of_tile) {
                    let at = (panel * panels.groups() + group) * PANEL;
                    let scaled =
                        panels.scales[at..at + PANEL].iter().zip(of_group).map(|(scale, sum)| scale * sum);
                    sums.iter_mut().zip(scaled).for_each(|(sum, scaled)| *sum += scaled);
                }
            }
        }
    });
}
