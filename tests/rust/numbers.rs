//! Reproducible random numbers for the tests.

pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    /// About normally distributed, and exact in bf16.
    pub(crate) fn next(&mut self) -> f32 {
        let mut sum = -2.0;
        for _ in 0..4 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (self.0 >> 40) as f32 / (1_u64 << 24) as f32;
        }
        bf16(sum * 1.7)
    }

    pub(crate) fn matrix(&mut self, rows: usize, columns: usize) -> Vec<Vec<f32>> {
        (0..rows).map(|_| (0..columns).map(|_| self.next()).collect()).collect()
    }
}

/// The nearest bf16, ties to even.
pub(crate) fn bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}
