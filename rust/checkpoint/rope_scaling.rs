//! What a config says of rotary positions: the base, and a scaling of the frequencies, in the spellings of transformers.
//!
//! The formulas are in `rust/model/rope.rs`. Kinds that are not known here (dynamic, yarn, longrope) are refused by name.

use serde_json::Value;

use super::config_object::ConfigObject;
use crate::error::Result;

/// How the frequencies of rotary positions are changed for contexts beyond those of the first training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// All are divided.
    Linear {
        /// By this.
        factor: f64,
    },
    /// The low ones are divided, the high ones stay, and those between get something between: Llama 3.1 and later.
    Llama3 {
        /// Divisor of the low ones.
        factor: f64,
        /// Frequencies that turn fewer times than this within the original context are low.
        low_freq_factor: f64,
        /// Frequencies that turn more often than this within the original context are high.
        high_freq_factor: f64,
        /// Positions of the original context.
        original_max_position_embeddings: usize,
    },
}

/// `rope_theta` and the scaling: under `rope_scaling`, or with transformers 5 both under `rope_parameters`.
pub(super) fn read(config: &ConfigObject) -> Result<(f64, Option<RopeScaling>)> {
    let mut theta = config.number("rope_theta", Some(10_000.0))?;
    let mut scaling = None;
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = config.inner(key)? else { continue };
        let found = read_scaling(&rope, config, key)?;
        if scaling.is_some() && found != scaling {
            return Err(config.wrong(key, "is not what `rope_scaling` says"));
        }
        scaling = found;
        theta = rope.number("rope_theta", Some(theta))?;
    }
    Ok((theta, scaling))
}

fn read_scaling(rope: &ConfigObject, config: &ConfigObject, key: &str) -> Result<Option<RopeScaling>> {
    let whole = || Value::Object(rope.object.clone());
    let kinds: Vec<&Value> = ["rope_type", "type"].iter().filter_map(|kind| rope.get(kind)).collect();
    if kinds.iter().any(|kind| *kind != kinds[0]) {
        return Err(config.unsupported(key, &whole()));
    }
    let (scaling, keys): (_, &[&str]) = match kinds.first().map(|kind| kind.as_str()) {
        None | Some(Some("default")) => (None, &[]),
        Some(Some("linear")) => (Some(RopeScaling::Linear { factor: factor(rope)? }), &["factor"]),
        Some(Some("llama3")) => (Some(read_llama3(rope)?), &LLAMA3_KEYS),
        _ => return Err(config.unsupported(key, &whole())),
    };
    let is_known = |(name, value): (&String, &Value)| match name.as_str() {
        "rope_theta" | "rope_type" | "type" => true,
        name if keys.contains(&name) => true,
        "factor" | "partial_rotary_factor" => value.as_f64() == Some(1.0),
        _ => value.is_null(),
    };
    if rope.object.iter().all(is_known) { Ok(scaling) } else { Err(config.unsupported(key, &whole())) }
}

const LLAMA3_KEYS: [&str; 4] =
    ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"];

fn read_llama3(rope: &ConfigObject) -> Result<RopeScaling> {
    let (low, high) = (rope.number("low_freq_factor", None)?, rope.number("high_freq_factor", None)?);
    if !(0.0 < low && low < high) {
        let reason = format!("{low} is not between 0 and the high_freq_factor of {high}");
        return Err(rope.wrong("low_freq_factor", &reason));
    }
    let original = rope.size("original_max_position_embeddings", None)?;
    if original == 0 {
        return Err(rope.wrong("original_max_position_embeddings", "0 is not a number of positions"));
    }
    Ok(RopeScaling::Llama3 {
        factor: factor(rope)?,
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_position_embeddings: original,
    })
}

fn factor(rope: &ConfigObject) -> Result<f64> {
    let factor = rope.number("factor", None)?;
    if factor >= 1.0 {
        Ok(factor)
    } else {
        Err(rope.wrong("factor", &format!("{factor} is not a number from 1 up")))
    }
}
