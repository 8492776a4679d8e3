//! The transformer, written once over any backend: weights on a device, and one pass over them.
//!
//! What never changes is in [`Model`]; what a pass works on is in [`Activations`] and the KV cache, which belong
//! to whoever runs the passes. Knows no text, no sampling and no requests.

mod forward;
mod kv_cache;
mod rope;

pub use kv_cache::{PagePool, kv_shape};
pub use rope::{RopeTable, rope_frequencies};

use crate::backend::{Backend, DeviceError, KvFormat, PAGE, Rows};
use crate::checkpoint::{self, Checkpoint, Linear, ModelConfig};
use crate::error::Result;

/// Rows of one pass at most; a longer prompt takes several.
pub const MAX_ROWS: usize = 512;

/// Weights on a device.
pub struct Model<B: Backend> {
    /// The model's shape.
    pub config: ModelConfig,
    /// Positions that a sequence can have.
    pub context_length: usize,
    /// Where the weights are.
    pub backend: B,
    embed_tokens: B::DenseMatrix,
    layers: Vec<Layer<B>>,
    norm: B::Vector,
    lm_head: Head<B>,
    rope: RopeTable<B>,
}

enum Head<B: Backend> {
    Dense(B::DenseMatrix),
    Fp8(B::Fp8Matrix),
}

struct Layer<B: Backend> {
    input_layernorm: B::Vector,
    qkv_proj: B::Fp8Matrix,
    o_proj: B::Fp8Matrix,
    post_attention_layernorm: B::Vector,
    gate_up_proj: B::Fp8Matrix,
    down_proj: B::Fp8Matrix,
}

/// What one pass works on, for up to [`MAX_ROWS`] rows; overwritten by the next.
pub struct Activations<B: Backend> {
    /// `[n, hidden]`, f32
    residual: B::Buffer,
    /// `[n, hidden]`, bf16
    normed: B::Buffer,
    /// `[n, (heads + 2 · kv heads) · head_dim]`
    qkv: B::Buffer,
    /// `[n, heads · head_dim]`, bf16
    attended: B::Buffer,
    /// `[n, intermediate]`, bf16
    gated: B::Buffer,
    /// `[logit rows, vocab]`, f32
    logits: B::Buffer,
    selected: B::Indices,
}

impl<B: Backend> Model<B> {
    /// Uploads a checkpoint a layer at a time. `progress` hears how many of the layers are done, and may stop it.
    ///
    /// `context_length` is at most what the config allows.
    pub fn load(
        checkpoint: &Checkpoint,
        backend: B,
        context_length: usize,
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Model<B>> {
        let config = checkpoint.config().clone();
        if config.head_dim > backend.largest_head() {
            let (head_dim, largest) = (config.head_dim, backend.largest_head());
            return Err(DeviceError::HeadTooLarge { head_dim, largest }.into());
        }
        let upload = |linear: Linear| match linear {
            Linear::Rows(rows) => backend.fp8_matrix(rows),
            Linear::Gated(gates, values) => backend.gated_matrix(gates, values),
            Linear::Panels(panels) => backend.packed_matrix(panels),
        };
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for index in 0..config.num_hidden_layers {
            progress(index, config.num_hidden_layers)?;
            let layer = checkpoint.layer(index)?;
            layers.push(Layer {
                input_layernorm: backend.vector(layer.input_layernorm)?,
                qkv_proj: upload(layer.qkv_proj)?,
                o_proj: upload(layer.o_proj)?,
                post_attention_layernorm: backend.vector(layer.post_attention_layernorm)?,
                gate_up_proj: upload(layer.gate_up_proj)?,
                down_proj: upload(layer.down_proj)?,
            });
        }
        progress(config.num_hidden_layers, config.num_hidden_layers)?;
        let lm_head = match checkpoint.lm_head()? {
            checkpoint::Head::Dense(tensor) => Head::Dense(backend.dense_matrix(tensor)?),
            checkpoint::Head::Fp8(linear) => Head::Fp8(upload(linear)?),
        };
        let frequencies = rope_frequencies(config.head_dim, config.rope_theta, config.rope_scaling);
        Ok(Model {
            embed_tokens: backend.dense_matrix(checkpoint.embed_tokens()?)?,
            lm_head,
            norm: backend.vector(checkpoint.norm()?)?,
            rope: RopeTable::new(&backend, frequencies, context_length)?,
            layers,
            context_length,
            config,
            backend,
        })
    }

    /// Makes ready for passes over positions below `positions`, which are at most `context_length`.
    pub fn reach(&mut self, positions: usize) {
        self.rope.reach(&self.backend, positions);
    }

    /// Buffers for passes of up to [`MAX_ROWS`] rows of which up to `logit_rows` ask for logits.
    pub fn activations(&self, logit_rows: usize) -> Result<Activations<B>> {
        let (config, backend) = (&self.config, &self.backend);
        let buffer = |width| backend.buffer(MAX_ROWS, width);
        Ok(Activations {
            residual: buffer(config.hidden_size)?,
            normed: buffer(config.hidden_size)?,
            qkv: buffer(config.query_width() + 2 * config.key_value_width())?,
            attended: buffer(config.query_width())?,
            gated: buffer(config.intermediate_size)?,
            logits: backend.buffer(logit_rows, config.vocab_size)?,
            selected: backend.indices(logit_rows)?,
        })
    }

    /// A KV cache of that many pages.
    pub fn kv_cache(&self, pages: usize, format: KvFormat) -> Result<B::KvCache> {
        self.backend.kv_cache(kv_shape(&self.config, pages, format))
    }

    /// Row descriptions for passes over up to `sequences` sequences.
    pub fn rows(&self, sequences: usize) -> Result<Rows<B>> {
        let pages_per_sequence = self.context_length.div_ceil(PAGE);
        let indices = |len| self.backend.indices(len);
        Ok(Rows {
            len: 0,
            int8_len: 0,
            token_ids: indices(MAX_ROWS)?,
            positions: indices(MAX_ROWS)?,
            sequences: indices(MAX_ROWS)?,
            page_tables: indices(sequences * pages_per_sequence)?,
            pages_per_sequence,
        })
    }

    /// Logits of the `selected` rows of the last pass: one vector of `vocab_size` each, in that order.
    pub fn logits(&self, selected: &[u32], activations: &mut Activations<B>) -> Vec<Vec<f32>> {
        if selected.is_empty() {
            return Vec::new();
        }
        let backend = &self.backend;
        backend.write(selected, &mut activations.selected);
        let Activations { normed, selected: indices, logits, .. } = activations;
        match &self.lm_head {
            Head::Dense(head) => backend.logits(head, normed, indices, selected.len(), logits),
            Head::Fp8(head) => backend.fp8_logits(head, normed, indices, selected.len(), logits),
        }
        let read = |row| {
            let mut values = vec![0.0; self.config.vocab_size];
            backend.read(logits, row, &mut values);
            values
        };
        (0..selected.len()).map(read).collect()
    }
}
