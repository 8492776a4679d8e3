//! `config.json` (Hugging Face) or `params.json` (Mistral) to the numbers that the forward pass needs.
//!
//! A key that would change the arithmetic and is not supported is refused by name: a wrong answer that looks
//! right is worse than none. Keys that only describe training or files are ignored.

use std::path::Path;

use serde_json::Value;

use super::config_object::ConfigObject;
use super::quantization_config::{check_huggingface, check_mistral};
use super::unsupported_keys::{self, HUGGINGFACE_KEYS, MISTRAL_KEYS};
use super::{RopeScaling, rope_scaling};
use crate::error::Result;

/// The longest context that this engine serves, whatever a config claims.
pub const MAX_CONTEXT_LENGTH: usize = 131_072;

/// The model's shape, under Hugging Face's names.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are those of config.json")]
pub struct ModelConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    /// Its own number: for Nemo 128, where `hidden_size / num_attention_heads` is 160.
    pub head_dim: usize,
    pub vocab_size: usize,
    pub rope_theta: f64,
    /// How the frequencies that `rope_theta` gives are changed for longer contexts.
    pub rope_scaling: Option<RopeScaling>,
    pub rms_norm_eps: f32,
    pub tie_word_embeddings: bool,
    pub max_position_embeddings: usize,
    pub bos_token_id: Option<u32>,
    /// Tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
}

impl ModelConfig {
    /// Rows of the query projection.
    pub fn query_width(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Rows of the key projection, and of the value projection.
    pub fn key_value_width(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Reads `config.json`, and `generation_config.json` beside it for the tokens that end an answer.
    pub fn from_huggingface(path: &Path) -> Result<ModelConfig> {
        let json = ConfigObject::read(path)?;
        check_architecture(&json)?;
        check_unsupported(&json, HUGGINGFACE_KEYS)?;
        check_huggingface(&json)?;
        let (rope_theta, rope_scaling) = rope_scaling::read(&json)?;
        let num_attention_heads = json.size("num_attention_heads", None)?;
        let hidden_size = json.size("hidden_size", None)?;
        let config = ModelConfig {
            hidden_size,
            intermediate_size: json.size("intermediate_size", None)?,
            num_hidden_layers: json.size("num_hidden_layers", None)?,
            num_attention_heads,
            num_key_value_heads: json.size("num_key_value_heads", Some(num_attention_heads))?,
            // Only a config without the key leaves it to this rule, as in Hugging Face's own classes.
            head_dim: json.size("head_dim", hidden_size.checked_div(num_attention_heads))?,
            vocab_size: json.size("vocab_size", None)?,
            rope_theta,
            rope_scaling,
            rms_norm_eps: json.number("rms_norm_eps", Some(1e-6))? as f32,
            tie_word_embeddings: json.flag("tie_word_embeddings")?,
            max_position_embeddings: json.size("max_position_embeddings", Some(MAX_CONTEXT_LENGTH))?,
            bos_token_id: json.token_ids("bos_token_id")?.first().copied(),
            eos_token_ids: json.token_ids("eos_token_id")?,
        };
        check_window(&json, config.max_position_embeddings)?;
        config.with_generation_config(path)?.checked(&json)
    }

    /// Reads `params.json`. It names no tokens: those of Mistral's own vocabularies are 1 and 2.
    pub fn from_mistral(path: &Path) -> Result<ModelConfig> {
        let json = ConfigObject::read(path)?;
        check_unsupported(&json, MISTRAL_KEYS)?;
        check_mistral(&json)?;
        let num_attention_heads = json.size("n_heads", None)?;
        let dim = json.size("dim", None)?;
        ModelConfig {
            hidden_size: dim,
            intermediate_size: json.size("hidden_dim", None)?,
            num_hidden_layers: json.size("n_layers", None)?,
            num_attention_heads,
            num_key_value_heads: json.size("n_kv_heads", Some(num_attention_heads))?,
            head_dim: json.size("head_dim", dim.checked_div(num_attention_heads))?,
            vocab_size: json.size("vocab_size", None)?,
            rope_theta: json.number("rope_theta", None)?,
            rope_scaling: None,
            rms_norm_eps: json.number("norm_eps", None)? as f32,
            tie_word_embeddings: json.flag("tied_embeddings")?,
            max_position_embeddings: json.size("max_seq_len", Some(MAX_CONTEXT_LENGTH))?,
            bos_token_id: Some(1),
            eos_token_ids: vec![2],
        }
        .checked(&json)
    }

    fn with_generation_config(mut self, config_path: &Path) -> Result<ModelConfig> {
        let path = config_path.with_file_name("generation_config.json");
        if path.exists() {
            for id in ConfigObject::read(&path)?.token_ids("eos_token_id")? {
                if !self.eos_token_ids.contains(&id) {
                    self.eos_token_ids.push(id);
                }
            }
        }
        Ok(self)
    }

    fn checked(self, json: &ConfigObject) -> Result<ModelConfig> {
        // Far above every published model, and small enough that no product of two of them overflows.
        const LARGEST: usize = 1 << 24;
        for (key, size) in [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            if size == 0 || size > LARGEST {
                return Err(json.wrong(key, &format!("{size} is not between 1 and {LARGEST}")));
            }
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let (queries, keys) = (self.num_attention_heads, self.num_key_value_heads);
            return Err(json
                .wrong("num_key_value_heads", &format!("{keys} does not divide the {queries} query heads")));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(
                json.wrong("head_dim", &format!("{} is odd, and rotary positions turn pairs", self.head_dim))
            );
        }
        if !(self.rope_theta > 0.0 && self.rope_theta.is_finite()) {
            return Err(json.wrong("rope_theta", &format!("{} is not a positive number", self.rope_theta)));
        }
        if !(self.rms_norm_eps >= 0.0 && self.rms_norm_eps.is_finite()) {
            return Err(
                json.wrong("rms_norm_eps", &format!("{} is not a number from 0 up", self.rms_norm_eps))
            );
        }
        Ok(self)
    }
}

fn check_architecture(json: &ConfigObject) -> Result<()> {
    if let Some(model_type) = json.get("model_type")
        && !["mistral", "llama"].iter().any(|known| model_type == known)
    {
        return Err(
            json.wrong("model_type", &format!("{model_type} is not supported; mistral and llama are"))
        );
    }
    if let Some(architectures) = json.get("architectures") {
        let known =
            |name: &Value| ["MistralForCausalLM", "LlamaForCausalLM"].iter().any(|known| name == known);
        if !architectures.as_array().is_some_and(|names| names.iter().all(known)) {
            return Err(json.unsupported("architectures", architectures));
        }
    }
    match json.get("hidden_act") {
        Some(act) if act != "silu" => Err(json.unsupported("hidden_act", act)),
        _ => Ok(()),
    }
}

fn check_unsupported(json: &ConfigObject, known: &[&str]) -> Result<()> {
    match unsupported_keys::first(&json.object, known) {
        Some((key, value)) => Err(json.unsupported(key, value)),
        None => Ok(()),
    }
}

/// A config of Mistral's first models may leave `sliding_window` out, and then transformers takes 4,096; that changes nothing
/// where the context is not longer. Every config that transformers wrote has the key.
fn check_window(json: &ConfigObject, positions: usize) -> Result<()> {
    const DEFAULT_WINDOW: usize = 4_096;
    let says_nothing = json.get("model_type").is_some_and(|kind| kind == "mistral")
        && !json.object.contains_key("sliding_window");
    if says_nothing && positions > DEFAULT_WINDOW {
        let reason = format!(
            "is missing, which for a mistral model means {DEFAULT_WINDOW}, and there are {positions} positions; null means none"
        );
        return Err(json.wrong("sliding_window", &reason));
    }
    Ok(())
}
