"""Folders that load, and folders that do not: every fault is an error that names it."""

import contextlib
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_files import GOLDEN, TINY, TINY_FP8, read_safetensors, write_random_model
from numpy_twin import E4M3

from nemo_fast import CheckpointError, DeviceError, GenerationError, Model
from nemo_fast._native import Checkpoint, quantize_rows
from nemo_fast.safetensors_writer import TensorEntry, write_safetensors


def rewrite(folder, change):
    """Let `change` edit the {name: (dtype, shape, bytes)} of the folder's one weight file."""
    path = folder / "model.safetensors"
    _, tensors = read_safetensors(path)
    change(tensors)
    entries = [TensorEntry(name, dtype, shape) for name, (dtype, shape, _) in tensors.items()]
    path.unlink()
    write_safetensors(path, entries, (content for _, _, content in tensors.values()), {})


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def model_folder(tmp_path):
    return write_random_model(tmp_path / "model")


@pytest.fixture
def fp8_folder(tmp_path):
    return shutil.copytree(TINY_FP8, tmp_path / "fp8")


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Model.load(tmp_path / "nowhere")


def test_folders_of_no_known_kind(tmp_path, model_folder):
    with pytest.raises(CheckpointError, match=r"no model found: neither config.json nor params.json"):
        Checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"a .gguf file is turned into one by `convert`"):
        Checkpoint(model_folder / "config.json")
    (model_folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"config.json is there, model.safetensors and"):
        Checkpoint(model_folder)
    (tmp_path / "params.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"params.json is there, consolidated.safetensors is not"):
        Checkpoint(tmp_path)


def test_huggingfaces_layout_wins_where_its_weights_are_there(tmp_path):
    folder = shutil.copytree(TINY, tmp_path / "both")
    for name in ("params.json", "consolidated.safetensors"):
        shutil.copyfile(GOLDEN / "tiny-nemo-consolidated" / name, folder / name)
    assert "HuggingFace" in repr(Checkpoint(folder))
    for path in folder.glob("model*"):
        path.unlink()
    assert "Mistral" in repr(Checkpoint(folder))


def test_a_missing_tensor(model_folder):
    rewrite(model_folder, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(CheckpointError, match=r"tensor `model.layers.1.mlp.up_proj.weight` is missing"):
        Model.load(model_folder)


def test_a_missing_scale(fp8_folder):
    rewrite(fp8_folder, lambda tensors: tensors.pop("model.layers.0.self_attn.q_proj.weight_scale"))
    with pytest.raises(CheckpointError, match=r"q_proj.weight_scale` is missing"):
        Model.load(fp8_folder)


def test_a_wrong_shape(model_folder):
    edit_config(model_folder, intermediate_size=47)
    with pytest.raises(CheckpointError, match=r"gate_proj.weight`: expected \[47, 32\], found \[48, 32\]"):
        Model.load(model_folder)


def test_head_dim_is_the_configs(model_folder):
    """Nemo's is not hidden_size / num_attention_heads; to guess it makes shapes that do not fit."""
    edit_config(model_folder, head_dim=8)
    with pytest.raises(CheckpointError, match=r"q_proj.weight`: expected \[16, 32\], found \[32, 32\]"):
        Model.load(model_folder)


@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.q_norm.weight"]
)
def test_a_tensor_of_another_architecture(model_folder, name):
    rewrite(model_folder, lambda tensors: tensors.update({name: ("F32", (32,), bytes(128))}))
    with pytest.raises(CheckpointError, match=f"tensor `{name}` is not part of a Mistral or Llama model"):
        Model.load(model_folder)


@pytest.mark.parametrize("code", [0x7F, 0xFF])
def test_a_weight_that_is_not_a_number(fp8_folder, code):
    name = "model.layers.2.mlp.down_proj.weight"

    def plant(tensors):
        dtype, shape, content = tensors[name]
        tensors[name] = (dtype, shape, content[:1000] + bytes([code]) + content[1001:])

    rewrite(fp8_folder, plant)
    with pytest.raises(CheckpointError, match=f"tensor `{name}`: element 1000 is not a finite number"):
        Model.load(fp8_folder)


@pytest.mark.parametrize("name", ["model.layers.0.mlp.up_proj.weight", "model.norm.weight"])
def test_infinite_weights_of_other_types(model_folder, name):
    def plant(tensors):
        dtype, shape, content = tensors[name]
        tensors[name] = (dtype, shape, content[:6] + b"\x80\x7f" + content[8:])

    rewrite(model_folder, plant)
    with pytest.raises(CheckpointError, match=f"tensor `{name}`: element 3 is not a finite number"):
        Model.load(model_folder)


@pytest.mark.parametrize("shape", [(1,), (96,), (96, 1), ()])
def test_every_shape_of_a_scale(fp8_folder, shape):
    """One for the tensor or one a row; they multiply, in bf16 or f32."""
    name = "model.layers.0.mlp.down_proj.weight"
    scales = np.linspace(0.5, 2.0, num=int(np.prod(shape)), dtype=np.float32).reshape(shape)
    rewrite(fp8_folder, lambda tensors: tensors.update({name + "_scale": ("F32", shape, scales.tobytes())}))
    codes, found = Checkpoint(fp8_folder).linear(name)
    assert codes.shape == (96, 224)
    assert np.array_equal(found, np.broadcast_to(scales.reshape(-1), 96))


def test_scales_of_another_shape(fp8_folder):
    name = "model.layers.0.mlp.down_proj.weight_scale"
    rewrite(fp8_folder, lambda tensors: tensors.update({name: ("F32", (2,), bytes(8))}))
    with pytest.raises(
        CheckpointError, match=r"expected \[96, 1\] or \[96\] or \[1\] or \[\] or \[1, 2\], found \[2\]"
    ):
        Model.load(fp8_folder)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"sliding_window": 4096}, "sliding_window"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_scaling.low_freq_factor"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "rope_parameters"),
        ({"rope_parameters": {"rope_theta": 1e6, "partial_rotary_factor": 0.5}}, "rope_parameters"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"model_type": "qwen2"}, "model_type"),
        ({"architectures": ["MixtralForCausalLM"]}, "architectures"),
        ({"num_local_experts": 8}, "num_local_experts"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"attention_multiplier": 1.0}, "attention_multiplier"),
        ({"embedding_multiplier": 12.0}, "embedding_multiplier"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ({"query_pre_attn_scalar": 256}, "query_pre_attn_scalar"),
        ({"use_qk_norm": True}, "use_qk_norm"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({"hidden_activation": "gelu"}, "hidden_activation"),
        ({"final_logit_soft_cap": 30.0}, "final_logit_soft_cap"),
        ({"quantization_config": {"quant_method": "gptq"}}, "gptq"),
        (
            {"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized"}},
            "pack-quantized",
        ),
    ],
)
def test_a_config_that_would_change_the_arithmetic_is_refused_by_name(model_folder, changes, key):
    edit_config(model_folder, **changes)
    with pytest.raises(CheckpointError, match=key):
        Model.load(model_folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"sliding_window": None, "use_sliding_window": False, "attention_bias": False, "mlp_bias": False},
        {"rope_scaling": None, "attention_dropout": 0.0, "initializer_range": 0.02, "use_cache": True},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}, "dtype": "bfloat16"},
        {
            "torch_dtype": "bfloat16",
            "transformers_version": "4.43.0",
            "is_llama_config": True,
            "pretraining_tp": 1,
        },
        {"_attn_implementation": "sdpa", "_attn_implementation_autoset": True, "rope_interleaved": False},
        {
            "layer_types": ["full_attention"] * 2,
            "residual_multiplier": 1.0,
            "transformers.js_config": {"a": 1},
        },
        {"output_attentions": True, "rope_scaling": {"rope_type": "default", "factor": 1.0}},
        {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu"},
    ],
)
def test_a_config_that_says_nothing_new_is_accepted(model_folder, changes):
    before = Checkpoint(model_folder).config
    edit_config(model_folder, **changes)
    assert Checkpoint(model_folder).config == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, "`hidden_size`: is missing"),
        ({"hidden_size": "32"}, '`hidden_size`: expected a whole number, found "32"'),
        ({"hidden_size": 0}, "`hidden_size`: 0 is not between 1 and"),
        ({"num_hidden_layers": 2**60}, "`num_hidden_layers`: 1152921504606846976 is not between"),
        ({"num_key_value_heads": 3}, "`num_key_value_heads`: 3 does not divide the 2 query heads"),
        ({"head_dim": 15}, "`head_dim`: 15 is odd"),
        ({"max_position_embeddings": 0}, "`max_position_embeddings`: 0 is not between 1 and"),
        ({"rope_theta": -1}, "`rope_theta`: -1 is not a positive number"),
        ({"rms_norm_eps": "small"}, "`rms_norm_eps`: expected a number"),
        ({"tie_word_embeddings": 1}, "`tie_word_embeddings`: expected true or false, found 1"),
        ({"eos_token_id": "</s>"}, "`eos_token_id`: expected a token id or a list of them"),
    ],
)
def test_numbers_that_cannot_be(model_folder, changes, message):
    edit_config(model_folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        Model.load(model_folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff"])
def test_a_config_that_is_no_json_object(model_folder, text):
    (model_folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"config.json: "):
        Model.load(model_folder)


def test_end_tokens_of_both_configs(model_folder):
    edit_config(model_folder, eos_token_id=[2, 5])
    (model_folder / "generation_config.json").write_text('{"eos_token_id": [5, 9]}')
    assert Checkpoint(model_folder).config["eos_token_id"] == [2, 5, 9]


def test_a_truncated_file(model_folder):
    path = model_folder / "model.safetensors"
    content = path.read_bytes()
    for length in (0, 7, 8, 100, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"model.safetensors: not a valid safetensors file"):
            Model.load(model_folder)
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match="not a valid safetensors file"):
        Model.load(model_folder)


@pytest.mark.parametrize("length", [0, 10**6, 2**40, 2**64 - 1])
def test_a_header_length_beyond_the_file(model_folder, length):
    path = model_folder / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(CheckpointError, match="not a valid safetensors file"):
        Model.load(model_folder)


@given(data=st.data())
def test_damaged_headers_are_errors_or_harmless(tmp_path_factory, data):
    """Any bytes of the header flipped, and the file cut anywhere: an error of ours, or the model loads."""
    folder = write_random_model(tmp_path_factory.mktemp("fuzz") / "model", num_hidden_layers=1)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2, header, 20]))])
    with contextlib.suppress(CheckpointError):
        Model.load(folder, context_length=16).close()


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{}", "`weight_map` is missing"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "is not a file name"),
        ('{"weight_map": {"a": 7}}', "is not a file name"),
        ("nonsense", "index.json: "),
    ],
)
def test_a_broken_index_of_shards(model_folder, index, message):
    (model_folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=message):
        Model.load(model_folder)


def test_an_index_that_does_not_fit_its_files(tmp_path):
    folder = shutil.copytree(TINY, tmp_path / "shards")
    index = folder / "model.safetensors.index.json"
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    text = index.read_text()
    index.write_text(text.replace(first, "x").replace(second, first).replace('"x"', f'"{second}"'))
    with pytest.raises(CheckpointError, match="is not in this file, where the index has it"):
        Model.load(folder)
    index.write_text(text)
    shutil.copyfile(folder / first, folder / second)
    with pytest.raises(CheckpointError, match=r"tensor `.*` is in more than one file"):
        Model.load(folder)


def test_more_layers_than_there_are_tensors(model_folder):
    edit_config(model_folder, num_hidden_layers=2**24)
    with pytest.raises(CheckpointError, match="16777216 layers, but only 21 tensors in all"):
        Model.load(model_folder)


def test_a_head_that_is_too_large(tmp_path):
    folder = write_random_model(tmp_path / "model", head_dim=1024, hidden_size=2, intermediate_size=2)
    with pytest.raises(DeviceError, match="head_dim 1024 is not supported: the largest is 512"):
        Model.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_sliding_window": [4, 4, 4]}, "`_sliding_window`"),
        ({"rope_theta": None}, "`rope_theta`: is missing"),
        ({"use_biases": True}, "`use_biases`"),
        ({"quantization": {"qformat_weight": "nvfp4"}}, "`quantization`: .*nvfp4.* is not supported"),
        ({"moe": {"num_experts": 8}}, "`moe`"),
        ({"model_type": "mamba"}, "`model_type`"),
        ({"model_type": "transformer"}, None),
        ({"sliding_window": None, "max_seq_len": 256}, None),
    ],
)
def test_what_params_json_may_say(tmp_path, changes, message):
    folder = shutil.copytree(GOLDEN / "tiny-nemo-consolidated", tmp_path / "native")
    params = json.loads((folder / "params.json").read_text()) | changes
    (folder / "params.json").write_text(json.dumps(params))
    if message is None:
        assert Checkpoint(folder).layout == "mistral"
        return
    with pytest.raises(CheckpointError, match=message):
        Checkpoint(folder)


def test_a_missing_shard(tmp_path):
    folder = shutil.copytree(TINY, tmp_path / "shards")
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="model-00002-of-00002"):
        Model.load(folder)


def test_quantized_rows_are_near_and_use_the_best_of_the_scales():
    rows = np.random.default_rng(0).standard_t(4, (64, 200)).astype(np.float32)
    rows[3] = 0
    codes, scales = quantize_rows(rows)
    found = E4M3[codes] * scales[:, None]
    assert (found[3] == 0).all()
    plain_scales = np.maximum(np.abs(rows).max(axis=1), 1e-30) / 448
    grid = np.sort(E4M3[np.isfinite(E4M3)])
    plain = (
        grid[np.searchsorted((grid[1:] + grid[:-1]) / 2, rows / plain_scales[:, None])]
        * plain_scales[:, None]
    )
    errors, plain_errors = (((rows - other) ** 2).sum(axis=1) for other in (found, plain))
    assert (errors <= plain_errors * 1.001).all()
    assert errors.sum() < 0.95 * plain_errors.sum()


def test_matrices_that_cannot_be_quantized():
    with pytest.raises(ValueError, match="element 3 of the matrix is not a finite number"):
        quantize_rows(np.array([[0, 1], [2, np.inf]], dtype=np.float32))
    with pytest.raises(ValueError, match="the matrix has no columns"):
        quantize_rows(np.zeros((2, 0), np.float32))
    with pytest.raises(TypeError):
        quantize_rows(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="contiguous"):
        quantize_rows(np.zeros((4, 4), np.float32).T[1:])


def test_a_model_that_overflows_says_where(tmp_path):
    huge = {
        "model.norm.weight": np.full(32, 1e38, np.float32),
        "lm_head.weight": np.full((100, 32), 1e30, np.float32),
    }
    with Model.load(write_random_model(tmp_path / "model", tensors=huge)) as model:
        with pytest.raises(GenerationError, match="the logits at position 3 are not finite numbers"):
            model.generate([1, 2, 3], max_tokens=2)
        assert model.stats()["requests_running"] == 0
