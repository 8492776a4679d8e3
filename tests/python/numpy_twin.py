"""The forward pass once more, in numpy and as plainly as can be: what the engine is compared with.

Written from the same formulas as `rust/model/forward.rs` and from nothing else of it. Attention looks at all
positions at once and softmax is the textbook's, so that the engine's pages and running maxima have no twin here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

E4M3 = np.array(
    [
        (-1.0 if code & 0x80 else 1.0)
        * (np.nan if code & 0x7F == 0x7F else (code & 7) * 2.0**-9 if code & 0x78 == 0 else (1 + (code & 7) / 8) * 2.0 ** ((code >> 3 & 15) - 7))
        for code in range(256)
    ],
    dtype=np.float32,
)


def bf16(x: Array) -> Array:
    """Round to the nearest bfloat16, ties to even; stays float32."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def read_safetensors(path: Path) -> dict[str, Array]:
    """All tensors of a file as float32, except E4M3, which stays uint8."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        data = raw[start:end]
        match entry["dtype"]:
            case "BF16":
                array = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
            case "F8_E4M3":
                array = np.frombuffer(data, np.uint8)
            case "F16":
                array = np.frombuffer(data, np.float16).astype(np.float32)
            case "F32":
                array = np.frombuffer(data, np.float32)
            case other:
                raise ValueError(other)
        tensors[name] = array.reshape(entry["shape"])
    return tensors


def exact_weights(folder: Path) -> dict[str, Array]:
    """The weights of a Hugging Face folder as float32; E4M3 times its scale."""
    tensors: dict[str, Array] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= read_safetensors(path)
    weights = {}
    for name, tensor in tensors.items():
        if name.endswith(".weight"):
            scale = tensors.get(name + "_scale")
            weights[name] = tensor if scale is None else E4M3[tensor] * scale.reshape(-1, 1)
    return weights


def engine_weights(checkpoint: Any) -> dict[str, Array]:
    """The weights that the engine computes with: E4M3 rows times their scales, the rest as in the source."""
    weights = {}
    for name in checkpoint.tensor_names:
        if "_proj." in name:
            codes, scales = checkpoint.linear(name)
            weights[name] = E4M3[codes] * scales[:, None]
        else:
            dtype, shape, raw = checkpoint.dense(name)
            kinds = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32}
            array = np.frombuffer(raw, kinds[dtype])
            wide = (array.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else array.astype(np.float32)
            weights[name] = wide.reshape(shape)
    return weights


def forward(config: dict[str, Any], weights: dict[str, Array], ids: Array, *, bf16_activations: bool = False) -> Array:
    """Logits, float32 [T, vocab], of `ids` [T]."""
    round_ = bf16 if bf16_activations else np.float32
    heads, kv_heads, head_dim = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    length = len(ids)
    frequencies = config["rope_theta"] ** (-np.arange(0, head_dim, 2) / head_dim)
    angles = np.arange(length)[:, None] * frequencies
    cos, sin = np.cos(angles).astype(np.float32)[:, None], np.sin(angles).astype(np.float32)[:, None]
    causal = np.triu(np.full((length, length), -np.inf, np.float32), 1)

    def norm(x: Array, name: str) -> Array:
        mean = np.mean(x.astype(np.float32) ** 2, axis=-1, keepdims=True)
        return round_(x / np.sqrt(mean + np.float32(config["rms_norm_eps"])) * weights[name])

    def rotate(x: Array) -> Array:
        a, b = np.split(x, 2, axis=-1)
        return round_(np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1))

    x = weights["model.embed_tokens.weight"][ids].astype(np.float32)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."

        def linear(h: Array, part: str, prefix: str = prefix) -> Array:
            return h @ weights[f"{prefix}{part}.weight"].T

        h = norm(x, prefix + "input_layernorm.weight")
        q = rotate(linear(h, "self_attn.q_proj").reshape(length, heads, head_dim))
        k = rotate(linear(h, "self_attn.k_proj").reshape(length, kv_heads, head_dim))
        v = round_(linear(h, "self_attn.v_proj").reshape(length, kv_heads, head_dim))
        k, v = (np.repeat(part, heads // kv_heads, axis=1) for part in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(np.float32(head_dim)) + causal
        weight = np.exp(scores - scores.max(-1, keepdims=True))
        weight /= weight.sum(-1, keepdims=True)
        attended = round_(np.einsum("hqk,khd->qhd", weight, v).reshape(length, -1))
        x = x + linear(attended, "self_attn.o_proj")

        h = norm(x, prefix + "post_attention_layernorm.weight")
        gate = linear(h, "mlp.gate_proj")
        x = x + linear(round_(gate / (1 + np.exp(-gate)) * linear(h, "mlp.up_proj")), "mlp.down_proj")

    head = weights["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return norm(x, "model.norm.weight") @ head.T
