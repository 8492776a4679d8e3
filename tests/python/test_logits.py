"""The forward pass against other programs: golden logits, and the numpy twin."""

import json
import shutil

import numpy as np
import pytest
from model_files import GOLDEN, TINY_FP8, write_random_model
from numpy_twin import engine_weights, exact_weights, forward

from nemo_fast import Model
from nemo_fast._native import Checkpoint

CHECKPOINTS = [
    "tiny-nemo-bf16",
    "tiny-nemo-consolidated",
    "tiny-nemo-fp8-tensor",
    "tiny-nemo-fp8-channel",
    "tiny-tied-bf16",
]


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
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
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


@pytest.mark.long
def test_smollm2_gives_the_golden_ids_and_probabilities():
    """A real model: the reference's greedy ids wherever its margin is wider than the error of E4M3."""
    from nemo_fast import pull

    with np.load(GOLDEN / "smollm2_golden.npz") as golden, Model.load(pull("smollm2-135m")) as model:
        for i in range(3):
            prompt, greedy = golden[f"prompt_ids_{i}"], golden[f"greedy_ids_{i}"]
            logits = model.logits(np.concatenate([prompt, greedy])).astype(np.float64)
            logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            top_ids, expected = golden[f"top_ids_{i}"], golden[f"top_logprobs_{i}"]
            errors = np.take_along_axis(logprobs, top_ids.astype(np.int64), 1)[:, :2] - expected[:, :2]
            assert np.sqrt(np.mean(errors**2)) < 0.45
            predicted = logits[len(prompt) - 1 : -1].argmax(axis=1)
            assert (predicted == greedy)[golden[f"greedy_margin_{i}"] > 1.0].all()
        answer = model.chat([{"role": "user", "content": "What is the capital of France?"}], temperature=0)
        assert "Paris" in answer.choices[0].message.content
