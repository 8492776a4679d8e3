//! Bytes that the weights take once they are loaded: in all, for each token, and in memory of the process's own.

use super::packed::{LM_HEAD, MATRICES, Matrix};
use super::{Checkpoint, Layout};
use crate::error::Result;
use crate::fp8::panels::{BLOCK, PANEL, QUAD};

/// Bytes of loaded weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WeightSizes {
    /// All of them; tied embeddings once.
    pub total: usize,
    /// What is read for every token: all but the embedding, of which that is one row.
    pub per_token: usize,
    /// What is no page of a mapped file, which the system could give to others and read again.
    pub private: usize,
}

impl Checkpoint {
    /// Sizes of the weights as they are loaded: linear layers in panels of E4M3 with their scales, norms in f32, embedding and
    /// head as in the source, or a head in E4M3.
    pub fn weight_sizes(&self) -> Result<WeightSizes> {
        let is_packed = self.layout() == Layout::Packed;
        let config = self.config();
        let mut sizes = WeightSizes::default();
        // Codes are used in place where they are packed; scales are copied.
        let mut add_fp8 = |(codes, scales): (usize, usize), is_mapped: bool| {
            sizes.total += codes + scales;
            sizes.per_token += codes + scales;
            sizes.private += if is_mapped { scales } else { codes + scales };
        };
        for layer in 0..config.num_hidden_layers {
            let prefix = format!("model.layers.{layer}.");
            for matrix in MATRICES {
                let names = matrix.projections.iter().map(|name| format!("{prefix}{name}.weight"));
                add_fp8(self.fp8_bytes(matrix, &names.collect::<Vec<_>>())?, is_packed);
            }
        }
        let embedding = "model.embed_tokens.weight".to_owned();
        let head = if config.tie_word_embeddings { embedding.clone() } else { "lm_head.weight".to_owned() };
        if self.has_packed_head() {
            add_fp8(self.fp8_bytes(&LM_HEAD, &["lm_head.weight".to_owned()])?, true);
        } else if self.has_fp8_head() {
            add_fp8(self.fp8_bytes(&LM_HEAD, std::slice::from_ref(&head))?, false);
        } else {
            let bytes = self.dense(&head)?.bytes().len();
            sizes.per_token += bytes;
            sizes.total += if config.tie_word_embeddings { 0 } else { bytes };
        }
        sizes.total += self.dense(&embedding)?.bytes().len();
        let norms = size_of::<f32>() * config.hidden_size * (2 * config.num_hidden_layers + 1);
        sizes.total += norms;
        sizes.per_token += norms;
        sizes.private += norms;
        Ok(sizes)
    }

    /// Bytes of the codes and of the scales of weights that become one matrix, in panels that are filled up: where any has
    /// several scales a row, all get as many.
    fn fp8_bytes(&self, matrix: &Matrix, names: &[String]) -> Result<(usize, usize)> {
        let (mut rows, mut columns, mut groups) = (0, 0, 1);
        for name in names {
            let shape = &self.shapes(name)[0];
            rows += shape[0];
            columns = shape[1];
            groups = groups.max(self.scale_groups(name)?);
        }
        // Gates and values have panels of their own.
        let halves = if matrix.is_gated { 2 } else { 1 };
        let panels = halves * (rows / halves).div_ceil(PANEL);
        Ok((panels * columns.div_ceil(QUAD) * BLOCK, size_of::<f32>() * panels * groups * PANEL))
    }
}
