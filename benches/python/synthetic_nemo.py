"""Write checkpoints of Mistral Nemo's shape with random weights: full width and vocabulary, any layers.

    python benches/python/synthetic_nemo.py FOLDER --layers 4       E4M3, in the format compressed-tensors
    python benches/python/synthetic_nemo.py FOLDER --bf16           BF16, a source for `nemo-fast convert`
    python benches/python/synthetic_nemo.py FILE.gguf --layers 4    Q8_0, for llama.cpp and its relatives

Nothing sensible comes out of them; speed does not depend on what the weights are. Layers share the bytes of
the first one, so that writing takes seconds. Needs numpy, and for GGUF the package gguf.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nemo_fast.model_layout import dense_shapes, linear_shapes
from nemo_fast.safetensors_writer import TensorEntry, write_safetensors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CONFIG: dict[str, Any] = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_act": "silu",
    "hidden_size": 5120,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 131072,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e6,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "quantization_config": {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True},
                "input_activations": {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True},
            }
        },
    },
}
# Of the whole model.
LAYERS = 40
# Random values are drawn once and repeated.
DRAWN = 1 << 22
# As wide as a trained model's: about 0.02 a weight.
SCALE = 0.02 / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    config = {**CONFIG, "num_hidden_layers": options.layers}
    if options.bf16:
        del config["quantization_config"]
    if options.target.suffix == ".gguf":
        write_gguf(options.target, config)
    else:
        write_folder(options.target, config)


def write_folder(folder: Path, config: dict[str, Any]) -> None:
    """Write config.json and model.safetensors, E4M3 where the config says so and BF16 otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, shape in linear_shapes(config).items():
        if "quantization_config" in config:
            scales = TensorEntry(f"{name}_scale", "F32", (shape[0], 1))
            entries += [TensorEntry(name, "F8_E4M3", shape), scales]
        else:
            entries.append(TensorEntry(name, "BF16", shape))
    entries += [TensorEntry(name, "BF16", shape) for name, shape in dense_shapes(config).items()]
    write_safetensors(folder / "model.safetensors", entries, contents(entries), {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def contents(entries: list[TensorEntry]) -> Iterator[memoryview]:
    """Yield the bytes of each tensor."""
    normal = np.random.default_rng(0).standard_normal(DRAWN).astype(np.float32)
    codes = e4m3(normal * 100)
    dense = (normal * 0.02).view(np.uint32) >> 16
    for entry in entries:
        if entry.dtype == "F8_E4M3":
            content: NDArray[Any] = np.resize(codes, entry.byte_count)
        elif entry.dtype == "F32":
            content = np.full(entry.shape, SCALE, np.float32)
        elif len(entry.shape) == 1:  # a norm
            content = np.full(entry.shape, 0x3F80, np.uint16)
        else:
            content = np.resize(dense.astype(np.uint16), entry.byte_count // 2)
        yield memoryview(content.reshape(-1))


def e4m3(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the nearest codes of values below 448 and above subnormals."""
    magnitude = np.clip(np.abs(values), 2**-6, 448.0).astype(np.float32).view(np.uint32)
    code = (magnitude + (1 << 19) - (120 << 23)) >> 20
    sign = (np.signbit(values).astype(np.uint32)) << 7
    return (np.minimum(code, 0x7E) | sign).astype(np.uint8)


def write_gguf(path: Path, config: dict[str, Any]) -> None:
    """Write the same shape with weights of 8 bits and a scale for each 32."""
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(str(path), "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    drawn = np.random.default_rng(0)
    blocks = np.empty((DRAWN // 32, 34), np.uint8)
    blocks[:, :2] = np.full((len(blocks), 1), 0.02 / 40, np.float16).view(np.uint8)
    blocks[:, 2:] = (
        np.clip(np.round(drawn.standard_normal((len(blocks), 32)) * 40), -127, 127)
        .astype(np.int8)
        .view(np.uint8)
    )

    def add(name: str, shape: tuple[int, int]) -> None:
        rows, columns = shape
        width = columns // 32 * 34
        content = np.resize(blocks.reshape(-1), rows * width).reshape(rows, width)
        writer.add_tensor(name, content, raw_dtype=GGMLQuantizationType.Q8_0)

    names = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output"}
    names |= {"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}
    ones = np.ones(config["hidden_size"], np.float32)
    embedding = (config["vocab_size"], config["hidden_size"])
    add("token_embd.weight", embedding)
    if not config["tie_word_embeddings"]:
        add("output.weight", embedding)
    writer.add_tensor("output_norm.weight", ones)
    for name, shape in linear_shapes(config).items():
        _, _, layer, _, projection, _ = name.split(".")
        add(f"blk.{layer}.{names[projection]}.weight", shape)
    for layer in range(config["num_hidden_layers"]):
        writer.add_tensor(f"blk.{layer}.attn_norm.weight", ones)
        writer.add_tensor(f"blk.{layer}.ffn_norm.weight", ones)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
