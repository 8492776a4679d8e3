"""Compare the tokenizer with its plain path at every level of this CPU; exit code 1 if any text differs.

python tests/exactness.py --bytes 100000000 FILE...    (.txt or .txt.xz, in UTF-8)

The files are encoded whole, and changed parts of them are among the generated texts, of which there are that
many bytes a level. The texts themselves are made in `tests/rust/exactness.rs`; `NEMO_FAST_CPU` says the
level, so that the choice of a level is tested too. One text in a hundred, with the ids of the plain path, is
compared with mistral-common, too. What comes out is a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

ROOT = Path(__file__).parents[1]
LEVELS = ("scalar", "avx2", "avx512")
# `--exact`: no other test's name has this one in it.
CAMPAIGN = ("exactness::campaign", "--exact", "--ignored", "--nocapture")


def test_binary():
    """Build the tests of the crate as they are released, and return where they are."""
    command = [
        "cargo",
        "test",
        "--release",
        "--locked",
        "--test",
        "rust",
        "--no-run",
        "--message-format",
        "json",
    ]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = map(json.loads, built.stdout.splitlines())
    return next(message["executable"] for message in messages if message.get("executable"))


def unpacked(paths, folder):
    """Return the files, those that were compressed as they were before."""
    texts = []
    for path in map(Path, paths):
        text = path.resolve()
        if path.suffix == ".xz":
            text = Path(folder) / path.stem
            text.write_bytes(lzma.decompress(path.read_bytes()))
        texts.append(text)
    return texts


def run(binary, level, texts, sample, arguments):
    """Return the exit code and the stages of a level by name; None if this CPU lacks the level."""
    environment = os.environ | {
        "NEMO_FAST_CPU": level,
        "NEMO_FAST_EXACTNESS_FILES": os.pathsep.join(map(str, texts)),
        "NEMO_FAST_EXACTNESS_SAMPLE": str(sample),
        "NEMO_FAST_EXACTNESS_BYTES": str(arguments.bytes),
        "NEMO_FAST_EXACTNESS_SEED": str(arguments.seed),
    }
    start = time.monotonic()
    done = subprocess.run([binary, *CAMPAIGN], env=environment, capture_output=True, text=True, check=False)
    if "this CPU lacks it" in done.stderr:
        return None
    # The first line has the name of the test in front; texts have line ends that JSON does not escape.
    lines = [json.loads(line[line.index('{"') :]) for line in done.stdout.split("\n") if '{"' in line]
    assert lines[0] == {"level": level}, done.stderr
    sys.stderr.write(f"{level}: {time.monotonic() - start:.0f} s\n")
    for stage in lines[1:]:
        if stage["first"] is not None:
            sys.stderr.write(f"{level}, {stage['stage']}: {stage['first']!r}\n")
    sys.stderr.write(done.stderr if done.returncode else "")
    return done.returncode, {stage["stage"]: stage for stage in lines[1:]}


def compare_with_reference(sample):
    """Compare the texts that the last level has written down; return how many differ, and a line on it."""
    path = MistralTokenizer._data_path() / "tekken_240718.json"
    reference = MistralTokenizer.from_file(path).instruct_tokenizer.tokenizer
    texts = size = differences = 0
    with sample.open(encoding="utf-8") as lines:
        for text, ids in map(json.loads, lines):
            texts += 1
            size += len(text.encode())
            if reference.encode(text, bos=False, eos=False) != ids:
                differences += 1
                sys.stderr.write(f"plain path: {text[:4_000]!r}\n")
    found = f"{texts:,} texts, {size:,} bytes, {differences:,} differences"
    return differences, f"A sample of them with mistral-common: {found}."


def table(results):
    """Return the rows of all stages, a column a level; what a crash left out is named."""
    head = ["what", "texts", "bytes", "ids", *(f"{level} differs" for level in results)]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name, stage in max(results.values(), key=len).items():
        found = [stages.get(name) for stages in results.values()]
        differences = ["crashed" if one is None else f"{one['differences']:,}" for one in found]
        rows.append([name, *(f"{stage[key]:,}" for key in ("texts", "bytes", "ids")), *differences])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument(
        "--bytes", type=int, default=1_000_000, help="of generated texts (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=240_718, help="of the generator (default: %(default)s)")
    arguments = parser.parse_args()
    binary = test_binary()
    with tempfile.TemporaryDirectory() as folder:
        texts = unpacked(arguments.files, folder)
        sample = Path(folder) / "sample.jsonl"
        results = {level: run(binary, level, texts, sample, arguments) for level in LEVELS}
        differences, line = compare_with_reference(sample)
    lacking = [level for level, result in results.items() if result is None]
    found = {level: result for level, result in results.items() if result is not None}
    sys.stdout.write(f"{table({level: stages for level, (_, stages) in found.items()})}\n{line}\n")
    if lacking:
        sys.stdout.write(f"This CPU lacks {', '.join(lacking)}.\n")
    return 1 if differences or any(code for code, _ in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
