"""Measure chat requests beside mistral-common: counts of one request, fitting, and a file of many requests.

    python benches/python/chat_speed.py                   100,000 requests in the file, about three minutes
    python benches/python/chat_speed.py --requests 1000 --sample 100 --no-write
    python benches/python/chat_speed.py --corpus FOLDER   texts of the file: *.txt

Texts are those of `fetch_corpus.py` if they are in the cache folder, else what every machine has. Every
answer is compared before it is timed. What is compared runs in turns in the same process; one request is
timed by the processor's clock, the file by the wall's, because it is counted on threads. mistral-common gets
the same mappings through `ChatCompletionRequest.from_openai`. Writes JSON and a table to `benches/results/`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chat_corpus
import fetch_corpus
import machine
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from plain_speed import default_texts

import nemo_fast

if TYPE_CHECKING:
    from collections.abc import Callable

OURS, THEIRS = "nemo_fast", "mistral-common"
LEAST_SECONDS = 0.02  # of a timing, which repeats a call until it is that long
Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=2_000, help="requests of the file for mistral-common")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--corpus", type=Path, default=fetch_corpus.FOLDER)
    parser.add_argument("--output", type=Path, help="where to write, without .json and .md")
    parser.add_argument("--no-write", action="store_true")
    options = parser.parse_args()
    texts, source = corpus(options.corpus)
    gc.disable()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.jsonl"
        chat_corpus.write_requests(path, options.requests, texts)
        records = [
            *count_rows(texts, options.rounds),
            *fit_rows(texts, options.rounds),
            *conversation_rows(texts, options.rounds),
            *file_rows(path, options.sample, options.rounds),
        ]
    heading = [
        *machine.heading("Speed of chat requests", (THEIRS, "tiktoken", "numpy")),
        f"- texts of the file: {source}",
        f"- {options.rounds} rounds, load average before {load:.2f}",
    ]
    report = "\n".join([*heading, "", *table(records)]) + "\n"
    print(report)
    if not options.no_write:
        output = options.output or machine.result_file("chat-speed").with_suffix("")
        output.with_suffix(".md").write_text(report, encoding="utf-8")
        result = {"heading": heading, "rounds": options.rounds, "load": load, "records": records}
        output.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"written to {output}.md and .json")


def corpus(folder: Path) -> tuple[list[str], str]:
    """Return texts and what they are."""
    if paths := sorted(folder.glob("*.txt")):
        return [path.read_text(encoding="utf-8") for path in paths], ", ".join(path.stem for path in paths)
    sets = default_texts()
    return ["\n".join(texts) for texts in sets.values()], "; ".join(sets)


class Reference:
    """mistral-common, which has no count: that is the length of its ids."""

    def __init__(self) -> None:
        path = MistralTokenizer._data_path() / "tekken_240718.json"  # noqa: SLF001
        self._tokenizer = MistralTokenizer.from_file(path)

    def count(self, request: chat_corpus.Request) -> int:
        """Return the count of a mapping."""
        encoded = self._tokenizer.encode_chat_completion(ChatCompletionRequest.from_openai(**request))
        return len(encoded.tokens)

    def count_line(self, line: str) -> int:
        """Return the count of a mapping that is JSON."""
        return self.count(json.loads(line))


def in_turns(
    calls: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """Return the seconds of each call in each round."""
    repeats = {name: repeats_of(call) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            for _ in range(repeats[name]):
                call()
            seconds[name].append((clock() - start) / repeats[name])
    return seconds


def repeats_of(call: Callable[[], object]) -> int:
    """Return how often to call so that it can be timed; that warms it, too."""
    repeats = 1
    while True:
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        if time.perf_counter() - start >= LEAST_SECONDS:
            return repeats
        repeats *= 2


def record(row: str, seconds: dict[str, list[float]], **facts: object) -> Record:
    """Return the best round of each; and how many times as long the reference took, the median of rounds."""
    found: Record = {"row": row, "seconds": {name: min(times) for name, times in seconds.items()}, **facts}
    if THEIRS in seconds:
        ratios = [theirs / ours for ours, theirs in zip(seconds[OURS], seconds[THEIRS], strict=True)]
        found["ratio"] = statistics.median(ratios)
    return found


def count_rows(texts: list[str], rounds: int) -> list[Record]:
    """Measure counts of one request, from the smallest to a long conversation."""
    tokenizer, reference = nemo_fast.Tokenizer(), Reference()
    found = []
    for name, request in {
        "a user's message": chat_corpus.small(),
        "tools, calls and results": chat_corpus.with_tools(),
        "400 messages": chat_corpus.conversation(400, texts),
    }.items():
        messages, tools = request["messages"], request.get("tools")
        tokens = reference.count(request)
        assert tokenizer.count_chat(messages, tools) == tokens, name
        calls = {
            OURS: lambda messages=messages, tools=tools: tokenizer.count_chat(messages, tools),
            THEIRS: lambda request=request: reference.count(request),
        }
        found.append(record(f"count_chat, {name}", in_turns(calls, rounds), tokens=tokens))
    return found


def fit_rows(texts: list[str], rounds: int) -> list[Record]:
    """Measure fitting a long conversation into half of its tokens; nobody else does it."""
    tokenizer = nemo_fast.Tokenizer()
    messages = chat_corpus.conversation(399, texts)["messages"]
    tokens = tokenizer.count_chat(messages)
    most = tokens // 2
    fitted = tokenizer.fit_chat(messages, most)
    assert 0 < Reference().count({"messages": fitted.messages}) == fitted.token_count <= most
    # One turn more would be too much.
    last_turn = messages[fitted.dropped[-2] : fitted.dropped[-1] + 1]
    kept = [messages[0], *last_turn, *fitted.messages[1:]]
    assert tokenizer.count_chat(kept) > most
    seconds = in_turns({OURS: lambda: tokenizer.fit_chat(messages, most)}, rounds)
    return [record("fit_chat, 399 messages into half", seconds, tokens=tokens)]


def conversation_rows(texts: list[str], rounds: int) -> list[Record]:
    """Measure a message that joins a short and a long conversation, and is taken back."""
    message = {"role": "user", "content": "Hello, how are you?"}
    calls, tokens = {}, {}
    for length in (10, 400):
        messages = chat_corpus.conversation(length, texts)["messages"]
        grown = nemo_fast.Conversation(messages)
        grown.append(message)
        tokens[length] = grown.token_count
        assert Reference().count({"messages": [*messages, message]}) == tokens[length]
        grown.pop()

        def append_and_pop(grown: nemo_fast.Conversation = grown) -> None:
            grown.append(message)
            grown.pop()

        calls[f"Conversation of {length} messages, append and pop"] = append_and_pop
    seconds = in_turns(calls, rounds)
    counts = tokens.values()
    return [record(row, {OURS: seconds[row]}, tokens=count) for row, count in zip(calls, counts, strict=True)]


def file_rows(path: Path, sample: int, rounds: int) -> list[Record]:
    """Measure the file of requests on one and two threads, beside a loop over its first requests."""
    tokenizer, reference = nemo_fast.Tokenizer(), Reference()
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    first = lines[:sample]
    counted = tokenizer.count_requests_file(path)
    assert not counted.errors
    assert [reference.count_line(line) for line in first] == counted.counts[: len(first)].tolist()
    size, size_of_first = path.stat().st_size, sum(len(line.encode()) + 1 for line in first)
    found = []
    for threads in (1, 2):
        calls = {
            OURS: lambda threads=threads: tokenizer.count_requests_file(path, threads=threads),
            THEIRS: lambda: [reference.count_line(line) for line in first],
        }
        seconds = in_turns(calls, max(3, rounds // 2), time.perf_counter)
        # A byte of the sample takes as long as one of the whole.
        seconds[THEIRS] = [time_ * size / size_of_first for time_ in seconds[THEIRS]]
        name = f"{len(lines):,} requests, one a line, {threads} thread{'s' if threads > 1 else ''}"
        found.append(record(name, seconds, tokens=counted.total, bytes=size))
    return found


def table(records: list[Record]) -> list[str]:
    """Return the table of all rows."""
    lines = [
        "All counts are mistral-common's. The best round; the ratio is the median of the rounds.",
        "",
        f"| what | tokens | {OURS} | {THEIRS} | times as fast |",
        "|---|---|---|---|---|",
    ]
    for found in records:
        ours, theirs = (found["seconds"].get(name) for name in (OURS, THEIRS))
        shown = [_shown(seconds, found.get("bytes")) if seconds else "-" for seconds in (ours, theirs)]
        ratio = f"**{found['ratio']:.0f}**" if "ratio" in found else "-"
        lines.append(f"| {found['row']} | {found['tokens']:,} | {' | '.join(shown)} | {ratio} |")
    return lines


def _shown(seconds: float, size: int | None) -> str:
    return f"{seconds * 1e6:,.2f} µs" if size is None else f"{size / seconds / 1e6:.3g} MB/s"


if __name__ == "__main__":
    main()
