//! Logits to a token id.
//!
//! The order is vLLM's: temperature, `min_p`, `top_k`, `top_p`, then one draw. The draw at a position comes from a
//! generator keyed by (seed, choice, position), so it is the same whatever else the engine runs.

use std::cmp::Reverse;

use crate::error::{Error, Result};
use crate::split_mix::mix;
use crate::tokenizer::TokenId;

/// How a token is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the likeliest token.
    pub temperature: f32,
    /// Keep the fewest likeliest tokens whose probabilities reach it, in (0, 1].
    pub top_p: f32,
    /// Keep that many likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep tokens at least that fraction as likely as the likeliest, in [0, 1].
    pub min_p: f32,
    /// Key of the generator.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 }
    }
}

impl Sampling {
    /// Checks the ranges, which are OpenAI's and vLLM's.
    pub fn check(&self) -> Result<()> {
        let outside = |name: &str, value: f32, range: &str| {
            Err(Error::Argument(format!("{name} must be {range}, found {value}")))
        };
        if !(0.0..=2.0).contains(&self.temperature) {
            return outside("temperature", self.temperature, "between 0 and 2");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return outside("top_p", self.top_p, "above 0 and at most 1");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return outside("min_p", self.min_p, "between 0 and 1");
        }
        Ok(())
    }

    /// The token at `position` of choice `choice`; of equal logits the lowest id comes first.
    ///
    /// `logits` are finite, `[vocab]`.
    pub fn choose(&self, logits: &[f32], choice: usize, position: usize) -> TokenId {
        let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if self.temperature == 0.0 {
            // `position` finds the lowest id of those that are as likely as the likeliest.
            return logits.iter().position(|&logit| logit >= greatest).map_or(0, |id| id as TokenId);
        }
        let temperature = f64::from(self.temperature);
        let weight = |logit: f32| (f64::from(logit - greatest) / temperature).exp();
        let mut candidates: Vec<(f64, TokenId)> =
            logits.iter().enumerate().map(|(id, &logit)| (weight(logit), id as TokenId)).collect();
        self.keep_likeliest(&mut candidates);
        draw(&candidates, uniform(self.seed, choice, position))
    }

    /// Drops what `min_p`, `top_k` and `top_p` exclude; weights are relative to the likeliest, which has 1.
    fn keep_likeliest(&self, candidates: &mut Vec<(f64, TokenId)>) {
        candidates.retain(|&(weight, _)| weight >= f64::from(self.min_p));
        let all_stay = self.top_p >= 1.0 && (self.top_k == 0 || self.top_k >= candidates.len());
        if all_stay {
            return;
        }
        candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(Reverse(b.1).cmp(&Reverse(a.1))));
        if self.top_k > 0 {
            candidates.truncate(self.top_k);
        }
        let target = f64::from(self.top_p) * candidates.iter().map(|&(weight, _)| weight).sum::<f64>();
        let mut sum = 0.0;
        let reached = candidates.iter().position(|&(weight, _)| {
            sum += weight;
            sum >= target
        });
        if let Some(last) = reached {
            candidates.truncate(last + 1);
        }
    }
}

/// The candidate at that fraction of the total weight.
fn draw(candidates: &[(f64, TokenId)], fraction: f64) -> TokenId {
    let target = fraction * candidates.iter().map(|&(weight, _)| weight).sum::<f64>();
    let mut sum = 0.0;
    let hit = candidates.iter().find(|&&(weight, _)| {
        sum += weight;
        sum > target
    });
    // Rounding of the sums may leave the target a hair above the last one.
    hit.or(candidates.last()).map_or(0, |&(_, id)| id)
}

/// A number in [0, 1) that depends on the key only: its parts are mixed in turn.
fn uniform(seed: u64, choice: usize, position: usize) -> f64 {
    let mixed =
        [seed, choice as u64, position as u64].into_iter().fold(0, |state, part| mix(state ^ mix(part)));
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shares of 20,000 draws over positions.
    fn shares(sampling: &Sampling, logits: &[f32]) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        for position in 0..20_000 {
            counts[sampling.choose(logits, 0, position) as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        assert!(
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.015),
            "{found:?} is not {expected:?}"
        );
    }

    #[test]
    fn draws_follow_the_softmax_at_the_temperature() {
        let logits = [0.0, 2.0_f32.ln(), 5.0_f32.ln()];
        assert_near(&shares(&Sampling::default(), &logits), &[0.125, 0.25, 0.625]);
        let hot = Sampling { temperature: 0.5, ..Sampling::default() };
        assert_near(&shares(&hot, &logits), &[1.0 / 30.0, 4.0 / 30.0, 25.0 / 30.0]);
    }

    #[test]
    fn filters_keep_the_likeliest_and_share_out_the_rest() {
        let logits = [0.0, 2.0_f32.ln(), 5.0_f32.ln()];
        let default = Sampling::default();
        let two = [0.0, 2.0 / 7.0, 5.0 / 7.0];
        assert_near(&shares(&Sampling { top_k: 2, ..default.clone() }, &logits), &two);
        assert_near(&shares(&Sampling { top_p: 0.7, ..default.clone() }, &logits), &two);
        assert_near(&shares(&Sampling { min_p: 0.3, ..default.clone() }, &logits), &two);
        assert_near(&shares(&Sampling { top_p: 0.6, ..default }, &logits), &[0.0, 0.0, 1.0]);
    }

    #[test]
    fn greedy_takes_the_lowest_of_equal_ids_and_ignores_the_seed() {
        for seed in 0..10 {
            let greedy = Sampling { temperature: 0.0, seed, ..Sampling::default() };
            assert_eq!(greedy.choose(&[1.0, 3.0, 3.0, -1.0], 0, 7), 1);
        }
        let first = Sampling { top_k: 1, ..Sampling::default() };
        assert_eq!(first.choose(&[1.0, 3.0, 3.0, -1.0], 0, 7), 1);
    }

    #[test]
    fn the_key_decides_the_draw() {
        let logits = [0.0; 1000];
        let sampling = Sampling { seed: 42, ..Sampling::default() };
        assert_eq!(sampling.choose(&logits, 1, 5), sampling.choose(&logits, 1, 5));
        let draws = |seed| {
            (0..50)
                .map(|position| Sampling { seed, ..sampling.clone() }.choose(&logits, 0, position))
                .collect::<Vec<_>>()
        };
        assert_ne!(draws(1), draws(2));
    }

    #[test]
    fn values_outside_their_range_are_named() {
        for (sampling, name) in [
            (Sampling { temperature: -0.1, ..Sampling::default() }, "temperature"),
            (Sampling { temperature: f32::NAN, ..Sampling::default() }, "temperature"),
            (Sampling { top_p: 0.0, ..Sampling::default() }, "top_p"),
            (Sampling { min_p: 1.5, ..Sampling::default() }, "min_p"),
        ] {
            assert!(sampling.check().unwrap_err().to_string().starts_with(name));
        }
        assert!(Sampling::default().check().is_ok());
    }
}
