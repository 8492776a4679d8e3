//! Logits to a token id.
//!
//! The order is vLLM's: temperature, `min_p`, `top_k`, `top_p`, then one draw. The draw at a position comes from a
//! generator keyed by (seed, choice, position), so it is the same whatever else the engine runs.

use std::cell::RefCell;

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
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { candidates, weights } = scratch;
            self.fill(candidates, logits, greatest);
            self.keep_likeliest(candidates, weights, logits.len());
            draw(candidates, weights, uniform(self.seed, choice, position))
        })
    }

    /// Weight of a candidate, relative to the likeliest, which has 1.
    fn weight(&self, candidate: Candidate) -> f64 {
        (f64::from(candidate.gap()) / f64::from(self.temperature)).exp()
    }

    /// The candidates that `min_p` leaves and that have a weight worth the name, by ascending id.
    fn fill(&self, candidates: &mut Vec<Candidate>, logits: &[f32], greatest: f32) {
        let temperature = f64::from(self.temperature);
        let min_p = f64::from(self.min_p);
        // The logarithm saves most candidates an exponential; where its rounding might tell, the exponential decides.
        let (bound, slack) = if min_p > 0.0 { (min_p.ln(), 1e-9) } else { (NEGLIGIBLE, 0.0) };
        let [out, inside] = [bound - slack, bound + slack].map(|bound| temperature * bound);
        // Without a branch, which the processor could not foresee.
        candidates.resize(logits.len(), Candidate(0));
        let mut len = 0;
        for (id, &logit) in logits.iter().enumerate() {
            candidates[len] = Candidate::new(logit - greatest, id);
            len += usize::from(f64::from(logit - greatest) >= out);
        }
        candidates.truncate(len);
        if min_p > 0.0 {
            candidates
                .retain(|&candidate| f64::from(candidate.gap()) >= inside || self.weight(candidate) >= min_p);
        }
    }

    /// Drops what `top_k` and `top_p` exclude, which puts the rest in order, and finds the weights of what stays.
    fn keep_likeliest(&self, candidates: &mut Vec<Candidate>, weights: &mut Vec<f64>, vocab: usize) {
        weights.clear();
        // Negligible candidates count: which order the draw goes by does not depend on them.
        let count = if self.min_p > 0.0 { candidates.len() } else { vocab };
        let is_cut = self.top_k > 0 && self.top_k < count;
        if self.top_p >= 1.0 && !is_cut {
            weights.extend(candidates.iter().map(|&candidate| self.weight(candidate)));
            return;
        }
        if is_cut && self.top_k < candidates.len() {
            candidates.select_nth_unstable(self.top_k);
            candidates.truncate(self.top_k);
        }
        let total = || candidates.iter().map(|&candidate| self.weight(candidate)).sum::<f64>();
        let target = if self.top_p < 1.0 { f64::from(self.top_p) * total() } else { f64::INFINITY };
        let mut sum = 0.0;
        let mut part = FIRST_PART;
        // The likeliest part, the next likeliest, ...: few are needed as a rule, and only they are sorted.
        while sum < target && weights.len() < candidates.len() {
            let mut rest = &mut candidates[weights.len()..];
            if part < rest.len() {
                rest.select_nth_unstable(part);
                rest = &mut rest[..part];
            }
            rest.sort_unstable();
            for &candidate in &*rest {
                let weight = self.weight(candidate);
                weights.push(weight);
                sum += weight;
                if sum >= target {
                    break;
                }
            }
            part *= 16;
        }
        candidates.truncate(weights.len());
    }
}

/// Less than e^-50 of the likeliest: a vocabulary of 131,072 such tokens together is lost in the rounding of the sum of weights.
const NEGLIGIBLE: f64 = -50.0;

/// How many of the likeliest `top_p` looks at first.
const FIRST_PART: usize = 64;

/// A token that may be drawn. The likelier is the lesser, of equally likely ones the lower id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate(u64);

impl Candidate {
    /// `gap` is the logit less the greatest one. What is not negative has bits in its own order.
    fn new(gap: f32, id: usize) -> Candidate {
        Candidate(u64::from(gap.abs().to_bits()) << 32 | id as u64)
    }

    fn gap(self) -> f32 {
        -f32::from_bits((self.0 >> 32) as u32)
    }

    fn id(self) -> TokenId {
        self.0 as TokenId
    }
}

/// Room for the candidates of a draw: a megabyte or two, which need not be asked for at every token.
#[derive(Default)]
struct Scratch {
    candidates: Vec<Candidate>,
    weights: Vec<f64>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The candidate at that fraction of the total weight.
fn draw(candidates: &[Candidate], weights: &[f64], fraction: f64) -> TokenId {
    let target = fraction * weights.iter().sum::<f64>();
    let mut sum = 0.0;
    let hit = weights.iter().position(|&weight| {
        sum += weight;
        sum > target
    });
    // Rounding of the sums may leave the target a hair above the last one.
    hit.map_or(candidates.last(), |hit| candidates.get(hit)).map_or(0, |candidate| candidate.id())
}

/// A number in [0, 1) that depends on the key only: its parts are mixed in turn.
fn uniform(seed: u64, choice: usize, position: usize) -> f64 {
    let mixed =
        [seed, choice as u64, position as u64].into_iter().fold(0, |state, part| mix(state ^ mix(part)));
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by the letter: all weights, all sorted.
    fn choose_plainly(sampling: &Sampling, logits: &[f32], choice: usize, position: usize) -> TokenId {
        let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if sampling.temperature == 0.0 {
            return logits.iter().position(|&logit| logit >= greatest).unwrap() as TokenId;
        }
        let temperature = f64::from(sampling.temperature);
        let weight = |logit: f32| (f64::from(logit - greatest) / temperature).exp();
        let mut candidates: Vec<(f64, TokenId)> =
            logits.iter().enumerate().map(|(id, &logit)| (weight(logit), id as TokenId)).collect();
        candidates.retain(|&(weight, _)| weight >= f64::from(sampling.min_p));
        let total = |candidates: &[(f64, TokenId)]| candidates.iter().map(|&(weight, _)| weight).sum::<f64>();
        if sampling.top_p < 1.0 || (sampling.top_k > 0 && sampling.top_k < candidates.len()) {
            candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
            if sampling.top_k > 0 {
                candidates.truncate(sampling.top_k);
            }
            let target = f64::from(sampling.top_p) * total(&candidates);
            let mut sum = 0.0;
            let reached = candidates.iter().position(|&(weight, _)| {
                sum += weight;
                sum >= target
            });
            candidates.truncate(reached.map_or(candidates.len(), |last| last + 1));
        }
        let target = uniform(sampling.seed, choice, position) * total(&candidates);
        let mut sum = 0.0;
        let hit = candidates.iter().find(|&&(weight, _)| {
            sum += weight;
            sum > target
        });
        hit.or(candidates.last()).unwrap().1
    }

    /// Logits with many ties, of about the spread of a model's, and some far below all others.
    fn any_logits() -> impl Strategy<Value = Vec<f32>> {
        let step = prop_oneof![Just(0.25_f32), Just(1.0), 0.001..0.1_f32];
        (1..3_000_usize, any::<u64>(), step, 1..4_000_u64).prop_map(|(len, seed, step, steps)| {
            let logit = |id| {
                let bits = mix(seed ^ mix(id));
                20.0 - step * (bits % steps) as f32 - if bits >> 62 == 0 { 100.0 } else { 0.0 }
            };
            (0..len as u64).map(logit).collect()
        })
    }

    fn any_sampling() -> impl Strategy<Value = Sampling> {
        let temperature = prop_oneof![Just(0.0_f32), Just(0.3), Just(1.0), 0.01..=2.0_f32];
        let top_p = prop_oneof![Just(1.0_f32), Just(0.5), Just(0.9), 0.01..=1.0_f32];
        let top_k = prop_oneof![Just(0_usize), 1..100_usize, 1..4_000_usize];
        let min_p = prop_oneof![3 => Just(0.0_f32), 1 => Just(1.0), 3 => 0.0..0.5_f32, 1 => 0.0..1e-30_f32];
        (temperature, top_p, top_k, min_p, any::<u64>()).prop_map(
            |(temperature, top_p, top_k, min_p, seed)| Sampling { temperature, top_p, top_k, min_p, seed },
        )
    }

    proptest! {
        #[test]
        fn the_choice_is_that_of_sorting_everything(logits in any_logits(), sampling in any_sampling()) {
            for position in 0..20 {
                prop_assert_eq!(
                    sampling.choose(&logits, 1, position),
                    choose_plainly(&sampling, &logits, 1, position)
                );
            }
        }
    }

    #[test]
    fn a_threshold_at_a_weight_keeps_it() {
        for logit in (1..2_000).map(|step| step as f32 * -0.01) {
            for temperature in [0.3, 0.7, 1.0] {
                let weight = (f64::from(logit) / f64::from(temperature)).exp() as f32;
                for min_p in [weight.next_down(), weight, weight.next_up()].map(|min_p| min_p.min(1.0)) {
                    let sampling = Sampling { temperature, min_p, ..Sampling::default() };
                    let mut candidates = Vec::new();
                    sampling.fill(&mut candidates, &[logit, 0.0], 0.0);
                    let stays = (f64::from(logit) / f64::from(temperature)).exp() >= f64::from(min_p);
                    assert_eq!(candidates.len(), 1 + usize::from(stays), "{logit} {temperature} {min_p}");
                }
            }
        }
    }

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
