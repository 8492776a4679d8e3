"""What a model refuses: one error each, which names the thing and the numbers."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from model_files import PROMPT, TINY_FP8, write_random_model

from nemo_fast import ContextLengthError, DeviceError, Model, TokenizerError
from nemo_fast._native import Checkpoint, Engine


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "numbers"),
    [([1] * 256, None, "256"), ([1] * 250, 7, "250 7 256"), ([1], 2**40, "256")],
)
def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers(tiny, prompt, max_tokens, numbers):
    with pytest.raises(ContextLengthError) as caught:
        tiny.generate(prompt, max_tokens=max_tokens)
    assert all(number in str(caught.value) for number in numbers.split())
    assert caught.value.prompt_tokens == len(prompt)
    assert caught.value.context_length == 256
    with pytest.raises(ContextLengthError):
        tiny.stream(prompt, max_tokens=max_tokens)


def test_logits_of_more_ids_than_the_context(tiny):
    assert tiny.logits([1] * 256).shape == (256, 1000)
    with pytest.raises(ContextLengthError, match="257"):
        tiny.logits([1] * 257)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": -0.5}, ValueError, "temperature must be between 0 and 2, found -0.5"),
        ({"temperature": 2.5}, ValueError, "temperature must be between 0 and 2, found 2.5"),
        ({"temperature": float("nan")}, ValueError, "temperature"),
        ({"temperature": "hot"}, TypeError, "temperature"),
        ({"top_p": 0}, ValueError, "top_p must be above 0 and at most 1, found 0"),
        ({"top_p": 1.1}, ValueError, "top_p"),
        ({"min_p": -1}, ValueError, "min_p must be between 0 and 1, found -1"),
        ({"top_k": -2}, ValueError, "top_k must be at least -1, found -2"),
        ({"top_k": 1.5}, TypeError, "top_k must be an integer, found 1.5"),
        ({"max_tokens": 0}, ValueError, "max_tokens must be at least 1, found 0"),
        ({"max_tokens": True}, TypeError, "max_tokens must be an integer, found True"),
        ({"n": 0}, ValueError, "n must be at least 1, found 0"),
        ({"n": 129}, ValueError, "n must be between 1 and 128, found 129"),
        ({"max_tokens": 2**70}, ValueError, "max_tokens must be at most 9223372036854775807"),
        ({"stop": 0}, TypeError, "stop must be a string or a list of strings, found 0"),
        ({"stop": b"x"}, TypeError, "stop must be a string or a list of strings, found b'x'"),
        ({"seed": "x"}, TypeError, "seed must be an integer, found 'x'"),
        ({"stop": list("abcde")}, ValueError, "stop takes at most 4 strings, found 5"),
        ({"stop": [""]}, ValueError, "stop: an empty string"),
        ({"stop": [7]}, TypeError, "stop"),
        (
            {"stop_token_ids": [131_072]},
            TokenizerError,
            "token id 131072 is outside the vocabulary of 131072",
        ),
        ({"temprature": 1}, TypeError, "unknown sampling parameter 'temprature'; known are max_tokens"),
    ],
)
def test_bad_sampling_parameters_are_named(nemo, options, error, message):
    with pytest.raises(error, match=message):
        nemo.generate("x", **{"max_tokens": 1} | options)


@pytest.mark.parametrize(
    ("prompt", "error", "message"),
    [
        ([], ValueError, "the prompt is empty"),
        ("", ValueError, "the prompt is empty"),
        ([1, 131_072], TokenizerError, "token id 131072 is outside the vocabulary of 131072"),
        ([-1], TokenizerError, "-1"),
        ([1.5], TypeError, "integer"),
        (7, TypeError, "token ids"),
        (np.array([[1, 2]]), TypeError, "one dimension"),
        (np.array([1, 2], ">i4"), TypeError, "found big-endian"),
    ],
)
def test_bad_prompts_are_refused(nemo, prompt, error, message):
    with pytest.raises(error, match=message):
        nemo.generate(prompt, max_tokens=1)


def test_bad_positions_are_refused(tiny):
    with pytest.raises(ValueError, match="position 5 is outside the 5 ids"):
        tiny.logits(PROMPT, positions=[5])
    with pytest.raises(ValueError, match="positions must be from 0 up, found -1"):
        tiny.logits(PROMPT, positions=[-1])
    assert tiny.logits(PROMPT, positions=[]).shape == (0, 1000)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"device": "cuda"}, DeviceError, 'device "cuda" is not available'),
        ({"threads": 0}, ValueError, "threads must be at least 1, found 0"),
        ({"threads": 10_000}, ValueError, "threads must be between 1 and 1024, found 10000"),
        ({"kv_cache": "int8"}, ValueError, 'kv_cache must be "bf16" or "fp8", found "int8"'),
        ({"kv_cache": None}, TypeError, "kv_cache"),
        ({"prefill": "fp8"}, ValueError, 'prefill must be "bf16" or "int8", found "fp8"'),
        ({"prefill": None}, TypeError, "prefill"),
        ({"context_length": 0}, ValueError, "context_length must be at least 1, found 0"),
        (
            {"context_length": 131_073},
            ValueError,
            "context_length must be between 1 and 131072, found 131073",
        ),
        ({"chat_format": "x"}, ValueError, "chat_format"),
    ],
)
def test_bad_arguments_of_load(options, error, message):
    with pytest.raises(error, match=message):
        Model.load(TINY_FP8, **options)


def test_more_memory_than_there_is_is_refused_before_anything_is_loaded(tmp_path):
    """Weights of this process's own count, beside a cache of some hundred gigabytes."""
    wide = {"num_attention_heads": 64, "num_key_value_heads": 64, "head_dim": 512, "num_hidden_layers": 32}
    wide |= {"hidden_size": 2, "intermediate_size": 2, "max_position_embeddings": 131_072}
    folder = write_random_model(tmp_path / "wide", model_type="llama", **wide)
    checkpoint = Checkpoint(folder)
    cache = 131_072 * checkpoint.kv_cache_bytes_per_token("bf16")
    assert cache == 131_072 * 32 * 64 * 2 * 512 * 2
    steps = []
    with pytest.raises(DeviceError) as caught:
        Engine(checkpoint, progress=lambda *step: steps.append(step))
    message = str(caught.value)
    weights = checkpoint.weight_bytes["private"]
    assert message.startswith(
        f"a KV cache of 131072 positions needs {cache} bytes, the weights {weights}, and "
    )
    assert message.endswith('choose a smaller context_length or kv_cache="fp8"')
    assert steps == []
    with pytest.raises(DeviceError, match=r"choose a smaller context_length$"):
        Engine(checkpoint, kv_cache="fp8")
    assert Model.load(folder, context_length=64).context_length == 64


def test_an_unknown_word_for_the_kernels_is_refused_before_anything_is_loaded():
    program = f"""
import json, nemo_fast
info = nemo_fast.build_info()
try:
    kernels = nemo_fast.Model.load({str(TINY_FP8)!r}, context_length=64)._engine.kernels
except ValueError as error:
    kernels = str(error)
print(json.dumps([kernels, info["engine_cpu_level"], info["cpu_level_refused"], nemo_fast.count("word")]))
"""

    def found(word):
        environment = {**os.environ, "NEMO_FAST_CPU": word}
        command = (sys.executable, "-c", program)
        return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)

    words = "portable, scalar, avx2, avx512 or avx512bf16"
    message = f'NEMO_FAST_CPU must be {words}, found "avx9"'
    assert found("avx9") == [message, None, f"NEMO_FAST_CPU=avx9: expected {words}", 1]
    for word in ("portable", "scalar"):
        assert found(word) == ["portable", "portable", None, 1]
