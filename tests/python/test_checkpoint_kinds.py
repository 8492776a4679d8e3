"""Kinds of FP8 checkpoints and of rotary scaling: the logits of the numpy twin, or an error by name."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from fp8_model_files import KINDS, write_fp8_model
from model_files import read_safetensors, write_random_model
from numpy_twin import engine_weights, exact_weights, forward

from nemo_fast import CheckpointError, Model
from nemo_fast._native import Checkpoint
from nemo_fast.conversion import convert
from nemo_fast.safetensors_writer import TensorEntry, write_safetensors

IDS = np.random.default_rng(1).integers(0, 100, 150)
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def logits(folder, ids=IDS, **options):
    with Model.load(folder, **options) as model:
        return model.logits(ids)


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def replace_tensor(folder, name, change):
    """Put `change(dtype, shape, bytes)` in the place of a tensor, or of none."""
    path = folder / "model.safetensors"
    tensors = read_safetensors(path)[1]
    tensors[name] = change(*tensors.get(name, (None, None, None)))
    path.unlink()
    entries = [TensorEntry(name, dtype, shape) for name, (dtype, shape, _) in tensors.items()]
    write_safetensors(path, entries, (content for _, _, content in tensors.values()), {})


@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_every_kind(tmp_path, kind):
    """The weights are exactly those of the file, and the logits those of the twin with these weights."""
    folder = write_fp8_model(tmp_path / "model", kind)
    checkpoint = Checkpoint(folder)
    exact, found = exact_weights(folder), engine_weights(checkpoint)
    for name in checkpoint.tensor_names:
        if not any(part in name for part in KINDS[kind].wide):
            np.testing.assert_array_equal(found[name], exact[name], err_msg=name)
    twin = forward(checkpoint.config, found, IDS, bf16_activations=True)
    assert relative_error(logits(folder), twin) < 0.012
    assert checkpoint.has_block_scales == (KINDS[kind].shape == "block")


@pytest.mark.parametrize("kind", ["fp8-block", "fp8-block-mixed", "autofp8-static"])
def test_passes_and_threads_do_not_change_a_bit(tmp_path, kind):
    folder = write_fp8_model(tmp_path / "model", kind)
    whole = logits(folder, threads=2)
    with Model.load(folder, threads=1) as model:
        for length in (1, 2, 5, 9, 11, 33):
            np.testing.assert_array_equal(model.logits(IDS[:length]), whole[:length])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "mixed" not in kind])
def test_conversion_keeps_codes_and_scales(tmp_path, kind):
    folder = write_fp8_model(tmp_path / "model", kind)
    converted = convert(folder, tmp_path / "converted", format="compressed-tensors")
    found, expected = Checkpoint(converted), Checkpoint(folder)
    assert found.config == expected.config
    for name in expected.tensor_names:
        if "_proj." in name:
            for one, other in zip(found.linear(name), expected.linear(name), strict=True):
                np.testing.assert_array_equal(one, other, err_msg=name)
    np.testing.assert_array_equal(logits(converted), logits(folder))
    strategy = "block" if KINDS[kind].shape == "block" else "channel"
    group = json.loads((converted / "config.json").read_text())["quantization_config"]["config_groups"]
    assert group["group_0"]["weights"]["strategy"] == strategy


@pytest.mark.parametrize("kind", KINDS)
def test_packing_keeps_codes_and_scales(tmp_path, kind):
    """Also where q, k and v, or gates and values, have unlike scales: the packed file has as many for all."""
    folder = write_fp8_model(tmp_path / "model", kind)
    packed = convert(folder, tmp_path / "packed", lm_head="fp8")
    found, expected = Checkpoint(packed), Checkpoint(folder)
    assert found.has_block_scales == (KINDS[kind].shape == "block")
    for name in expected.tensor_names:
        if "_proj." in name:
            codes, scales = found.linear(name)
            expected_codes, expected_scales = expected.linear(name)
            np.testing.assert_array_equal(codes, expected_codes, err_msg=name)
            if scales.ndim > expected_scales.ndim:
                expected_scales = np.repeat(expected_scales[:, None], scales.shape[1], axis=1)
            np.testing.assert_array_equal(scales, expected_scales, err_msg=name)
            assert found.scale_groups(name) == scales[0].size
    np.testing.assert_array_equal(logits(packed), logits(folder, lm_head="fp8"))
    again = convert(packed, tmp_path / "again")
    path = "packed.safetensors"
    assert read_safetensors(again / path)[1] == read_safetensors(packed / path)[1]


def test_scales_of_rows_and_of_blocks_cannot_be_written_together(tmp_path):
    folder = write_fp8_model(tmp_path / "model", "fp8-block-mixed")
    with pytest.raises(CheckpointError, match=r"k_proj.weight` has a scale a row and other tensors one a bl"):
        convert(folder, tmp_path / "converted", format="compressed-tensors")
    assert not (tmp_path / "converted").exists()


def test_mistrals_own_fp8(tmp_path):
    """Its names, order of rotary rows and scales: the bits of the same weights in the other layout."""
    twin = write_fp8_model(tmp_path / "twin", "autofp8-dynamic", head_dim=32, hidden_size=96)
    names = {"self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk"}
    names |= {"self_attn.v_proj": "attention.wv", "self_attn.o_proj": "attention.wo"}
    names |= {"mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2"}
    names |= {"mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm"}
    names |= {"post_attention_layernorm": "ffn_norm", "embed_tokens": "tok_embeddings", "lm_head": "output"}
    tensors = {}
    for name, (dtype, shape, content) in read_safetensors(twin / "model.safetensors")[1].items():
        rows = np.frombuffer(content, np.uint8)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            rows = np.ascontiguousarray(rows.reshape(-1, 2, 16, shape[1]).swapaxes(1, 2))
        spelled = name.removeprefix("model.").replace("weight_scale", "qscale_weight")
        for part, mistral in names.items():
            spelled = spelled.replace(part, mistral)
        tensors[spelled] = (dtype, shape, rows.tobytes())
    tensors["layers.0.attention.wq.qscale_act"] = ("F32", (), bytes(4))
    folder = tmp_path / "mistral"
    folder.mkdir()
    entries = [TensorEntry(name, dtype, shape) for name, (dtype, shape, _) in tensors.items()]
    contents = (content for _, _, content in tensors.values())
    write_safetensors(folder / "consolidated.safetensors", entries, contents, {})
    params = {"dim": 96, "n_layers": 2, "head_dim": 32, "hidden_dim": 200, "n_heads": 2, "n_kv_heads": 1}
    params |= {"norm_eps": 1e-5, "vocab_size": 100, "rope_theta": 10000.0, "max_seq_len": 512}
    params["quantization"] = {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}
    (folder / "params.json").write_text(json.dumps(params))
    assert Checkpoint(folder).layout == "mistral"
    np.testing.assert_array_equal(logits(folder), logits(twin))


@pytest.mark.parametrize("code", [0x7F, 0xFF])
@pytest.mark.parametrize("kind", ["autofp8-static", "fp8-block"])
def test_codes_that_are_no_numbers(tmp_path, kind, code):
    folder, name = write_fp8_model(tmp_path / "model", kind), "model.layers.1.self_attn.v_proj.weight"
    replace_tensor(
        folder,
        name,
        lambda dtype, shape, content: (dtype, shape, content[:77] + bytes([code]) + content[78:]),
    )
    with pytest.raises(CheckpointError, match=f"tensor `{name}`: element 77 is not a finite number"):
        Model.load(folder)


@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [
        ((2, 3), np.inf, "element 0 is not a finite number"),
        ((3, 3), 1.0, r"expected \[200, 1\] or \[200\] or \[1\] or \[\] or \[2, 3\], found \[3, 3\]"),
    ],
)
def test_scales_of_blocks_that_do_not_fit(tmp_path, shape, value, message):
    folder = write_fp8_model(tmp_path / "model", "fp8-block")
    name, scales = "model.layers.0.mlp.up_proj.weight_scale_inv", np.full(shape, value, np.float32)
    replace_tensor(folder, name, lambda *_: ("F32", shape, scales.tobytes()))
    with pytest.raises(CheckpointError, match=f"tensor `{name}`: {message}"):
        Model.load(folder)


def test_a_scale_under_both_names(tmp_path):
    folder, name = write_fp8_model(tmp_path / "model", "fp8-block"), "model.layers.0.mlp.up_proj.weight_scale"
    replace_tensor(folder, name, lambda *_: ("F32", (), bytes(4)))
    with pytest.raises(CheckpointError, match=f"tensor `{name}` is not part of"):
        Checkpoint(folder)


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        (
            {"quant_method": "fp8", "weight_block_size": [64, 128]},
            r"weight_block_size \[64,128\] is not supported; \[128, 128\] is",
        ),
        ({"quant_method": "fp8", "fmt": "e5m2"}, 'fmt "e5m2" is not supported; "e4m3" is'),
        ({"quant_method": "awq"}, 'quant_method "awq" is not supported; "compressed-tensors" and "fp8" are'),
        (
            KINDS["compressed-block"].quantization
            | {
                "config_groups": {
                    "a": {
                        "weights": {
                            "num_bits": 8,
                            "type": "float",
                            "strategy": "block",
                            "block_structure": [32, 32],
                        }
                    }
                }
            },
            r"a: block_structure \[32,32\] is not supported",
        ),
        (
            KINDS["compressed-block"].quantization
            | {"config_groups": {"a": {"weights": {"num_bits": 8, "type": "float", "strategy": "group"}}}},
            "are not FP8 with a scale a tensor, a channel or a block",
        ),
    ],
)
def test_quantizations_that_are_refused(tmp_path, quantization, message):
    folder = write_fp8_model(tmp_path / "model", "fp8-block")
    edit_config(folder, quantization_config=quantization)
    with pytest.raises(CheckpointError, match=f"`quantization_config`: .*{message}"):
        Checkpoint(folder)


ROPE_SPELLINGS = {
    "linear": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "linear, old": {"rope_scaling": {"type": "linear", "factor": 2}},
    "linear, transformers 5": {
        "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0}
    },
    "llama3": {"rope_scaling": LLAMA3},
    "llama3, another shape": {
        "rope_scaling": LLAMA3
        | {
            "factor": 32.0,
            "low_freq_factor": 2.0,
            "high_freq_factor": 3.0,
            "original_max_position_embeddings": 300,
        }
    },
    "llama3, transformers 5": {"rope_theta": None, "rope_parameters": LLAMA3 | {"rope_theta": 5000.0}},
    "both spellings": {"rope_scaling": LLAMA3, "rope_parameters": LLAMA3 | {"rope_theta": 10_000.0}},
}


@pytest.mark.parametrize("spelling", ROPE_SPELLINGS)
def test_logits_with_scaled_positions(tmp_path, spelling):
    """The twin's, and far from those without the scaling."""
    changes = {"head_dim": 64, **ROPE_SPELLINGS[spelling]}
    folder = write_random_model(tmp_path / "model", **changes)
    plain = write_random_model(tmp_path / "plain", head_dim=64)
    checkpoint = Checkpoint(folder)
    given = changes.get("rope_parameters") or changes["rope_scaling"]
    assert checkpoint.config["rope_scaling"] == {
        "rope_type": given.get("rope_type", "linear"),
        **{key: value for key, value in given.items() if key not in ("rope_type", "type", "rope_theta")},
    }
    assert checkpoint.config["rope_theta"] == given.get("rope_theta", 10_000.0)
    found = logits(folder)
    twin = forward(checkpoint.config, engine_weights(checkpoint), IDS, bf16_activations=True)
    assert relative_error(found, twin) < 0.012
    assert relative_error(logits(plain), found) > 0.05
    converted = convert(folder, tmp_path / "converted")
    assert Checkpoint(converted).config == checkpoint.config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "`rope_scaling`: .*yarn.* is not supported"),
        (
            {"rope_scaling": {"type": "dynamic", "factor": 4.0}},
            "`rope_scaling`: .*dynamic.* is not supported",
        ),
        ({"rope_scaling": {"rope_type": "longrope"}}, "`rope_scaling`: .*longrope.* is not supported"),
        ({"rope_scaling": {"factor": 4.0}}, "`rope_scaling`: .* is not supported"),
        ({"rope_scaling": 4.0}, "`rope_scaling`: expected an object, found 4.0"),
        ({"rope_scaling": {"rope_type": "linear"}}, "`rope_scaling.factor`: is missing"),
        (
            {"rope_scaling": {"rope_type": "linear", "factor": 0.5}},
            "`rope_scaling.factor`: 0.5 is not a number",
        ),
        ({"rope_scaling": {"type": "linear", "rope_type": "llama3"}}, "`rope_scaling`: .* is not supported"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "mscale": 1.0}}, "`rope_scaling`: .*mscale"),
        (
            {"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}},
            "`rope_scaling.low_freq_factor`: 4 is not between",
        ),
        (
            {"rope_parameters": LLAMA3 | {"original_max_position_embeddings": None}},
            "`rope_parameters.original_max_position_embeddings`: is missing",
        ),
        (
            {"rope_scaling": LLAMA3, "rope_parameters": {"rope_type": "default"}},
            "`rope_parameters`: is not what `rope_scaling` says",
        ),
    ],
)
def test_scalings_that_are_refused(tmp_path, changes, message):
    folder = write_random_model(tmp_path / "model")
    edit_config(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint(folder)


def test_a_mistral_config_without_a_window(tmp_path):
    """Left out, the window is the 4,096 of the first models; null, or another architecture, means none."""
    folder = write_random_model(tmp_path / "model", max_position_embeddings=4096)
    Checkpoint(folder)
    edit_config(folder, max_position_embeddings=4097)
    message = (
        "`sliding_window`: is missing, which for a mistral model means 4096, and there are 4097 positions"
    )
    with pytest.raises(CheckpointError, match=message):
        Checkpoint(folder)
    for changes in ({"sliding_window": None}, {"model_type": "llama"}):
        other = shutil.copytree(folder, tmp_path / str(len(changes)) / str(changes))
        edit_config(other, **changes)
        Checkpoint(other)
