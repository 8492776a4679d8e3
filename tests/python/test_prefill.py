"""Prompts in eight-bit integers: near to those in bf16, and the same however they are cut and shared out."""

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import GOLDEN, TINY_FP8

from nemo_fast import Model, cli

# What integers may add, of the size of the logits; E4M3 weights cost the wider one of these checkpoints 0.13.
INT8_ERROR = 0.07


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.fixture(scope="module")
def int8():
    with Model.load(TINY_FP8, context_length=1024, prefill="int8", threads=1) as model:
        yield model


@pytest.mark.parametrize("name", ["tiny-nemo-bf16", "tiny-nemo-fp8-tensor", "tiny-nemo-fp8-channel"])
def test_golden_logits_stay_near(name):
    with np.load(GOLDEN / name / "golden.npz") as golden:
        ids, expected = golden["input_ids"], golden["logits"]
    with (
        Model.load(GOLDEN / name, context_length=64) as exact,
        Model.load(GOLDEN / name, context_length=64, prefill="int8") as model,
    ):
        found, in_bf16 = model.logits(ids), exact.logits(ids)
    assert 1e-4 < relative_error(found, in_bf16) < INT8_ERROR
    assert relative_error(found, expected) < relative_error(in_bf16, expected) + INT8_ERROR


@given(st.lists(st.integers(0, 999), min_size=1, max_size=600), st.data())
@settings(max_examples=20)
def test_a_prefix_has_the_same_logits(int8, ids, data):
    """A prefix is cut into other passes, of other sizes, down to one token."""
    length = data.draw(st.integers(1, len(ids)))
    position = length - 1
    assert np.array_equal(
        int8.logits(ids[:length], positions=[position]), int8.logits(ids, positions=[position])
    )


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_logits_do_not_depend_on_the_threads(int8, threads):
    ids = np.random.default_rng(2).integers(0, 1000, 700)
    with Model.load(TINY_FP8, context_length=1024, prefill="int8", threads=threads) as model:
        assert np.array_equal(model.logits(ids), int8.logits(ids))


def test_answers_are_the_same_alone_and_beside_others(int8):
    options = {"max_tokens": 30, "ignore_eos": True, "seed": 1}
    prompts = [[3], list(range(1, 400)), [9, 8, 7], list(range(200, 900))]
    alone = [int8.generate(prompt, **options).token_ids for prompt in prompts]
    streams = [int8.stream(prompt, **options) for prompt in prompts]
    together = [
        tuple(chunk.choices[0].token_ids[0] for chunk in stream if chunk.choices) for stream in streams
    ]
    assert together == alone
    # A prompt of one token is a prompt, too.
    with Model.load(TINY_FP8, context_length=1024) as model:
        assert not np.array_equal(model.logits([3]), int8.logits([3]))


def test_the_commands_pass_it_on(monkeypatch):
    found = []

    def load(_folder, **options):
        found.append(options["prefill"])
        raise ValueError("enough")

    monkeypatch.setattr(Model, "load", load)
    for command in ("generate", "chat"):
        for arguments in ([], ["--prefill", "int8"]):
            CliRunner().invoke(cli.main, [command, str(TINY_FP8), "x", *arguments])
    assert found == ["bf16", "int8"] * 2
