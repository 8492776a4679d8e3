"""The forward pass once more, in numpy and as plainly as can be: what the engine is compared with.

Written from the same formulas as `rust/model/forward.rs` and from nothing else of it. Attention looks at all
positions at once and softmax is the textbook's: the engine's pages and running maxima have no twin here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from model_files import read_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_fast._native import Checkpoint

Array = np.ndarray[Any, Any]


def _e4m3_value(code: int) -> float:
    sign, exponent, mantissa = code >> 7, code >> 3 & 15, code & 7
    if code & 0x7F == 0x7F:
        return float("nan")
    magnitude = (1 + mantissa / 8) * 2.0 ** (exponent - 7) if exponent else mantissa * 2.0**-9
    return -magnitude if sign else magnitude


E4M3 = np.array([_e4m3_value(code) for code in range(256)], dtype=np.float32)


def bf16(x: Array) -> Array:
    """Round to the nearest bfloat16, ties to even; stays float32."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def _float32(dtype: str, shape: tuple[int, ...], content: bytes) -> Array:
    """A tensor's elements as float32; E4M3 codes as the values they stand for."""
    match dtype:
        case "F8_E4M3":
            elements = E4M3[np.frombuffer(content, np.uint8)]
        case "BF16":
            elements = (np.frombuffer(content, np.uint16).astype(np.uint32) << 16).view(np.float32)
        case _:
            elements = np.frombuffer(content, {"F16": np.float16, "F32": np.float32}[dtype])
    return elements.astype(np.float32).reshape(shape)


def exact_weights(folder: Path) -> dict[str, Array]:
    """The weights of a Hugging Face folder, read without the engine; E4M3 times its scale."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= {name: _float32(*tensor) for name, tensor in read_safetensors(path)[1].items()}
    weights = {name: tensor for name, tensor in tensors.items() if name.endswith(".weight")}
    for name, weight in weights.items():
        for ending in ("_scale", "_scale_inv"):
            if name + ending in tensors:
                weights[name] = weight * _spread(tensors[name + ending], weight.shape)
    return weights


def _spread(scales: Array, shape: tuple[int, ...]) -> Array:
    """A scale for each element, from one for the tensor, for each row or for each block of 128 x 128."""
    rows, columns = shape
    if scales.shape == (-(-rows // 128), -(-columns // 128)):
        return np.kron(scales, np.ones((128, 128), np.float32))[:rows, :columns]
    return np.broadcast_to(scales.reshape(-1, 1), shape)


def engine_weights(checkpoint: Checkpoint) -> dict[str, Array]:
    """The weights that the engine computes with: E4M3 rows times their scales, the rest as in the source."""
    weights = {}
    for name in checkpoint.tensor_names:
        if "_proj." in name:
            codes, scales = checkpoint.linear(name)
            by_column = np.repeat(scales, 128, axis=1) if scales.ndim == 2 else scales[:, None]
            weights[name] = E4M3[codes] * by_column[:, : codes.shape[1]]
        else:
            weights[name] = _float32(*checkpoint.dense(name))
    return weights


def _scaled(frequencies: Array, scaling: dict[str, Any] | None) -> Array:
    """Rotary frequencies for longer contexts, by wavelengths as in the sources of Llama 3.1."""
    if scaling is None:
        return frequencies
    if scaling["rope_type"] == "linear":
        return frequencies / scaling["factor"]
    original, wavelengths = scaling["original_max_position_embeddings"], 2 * np.pi / frequencies
    long = wavelengths > original / scaling["low_freq_factor"]
    short = wavelengths < original / scaling["high_freq_factor"]
    blend = (original / wavelengths - scaling["low_freq_factor"]) / (
        scaling["high_freq_factor"] - scaling["low_freq_factor"]
    )
    between = (1 - blend) * frequencies / scaling["factor"] + blend * frequencies
    return np.where(long, frequencies / scaling["factor"], np.where(short, frequencies, between))


def forward(
    config: dict[str, Any], weights: dict[str, Array], ids: Array, *, bf16_activations: bool = False
) -> Array:
    """Logits, float32 [T, vocab], of `ids` [T]."""
    round_ = bf16 if bf16_activations else np.float32
    heads, kv_heads, head_dim = (
        config["num_attention_heads"],
        config["num_key_value_heads"],
        config["head_dim"],
    )
    length = len(ids)
    frequencies = _scaled(
        config["rope_theta"] ** (-np.arange(0, head_dim, 2) / head_dim), config["rope_scaling"]
    )
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
        # [heads, T, head_dim]: products of matrices, which numpy leaves to a library.
        k, v = (np.repeat(part, heads // kv_heads, axis=1).swapaxes(0, 1) for part in (k, v))
        scores = q.swapaxes(0, 1) @ k.swapaxes(1, 2) / np.sqrt(np.float32(head_dim)) + causal
        weight = np.exp(scores - scores.max(-1, keepdims=True))
        weight /= weight.sum(-1, keepdims=True)
        attended = round_((weight @ v).swapaxes(0, 1).reshape(length, -1))
        x = x + linear(attended, "self_attn.o_proj")

        h = norm(x, prefix + "post_attention_layernorm.weight")
        gate = linear(h, "mlp.gate_proj")
        x = x + linear(round_(gate / (1 + np.exp(-gate)) * linear(h, "mlp.up_proj")), "mlp.down_proj")

    head = weights["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return norm(x, "model.norm.weight") @ head.T
