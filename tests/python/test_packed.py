"""Packed files: the same bits as their sources, used in place; what is wrong with one is an error."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_files import GOLDEN, PROMPT, TINY, TINY_TIED, read_safetensors, write_gguf, write_random_model

import nemo_fast
from nemo_fast import CheckpointError, GenerationError, Model, convert
from nemo_fast._native import Checkpoint, pack_rows, quantize_rows
from nemo_fast.model_layout import dense_shapes, linear_shapes
from nemo_fast.safetensors_writer import TensorEntry, write_safetensors

CHECKPOINTS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
FILE = "packed.safetensors"
REMEDY = "convert the source again"


def logits(folder, ids=PROMPT, **options):
    with Model.load(folder, context_length=64, **options) as model:
        return model.logits(ids)


def rewrite(folder, change):
    """Let `change` edit the metadata and the {name: (dtype, shape, bytes)} of a packed file."""
    path = folder / FILE
    metadata, tensors = read_safetensors(path)
    change(metadata, tensors)
    entries = [TensorEntry(name, dtype, shape) for name, (dtype, shape, _) in tensors.items()]
    path.unlink()
    write_safetensors(path, entries, [content for _, _, content in tensors.values()], metadata)


@pytest.fixture(scope="module")
def packed_once(tmp_path_factory):
    return convert(TINY, tmp_path_factory.mktemp("packed") / "tiny")


@pytest.fixture
def packed(packed_once, tmp_path):
    return shutil.copytree(packed_once, tmp_path / "packed")


@pytest.mark.parametrize("lm_head", ["source", "fp8"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_same_bits_as_the_source(tmp_path, name, lm_head):
    """Packed before or while loading: one answer, and the head by wish is that of the packed head."""
    target = convert(GOLDEN / name, tmp_path / "packed", lm_head=lm_head)
    direct = logits(GOLDEN / name, lm_head=lm_head)
    np.testing.assert_array_equal(logits(target), direct)
    np.testing.assert_array_equal(logits(target, lm_head=lm_head), direct)
    assert Checkpoint(target).has_fp8_head == (lm_head == "fp8")


@pytest.mark.parametrize("name", ["tiny-nemo-bf16", "tiny-tied-bf16"])
def test_a_head_in_e4m3_is_near_the_wide_one(name):
    wide, narrow = logits(GOLDEN / name), logits(GOLDEN / name, lm_head="fp8")
    error = np.linalg.norm(wide - narrow) / np.linalg.norm(wide)
    assert 1e-3 < error < 0.05  # not the same head, and no worse than three bits of mantissa


@pytest.mark.long
def test_the_same_bits_as_a_real_model(tmp_path):
    packed = nemo_fast.pull("smollm2-135m")
    rows = convert(packed, tmp_path / "rows", format="compressed-tensors")
    ids = np.arange(1, 300)
    for folder in (packed, convert(rows, tmp_path / "again")):
        with Model.load(folder, context_length=512) as one, Model.load(rows, context_length=512) as other:
            np.testing.assert_array_equal(one.logits(ids), other.logits(ids))


@pytest.mark.parametrize("source", [TINY, TINY_TIED], ids=lambda path: path.name)
def test_unpacking_gives_the_weights_back(tmp_path, source):
    packed = convert(source, tmp_path / "packed")
    found, expected = Checkpoint(packed), Checkpoint(source)
    assert (found.config, found.tensor_names) == (expected.config, expected.tensor_names)
    for name in dense_shapes(expected.config):
        assert found.dense(name) == expected.dense(name), name
    for name in linear_shapes(expected.config):
        for one, other in zip(found.linear(name), expected.linear(name), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)
    # So a packed folder is a source like any other, and packing it again changes no byte.
    again = convert(packed, tmp_path / "again")
    assert read_safetensors(again / FILE)[1] == read_safetensors(packed / FILE)[1]
    rows = convert(packed, tmp_path / "rows", format="compressed-tensors")
    np.testing.assert_array_equal(logits(rows), logits(source))


def test_a_gguf_head_in_e4m3(tmp_path):
    pytest.importorskip("gguf")
    with pytest.warns(UserWarning, match="has no tokenizer"):
        packed = convert(write_gguf(tmp_path / "tiny.gguf", TINY), tmp_path / "packed", lm_head="fp8")
    np.testing.assert_array_equal(logits(packed), logits(TINY, lm_head="fp8"))


def test_a_packed_head_cannot_be_widened(tmp_path):
    packed = convert(TINY, tmp_path / "packed", lm_head="fp8")
    with pytest.raises(CheckpointError, match="the head of this packed file is E4M3"):
        convert(packed, tmp_path / "rows", format="compressed-tensors")
    again = convert(packed, tmp_path / "again")
    assert read_safetensors(again / FILE)[1] == read_safetensors(packed / FILE)[1]


def test_the_file(packed_once):
    """What docs/packed-format.md says: names, shapes, metadata, alignment."""
    metadata, tensors = read_safetensors(packed_once / FILE)
    assert metadata["nemo_fast.packed_version"] == "1"
    assert metadata["nemo_fast.layout"] == "panel16"
    assert metadata["nemo_fast.source"] == TINY.name
    assert len(metadata["nemo_fast.source_sha256"]) == 64
    layer = {name.removeprefix("model.layers.2."): value[:2] for name, value in tensors.items()}
    # Hidden 96, intermediate 224, 4 query and 2 key/value heads of 32.
    config = Checkpoint(TINY).config
    gated = 2 * config["intermediate_size"] // 16
    assert layer["self_attn.qkv_proj.codes"] == ("F8_E4M3", (16, 24, 64))
    assert layer["self_attn.qkv_proj.scales"] == ("F32", (16, 1, 16))
    assert layer["self_attn.o_proj.codes"] == ("F8_E4M3", (6, 32, 64))
    assert layer["mlp.gate_up_proj.codes"] == ("F8_E4M3", (gated, 24, 64))
    assert layer["mlp.down_proj.codes"] == ("F8_E4M3", (6, config["intermediate_size"] // 4, 64))
    content = (packed_once / FILE).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    for name, entry in header.items():
        if name.endswith((".codes", ".scales")):
            assert (start + entry["data_offsets"][0]) % 64 == 0, name
    assert "quantization_config" not in json.loads((packed_once / "config.json").read_text())


@given(st.data())
def test_every_weight_has_the_place_that_the_format_says(data):
    rows = data.draw(st.integers(1, 40), label="rows")
    columns = data.draw(st.one_of(st.integers(1, 40), st.integers(129, 300)), label="columns")
    groups = data.draw(st.sampled_from([1, -(-columns // 128)]), label="groups")
    seed = data.draw(st.integers(0, 2**32 - 1), label="seed")
    random = np.random.default_rng(seed)
    matrices = [
        (random.integers(0, 256, (rows, columns), np.uint8), random.random((rows, groups), np.float32))
        for _ in range(data.draw(st.integers(1, 2), label="matrices"))
    ]
    if groups == 1:
        matrices = [(codes, scales[:, 0].copy()) for codes, scales in matrices]
    panels, scales = pack_rows(*matrices[0], *matrices[1:])
    count = len(matrices)
    expected = np.zeros((-(-rows // 16) * count, -(-columns // 4), 64), np.uint8)
    expected_scales = np.zeros((len(expected), groups, 16), np.float32)
    for which, (codes, row_scales) in enumerate(matrices):
        for row in range(rows):
            panel, within = row // 16 * count + which, row % 16
            expected_scales[panel, :, within] = row_scales[row]
            for k in range(columns):
                byte = within // 4 * 16 + k % 4 // 2 * 8 + within % 4 * 2 + k % 2
                expected[panel, k // 4, byte] = codes[row, k]
    np.testing.assert_array_equal(panels, expected)
    np.testing.assert_array_equal(scales, expected_scales)


def test_rows_that_cannot_be_packed():
    codes, scales = quantize_rows(np.ones((20, 6), np.float32))
    with pytest.raises(
        ValueError, match=r"codes are \[20, 6\] and scales \[19\]: expected one a row, \[20\]"
    ):
        pack_rows(codes, scales[:19])
    with pytest.raises(ValueError, match=r"gates are \[20, 6\] .* and values \[19, 6\] with 1 "):
        pack_rows(codes, scales, (codes[:19], scales[:19]))
    wide = np.ones((20, 300), np.uint8)
    with pytest.raises(ValueError, match=r"with 1 scales a row and values .* with 3 scales a row: expec"):
        pack_rows(wide, scales, (wide, np.ones((20, 3), np.float32)))
    with pytest.raises(ValueError, match=r"scales \[20, 2\]: expected one a row, \[20\], or .*, \[20, 3\]"):
        pack_rows(wide, np.ones((20, 2), np.float32))
    with pytest.raises(ValueError, match="codes must be contiguous in C order"):
        pack_rows(np.asfortranarray(codes), scales)


# Faults


def test_a_packed_file_wins_over_its_source(packed):
    expected = logits(packed)
    for path in TINY.glob("*.safetensors*"):
        shutil.copyfile(path, packed / path.name)
    assert Checkpoint(packed).layout == "packed"
    np.testing.assert_array_equal(logits(packed), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nemo_fast.packed_version": "2"}, r'a packed file of version "2", and this .* reads version "1"'),
        ({"nemo_fast.packed_version": None}, "its metadata lack nemo_fast.packed_version"),
        (
            {"nemo_fast.layout": "panel8"},
            r'a packed file of layout "panel8", and this .* reads layout "panel16"',
        ),
        ({"nemo_fast.layout": None}, "its metadata lack nemo_fast.layout"),
    ],
)
def test_another_version(packed, changes, message):
    def change(metadata, _tensors):
        metadata |= changes
        for key in [key for key, value in metadata.items() if value is None]:
            del metadata[key]

    rewrite(packed, change)
    with pytest.raises(CheckpointError, match=rf"packed\.safetensors: .*{message}; {REMEDY}"):
        Checkpoint(packed)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("model.layers.1.mlp.down_proj.codes", None, "is missing"),
        ("model.layers.1.mlp.down_proj.scales", None, "is missing"),
        ("model.norm.weight", None, "is missing"),
        ("model.layers.0.self_attn.qkv_proj.codes", ("F8_E4M3", (16, 23, 64), 16 * 23 * 64), "expected"),
        ("model.layers.0.self_attn.qkv_proj.codes", ("F8_E4M3", (32, 12, 64), 16 * 24 * 64), "expected"),
        ("model.layers.0.self_attn.qkv_proj.scales", ("F32", (16, 16), 16 * 64), "expected"),
        ("model.layers.0.self_attn.qkv_proj.scales", ("BF16", (16, 1, 16), 16 * 32), "expected F32"),
        ("model.layers.0.self_attn.q_proj.weight", ("BF16", (128, 96), 128 * 192), "is not part of"),
        ("lm_head.codes", ("F8_E4M3", (63, 24, 64), 63 * 24 * 64), "`lm_head.scales` is missing"),
    ],
)
def test_tensors_that_do_not_fit(packed, name, tensor, message):
    def change(_metadata, tensors):
        if tensor is None:
            del tensors[name]
        else:
            dtype, shape, size = tensor
            tensors[name] = dtype, shape, bytes(size)

    rewrite(packed, change)
    with pytest.raises(CheckpointError, match=rf"packed\.safetensors: tensor .*{message}.*; {REMEDY}"):
        Checkpoint(packed)


def test_tensors_that_are_not_aligned(packed):
    def change(_metadata, tensors):
        norm = tensors.pop("model.norm.weight")
        rest = dict(tensors)
        tensors.clear()
        tensors["model.norm.weight"] = norm[0], norm[1], norm[2]
        # 96 BF16 numbers are three cache lines: one number more in front moves what follows.
        tensors["model.layers.0.input_layernorm.weight"] = "BF16", (95,), bytes(190)
        tensors |= {name: value for name, value in rest.items() if name not in tensors}

    rewrite(packed, change)
    with pytest.raises(CheckpointError, match=r"begins at byte \d+, which is no multiple of 64; convert"):
        Checkpoint(packed)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_scales_that_are_no_numbers(packed, number):
    name = "model.layers.1.self_attn.o_proj.scales"

    def change(_metadata, tensors):
        scales = np.frombuffer(tensors[name][2], np.float32).copy()
        scales[5] = number
        tensors[name] = (*tensors[name][:2], scales.tobytes())

    rewrite(packed, change)
    with pytest.raises(CheckpointError, match=f"tensor `{name}`: element 5 is not a finite number"):
        Model.load(packed)


def test_a_config_of_another_model(packed):
    config = json.loads((packed / "config.json").read_text())
    (packed / "config.json").write_text(json.dumps(config | {"intermediate_size": 4096}))
    with pytest.raises(CheckpointError, match=rf"gate_up_proj\.codes`: expected \[512, 24, 64\].*; {REMEDY}"):
        Checkpoint(packed)


def test_a_file_cut_anywhere(packed):
    """At a thousand offsets, those of the header among them."""
    path = packed / FILE
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    offsets = {
        *np.linspace(0, header, 500, dtype=int).tolist(),
        *np.linspace(header, len(content) - 1, 520, dtype=int).tolist(),
    }
    assert len(offsets) >= 1000
    for offset in sorted(offsets, reverse=True):
        os.truncate(path, offset)
        with pytest.raises((CheckpointError, OSError)) as caught:
            Model.load(packed)
        if isinstance(caught.value, CheckpointError):
            assert str(caught.value).endswith(REMEDY)


@given(st.data())
def test_flipped_bytes_are_errors_or_harmless(packed_once, tmp_path_factory, data):
    """In the header an error, or a header that says the same; behind it other numbers at worst."""
    folder = tmp_path_factory.mktemp("flipped")
    shutil.copyfile(packed_once / "config.json", folder / "config.json")
    content = bytearray((packed_once / FILE).read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    position = st.one_of(st.integers(0, 7), st.integers(8, header - 1), st.integers(header, len(content) - 1))
    for at in data.draw(st.lists(position, min_size=1, max_size=4), label="positions"):
        content[at] ^= data.draw(st.integers(1, 255), label="bits")
    (folder / FILE).write_bytes(content)
    try:
        model = Model.load(folder, context_length=16)
    except CheckpointError:
        return
    finally:
        shutil.rmtree(folder)
    # The file is used to the end, though it has lost its name. A code that is no number shows in a logit.
    with model, contextlib.suppress(GenerationError):
        assert model.logits(PROMPT).shape == (len(PROMPT), 1000)


def test_a_file_that_is_replaced_while_it_is_mapped(packed, tmp_path):
    other = write_random_model(tmp_path / "other")
    with Model.load(packed, context_length=64) as model:
        before = model.logits(PROMPT)
        (convert(other, tmp_path / "new") / FILE).replace(packed / FILE)
        np.testing.assert_array_equal(model.logits(PROMPT), before)


def test_words_that_are_no_formats(tmp_path):
    with pytest.raises(ValueError, match=r"format is 'gguf', but only 'packed' and 'compressed-tensors' can"):
        convert(TINY, tmp_path / "target", format="gguf")
    with pytest.raises(ValueError, match="lm_head is 'bf16', expected 'source' or 'fp8'"):
        convert(TINY, tmp_path / "target", lm_head="bf16")
    with pytest.raises(ValueError, match="'compressed-tensors' keeps the head as in the source"):
        convert(TINY, tmp_path / "target", format="compressed-tensors", lm_head="fp8")
    with pytest.raises(ValueError, match='lm_head must be "source" or "fp8", found "f32"'):
        Model.load(TINY, lm_head="f32")


def test_memory_while_converting(tmp_path):
    """A source in which every layer would be seen in the peak; only the largest matrices are."""
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 40, "vocab_size": 1000}
    source = write_random_model(tmp_path / "source", **sizes)
    code = (
        "import resource, sys\n"
        "import nemo_fast, numpy, nemo_fast.conversion\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "nemo_fast.convert(sys.argv[1], sys.argv[2])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    command = (sys.executable, "-c", code, str(source), str(tmp_path / "target"))
    grown = 1024 * int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    file_bytes = Checkpoint(source).file_bytes
    assert file_bytes > 250_000_000
    # The buffer of the hash, and some matrices of four megabytes.
    assert grown < 80_000_000
