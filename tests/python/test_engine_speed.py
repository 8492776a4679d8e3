"""`nemo-fast bench`: what it measures, and that its numbers are of what it says."""

import json
import math

import pytest
from click.testing import CliRunner
from fp8_model_files import KINDS, write_fp8_model
from model_files import TINY_FP8, read_safetensors

from nemo_fast import convert
from nemo_fast._native import Checkpoint
from nemo_fast.cli import main

SMALL = ["--prompt-tokens", "16", "--new-tokens", "8", "--rounds", "1", "--threads", "2"]


def run(*arguments):
    return CliRunner().invoke(main, ["bench", str(TINY_FP8), *arguments])


def test_the_json_has_speeds_and_their_shares():
    done = run(*SMALL, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["threads"], found["prompt_tokens"], found["new_tokens"]) == (2, 16, 8)
    for name in (
        "decode_tokens_per_second_batch_1",
        "decode_tokens_per_second_batch_4",
        "prefill_tokens_per_second",
    ):
        assert found[name] > 0
    read = found["decode_tokens_per_second_batch_1"] * found["bytes_read_per_token"]
    assert found["decode_share_of_memory_read"] == pytest.approx(read / found["memory_read_bytes_per_second"])
    assert 1e8 < found["memory_read_bytes_per_second"] < 1e13
    assert ("dot_operations_per_second" in found) == (found["kernels"] == "avx512bf16")


def test_the_table_has_units():
    lines = run(*SMALL).output.splitlines()
    assert any(line.startswith("memory read bytes per second") and line.endswith("GB/s") for line in lines)
    assert any(line.startswith("decode share of memory read") and line.endswith("%") for line in lines)


def test_bytes_read_are_those_of_the_weights():
    checkpoint = Checkpoint(TINY_FP8)
    expected = 0
    for name in checkpoint.tensor_names:
        if "_proj" in name:
            codes, scales = checkpoint.linear(name)
            expected += codes.size + 4 * scales.size
        elif name != "model.embed_tokens.weight":
            dtype, shape, content = checkpoint.dense(name)
            # Norms are float32 once they are loaded.
            expected += 4 * math.prod(shape) if len(shape) == 1 else len(content)
            assert dtype in ("BF16", "F16", "F32")
    assert checkpoint.weight_bytes["per_token"] == expected
    assert checkpoint.weight_bytes["total"] == expected + len(
        checkpoint.dense("model.embed_tokens.weight")[2]
    )
    assert json.loads(run(*SMALL, "--json").stdout)["bytes_read_per_token"] == expected


@pytest.mark.parametrize("changes", [{}, {"hidden_size": 274, "intermediate_size": 205, "head_dim": 10}])
@pytest.mark.parametrize("kind", KINDS)
def test_all_of_the_panels_and_every_scale_are_read(tmp_path, kind, changes):
    """As a packed file has them: panels are filled up; the scales of a block are repeated for its rows."""
    folder = write_fp8_model(tmp_path / "source", kind, **changes)
    source, packed = Checkpoint(folder), Checkpoint(convert(folder, tmp_path / "packed"))
    tensors = read_safetensors(tmp_path / "packed" / "packed.safetensors")[1]
    codes, scales = (
        sum(len(content) for name, (_, _, content) in tensors.items() if name.endswith(ending))
        for ending in (".codes", ".scales")
    )
    norms = 4 * 5 * source.config["hidden_size"]
    head = len(source.dense("lm_head.weight")[2])
    assert source.weight_bytes["per_token"] == codes + scales + norms + head
    assert source.weight_bytes["private"] == codes + scales + norms
    assert packed.weight_bytes == {**source.weight_bytes, "private": scales + norms}


def test_prompts_in_integers_are_measured_as_such():
    for prefill in ("bf16", "int8"):
        done = run(*SMALL, "--prefill", prefill, "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["prefill"] == prefill
    assert run(*SMALL, "--prefill", "int4").exit_code == 2


def test_a_head_in_e4m3_is_read_as_linear_layers_are():
    done = run(*SMALL, "--lm-head", "fp8", "--json")
    assert done.exit_code == 0, done.output
    checkpoint = Checkpoint(TINY_FP8)
    rows, columns = checkpoint.config["vocab_size"], checkpoint.config["hidden_size"]
    saved = checkpoint.weight_bytes["per_token"] - json.loads(done.stdout)["bytes_read_per_token"]
    panels = -(-rows // 16)
    assert saved == rows * 2 * columns - panels * 16 * (columns + 4)


def test_decoding_is_measured_behind_a_context_where_asked_for():
    found = json.loads(run(*SMALL, "--context-tokens", "40", "--kv-cache", "fp8", "--json").stdout)
    assert found["context_tokens"] == 40
    assert found["decode_tokens_per_second_behind_context"] > 0
    assert found["decode_share_behind_context"] > 0
    assert found["kv_cache_bytes_per_token"] == Checkpoint(TINY_FP8).kv_cache_bytes_per_token("fp8")
    assert "decode_tokens_per_second_behind_context" not in json.loads(run(*SMALL, "--json").stdout)
    assert run(*SMALL, "--context-tokens", "40", "--context-length", "44").exit_code != 0


def test_a_prompt_beyond_the_context_is_refused():
    done = run(*SMALL, "--context-length", "8")
    assert done.exit_code != 0
    assert "context" in done.output
