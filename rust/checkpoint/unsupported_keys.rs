//! Which key of a config would change the arithmetic without being read.
//!
//! The list is of words in names rather than of names: next year's variant of the architecture will have a key that
//! nobody knows yet, and must not pass for this one.

use serde_json::{Map, Value};

/// Keys of `config.json` that carry one of [`ARITHMETIC_WORDS`] and are read here, or do nothing once a model is trained.
pub(super) const HUGGINGFACE_KEYS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "attention_dropout",
    "hidden_act",
    "model_type",
    "num_attention_heads",
    "output_attentions",
    "quantization_config",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
];

/// The same for `params.json`.
pub(super) const MISTRAL_KEYS: &[&str] = &["norm_eps", "quantization", "rope_theta"];

/// The kind of model that Mistral's own loader takes.
const PLAIN_MODEL: (&str, &str) = ("model_type", "transformer");

/// Words in the names of keys that steer the arithmetic. A key with one of them that is neither read nor unset
/// is refused, so that next year's variant of the architecture does not pass as this one.
const ARITHMETIC_WORDS: &[&str] = &[
    "act",
    "activation",
    "alpha",
    "attention",
    "attn",
    "bias",
    "biases",
    "cap",
    "causal",
    "clip",
    "expert",
    "factor",
    "interleaved",
    "layernorm",
    "lora",
    "mamba",
    "moe",
    "multiplier",
    "norm",
    "parallel",
    "qk",
    "qkv",
    "quantization",
    "residual",
    "rope",
    "rotary",
    "router",
    "scalar",
    "scale",
    "scaling",
    "sliding",
    "softcap",
    "softcapping",
    "type",
    "vision",
    "window",
    "yarn",
];

/// The first key that is neither `known` nor unset and has one of [`ARITHMETIC_WORDS`] in its name.
pub(super) fn first<'a>(object: &'a Map<String, Value>, known: &[&str]) -> Option<(&'a String, &'a Value)> {
    let steers = |key: &str| {
        let is_listed = |word: &str| ARITHMETIC_WORDS.contains(&word);
        key.split('_').any(|word| is_listed(word) || is_listed(word.trim_end_matches('s')))
    };
    object.iter().find(|(key, value)| steers(key) && !known.contains(&key.as_str()) && !is_unset(key, value))
}

/// Whether the value says "none of it": such a key is there in many configs of the plain architecture.
fn is_unset(key: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Array(values) => values.iter().all(|kind| kind == "full_attention"),
        Value::Object(values) => values.iter().all(|(key, value)| match key.as_str() {
            "rope_type" | "type" => value == "default",
            "factor" => value.as_f64() == Some(1.0),
            _ => false,
        }),
        // A factor on the scores replaces 1/√head_dim, so that not even 1 leaves it as it is.
        Value::Number(number) => {
            let is_factor =
                ["multiplier", "scale", "scaling", "factor"].iter().any(|word| key.contains(word))
                    && !key.contains("att");
            number.as_f64() == Some(if is_factor { 1.0 } else { 0.0 })
        }
        // Names of implementations ("sdpa") compute the same thing.
        Value::String(name) => {
            name.is_empty() || key.ends_with("implementation") || (key, &**name) == PLAIN_MODEL
        }
    }
}
