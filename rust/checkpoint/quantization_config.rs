//! What a config says of quantized weights: E4M3 with scales that this engine keeps, or an error that names the rest.
//!
//! Which tensors are quantized, and the shapes of their scales, is read off the tensors themselves. How activations and caches
//! would be quantized does not matter here: they stay in wider types.

use serde_json::{Map, Value, json};

use super::config_object::ConfigObject;
use crate::error::Result;
use crate::fp8::GROUP;

/// `quantization_config` of `config.json`.
pub(super) fn check_huggingface(config: &ConfigObject) -> Result<()> {
    let key = "quantization_config";
    let Some(value) = config.get(key) else { return Ok(()) };
    let fault = match value["quant_method"].as_str() {
        Some("fp8") => fp8_fault(value),
        Some("compressed-tensors") => compressed_tensors_fault(value),
        _ => Some(format!(
            "quant_method {} is not supported; \"compressed-tensors\" and \"fp8\" are",
            value["quant_method"]
        )),
    };
    fault.map_or(Ok(()), |fault| Err(config.wrong(key, &fault)))
}

/// `quantization` of `params.json`.
pub(super) fn check_mistral(config: &ConfigObject) -> Result<()> {
    let key = "quantization";
    match config.get(key) {
        Some(value) if value["qformat_weight"] != "fp8_e4m3" => Err(config.unsupported(key, value)),
        _ => Ok(()),
    }
}

/// As `AutoFP8` writes it, with a scale a tensor, or with scales of blocks.
fn fp8_fault(value: &Value) -> Option<String> {
    let format = &value["fmt"];
    if !format.is_null() && format != "e4m3" {
        return Some(format!("fmt {format} is not supported; \"e4m3\" is"));
    }
    block_fault("weight_block_size", &value["weight_block_size"])
}

fn compressed_tensors_fault(value: &Value) -> Option<String> {
    if !["float-quantized", "naive-quantized"].iter().any(|known| value["format"] == *known) {
        return Some(format!("format {} is not supported; \"float-quantized\" is", value["format"]));
    }
    for transform in ["transform_config", "sparsity_config"] {
        let unset =
            value[transform].as_object().is_none_or(Map::is_empty) || value[transform]["format"] == "dense";
        if !unset {
            return Some(format!("{transform} changes the arithmetic and is not supported"));
        }
    }
    let Some(groups) = value["config_groups"].as_object() else {
        return Some("config_groups is missing".to_owned());
    };
    groups.iter().find_map(|(name, group)| {
        let weights = &group["weights"];
        let fp8 = weights["num_bits"] == 8 && weights["type"] == "float" && weights["symmetric"] != false;
        if !fp8 || !["tensor", "channel", "block"].iter().any(|known| weights["strategy"] == *known) {
            return Some(format!(
                "{name}: weights {weights} are not FP8 with a scale a tensor, a channel or a block"
            ));
        }
        block_fault(&format!("{name}: block_structure"), &weights["block_structure"])
    })
}

/// Blocks are square, of [`GROUP`] rows and columns, or there are none.
fn block_fault(name: &str, size: &Value) -> Option<String> {
    let is_known =
        size.is_null() || *size == json!([GROUP, GROUP]) || *size == json!(format!("{GROUP}x{GROUP}"));
    (!is_known).then(|| format!("{name} {size} is not supported; [{GROUP}, {GROUP}] is"))
}
