//! Any changes of a packed file's header are refused, or make a checkpoint whose every layer can be read.
//!
//! The file is a valid one of a tiny model; the input splices its header, the length in front of it, and cuts the file.

#![no_main]

use std::fs;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nemo_fast::checkpoint::Checkpoint;
use nemo_fast::checkpoint::packed::{FILE, VERSION, VERSION_KEY};
use serde_json::{Map, Value, json};

const CONFIG: &str = r#"{"hidden_size": 8, "intermediate_size": 20, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "vocab_size": 6, "rope_theta": 1e4}"#;

/// Names, dtypes and shapes, and bytes of an element.
const TENSORS: [(&str, &str, &[usize], usize); 13] = [
    ("model.layers.0.self_attn.qkv_proj.codes", "F8_E4M3", &[1, 2, 64], 1),
    ("model.layers.0.self_attn.qkv_proj.scales", "F32", &[1, 1, 16], 4),
    ("model.layers.0.self_attn.o_proj.codes", "F8_E4M3", &[1, 2, 64], 1),
    ("model.layers.0.self_attn.o_proj.scales", "F32", &[1, 1, 16], 4),
    ("model.layers.0.mlp.gate_up_proj.codes", "F8_E4M3", &[4, 2, 64], 1),
    ("model.layers.0.mlp.gate_up_proj.scales", "F32", &[4, 1, 16], 4),
    ("model.layers.0.mlp.down_proj.codes", "F8_E4M3", &[1, 5, 64], 1),
    ("model.layers.0.mlp.down_proj.scales", "F32", &[1, 1, 16], 4),
    ("model.embed_tokens.weight", "BF16", &[6, 8], 2),
    ("model.layers.0.input_layernorm.weight", "BF16", &[8], 2),
    ("model.layers.0.post_attention_layernorm.weight", "F32", &[8], 4),
    ("model.norm.weight", "F16", &[8], 2),
    ("lm_head.weight", "BF16", &[6, 8], 2),
];

#[derive(Arbitrary, Debug)]
struct Input {
    /// Of the last bytes of the file, how many are missing.
    cut: u16,
    /// Added to the length in front of the header, which otherwise fits the header as it is.
    longer: i16,
    splices: Vec<Splice>,
}

/// In the text of the header: that many bytes gone, others in their place.
#[derive(Arbitrary, Debug)]
struct Splice {
    start: u16,
    removed: u8,
    inserted: Vec<u8>,
}

fn header() -> (Vec<u8>, usize) {
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({VERSION_KEY: VERSION}))]);
    let mut end = 0;
    for (name, dtype, shape, size) in TENSORS {
        let start = end;
        end += shape.iter().product::<usize>() * size;
        header.insert(name.to_owned(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]}));
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize((text.len() + 8).next_multiple_of(64) - 8, b' ');
    (text, end)
}

fuzz_target!(|input: Input| {
    let (mut header, bytes) = header();
    for splice in &input.splices {
        let start = usize::from(splice.start) % (header.len() + 1);
        let end = (start + usize::from(splice.removed)).min(header.len());
        header.splice(start..end, splice.inserted.iter().copied());
    }
    let length = (header.len() as u64).wrapping_add_signed(input.longer.into());
    let mut file = [&length.to_le_bytes(), &header[..], &vec![0; bytes]].concat();
    file.truncate(file.len().saturating_sub(input.cut.into()));
    let folder = std::env::temp_dir().join(format!("nemo_fast_packed_{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("config.json"), CONFIG).expect("a config");
    // Renamed over the last one: a file that is mapped must not be cut.
    fs::write(folder.join("next"), file).expect("a file");
    fs::rename(folder.join("next"), folder.join(FILE)).expect("a name");
    let is_untouched = input.cut == 0 && input.longer == 0 && input.splices.is_empty();
    match Checkpoint::open(&folder) {
        Ok(checkpoint) => {
            // Scales that are no numbers are refused here; what is there has the shape that was checked.
            let _ = (checkpoint.layer(0), checkpoint.norm(), checkpoint.lm_head(), checkpoint.embed_tokens());
            for name in checkpoint.tensor_names() {
                let _ = (checkpoint.linear(&name), checkpoint.dense(&name));
            }
        }
        Err(error) => assert!(!is_untouched, "{error}"),
    }
});
