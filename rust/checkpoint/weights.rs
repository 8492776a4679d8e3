//! The model's weights by name: every name, shape and element type is checked here, and nowhere else.
//!
//! Linear layers come out as E4M3 rows in rotate-half order, whatever the source, or in panels where they were packed before.
//! A row has one scale, or one for each 128 columns where the source's scales are of blocks. Embedding, head and norms stay
//! as they are. What is special about packed files is in `packed`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::folder::Folder;
use super::packed::{self, Matrix};
use super::{CheckpointError, Dtype, Layout, ModelConfig, SafetensorsFile, Tensor};
use crate::error::{Error, Result};
use crate::fp8::{Fp8Rows, GROUP, Panels, e4m3, quantize_rows};

/// Endings of tensors that describe how other engines would quantize activations and caches, or that are
/// computed from the config.
const IGNORED: [&str; 9] = [
    ".activation_scale",
    ".input_scale",
    ".k_scale",
    ".kv_scale",
    ".output_scale",
    ".q_scale",
    ".qscale_act",
    ".rotary_emb.inv_freq",
    ".v_scale",
];

/// A linear layer on its way to a device.
#[derive(Debug)]
pub enum Linear {
    /// Rows, one under the other.
    Rows(Fp8Rows),
    /// Gates and values of a gated layer, with as many scales a row.
    Gated(Fp8Rows, Fp8Rows),
    /// Either of them, packed already.
    Panels(Panels),
}

/// What gives the logits, `[vocab, hidden]`.
#[derive(Debug)]
pub enum Head {
    /// As in the source.
    Dense(Tensor),
    /// E4M3, by wish.
    Fp8(Linear),
}

/// One decoder layer.
#[derive(Debug)]
pub struct LayerWeights {
    /// `[hidden]`
    pub input_layernorm: Vec<f32>,
    /// Query, key and value rows, one under the other: `[(heads + 2 · kv heads) · head_dim, hidden]`.
    pub qkv_proj: Linear,
    /// `[hidden, heads · head_dim]`
    pub o_proj: Linear,
    /// `[hidden]`
    pub post_attention_layernorm: Vec<f32>,
    /// Gates and values, `[intermediate, hidden]` each.
    pub gate_up_proj: Linear,
    /// `[hidden, intermediate]`
    pub down_proj: Linear,
}

/// An open folder: its config, and its weights on demand.
#[derive(Debug)]
pub struct Checkpoint {
    layout: Layout,
    pub(super) config: ModelConfig,
    pub(super) files: Vec<SafetensorsFile>,
    /// Tensor name in the files to the file that has it.
    pub(super) places: BTreeMap<String, usize>,
    is_head_fp8: bool,
}

impl Checkpoint {
    /// Opens a folder and checks that every tensor is there in the right shape, and none that the architecture
    /// does not have. Reads headers only.
    pub fn open(folder: &Path) -> Result<Checkpoint> {
        let Folder { layout, config, files, places } = Folder::open(folder)?;
        // Before a name is made for each of them.
        if config.num_hidden_layers > places.len() {
            let (layers, tensors) = (config.num_hidden_layers, places.len());
            return Err(CheckpointError::TooFewTensors { layers, tensors }.into());
        }
        let checkpoint = Checkpoint { layout, config, files, places, is_head_fp8: false };
        if layout == Layout::Packed {
            let checked = checkpoint.check_packed();
            checked.map_err(|error| packed::unusable(checkpoint.files[0].path(), error))?;
        } else {
            checkpoint.check()?;
        }
        Ok(checkpoint)
    }

    /// Gives the head as E4M3, quantized here unless it is packed.
    #[must_use]
    pub fn with_fp8_head(self) -> Checkpoint {
        Checkpoint { is_head_fp8: true, ..self }
    }

    /// Whether the head comes out as E4M3: see [`Checkpoint::lm_head`].
    pub fn has_fp8_head(&self) -> bool {
        self.is_head_fp8 || self.has_packed_head()
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// How the folder is laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The weight files, in order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(SafetensorsFile::path)
    }

    /// Bytes of all files.
    pub fn file_bytes(&self) -> usize {
        self.files.iter().map(SafetensorsFile::len).sum()
    }

    /// The names of the weights, as Hugging Face spells them, whatever the layout.
    pub fn tensor_names(&self) -> Vec<String> {
        let mut names = vec!["model.embed_tokens.weight".to_owned()];
        for layer in 0..self.config.num_hidden_layers {
            let projections = packed::MATRICES.iter().flat_map(|matrix| matrix.projections);
            let parts = projections.chain(&["input_layernorm", "post_attention_layernorm"]);
            names.extend(parts.map(|part| format!("model.layers.{layer}.{part}.weight")));
        }
        names.push("model.norm.weight".to_owned());
        if !self.config.tie_word_embeddings {
            names.push("lm_head.weight".to_owned());
        }
        names
    }

    /// `[vocab, hidden]`, as in the source.
    pub fn embed_tokens(&self) -> Result<Tensor> {
        self.dense("model.embed_tokens.weight")
    }

    /// The head; the embedding where the two are tied. Its pages are read, for every token needs it.
    pub fn lm_head(&self) -> Result<Head> {
        if self.has_packed_head() {
            return Ok(Head::Fp8(Linear::Panels(self.panels("", &packed::LM_HEAD)?)));
        }
        let name =
            if self.config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
        if self.is_head_fp8 {
            return Ok(Head::Fp8(Linear::Rows(self.linear(name)?)));
        }
        let tensor = self.dense(name)?;
        self.populate(&tensor)?;
        Ok(Head::Dense(tensor))
    }

    /// The last norm, `[hidden]`.
    pub fn norm(&self) -> Result<Vec<f32>> {
        self.vector("model.norm.weight")
    }

    /// One decoder layer.
    pub fn layer(&self, index: usize) -> Result<LayerWeights> {
        let prefix = format!("model.layers.{index}.");
        let vector = |part: &str| self.vector(&format!("{prefix}{part}.weight"));
        let matrix = |matrix: &Matrix| self.matrix(&prefix, matrix);
        Ok(LayerWeights {
            input_layernorm: vector("input_layernorm")?,
            qkv_proj: matrix(&packed::QKV_PROJ)?,
            o_proj: matrix(&packed::O_PROJ)?,
            post_attention_layernorm: vector("post_attention_layernorm")?,
            gate_up_proj: matrix(&packed::GATE_UP_PROJ)?,
            down_proj: matrix(&packed::DOWN_PROJ)?,
        })
    }

    /// Projections as the one matrix that the model multiplies with.
    fn matrix(&self, prefix: &str, matrix: &Matrix) -> Result<Linear> {
        if self.layout == Layout::Packed {
            return Ok(Linear::Panels(self.panels(prefix, matrix)?));
        }
        let linear = |projection: &str| self.linear(&format!("{prefix}{projection}.weight"));
        match matrix.projections {
            [gates, values] if matrix.is_gated => {
                let (gates, values) = linear(gates)?.alike(linear(values)?);
                Ok(Linear::Gated(gates, values))
            }
            [first, others @ ..] => {
                let stack = |rows: Fp8Rows, below: &&str| Ok(rows.stack(linear(below)?));
                others.iter().try_fold(linear(first)?, stack).map(Linear::Rows)
            }
            [] => unreachable!("a matrix has projections"),
        }
    }

    /// A weight that is not a linear layer, by Hugging Face's name.
    pub fn dense(&self, name: &str) -> Result<Tensor> {
        let tensor = self.tensor(name)?;
        if tensor.dtype == Dtype::F8E4M3 {
            let found = tensor.dtype.to_string();
            return Err(
                CheckpointError::Dtype { name: tensor.name, expected: "BF16, F16 or F32", found }.into()
            );
        }
        Ok(tensor)
    }

    /// A linear layer as E4M3 rows, by Hugging Face's name: the source's own codes, or quantized here.
    pub fn linear(&self, name: &str) -> Result<Fp8Rows> {
        if self.layout == Layout::Packed
            && let Some((prefix, matrix, rows)) = self.rows_in_matrix(name)
        {
            return self.unpacked(prefix, matrix, rows);
        }
        let tensor = self.tensor(name)?;
        let [rows, columns] = tensor.shape[..] else {
            let expected = "two dimensions".to_owned();
            return Err(CheckpointError::Shape { name: tensor.name, expected, found: tensor.shape }.into());
        };
        let tensor = self.read_whole(tensor)?;
        let head_dim = self.config.head_dim;
        let turned = name.contains(".q_proj.") || name.contains(".k_proj.");
        let source_row = |row| if turned { self.layout.rotary_row(row, head_dim) } else { row };
        if tensor.dtype != Dtype::F8E4M3 {
            tensor.check_finite()?;
            return Ok(quantize_rows(rows, columns, |row, values| {
                tensor.read(source_row(row) * columns, values);
            }));
        }
        if let Some(index) = tensor.bytes().iter().position(|&code| e4m3::is_nan(code)) {
            return Err(CheckpointError::NotFinite { name: tensor.name, index }.into());
        }
        let file_scales = self.scales(name, rows, columns)?;
        let groups = file_scales.len() / rows;
        let mut codes = Vec::with_capacity(rows * columns);
        let mut scales = Vec::with_capacity(rows * groups);
        for row in (0..rows).map(source_row) {
            codes.extend_from_slice(&tensor.bytes()[row * columns..(row + 1) * columns]);
            scales.extend_from_slice(&file_scales[row * groups..(row + 1) * groups]);
        }
        Ok(Fp8Rows { codes, scales, columns })
    }

    /// How many scales a row of a weight has as E4M3: more than one where they are of blocks.
    pub fn scale_groups(&self, name: &str) -> Result<usize> {
        if self.layout == Layout::Packed
            && let Some((prefix, matrix, _)) = self.rows_in_matrix(name)
        {
            return self.packed_groups(prefix, matrix);
        }
        let weight = self.tensor(name)?;
        let (rows, columns) = (weight.shape[0], weight.shape[1]);
        let is_grouped =
            weight.dtype == Dtype::F8E4M3 && is_of_blocks(&self.scale_tensor(name)?, rows, columns);
        Ok(if is_grouped { columns.div_ceil(GROUP) } else { 1 })
    }

    /// Whether rows of any linear layer have more than one scale.
    pub fn has_block_scales(&self) -> Result<bool> {
        for name in self.tensor_names().iter().filter(|name| name.contains("_proj.")) {
            if self.scale_groups(name)? > 1 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The scales of an E4M3 weight: `[rows]`, or `[rows, groups]` where they are of blocks. A scale for the whole tensor or for
    /// a block is repeated for its rows, so that rows of several layers can stand under one another. They multiply.
    fn scales(&self, name: &str, rows: usize, columns: usize) -> Result<Vec<f32>> {
        let tensor = self.scale_tensor(name)?;
        let is_of_blocks = is_of_blocks(&tensor, rows, columns);
        let mut scales = self.floats(tensor)?;
        if scales.len() == 1 {
            scales = vec![scales[0]; rows];
        } else if is_of_blocks {
            let groups = columns.div_ceil(GROUP);
            let block_row = |row: usize| &scales[row / GROUP * groups..][..groups];
            scales = (0..rows).flat_map(block_row).copied().collect();
        }
        Ok(scales)
    }

    /// The scales of an E4M3 weight as the file has them, under either of their names.
    fn scale_tensor(&self, weight: &str) -> Result<Tensor> {
        // The name says "inverse", and yet it is what the codes are multiplied with.
        let inverse = format!("{weight}_scale_inv");
        let is_inverse = self.places.contains_key(&self.layout.spell(&inverse));
        self.tensor(&if is_inverse { inverse } else { format!("{weight}_scale") })
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>> {
        self.floats(self.dense(name)?)
    }

    /// The elements of a small tensor, all finite.
    pub(super) fn floats(&self, tensor: Tensor) -> Result<Vec<f32>> {
        let tensor = self.read_whole(tensor)?;
        tensor.check_finite()?;
        let mut values = vec![0.0; tensor.len()];
        tensor.read(0, &mut values);
        Ok(values)
    }

    /// A tensor in memory of this process, for what is used up while it is loaded: a source that is cut meanwhile is an error.
    pub(super) fn read_whole(&self, tensor: Tensor) -> Result<Tensor> {
        let path = self.path_of(&tensor).to_owned();
        tensor.read_whole().map_err(Error::io(&path))
    }

    /// The file that a tensor is in.
    pub(crate) fn path_of<'a>(&'a self, tensor: &'a Tensor) -> &'a Path {
        self.places.get(&tensor.name).map_or(Path::new(&tensor.name), |&file| self.files[file].path())
    }

    /// Reads a tensor's pages, so that using it waits for no disk, and that a file which was cut meanwhile is an error: an access
    /// to what is no longer there would end the process.
    pub(super) fn populate(&self, tensor: &Tensor) -> Result<()> {
        let Some(mapped) = tensor.mapped() else { return Ok(()) };
        mapped.populate().map_err(Error::io(self.path_of(tensor)))
    }

    /// The tensor of Hugging Face's name, with its shape checked against the config.
    fn tensor(&self, name: &str) -> Result<Tensor> {
        let spelled = self.layout.spell(name);
        let missing = || CheckpointError::MissingTensor { name: spelled.clone() };
        let file = &self.files[*self.places.get(&spelled).ok_or_else(missing)?];
        let tensor = file.tensor(&spelled)?.ok_or_else(missing)?;
        let shapes = self.shapes(name);
        if !shapes.contains(&tensor.shape) {
            let expected = shapes.iter().map(|shape| format!("{shape:?}")).collect::<Vec<_>>().join(" or ");
            return Err(CheckpointError::Shape { name: spelled, expected, found: tensor.shape }.into());
        }
        Ok(tensor)
    }

    /// The shapes that fit the config.
    pub(super) fn shapes(&self, name: &str) -> Vec<Vec<usize>> {
        let config = &self.config;
        let part = |part: &str| name.contains(part);
        let (rows, columns) = if part("q_proj") {
            (config.query_width(), config.hidden_size)
        } else if part("k_proj") || part("v_proj") {
            (config.key_value_width(), config.hidden_size)
        } else if part("o_proj") {
            (config.hidden_size, config.query_width())
        } else if part("gate_proj") || part("up_proj") {
            (config.intermediate_size, config.hidden_size)
        } else if part("down_proj") {
            (config.hidden_size, config.intermediate_size)
        } else if part("norm") {
            return vec![vec![config.hidden_size]];
        } else {
            (config.vocab_size, config.hidden_size)
        };
        if name.contains(".weight_scale") {
            let blocks = vec![rows.div_ceil(GROUP), columns.div_ceil(GROUP)];
            vec![vec![rows, 1], vec![rows], vec![1], vec![], blocks]
        } else {
            vec![vec![rows, columns]]
        }
    }

    fn check(&self) -> Result<()> {
        let mut expected = BTreeSet::new();
        for name in self.tensor_names() {
            let tensor = self.tensor(&name)?;
            if tensor.dtype == Dtype::F8E4M3 {
                expected.insert(self.scale_tensor(&name)?.name);
            }
            expected.insert(tensor.name);
        }
        // A head beside tied embeddings is a copy that Hugging Face's loader overwrites too.
        expected.insert(self.layout.spell("lm_head.weight"));
        let known =
            |name: &&String| expected.contains(*name) || IGNORED.iter().any(|ending| name.ends_with(ending));
        match self.places.keys().find(|name| !known(name)) {
            Some(name) => Err(CheckpointError::UnexpectedTensor { name: name.clone() }.into()),
            None => Ok(()),
        }
    }
}

/// Whether the scales of an E4M3 weight are more than one, and each of a block of [`GROUP`] rows and columns.
fn is_of_blocks(scales: &Tensor, rows: usize, columns: usize) -> bool {
    scales.len() > 1
        && scales.shape != [rows, 1]
        && scales.shape == [rows.div_ceil(GROUP), columns.div_ceil(GROUP)]
}
