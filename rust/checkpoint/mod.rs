//! Files to typed, checked weights.
//!
//! [`Checkpoint::open`] recognises a folder by what is in it; [`Checkpoint`] then hands out the parts of the
//! model, one layer at a time, so that loading never holds a second copy of the weights. It knows no device.

mod config_object;
mod folder;
mod model_config;
pub mod packed;
mod quantization_config;
mod rope_scaling;
mod safetensors_file;
mod sizes;
mod tensor_names;
mod unsupported_keys;
mod weights;

use std::path::PathBuf;

pub use model_config::{MAX_CONTEXT_LENGTH, ModelConfig};
pub use rope_scaling::RopeScaling;
pub use safetensors_file::{Dtype, SafetensorsFile, Tensor};
pub use sizes::WeightSizes;
pub use tensor_names::Layout;
pub use weights::{Checkpoint, Head, LayerWeights, Linear};

/// What can be wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Nothing that can be loaded.
    #[error("{path}: no model found: {reason}", path = .path.display())]
    UnknownLayout {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        reason: String,
    },
    /// `config.json`, `params.json` or the index of the shards.
    #[error("{path}: {reason}", path = .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key and what is wrong with it.
        reason: String,
    },
    /// The header of a safetensors file, or its length.
    #[error("{path}: not a valid safetensors file: {reason}", path = .path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A packed file that is damaged, or that another version wrote.
    #[error("{path}: {reason}; convert the source again", path = .path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A tensor that the model needs.
    #[error("tensor `{name}` is missing")]
    MissingTensor {
        /// The name looked for, as the layout spells it.
        name: String,
    },
    /// A tensor that two files have: which one counts?
    #[error("tensor `{name}` is in more than one file")]
    DuplicateTensor {
        /// Its name.
        name: String,
    },
    /// A file without a tensor that the index says it has.
    #[error("{path}: tensor `{name}` is not in this file, where the index has it", path = .path.display())]
    NotInShard {
        /// Its name.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// Fewer tensors than layers.
    #[error("{layers} layers, but only {tensors} tensors in all")]
    TooFewTensors {
        /// The config's `num_hidden_layers`.
        layers: usize,
        /// Tensors in the files.
        tensors: usize,
    },
    /// A tensor that the architecture does not have: to ignore it would change the result.
    #[error("tensor `{name}` is not part of a Mistral or Llama model")]
    UnexpectedTensor {
        /// Its name.
        name: String,
    },
    /// A tensor of another shape than the config says.
    #[error("tensor `{name}`: expected {expected}, found {found:?}")]
    Shape {
        /// Its name.
        name: String,
        /// The shape or shapes that fit the config.
        expected: String,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A packed tensor that kernels cannot read where it lies.
    #[error("tensor `{name}`: begins at byte {start}, which is no multiple of {alignment}")]
    Alignment {
        /// Its name.
        name: String,
        /// Where in the file it begins.
        start: usize,
        /// What that must be a multiple of.
        alignment: usize,
    },
    /// A tensor of an element type that is not supported there.
    #[error("tensor `{name}`: expected {expected}, found {found}")]
    Dtype {
        /// Its name.
        name: String,
        /// The types that fit.
        expected: &'static str,
        /// The type in the file.
        found: String,
    },
    /// A weight or scale that is not a number, or is infinite.
    #[error("tensor `{name}`: element {index} is not a finite number")]
    NotFinite {
        /// Its name.
        name: String,
        /// The element, counted row by row.
        index: usize,
    },
}
