"""Measure how long it takes to count the tokens of a source tree from the command line; print a table.

    python benches/python/count_tree.py                   Python's standard library, without packages
    python benches/python/count_tree.py FOLDER            another tree
    python benches/python/count_tree.py --ttok COMMAND    with ttok; --write: keep the result

Every command is a fresh process, and all run in turns. Before that the count of each file is compared with
mistral-common's, and every sum with each other's. ttok knows OpenAI's vocabularies only: its sum is another,
so only its time is compared; it needs a file of theirs, in a folder that `TIKTOKEN_CACHE_DIR` names.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import machine
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

ROUNDS = 5
NEMO_FAST = [sys.executable, "-m", "nemo_fast", "count"]
TEKKEN = MistralTokenizer._data_path() / "tekken_240718.json"  # noqa: SLF001
# What one would write with tiktoken. It reads paths, a line each; prints the sum and the seconds of the loop.
TIKTOKEN_LOOP = """
import base64, json, sys, time, tiktoken
tekken = json.load(open(sys.argv[1]))
entries = tekken["vocab"][:130_072]
ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in entries}
pattern = tekken["config"]["pattern"]
encoding = tiktoken.Encoding("tekken", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
start = time.perf_counter()
total = 0
for path in open(sys.argv[2]).read().splitlines():
    with open(path, encoding="utf-8", newline="") as file:
        total += len(encoding.encode_ordinary(file.read()))
print(total, time.perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--ttok", help="the command of ttok, which lives in an environment of its own")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or standard_library(Path(scratch) / "python")
        lines = machine.heading("Counting a source tree", ("mistral-common", "tiktoken", "click"))
        lines += ["", *tree_table(folder, Path(scratch), options.ttok)]
    result = "\n".join(lines) + "\n"
    print(result)
    if options.write:
        path = machine.result_file("count-tree")
        path.write_text(result, encoding="utf-8")
        print(f"written to {path}")


def standard_library(target: Path) -> Path:
    """Copy what a fresh Python has: no installed packages, nothing compiled."""
    left_out = shutil.ignore_patterns("site-packages", "__pycache__", "*.so", "*.a", "*.exe")
    return Path(shutil.copytree(sysconfig.get_path("stdlib"), target, ignore=left_out))


def tree_table(folder: Path, scratch: Path, ttok: str | None) -> list[str]:
    """Compare all counts, then time the commands in turns."""
    output = subprocess.run([*NEMO_FAST, "--json", str(folder)], check=True, capture_output=True).stdout  # noqa: S603
    counts = json.loads(output)
    tekken = MistralTokenizer.from_file(TEKKEN).instruct_tokenizer.tokenizer
    size = 0
    for file in counts["files"]:
        content = Path(file["path"]).read_bytes()
        size += len(content)
        assert len(tekken.encode(content.decode(), bos=False, eos=False)) == file["tokens"], file
    files, total = len(counts["files"]), counts["total"]

    paths = scratch / "paths"
    paths.write_text("".join(f"{file['path']}\n" for file in counts["files"]), encoding="utf-8")
    joined = f"tr '\\n' '\\0' < {shlex.quote(str(paths))} | xargs -0 cat"
    commands: dict[str, list[str]] = {
        "`nemo-fast count FOLDER`": [*NEMO_FAST, str(folder)],
        "a loop with tiktoken, Tekken's ranks": [
            sys.executable,
            "-c",
            TIKTOKEN_LOOP,
            str(TEKKEN),
            str(paths),
        ],
        "`cat` all `\\| wc -w`, words": ["/bin/sh", "-c", f"{joined} | wc -w"],
    }
    if ttok:
        commands["`cat` all `\\| ttok`, OpenAI's vocabulary"] = ["/bin/sh", "-c", f"{joined} | {ttok}"]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    sums: dict[str, int] = {}
    loops = []
    for _ in range(ROUNDS):
        for name, command in commands.items():
            start = time.perf_counter()
            words = subprocess.run(command, check=True, capture_output=True).stdout.split()  # noqa: S603
            seconds[name].append(time.perf_counter() - start)
            sums[name] = int(words[0])
            if "tiktoken" in name:
                loops.append(float(words[1]))
    ours, loop = list(commands)[:2]
    assert sums[ours] == sums[loop] == total, sums

    lines = [
        f"{files:,} files, {size / 1e6:.1f} MB, {total:,} tokens; each file's count is mistral-common's.",
        f"{len(counts['skipped'])} files that are no text are left out. Files are in the page cache.",
        f"Seconds from start to end of a fresh process, {ROUNDS} rounds in turns; the ratio is the median.",
        "",
        "| command | sum | best | median | times ours |",
        "|---|---|---|---|---|",
    ]
    for name, times in seconds.items():
        ratio = statistics.median(theirs / mine for theirs, mine in zip(times, seconds[ours], strict=True))
        middle = statistics.median(times)
        lines.append(f"| {name} | {sums[name]:,} | {min(times):.2f} | {middle:.2f} | {ratio:.1f} |")
    return [
        *lines,
        "",
        f"Of tiktoken's time the loop alone, the vocabulary already built, is {min(loops):.2f}.",
    ]


if __name__ == "__main__":
    main()
