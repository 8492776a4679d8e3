"""The tensors that a model of this architecture has, by Hugging Face's names, and their shapes.

Two kinds: linear projections, which become E4M3 with a scale a row, and dense tensors (embedding, head,
norms), which stay as they are. A config is a dict with Hugging Face's names, checked by whoever read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
HEAD = "lm_head.weight"
# The matrix of a packed layer whose panels of gates and values alternate.
GATED = "mlp.gate_up_proj"


def linear_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Return the projections' shapes [out, in], layer by layer."""
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    query = config["num_attention_heads"] * config["head_dim"]
    key_value = config["num_key_value_heads"] * config["head_dim"]
    shapes = {
        "self_attn.q_proj": (query, hidden),
        "self_attn.k_proj": (key_value, hidden),
        "self_attn.v_proj": (key_value, hidden),
        "self_attn.o_proj": (hidden, query),
        "mlp.gate_proj": (intermediate, hidden),
        "mlp.up_proj": (intermediate, hidden),
        "mlp.down_proj": (hidden, intermediate),
    }
    return {
        f"model.layers.{layer}.{projection}.weight": shape
        for layer in range(config["num_hidden_layers"])
        for projection, shape in shapes.items()
    }


def dense_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of embedding, norms and head; a tied head is no tensor of its own."""
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (vocabulary, hidden)}
    for layer in range(config["num_hidden_layers"]):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"model.layers.{layer}.{norm}.weight"] = (hidden,)
    shapes[FINAL_NORM] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes[HEAD] = (vocabulary, hidden)
    return shapes


def packed_matrices(config: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the matrices of a packed file, layer by layer, and the weights whose rows each has, in order."""
    matrices = {
        "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "self_attn.o_proj": ("self_attn.o_proj",),
        GATED: ("mlp.gate_proj", "mlp.up_proj"),
        "mlp.down_proj": ("mlp.down_proj",),
    }
    return {
        f"model.layers.{layer}.{matrix}": tuple(
            f"model.layers.{layer}.{projection}.weight" for projection in projections
        )
        for layer in range(config["num_hidden_layers"])
        for matrix, projections in matrices.items()
    }
