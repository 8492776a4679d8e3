//! The forward pass, top to bottom as in the paper: embedding, then for each layer attention and a gated
//! feed-forward network, each normed before and added to the residual after; a last norm at the end.

use super::{Activations, Model};
use crate::backend::{Backend, Epilogue, Rows};

impl<B: Backend> Model<B> {
    /// One pass over `rows`: appends their keys and values to `cache`, leaves the normed hidden states in
    /// `activations`, from which [`Model::logits`] reads. Its positions are such as [`Model::reach`] was called for.
    pub fn forward(&self, rows: &Rows<B>, cache: &mut B::KvCache, activations: &mut Activations<B>) {
        let matmul = |w: &B::Fp8Matrix, x: &B::Buffer, epilogue, out: &mut B::Buffer| {
            let bf16_len = rows.len - rows.int8_len;
            if bf16_len > 0 {
                self.backend.matmul(w, x, bf16_len, epilogue, out);
            }
            if rows.int8_len > 0 {
                self.backend.int8_matmul(w, x, bf16_len..rows.len, epilogue, out);
            }
        };
        let (backend, n, eps) = (&self.backend, rows.len, self.config.rms_norm_eps);
        let Activations { residual, normed, qkv, attended, gated, .. } = activations;
        backend.replay((n, rows.int8_len), || {
            backend.embed(&self.embed_tokens, rows, residual);
            for (index, layer) in self.layers.iter().enumerate() {
                // Attention over everything up to and including each row's position.
                backend.rms_norm(residual, &layer.input_layernorm, eps, n, normed);
                matmul(&layer.qkv_proj, normed, Epilogue::Store, qkv);
                backend.rope_append(qkv, &self.rope, rows, index, cache);
                backend.attend(qkv, rows, index, cache, attended);
                matmul(&layer.o_proj, attended, Epilogue::Add, residual);

                // down(silu(gate(x)) · up(x))
                backend.rms_norm(residual, &layer.post_attention_layernorm, eps, n, normed);
                matmul(&layer.gate_up_proj, normed, Epilogue::SwiGlu, gated);
                matmul(&layer.down_proj, gated, Epilogue::Add, residual);
            }
            backend.rms_norm(residual, &self.norm, eps, n, normed);
        });
    }
}
