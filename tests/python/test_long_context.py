"""A prompt of 120,000 tokens on a small model: its logits, its answer, and the memory that it takes."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from model_files import write_random_model
from numpy_twin import engine_weights

from nemo_fast import Model
from nemo_fast._native import Checkpoint

LENGTH, ANSWER = 120_000, 8
SHAPE = {
    "model_type": "llama",
    "num_hidden_layers": 1,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "rope_theta": 1e6,
    "max_position_embeddings": 131_072,
}


def private_memory():
    """Bytes in memory that are pages of no file."""
    return 1024 * int(re.search(r"RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])


def last_logits(checkpoint, ids):
    """The logits behind the last id: with one layer, that needs keys and values of embeddings only."""
    config, weights = checkpoint.config, engine_weights(checkpoint)
    layer, dimensions = "model.layers.0.", config["head_dim"]

    def linear(x, name):
        return x @ weights[f"{layer}{name}.weight"].T

    def norm(x, name):
        return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + config["rms_norm_eps"]) * weights[name]

    def turned(x, positions):
        x = x.reshape(len(positions), -1, dimensions)
        frequencies = config["rope_theta"] ** (-np.arange(0, dimensions, 2) / dimensions)
        turn = np.exp(1j * positions[:, None, None] * frequencies)
        turned = (x[..., : dimensions // 2] + 1j * x[..., dimensions // 2 :]) * turn
        return np.concatenate([turned.real, turned.imag], axis=-1)

    x = weights["model.embed_tokens.weight"][ids]
    h = norm(x, layer + "input_layernorm.weight")
    keys = turned(linear(h, "self_attn.k_proj"), np.arange(len(ids)))
    values = linear(h, "self_attn.v_proj").reshape(len(ids), -1, dimensions)
    query = turned(linear(h[-1:], "self_attn.q_proj"), np.array([len(ids) - 1]))[0]
    served = np.arange(len(query)) // (len(query) // keys.shape[1])
    scores = np.einsum("hd,phd->hp", query, keys[:, served]) / np.sqrt(dimensions)
    weight = np.exp(scores - scores.max(axis=1, keepdims=True))
    attended = np.einsum("hp,phd->hd", weight / weight.sum(axis=1, keepdims=True), values[:, served])
    x = x[-1] + linear(attended.reshape(-1), "self_attn.o_proj")
    h = norm(x, layer + "post_attention_layernorm.weight")
    gate = linear(h, "mlp.gate_proj")
    x = x + linear(gate / (1 + np.exp(-gate)) * linear(h, "mlp.up_proj"), "mlp.down_proj")
    return norm(x, "model.norm.weight") @ weights["lm_head.weight"].T


@pytest.mark.long
@pytest.mark.parametrize(("kv_cache", "tolerance"), [("bf16", 0.02), ("fp8", 0.1)])
def test_a_prompt_of_120_000_tokens(tmp_path, kv_cache, tolerance):
    checkpoint = Checkpoint(write_random_model(tmp_path / "model", **SHAPE))
    ids = np.random.default_rng(1).integers(0, checkpoint.config["vocab_size"], LENGTH)
    expected = last_logits(checkpoint, ids)
    before = private_memory()
    with Model.load(tmp_path / "model", kv_cache=kv_cache) as model:
        assert model.context_length == 131_072
        loaded = private_memory() - before
        start = time.perf_counter()
        answer = model.generate(ids, max_tokens=ANSWER, temperature=0).token_ids
        seconds = time.perf_counter() - start
        grown = private_memory() - before - loaded
        assert len(answer) == ANSWER
        logits = model.logits(np.append(ids, answer), positions=[LENGTH - 1, LENGTH + ANSWER - 2])
    error = np.linalg.norm(logits[0] - expected) / np.linalg.norm(expected)
    cache = 64 * -(-(LENGTH + ANSWER) // 64) * checkpoint.kv_cache_bytes_per_token(kv_cache)
    print(f"\n{kv_cache}: {seconds:.1f} s, error {error:.4f}")
    print(f"cache {cache:,} bytes; grown by {loaded:,} while loading, {grown:,} while answering")
    assert error < tolerance
    # What came out of decoding is what a prompt of the same tokens brings.
    assert [answer[0], answer[-1]] == logits.argmax(axis=1).tolist()
    # Pages of the cache, sines and cosines as they are needed, not of the whole context; a pass has a few
    # megabytes of activations.
    angles = 4 * LENGTH * SHAPE["head_dim"]
    assert cache + angles <= grown + 2_000_000 <= cache + angles + 12_000_000
    assert loaded < 20_000_000
