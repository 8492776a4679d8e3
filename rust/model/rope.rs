//! Rotary positions: the angles by which queries and keys are turned (Su et al., arXiv 2104.09864).

use crate::backend::Backend;
use crate::error::Result;

/// cos and sin for every position, on the device.
pub struct RopeTable<B: Backend> {
    /// `[context_length, head_dim / 2, 2]`: cos and sin of position · θ^(−2d / `head_dim`).
    pub cos_sin: B::Vector,
}

impl<B: Backend> RopeTable<B> {
    /// Angles are computed in f64: at position 131,071 an f32 angle is off by up to 0.004.
    pub fn new(backend: &B, head_dim: usize, theta: f64, context_length: usize) -> Result<RopeTable<B>> {
        let frequencies: Vec<f64> =
            (0..head_dim / 2).map(|d| theta.powf(-2.0 * d as f64 / head_dim as f64)).collect();
        let mut cos_sin = Vec::with_capacity(context_length * head_dim);
        for position in 0..context_length {
            for frequency in &frequencies {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                cos_sin.extend([cos as f32, sin as f32]);
            }
        }
        Ok(RopeTable { cos_sin: backend.vector(cos_sin)? })
    }
}
