"""Every type of GGUF tensors that the `gguf` package dequantizes, and the rotary scalings of GGUF files."""

from __future__ import annotations

import numpy as np
import pytest
from model_files import write_gguf, write_random_model
from numpy_twin import engine_weights, forward

from nemo_fast import CheckpointError, Model
from nemo_fast._native import Checkpoint, quantize_rows
from nemo_fast.conversion import convert
from nemo_fast.gguf_source import GgufSource
from nemo_fast.model_layout import linear_shapes

gguf = pytest.importorskip("gguf")

# Rows of 256: the longest block of any type.
SHAPE = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1, "head_dim": 128}
TYPES = ["F32", "F16", *(kind.name for kind in gguf.quants._type_traits)]
pytestmark = pytest.mark.filterwarnings("ignore:.*has no tokenizer:UserWarning")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_random_model(tmp_path_factory.mktemp("source") / "model", **SHAPE)


def random_rows(random, shape, kind):
    """Rows of a type, as bytes; finite numbers in every block, of about the same size."""
    kind = gguf.GGMLQuantizationType[kind]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.zeros((shape[0] * shape[1] // elements, size), np.uint8)
    todo = np.arange(len(blocks))
    while len(todo):
        blocks[todo] = random.integers(0, 256, (len(todo), size), np.uint8)
        with np.errstate(all="ignore"):
            numbers = gguf.quants.dequantize(blocks[todo], kind).reshape(len(todo), -1)
        todo = todo[~(np.abs(numbers) < 1e3).all(axis=1)]
    return blocks.reshape(shape[0], -1)


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_that_gguf_dequantizes(tmp_path, source, kind):
    """Dequantized, in rotate-half order, then quantized as any rows are."""
    random, given = np.random.default_rng(0), {}
    config = Checkpoint(source).config

    def change(tensors):
        for name, weight in tensors.items():
            if weight.ndim == 2 and name.startswith("blk."):
                given[name] = random_rows(random, weight.shape, kind)

    path = write_gguf(tmp_path / "model.gguf", source, change=change, raw=(kind, given))
    converted = Checkpoint(convert(path, tmp_path / "converted"))
    parts = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output"}
    parts |= {"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}
    for name, shape in linear_shapes(config).items():
        part = name.split(".")[-2]
        raw = given[f"blk.0.{parts[part]}.weight"]
        rows = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[kind]).reshape(shape)
        if part in ("q_proj", "k_proj"):
            rows = rows.reshape(-1, 64, 2, 256).swapaxes(1, 2).reshape(shape)
        expected = quantize_rows(np.ascontiguousarray(rows, np.float32))
        for one, other in zip(converted.linear(name), expected, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.mark.parametrize("kind", ["Q8_1", "Q8_K"])
def test_a_type_that_gguf_does_not_dequantize(tmp_path, source, kind):
    elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    raw = np.zeros((256, 256 // elements * size), np.uint8)
    path = write_gguf(tmp_path / "model.gguf", source, raw=(kind, {"blk.0.ffn_up.weight": raw}))
    with pytest.raises(CheckpointError, match=f"tensor `blk.0.ffn_up.weight`: type {kind} is not supported"):
        GgufSource(path)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "BF16"])
def test_logits_of_a_quantized_file(tmp_path, source, kind):
    folder = convert(write_gguf(tmp_path / "m.gguf", source, quantization=kind), tmp_path / "converted")
    ids, checkpoint = np.arange(90), Checkpoint(folder)
    twin = forward(checkpoint.config, engine_weights(checkpoint), ids, bf16_activations=True)
    with Model.load(folder) as model:
        assert np.linalg.norm(model.logits(ids) - twin) < 0.012 * np.linalg.norm(twin)


def llama3_divisors(factor):
    """As converters write them: wavelengths against those of 8,192 positions."""
    divisors = []
    for pair in range(64):
        wavelength = 2 * np.pi * 10_000.0 ** (2 * pair / 128)
        if wavelength < 8192 / 4:
            divisors.append(1.0)
        elif wavelength > 8192:
            divisors.append(factor)
        else:
            smooth = (8192 / wavelength - 1) / 3
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, np.float32)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_the_scaling_of_llama_3(tmp_path, source, factor):
    divisors = {"rope_freqs.weight": llama3_divisors(factor)}
    path = write_gguf(tmp_path / "model.gguf", source, change=lambda tensors: tensors.update(divisors))
    assert Checkpoint(convert(path, tmp_path / "converted")).config["rope_scaling"] == {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}, 4.0),
        ({"llama.rope.scaling.factor": 2.5}, 2.5),
        ({"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4.0}, None),
        ({"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 1.0}, None),
        ({}, None),
    ],
)
def test_linear_scaling(tmp_path, source, metadata, expected):
    """Of a file without a type, a factor is linear: so llama.cpp reads it."""
    config = GgufSource(write_gguf(tmp_path / "model.gguf", source, metadata=metadata)).config
    scaling = {"rope_type": "linear", "factor": expected} if expected else None
    assert config["rope_scaling"] == scaling


def test_two_scalings_at_once(tmp_path, source):
    divisors = {"rope_freqs.weight": llama3_divisors(8.0)}
    path = write_gguf(
        tmp_path / "model.gguf",
        source,
        metadata={"llama.rope.scaling.factor": 4.0},
        change=lambda tensors: tensors.update(divisors),
    )
    with pytest.raises(CheckpointError, match="only the rotary scaling of Llama"):
        GgufSource(path)
