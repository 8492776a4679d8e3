//! Rotary positions: the angles by which queries and keys are turned (Su et al., arXiv 2104.09864), and their scalings for
//! longer contexts, as transformers computes them (`modeling_rope_utils.py`).

use std::f64::consts::TAU;

use crate::backend::Backend;
use crate::checkpoint::RopeScaling;
use crate::error::Result;

/// cos and sin for every position, on the device.
pub struct RopeTable<B: Backend> {
    /// `[context_length, head_dim / 2, 2]`: cos and sin of position · `frequencies[d]`.
    pub cos_sin: B::Vector,
}

impl<B: Backend> RopeTable<B> {
    /// Angles are computed in f64: at position 131,071 an f32 angle is off by up to 0.004.
    pub fn new(backend: &B, frequencies: &[f64], context_length: usize) -> Result<RopeTable<B>> {
        let mut cos_sin = Vec::with_capacity(context_length * frequencies.len() * 2);
        for position in 0..context_length {
            for frequency in frequencies {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                cos_sin.extend([cos as f32, sin as f32]);
            }
        }
        Ok(RopeTable { cos_sin: backend.vector(cos_sin)? })
    }
}

/// What a position adds to each of the `head_dim / 2` angles: θ^(−2d / `head_dim`), scaled.
///
/// Linear scaling divides each by the factor. Llama 3's looks at t, how many times a frequency f turns within the
/// original context: f / factor where t ≤ low, f where t ≥ high, and between, with s = (t − low) / (high − low),
/// (1 − s) · f / factor + s · f.
///
/// ```
/// use nemo_fast::model::rope_frequencies;
/// assert_eq!(rope_frequencies(4, 100.0, None), [1.0, 0.1]);
/// ```
pub fn rope_frequencies(head_dim: usize, theta: f64, scaling: Option<RopeScaling>) -> Vec<f64> {
    let scaled = |frequency: f64| match scaling {
        None => frequency,
        Some(RopeScaling::Linear { factor }) => frequency / factor,
        Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        }) => {
            let turns = original_max_position_embeddings as f64 * frequency / TAU;
            let share = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
            (1.0 - share) * frequency / factor + share * frequency
        }
    };
    (0..head_dim / 2).map(|d| scaled(theta.powf(-2.0 * d as f64 / head_dim as f64))).collect()
}
