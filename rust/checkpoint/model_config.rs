//! `config.json` (Hugging Face) or `params.json` (Mistral) to the numbers that the forward pass needs.
//!
//! A key that would change the arithmetic and is not supported is refused by name: a wrong answer that looks
//! right is worse than none. Keys that only describe training or files are ignored.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::CheckpointError;
use super::unsupported_keys::{self, HUGGINGFACE_KEYS, MISTRAL_KEYS};
use crate::error::{Error, Result};

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
        let json = Json::read(path)?;
        json.check_architecture()?;
        json.check_unsupported(HUGGINGFACE_KEYS)?;
        json.check_quantization()?;
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
            rope_theta: json.rope_theta()?,
            rms_norm_eps: json.number("rms_norm_eps", Some(1e-6))? as f32,
            tie_word_embeddings: json.flag("tie_word_embeddings")?,
            max_position_embeddings: json.size("max_position_embeddings", Some(MAX_CONTEXT_LENGTH))?,
            bos_token_id: json.token_ids("bos_token_id")?.first().copied(),
            eos_token_ids: json.token_ids("eos_token_id")?,
        };
        config.with_generation_config(path)?.checked(&json)
    }

    /// Reads `params.json`. It names no tokens: those of Mistral's own vocabularies are 1 and 2.
    pub fn from_mistral(path: &Path) -> Result<ModelConfig> {
        let json = Json::read(path)?;
        json.check_unsupported(MISTRAL_KEYS)?;
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
            for id in Json::read(&path)?.token_ids("eos_token_id")? {
                if !self.eos_token_ids.contains(&id) {
                    self.eos_token_ids.push(id);
                }
            }
        }
        Ok(self)
    }

    fn checked(self, json: &Json) -> Result<ModelConfig> {
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

/// A JSON object with the path it came from, for messages.
struct Json {
    path: PathBuf,
    object: Map<String, Value>,
}

impl Json {
    fn read(path: &Path) -> Result<Json> {
        let text = std::fs::read(path).map_err(Error::io(path))?;
        let fault = |reason: String| CheckpointError::Config { path: path.to_owned(), reason };
        match serde_json::from_slice(&text) {
            Ok(Value::Object(object)) => Ok(Json { path: path.to_owned(), object }),
            Ok(_) => Err(fault("expected a JSON object".to_owned()).into()),
            Err(error) => Err(fault(error.to_string()).into()),
        }
    }

    fn wrong(&self, key: &str, reason: &str) -> Error {
        CheckpointError::Config { path: self.path.clone(), reason: format!("`{key}`: {reason}") }.into()
    }

    fn unsupported(&self, key: &str, value: &Value) -> Error {
        let mut shown = value.to_string();
        if shown.len() > 80 {
            shown = shown.chars().take(80).chain("…".chars()).collect();
        }
        self.wrong(key, &format!("{shown} changes the arithmetic and is not supported"))
    }

    /// The value, or `None` where it is missing or null.
    fn get(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn size(&self, key: &str, default: Option<usize>) -> Result<usize> {
        match (self.get(key), default) {
            (Some(value), _) => value
                .as_u64()
                .and_then(|size| usize::try_from(size).ok())
                .ok_or_else(|| self.wrong(key, &format!("expected a whole number, found {value}"))),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.wrong(key, "is missing")),
        }
    }

    fn number(&self, key: &str, default: Option<f64>) -> Result<f64> {
        match (self.get(key), default) {
            (Some(value), _) => {
                value.as_f64().ok_or_else(|| self.wrong(key, &format!("expected a number, found {value}")))
            }
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.wrong(key, "is missing")),
        }
    }

    fn flag(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            None => Ok(false),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.wrong(key, &format!("expected true or false, found {value}"))),
        }
    }

    /// One id or a list of ids.
    fn token_ids(&self, key: &str) -> Result<Vec<u32>> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values.iter().map(id).collect(),
            Some(value) => id(value).map(|id| vec![id]),
        };
        ids.ok_or_else(|| self.wrong(key, "expected a token id or a list of them"))
    }

    /// `rope_theta`, or transformers 5's `rope_parameters`; any kind of scaling is refused.
    fn rope_theta(&self) -> Result<f64> {
        let Some(parameters) = self.get("rope_parameters") else {
            return self.number("rope_theta", Some(10_000.0));
        };
        let Value::Object(object) = parameters else {
            return Err(self.unsupported("rope_parameters", parameters));
        };
        let rope = Json { path: self.path.clone(), object: object.clone() };
        let known = |(key, value): (&String, &Value)| match key.as_str() {
            "rope_theta" => true,
            "rope_type" | "type" => value == "default",
            _ => false,
        };
        if !rope.object.iter().all(known) {
            return Err(self.unsupported("rope_parameters", parameters));
        }
        rope.number("rope_theta", Some(self.number("rope_theta", Some(10_000.0))?))
    }

    fn check_architecture(&self) -> Result<()> {
        if let Some(model_type) = self.get("model_type")
            && !["mistral", "llama"].iter().any(|known| model_type == known)
        {
            return Err(
                self.wrong("model_type", &format!("{model_type} is not supported; mistral and llama are"))
            );
        }
        if let Some(architectures) = self.get("architectures") {
            let known =
                |name: &Value| ["MistralForCausalLM", "LlamaForCausalLM"].iter().any(|known| name == known);
            if !architectures.as_array().is_some_and(|names| names.iter().all(known)) {
                return Err(self.unsupported("architectures", architectures));
            }
        }
        match self.get("hidden_act") {
            Some(act) if act != "silu" => Err(self.unsupported("hidden_act", act)),
            _ => Ok(()),
        }
    }

    fn check_unsupported(&self, known: &[&str]) -> Result<()> {
        match unsupported_keys::first(&self.object, known) {
            Some((key, value)) => Err(self.unsupported(key, value)),
            None => Ok(()),
        }
    }

    /// FP8 as compressed-tensors writes it: E4M3 weights with a scale a tensor or a channel. How activations
    /// would be quantized does not matter here: they stay in a wider type.
    fn check_quantization(&self) -> Result<()> {
        let key = "quantization_config";
        let Some(value) = self.get(key) else { return Ok(()) };
        let wrong = |reason: &str| Err(self.wrong(key, reason));
        if value["quant_method"] != "compressed-tensors" {
            return wrong(&format!(
                "quant_method {} is not supported; \"compressed-tensors\" is",
                value["quant_method"]
            ));
        }
        if !["float-quantized", "naive-quantized"].iter().any(|known| value["format"] == *known) {
            return wrong(&format!("format {} is not supported; \"float-quantized\" is", value["format"]));
        }
        for transform in ["transform_config", "sparsity_config"] {
            let unset = value[transform].as_object().is_none_or(Map::is_empty)
                || value[transform]["format"] == "dense";
            if !unset {
                return wrong(&format!("{transform} changes the arithmetic and is not supported"));
            }
        }
        let Some(groups) = value["config_groups"].as_object() else {
            return wrong("config_groups is missing");
        };
        for (name, group) in groups {
            let weights = &group["weights"];
            let fp8 = weights["num_bits"] == 8 && weights["type"] == "float" && weights["symmetric"] != false;
            if !fp8 || !["tensor", "channel"].iter().any(|known| weights["strategy"] == *known) {
                return wrong(&format!(
                    "{name}: weights {weights} are not FP8 with a scale a tensor or a channel"
                ));
            }
        }
        Ok(())
    }
}
