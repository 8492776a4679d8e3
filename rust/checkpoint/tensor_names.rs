//! How the layouts name tensors, and how they order the rows that rotary positions turn.

/// A folder's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `config.json` and `model*.safetensors`; rotary positions turn dimension i with i + `head_dim` / 2.
    HuggingFace,
    /// `params.json` and `consolidated.safetensors`; rotary positions turn dimension 2i with 2i + 1.
    Mistral,
    /// `config.json` and one file in the format that `convert` writes: see [`super::packed`].
    Packed,
}

/// Hugging Face's part of a name, and Mistral's.
const PARTS: [(&str, &str); 12] = [
    ("self_attn.q_proj", "attention.wq"),
    ("self_attn.k_proj", "attention.wk"),
    ("self_attn.v_proj", "attention.wv"),
    ("self_attn.o_proj", "attention.wo"),
    ("mlp.gate_proj", "feed_forward.w1"),
    ("mlp.down_proj", "feed_forward.w2"),
    ("mlp.up_proj", "feed_forward.w3"),
    ("input_layernorm", "attention_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("model.embed_tokens", "tok_embeddings"),
    ("model.norm", "norm"),
    ("lm_head", "output"),
];

impl Layout {
    /// The name in this layout's files of a tensor that Hugging Face calls `name`.
    pub fn spell(self, name: &str) -> String {
        match self {
            Layout::HuggingFace | Layout::Packed => name.to_owned(),
            Layout::Mistral => {
                let part = PARTS.iter().find(|(huggingface, _)| name.contains(huggingface));
                let spelled =
                    part.map_or_else(|| name.to_owned(), |(theirs, mistral)| name.replace(theirs, mistral));
                // The names of scales, which only its FP8 files have.
                spelled.trim_start_matches("model.").replace(".weight_scale", ".qscale_weight")
            }
        }
    }

    /// The row of the file that belongs at `row` of a query or key projection in rotate-half order.
    ///
    /// Within a head, Mistral's rows come in pairs (2i, 2i + 1) that are turned together; rotate-half keeps the
    /// first of each pair in the first half of the head and the second in the second half.
    pub fn rotary_row(self, row: usize, head_dim: usize) -> usize {
        match self {
            Layout::HuggingFace | Layout::Packed => row,
            Layout::Mistral => {
                let (head, within) = (row / head_dim, row % head_dim);
                let (half, pair) = (within / (head_dim / 2), within % (head_dim / 2));
                head * head_dim + 2 * pair + half
            }
        }
    }
}
