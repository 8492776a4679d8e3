//! Rotary positions: the angles by which queries and keys are turned (Su et al., arXiv 2104.09864), and their scalings for
//! longer contexts, as transformers computes them (`modeling_rope_utils.py`).

use std::f64::consts::TAU;

use crate::backend::Backend;
use crate::checkpoint::RopeScaling;
use crate::error::Result;

/// Positions whose angles are computed at a time: some milliseconds.
const STEP: usize = 1024;

/// cos and sin for every position so far, on the device.
///
/// It grows with the positions that passes reach: the angles of a whole context are 64 MiB and take a third of a second,
/// and most runs need few of them. It has its whole room from the start, so that a device that replays a pass finds it
/// where it was.
pub struct RopeTable<B: Backend> {
    /// `[positions, head_dim / 2, 2]`: cos and sin of position · `frequencies[d]`.
    pub cos_sin: B::Vector,
    frequencies: Vec<f64>,
    positions: usize,
    context_length: usize,
}

impl<B: Backend> RopeTable<B> {
    /// A table without positions, with room for `context_length` of them.
    pub fn new(backend: &B, frequencies: Vec<f64>, context_length: usize) -> Result<RopeTable<B>> {
        let cos_sin = backend.growing_vector(context_length * frequencies.len() * 2)?;
        Ok(RopeTable { cos_sin, frequencies, positions: 0, context_length })
    }

    /// Goes on to `positions` at least, which are at most the context.
    ///
    /// Angles are computed in f64: at position 131,071 an f32 angle is off by up to 0.004. Each is computed by itself and not
    /// from its neighbours, so it has the same bits however the table grew.
    pub fn reach(&mut self, backend: &B, positions: usize) {
        if positions <= self.positions {
            return;
        }
        let end = positions.next_multiple_of(STEP).min(self.context_length);
        let mut cos_sin = Vec::with_capacity((end - self.positions) * self.frequencies.len() * 2);
        for position in self.positions..end {
            for frequency in &self.frequencies {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                cos_sin.extend([cos as f32, sin as f32]);
            }
        }
        backend.append(&cos_sin, &mut self.cos_sin);
        self.positions = end;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::CpuBackend;

    #[test]
    fn a_table_has_the_same_bits_however_it_grew() {
        let backend = CpuBackend::new(std::num::NonZero::new(1)).unwrap();
        let frequencies = rope_frequencies(6, 1e6, None);
        let context_length = 2 * STEP + 7;
        let mut rope = RopeTable::new(&backend, frequencies.clone(), context_length).unwrap();
        let start = rope.cos_sin.as_ptr();
        for (reached, positions) in
            [(1, STEP), (STEP, STEP), (STEP + 1, 2 * STEP), (3, 2 * STEP), (context_length, context_length)]
        {
            rope.reach(&backend, reached);
            assert_eq!(rope.cos_sin.len(), positions * 6, "{reached}");
        }
        assert_eq!(rope.cos_sin.as_ptr(), start);
        let angles = (0..context_length).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        assert!(angles.flat_map(|angle| [angle.cos(), angle.sin()]).map(|x| x as f32).eq(rope.cos_sin));
    }
}
