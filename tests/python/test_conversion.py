"""Conversion: the same numbers from every source, and folders that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import sys

import numpy as np
import pytest
from model_files import (
    CHAT_TEMPLATE,
    GOLDEN,
    TINY,
    TINY_TIED,
    byte_level_vocabulary,
    read_safetensors,
    write_gguf,
)

from nemo_fast._native import Checkpoint, CheckpointError, quantize_rows
from nemo_fast.conversion import convert
from nemo_fast.gguf_source import GgufSource
from nemo_fast.hf_tokenizer import HfTokenizer
from nemo_fast.model_layout import dense_shapes, linear_shapes
from nemo_fast.safetensors_writer import TensorEntry, write_safetensors

pytest.importorskip("gguf")

WITHOUT_TOKENIZER = pytest.mark.filterwarnings("ignore:.*has no tokenizer:UserWarning")


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", TINY)


def assert_same_weights(folder, expected_folder):
    found, expected = Checkpoint(folder), Checkpoint(expected_folder)
    for name in dense_shapes(expected.config):
        assert found.dense(name) == expected.dense(name), name
    for name in linear_shapes(expected.config):
        for one, other in zip(found.linear(name), expected.linear(name), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


@WITHOUT_TOKENIZER
@pytest.mark.parametrize("source", [TINY, TINY_TIED], ids=lambda path: path.name)
def test_gguf_gives_the_checkpoint_it_was_made_from(tmp_path, source):
    target = convert(write_gguf(tmp_path / "model.gguf", source), tmp_path / "converted")
    assert_same_weights(target, source)
    found, expected = Checkpoint(target).config, Checkpoint(source).config
    assert found == expected


@pytest.mark.parametrize(
    "name",
    [
        "tiny-nemo-bf16",
        "tiny-tied-bf16",
        "tiny-nemo-consolidated",
        "tiny-nemo-fp8-tensor",
        "tiny-nemo-fp8-channel",
    ],
)
@pytest.mark.parametrize("target_format", ["packed", "compressed-tensors"])
def test_every_folder_that_loads(tmp_path, name, target_format):
    target = convert(GOLDEN / name, tmp_path / "converted", format=target_format)
    assert_same_weights(target, GOLDEN / name)


@WITHOUT_TOKENIZER
def test_the_files(tmp_path, tiny_gguf):
    target = convert(str(tiny_gguf), str(tmp_path / "new" / "converted"), format="compressed-tensors")
    assert sorted(path.name for path in target.iterdir()) == ["config.json", "model.safetensors"]
    metadata, tensors = read_safetensors(target / "model.safetensors")
    assert metadata["nemo_fast.source"] == "tiny.gguf"
    assert metadata["nemo_fast.source_sha256"] == hashlib.sha256(tiny_gguf.read_bytes()).hexdigest()
    assert metadata["nemo_fast.version"]
    golden = json.loads((GOLDEN / "tiny-nemo-fp8-channel" / "config.json").read_text())
    config = json.loads((target / "config.json").read_text())
    assert {name: config[name] for name in config if name in golden} == {
        name: golden[name] for name in config if name in golden
    }
    _, golden_tensors = read_safetensors(GOLDEN / "tiny-nemo-fp8-channel" / "model.safetensors")
    shapes = {name: (dtype, shape) for name, (dtype, shape, _) in tensors.items()}
    for name, (dtype, shape, _) in golden_tensors.items():
        assert shapes[name] == ("F32" if name.endswith("_scale") else dtype, shape)


@WITHOUT_TOKENIZER
def test_a_quantized_file(tmp_path):
    gguf = write_gguf(tmp_path / "q8.gguf", TINY, quantization="Q8_0")
    checkpoint = Checkpoint(convert(gguf, tmp_path / "q8"))
    # Rows are permuted before they are dequantized, which must give what the other order gives.
    source, name = GgufSource(gguf), "model.layers.1.self_attn.k_proj.weight"
    tensor = next(tensor for tensor in source._reader.tensors if tensor.name == "blk.1.attn_k.weight")
    from gguf.quants import dequantize

    rows = dequantize(tensor.data, tensor.tensor_type).reshape(2, -1, 2, 96).swapaxes(1, 2).reshape(64, 96)
    for one, other in zip(checkpoint.linear(name), quantize_rows(np.ascontiguousarray(rows)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_bfloat16_is_rounded_to_the_nearest_even(tmp_path):
    # One step of BF16 beside 1.0 is 2**-7: a tie goes to the even neighbour, more than a tie goes up.
    numbers = [1.0, 1.0 + 2**-8, 1.0 + 3 * 2**-8, 1.0 + 2**-8 + 2**-20, -1.0 - 2**-8, 2**-126]
    expected = [1.0, 1.0, 1.0 + 2**-6, 1.0 + 2**-7, -1.0, 2**-126]

    def change(tensors):
        tensors["output_norm.weight"] = np.resize(np.array(numbers, np.float32), 96)

    source = GgufSource(write_gguf(tmp_path / "model.gguf", TINY, change=change))
    bits = np.frombuffer(source.dense("model.norm.weight"), np.uint16).astype(np.uint32) << 16
    assert bits.view(np.float32)[: len(expected)].tolist() == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("general.architecture", "qwen2"),
        ("llama.rope.scaling.type", "yarn"),
        ("llama.rope.scaling.factor", 0.5),
        ("llama.attention.sliding_window", 4096),
        ("llama.expert_count", 8),
        ("llama.logit_scale", 0.5),
        ("llama.attention.value_length", 16),
        ("llama.rope.dimension_count", 16),
        ("llama.attention.head_count_kv", [1, 2, 2]),
        ("llama.attention.head_count", 0),
        ("llama.never_heard_of", 1),
        ("split.count", 2),
    ],
)
def test_metadata_that_changes_the_arithmetic_is_refused_by_name(tmp_path, key, value):
    path = write_gguf(tmp_path / "model.gguf", TINY, metadata={key: value})
    with pytest.raises(CheckpointError, match=key.removeprefix("general.")):
        convert(path, tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_more_layers_than_tensors(tmp_path):
    path = write_gguf(tmp_path / "model.gguf", TINY, metadata={"llama.block_count": 2**31})
    with pytest.raises(CheckpointError, match="2147483648 layers, but only 30 tensors"):
        convert(path, tmp_path / "converted")


@WITHOUT_TOKENIZER
def test_metadata_without_effect_is_accepted(tmp_path):
    metadata = {"llama.expert_count": 0, "llama.rope.scaling.type": "none", "llama.vocab_size": 1000}
    convert(write_gguf(tmp_path / "model.gguf", TINY, metadata=metadata), tmp_path / "converted")


@pytest.mark.parametrize(
    ("name", "weight", "message"),
    [
        (
            "rope_freqs.weight",
            np.full(16, 2, np.float32),
            "`rope_freqs.weight`: only the rotary scaling of Llama",
        ),
        ("blk.0.attn_q.bias", np.ones(128, np.float32), "`blk.0.attn_q.bias` is not supported"),
        ("blk.2.ffn_up.weight", None, "`blk.2.ffn_up.weight` is missing"),
        ("token_embd.weight", None, "`token_embd.weight` is missing"),
        ("blk.1.attn_k.weight", np.ones((32, 96), np.float32), r"expected \[64, 96\], found \[32, 96\]"),
        ("blk.1.attn_v.weight", np.full((64, 96), np.nan, np.float32), "`blk.1.attn_v.weight` holds numbers"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(tmp_path, name, weight, message):
    def change(tensors):
        if weight is None:
            del tensors[name]
        else:
            tensors[name] = weight

    with pytest.raises(CheckpointError, match=message):
        convert(write_gguf(tmp_path / "model.gguf", TINY, change=change), tmp_path / "converted")
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


@pytest.mark.parametrize("size", [4, 20, 300, 20_000])
def test_a_file_that_is_cut_short(tmp_path, tiny_gguf, size):
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny_gguf.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"cut\.gguf"):
        convert(path, tmp_path / "converted")


def test_sources_and_targets_that_cannot_be(tmp_path, tiny_gguf):
    with pytest.raises(FileExistsError):
        convert(tiny_gguf, tmp_path)
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "missing.gguf", tmp_path / "converted")
    (tmp_path / "text.gguf").write_text("no model")
    with pytest.raises(CheckpointError, match="neither a GGUF file nor a folder"):
        convert(tmp_path / "text.gguf", tmp_path / "converted")
    (tmp_path / "empty").mkdir()
    with pytest.raises((CheckpointError, FileNotFoundError)):
        convert(tmp_path / "empty", tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interruption_leaves_nothing(tmp_path, tiny_gguf, monkeypatch, error):
    seen = []

    def interrupted(_source, name):
        seen.extend(path.name for path in tmp_path.rglob("*"))
        raise error(name)

    monkeypatch.setattr(GgufSource, "linear", interrupted)
    with pytest.raises(error):
        convert(tiny_gguf, tmp_path / "converted")
    assert "config.json" in seen
    assert "converted" not in seen
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_that_cannot_be_converted_is_a_warning(tmp_path, tiny_gguf):
    with pytest.warns(UserWarning, match="has no tokenizer"):
        convert(tiny_gguf, tmp_path / "converted")


@pytest.fixture(scope="module")
def smollm_metadata():
    tokens, merges = byte_level_vocabulary()
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(tokens) - 3),
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }


def test_the_tokenizer_of_a_gguf_file(tmp_path, smollm_metadata):
    pytest.importorskip("tokenizers")
    target = convert(
        write_gguf(tmp_path / "model.gguf", TINY, metadata=smollm_metadata), tmp_path / "converted"
    )
    tokenizer = HfTokenizer(target, vocab_size=1000)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    text = "hello world 2024 é\n日本 <|end|>"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert [tokenizer.decode([index]) for index in tokenizer.encode("hello w42")] == ["hello", " w", "4", "2"]
    rendered = tokenizer.decode(tokenizer.encode_chat([{"role": "user", "content": "hello"}]), special="keep")
    assert rendered == "<|start|>user\nhello<|end|>\n<|start|>assistant\n"


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer.ggml.bos_token_id": 10**6},
        {"tokenizer.ggml.token_type": [1]},
        {"tokenizer.ggml.merges": None},
        {"tokenizer.ggml.tokens": None},
    ],
    ids=str,
)
def test_a_tokenizer_that_is_broken(tmp_path, smollm_metadata, change):
    metadata = {key: value for key, value in (smollm_metadata | change).items() if value is not None}
    with pytest.raises(CheckpointError, match=r"tokenizer\.ggml"):
        convert(write_gguf(tmp_path / "model.gguf", TINY, metadata=metadata), tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_a_folder_keeps_its_tokenizer(tmp_path, smollm_metadata):
    first = convert(write_gguf(tmp_path / "model.gguf", TINY, metadata=smollm_metadata), tmp_path / "first")
    second = convert(first, tmp_path / "second")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (second / name).read_bytes() == (first / name).read_bytes()


def test_a_foreign_tokenizer_that_would_be_taken_for_nemo(tmp_path):
    from nemo_fast.gguf_tokenizer import write_tokenizer

    metadata = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "other", "tokenizer.ggml.tokens": ["a"]}
    with pytest.raises(CheckpointError, match="would be taken for Mistral Nemo's"):
        write_tokenizer(metadata, 131_072, tmp_path)


def test_a_missing_extra_is_named(tmp_path, tiny_gguf, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ImportError, match=r"nemo-fast\[convert\]"):
        convert(tiny_gguf, tmp_path / "converted")


def test_the_writer_checks_what_it_is_given(tmp_path):
    path, entry = tmp_path / "model.safetensors", TensorEntry("a", "F32", (2, 3))
    for entries, contents in (([entry], [bytes(23)]), ([entry], []), ([entry, entry], [bytes(24)] * 2)):
        with pytest.raises(ValueError):  # noqa: PT011 - three different reasons
            write_safetensors(path, entries, contents, {})
    assert list(tmp_path.iterdir()) == []
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_safetensors(path, [entry], [numbers.data], {"key": "value"})
    assert read_safetensors(path) == ({"key": "value"}, {"a": ("F32", (2, 3), numbers.tobytes())})


def test_shapes_of_the_layout():
    config = Checkpoint(TINY).config
    names = {*linear_shapes(config), *dense_shapes(config)}
    assert names == set(Checkpoint(TINY).tensor_names)
    count = sum(math.prod(shape) for shape in (linear_shapes(config) | dense_shapes(config)).values())
    assert count * 2 < sum(path.stat().st_size for path in TINY.glob("*.safetensors"))
