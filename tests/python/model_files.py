"""Small model files for the tests: safetensors read back, GGUF files and vocabularies made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from nemo_fast.model_layout import dense_shapes, linear_shapes
from nemo_fast.safetensors_writer import TensorEntry, write_safetensors

GOLDEN = Path(__file__).parent.parent / "golden"
TINY = GOLDEN / "tiny-nemo-bf16"
TINY_FP8 = GOLDEN / "tiny-nemo-fp8-channel"
TINY_TIED = GOLDEN / "tiny-tied-bf16"
PROMPT = [1, 5, 9, 200, 17]  # any ids of the tiny models

_GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


_RANDOM_CONFIG = {
    "model_type": "mistral",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "vocab_size": 100,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def read_safetensors(path):
    """Return metadata and tensors: {name: (dtype, shape, bytes)}; the header is checked on the way."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    start, position, tensors = 8 + length, 0, {}
    assert start % 8 == 0
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        assert first == position, f"a gap before {name}"
        position = last
        tensors[name] = entry["dtype"], tuple(entry["shape"]), content[start + first : start + last]
    assert start + position == len(content)
    return metadata, tensors


def bfloat16_weights(folder):
    """Return a BF16 checkpoint's weights as float32 arrays by Hugging Face's names."""
    weights = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, (dtype, shape, content) in read_safetensors(path)[1].items():
            assert dtype == "BF16"
            bits = np.frombuffer(content, "<u2").astype(np.uint32) << 16
            weights[name] = bits.view(np.float32).reshape(shape)
    return weights


def write_random_model(folder, *, seed=0, tensors=None, **changes):
    """Write a random BF16 checkpoint in Hugging Face's layout, and return its folder.

    `changes`: to its config; `tensors`: to its weights. None takes a key or a tensor away.
    """
    config = _RANDOM_CONFIG | changes
    random = np.random.default_rng(seed)
    shapes = {**dense_shapes(config), **linear_shapes(config)}
    weights = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    weights = {name: weight for name, weight in (weights | (tensors or {})).items() if weight is not None}
    entries = [TensorEntry(name, "BF16", weight.shape) for name, weight in weights.items()]
    contents = ((weight.view(np.uint32) >> 16).astype(np.uint16).tobytes() for weight in weights.values())
    folder.mkdir(exist_ok=True)
    write_safetensors(folder / "model.safetensors", entries, contents, {})
    config = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_model_that_says(folder, ids):
    """Write a model whose likeliest answer to a chat is `ids`, all different and up to 62; return its folder.

    Its layers add nothing: each id is embedded as a direction of its own, in which the head finds the next.
    """
    changes = {"hidden_size": 64, "vocab_size": 131_072}
    assert len({4, 8, *ids}) == len(ids) + 2 <= changes["hidden_size"]
    tensors = {
        name: np.zeros(shape, np.float32) for name, shape in linear_shapes(_RANDOM_CONFIG | changes).items()
    }
    embedding, head = np.zeros((2, changes["vocab_size"], changes["hidden_size"]), np.float32)
    # A prompt ends with [/INST] or [/TOOL_RESULTS].
    embedding[[4, 8], 0] = 1
    embedding[ids[:-1], range(1, len(ids))] = 1
    head[ids, range(len(ids))] = 1
    tensors |= {"model.embed_tokens.weight": embedding, "lm_head.weight": head}
    tensors["model.norm.weight"] = np.ones(changes["hidden_size"], np.float32)
    return write_random_model(folder, tensors=tensors, **changes)


def write_gguf(path, folder, *, metadata=None, change=None, quantization=None, raw=("", {})):
    """Write a BF16 checkpoint as GGUF, q and k permuted as converters do it.

    `metadata`: more keys; `change`: a function that edits the tensors by GGUF name; `quantization`: a type
    for the matrices instead of float32; `raw`: a type, and the bytes of tensors that have it.
    """
    import gguf

    config = json.loads((folder / "config.json").read_text())
    tensors = {}
    for name, weight in bfloat16_weights(folder).items():
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
        tensors[_gguf_name(name)] = _permuted(weight, config[heads]) if heads else weight
    if change:
        change(tensors)
    values = {
        "llama.block_count": config["num_hidden_layers"],
        "llama.context_length": config["max_position_embeddings"],
        "llama.embedding_length": config["hidden_size"],
        "llama.feed_forward_length": config["intermediate_size"],
        "llama.attention.head_count": config["num_attention_heads"],
        "llama.attention.head_count_kv": config["num_key_value_heads"],
        "llama.attention.key_length": config["head_dim"],
        "llama.attention.value_length": config["head_dim"],
        "llama.rope.dimension_count": config["head_dim"],
        "llama.rope.freq_base": config["rope_theta"],
        "llama.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    } | (metadata or {})
    writer = gguf.GGUFWriter(path, values.pop("general.architecture", "llama"))
    for key, value in values.items():
        _add(writer, key, value)
    for name, weight in tensors.items():
        if name in raw[1]:
            writer.add_tensor(name, raw[1][name], raw_dtype=gguf.GGMLQuantizationType[raw[0]])
        elif quantization and weight.ndim == 2:
            kind = gguf.GGMLQuantizationType[quantization]
            writer.add_tensor(name, gguf.quants.quantize(weight, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def byte_alphabet():
    """Return GPT-2's characters of the 256 bytes, from the `tokenizers` package's list of them."""
    from tokenizers.pre_tokenizers import ByteLevel

    from nemo_fast.byte_level import byte_level_bytes

    by_byte = {byte_level_bytes(character): character for character in ByteLevel.alphabet()}
    return [by_byte[bytes([byte])] for byte in range(256)]


def byte_level_vocabulary():
    """Return tokens (three control tokens, 256 bytes, a few words) and merges of a small vocabulary."""
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w"), ("o", "r"), ("Ã", "©")]
    tokens = ["<|pad|>", "<|start|>", "<|end|>", *byte_alphabet(), *(left + right for left, right in merges)]
    return tokens, merges


def write_byte_level_tokenizer(folder, chat_template):
    """Write the tokenizer of `byte_level_vocabulary` with a template, or named ones; return the folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokens, merges = byte_level_vocabulary()
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|pad|>", "<|start|>", "<|end|>"])
    # A trainer's settings that must not reach a prompt.
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": {"content": "<|start|>"}, "eos_token": "<|end|>", "chat_template": chat_template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def _permuted(weight, heads):
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def _gguf_name(name):
    name = name.removesuffix(".weight")
    if name in _GGUF_NAMES:
        return f"{_GGUF_NAMES[name]}.weight"
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{_GGUF_NAMES[rest]}.weight"


def _add(writer, key, value):
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
