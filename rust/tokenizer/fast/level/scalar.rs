//! The portable level: no instruction that Rust does not have on every machine.

use super::Instructions;
use crate::tokenizer::fast::class_masks::{ClassMasks, READ};

/// Every CPU has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Scalar;

impl Instructions for Scalar {
    #[inline(always)]
    fn class_masks(self, window: &[u8; READ], length: usize) -> ClassMasks {
        ClassMasks::plain(window, length)
    }

    #[inline(always)]
    fn write_positions(self, bits: u64, base: u32, positions: &mut [u32; 64]) {
        write_bit_by_bit(bits, base, positions);
    }
}

/// Eight positions a step, so that only every eighth asks whether there are more: most windows have fewer than
/// sixteen.
#[inline(always)]
pub(super) fn write_bit_by_bit(mut bits: u64, base: u32, positions: &mut [u32; 64]) {
    for eight in positions.as_chunks_mut::<8>().0 {
        for position in eight {
            *position = base.wrapping_add(bits.trailing_zeros());
            bits &= bits.wrapping_sub(1);
        }
        if bits == 0 {
            return;
        }
    }
}
