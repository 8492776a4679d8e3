"""Measure counting and encoding, and prefill and decode of a real small model; write the numbers down.

    python benches/python/plain_speed.py                  text of this repository and of Python's library
    python benches/python/plain_speed.py FILE...          other text, one set
    python benches/python/plain_speed.py --no-model       texts only; --no-write: print only

Every answer is compared before it is timed: ids and counts with mistral-common's, the model's greedy answer
with the known one. What is compared runs in turns in the same process, so that a busy machine slows all of it
alike. `benches/README.md` says what the numbers mean.
"""

from __future__ import annotations

import argparse
import operator
import statistics
import sysconfig
import time
from pathlib import Path

import machine
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

import nemo_fast

ROUNDS = 5
PROMPT_TOKENS = 512
DECODED_TOKENS = 64
# Times as fast as: ours, theirs.
RATIOS = [("count", "tiktoken"), ("encode", "tiktoken"), ("encode", "mistral-common")]
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
ANSWER = "The capital of France is Paris."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--no-model", action="store_true")
    parser.add_argument("--no-write", action="store_true")
    options = parser.parse_args()
    texts = {"given files": _read(options.files)} if options.files else default_texts()
    lines = machine.heading("Speed of the plain version", ("mistral-common", "tiktoken", "numpy"))
    lines += ["", *text_table(texts)]
    if not options.no_model:
        lines += ["", *model_table()]
    result = "\n".join(lines) + "\n"
    print(result)
    if not options.no_write:
        path = machine.result_file("plain-speed")
        path.write_text(result, encoding="utf-8")
        print(f"written to {path}")


def default_texts() -> dict[str, list[str]]:
    """Return sets of texts that a fresh machine has."""
    library = Path(sysconfig.get_path("stdlib"))
    sources = sorted((machine.ROOT / "rust").rglob("*.rs")) + sorted((machine.ROOT / "python").rglob("*.py"))
    return {
        "English (`pydoc_data/topics.py`)": _read([library / "pydoc_data" / "topics.py"]),
        "Python (top level of the standard library)": _read(sorted(library.glob("*.py"))),
        "Rust and Python (this repository)": _read(sources),
    }


def _read(paths: list[Path]) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in paths]


def text_table(sets: dict[str, list[str]]) -> list[str]:
    """Compare all counts and ids, then time everyone in turns."""
    reference = MistralTokenizer.from_file(MistralTokenizer._data_path() / "tekken_240718.json")  # noqa: SLF001
    tekken = reference.instruct_tokenizer.tokenizer
    tiktoken = tekken._model  # noqa: SLF001 - the tiktoken.Encoding under it
    tokenizer = nemo_fast.Tokenizer()
    contestants = {
        "count": tokenizer.count,
        "encode": tokenizer.encode,
        "tiktoken": tiktoken.encode_ordinary,
        "mistral-common": lambda text: tekken.encode(text, bos=False, eos=False),
    }
    lines = [
        "## Text, one thread",
        "",
        f"MB/s of UTF-8: the best of {ROUNDS} rounds, each of which runs everyone once. Ratios: the median.",
        "",
        f"| text | MB | tokens | {' | '.join(contestants)} | {' | '.join(map(' / '.join, RATIOS))} |",
        "|---" * (3 + len(contestants) + len(RATIOS)) + "|",
    ]
    for name, texts in sets.items():
        size = sum(len(text.encode()) for text in texts)
        tokens = 0
        for text in texts:
            expected = tekken.encode(text, bos=False, eos=False)
            assert tokenizer.encode(text) == expected
            assert tokenizer.count(text) == len(expected)
            assert len(tiktoken.encode_ordinary(text)) == len(expected)
            tokens += len(expected)
        seconds: dict[str, list[float]] = {contestant: [] for contestant in contestants}
        for _ in range(ROUNDS):
            for contestant, run in contestants.items():
                start = time.perf_counter()
                for text in texts:
                    run(text)
                seconds[contestant].append(time.perf_counter() - start)

        speeds = [f"{size / min(times) / 1e6:.1f}" for times in seconds.values()]
        ratios = [_median_ratio(seconds[theirs], seconds[ours]) for ours, theirs in RATIOS]
        lines.append(f"| {' | '.join([name, f'{size / 1e6:.2f}', f'{tokens:,}', *speeds, *ratios])} |")
    return lines


def _median_ratio(theirs: list[float], ours: list[float]) -> str:
    return f"{statistics.median(map(operator.truediv, theirs, ours)):.2f}"


def model_table() -> list[str]:
    """Check the greedy answer, then time prefill and decode, thread counts in turns."""
    folder = nemo_fast.pull("smollm2-135m", progress=True)
    models = {
        threads: nemo_fast.Model.load(folder, threads=threads, context_length=2048) for threads in (1, 2)
    }
    for model in models.values():
        assert model.chat(QUESTION, temperature=0).choices[0].message.content == ANSWER
    vocab_size = models[1].config["vocab_size"]
    prompt = [(7919 * i + 11) % vocab_size for i in range(PROMPT_TOKENS)]
    prefill: dict[int, list[float]] = {threads: [] for threads in models}
    decode: dict[int, list[float]] = {threads: [] for threads in models}
    for _ in range(3):
        for threads, model in models.items():
            start = time.perf_counter()
            model.generate(prompt, max_tokens=1, temperature=0, ignore_eos=True)
            prefill[threads].append(PROMPT_TOKENS / (time.perf_counter() - start))
            decode[threads].append(_decode_speed(model, prompt[:16]))
    read, weights = bytes_and_weights(models[1].config)
    lines = [
        "## Model: smollm2-135m, E4M3 linear layers, bf16 head",
        "",
        f'Each model answered "{QUESTION[0]["content"]}" with "{ANSWER}" before it was timed.',
        f"Prefill: {PROMPT_TOKENS} tokens, one drawn. Decode: {DECODED_TOKENS} after 16, batch 1. Best of 3.",
        f"A decoded token reads {read / 1e6:.1f} MB of weights for {weights / 1e6:.1f} million products.",
        "Memory read speed: numpy's sum over 256 MiB a thread, in the same run.",
        "",
        "| threads | prefill tokens/s | decode tokens/s | weights read, GB/s | memory read, GB/s | share |",
        "|---|---|---|---|---|---|",
    ]
    for threads, model in models.items():
        speed = read * max(decode[threads])
        memory = machine.memory_read_speed(threads)
        lines.append(
            f"| {threads} | {max(prefill[threads]):.1f} | {max(decode[threads]):.1f} | {speed / 1e9:.2f} "
            f"| {memory / 1e9:.1f} | {speed / memory:.0%} |"
        )
        model.close()
    return lines


def _decode_speed(model: nemo_fast.Model, prompt: list[int]) -> float:
    stream = model.stream(prompt, max_tokens=DECODED_TOKENS + 1, temperature=0, ignore_eos=True)
    # The first token is prefill's; text may be held back, so that a chunk can carry several ids.
    seen, start = 0, 0.0
    for chunk in stream:
        if chunk.choices:
            if seen == 0:
                start, first = time.perf_counter(), len(chunk.choices[0].token_ids)
            seen += len(chunk.choices[0].token_ids)
            end = time.perf_counter()
    return (seen - first) / (end - start)


def bytes_and_weights(config: dict[str, int]) -> tuple[int, int]:
    """Return the bytes that a decoded token reads and the weights it multiplies, the KV cache left out."""
    from nemo_fast.model_layout import linear_shapes

    shapes = linear_shapes(config).values()
    linear = sum(rows * columns for rows, columns in shapes)
    head = config["vocab_size"] * config["hidden_size"]
    return linear + 4 * sum(rows for rows, _ in shapes) + 2 * head, linear + head


if __name__ == "__main__":
    main()
