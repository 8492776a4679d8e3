"""Random checkpoints with E4M3 projections, spelled and scaled as the published kinds are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from model_files import read_safetensors, write_random_model

from nemo_fast.safetensors_writer import TensorEntry, write_safetensors

BLOCK = 128
# No width is a multiple of a block, and blocks end within the rows of q, k and v, which the engine stacks.
SHAPE = {"hidden_size": 320, "intermediate_size": 200, "num_attention_heads": 2, "head_dim": 80}


@dataclass(frozen=True)
class Kind:
    """How a kind of FP8 checkpoint spells its scales.

    `shape`: "tensor", "row" or "block"; `ignored`: scales of activations and caches, by the ending of their
    names; `wide`: the projections that it leaves in BF16.
    """

    quantization: dict[str, Any]
    scale: str
    shape: str
    dtype: str = "F32"
    ignored: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()


def _compressed(**weights: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "symmetric": True, **weights}}
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "config_groups": {"group_0": group},
    }


_BLOCKS = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [BLOCK, BLOCK]}
KINDS = {
    "autofp8-static": Kind(
        {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]},
        scale="weight_scale",
        shape="tensor",
        ignored=("self_attn.q_proj.input_scale", "self_attn.k_proj.output_scale", "self_attn.kv_scale"),
    ),
    "autofp8-dynamic": Kind(
        {"quant_method": "fp8", "activation_scheme": "dynamic"}, scale="weight_scale", shape="tensor"
    ),
    "fp8-tensor-inverse": Kind(
        {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None},
        scale="weight_scale_inv",
        shape="tensor",
        dtype="BF16",
        ignored=("mlp.up_proj.activation_scale",),
    ),
    "fp8-block": Kind(_BLOCKS, scale="weight_scale_inv", shape="block"),
    "fp8-block-bf16-scales": Kind(_BLOCKS, scale="weight_scale_inv", shape="block", dtype="BF16"),
    "fp8-block-mixed": Kind(
        _BLOCKS | {"modules_to_not_convert": ["k_proj", "up_proj"]},
        scale="weight_scale_inv",
        shape="block",
        wide=("k_proj", "up_proj"),
    ),
    "compressed-block": Kind(
        _compressed(strategy="block", block_structure=[BLOCK, BLOCK]),
        scale="weight_scale",
        shape="block",
        dtype="BF16",
        ignored=("self_attn.k_scale", "self_attn.v_scale"),
    ),
    "compressed-channel": Kind(_compressed(strategy="channel"), scale="weight_scale", shape="row"),
}


def write_fp8_model(folder, kind, *, seed=0, **changes):
    """Write a random checkpoint of one of `KINDS` and return its folder; `changes`: to its config."""
    kind = KINDS[kind]
    write_random_model(folder, seed=seed, **{**SHAPE, **changes})
    path, random = folder / "model.safetensors", np.random.default_rng(seed)
    tensors = {}
    for name, tensor in read_safetensors(path)[1].items():
        tensors[name] = tensor
        if "_proj." in name and not any(part in name for part in kind.wide):
            tensors[name] = ("F8_E4M3", tensor[1], _random_codes(random, tensor[1]).tobytes())
            scale = name.removesuffix("weight") + kind.scale
            tensors[scale] = _random_scales(random, kind, *tensor[1])
    for layer in range(2):
        for ending in kind.ignored:
            # A value that no answer survives if it is used.
            tensors[f"model.layers.{layer}.{ending}"] = ("F32", (), np.float32(1e30).tobytes())
    path.unlink()
    entries = [TensorEntry(name, dtype, shape) for name, (dtype, shape, _) in tensors.items()]
    write_safetensors(path, entries, (content for _, _, content in tensors.values()), {})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = kind.quantization
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _random_codes(random, shape):
    codes = random.integers(0, 256, shape, np.uint8)
    codes[codes & 0x7F == 0x7F] = 0
    return codes


def _random_scales(random, kind, rows, columns):
    shape = {"tensor": (), "row": (rows, 1), "block": (-(-rows // BLOCK), -(-columns // BLOCK))}[kind.shape]
    scales = np.asarray(random.uniform(1e-4, 8e-4, shape), np.float32)
    if kind.dtype == "F32":
        return "F32", shape, scales.tobytes()
    return "BF16", shape, (scales.view(np.uint32) >> 16).astype(np.uint16).tobytes()
