"""Measure the engine on this CPU: Nemo's shape with four layers and SmolLM2, at each level of its kernels.

    python benches/python/cpu_engine.py                  about five minutes; writes benches/results
    python benches/python/cpu_engine.py --no-write --rounds 1

Each row is a run of `nemo-fast bench` in a process of its own, with the limits of the machine measured in the
same rounds: decoding is a share of the speed at which memory is read, prompts of the peak of bf16 products.
The weights of Nemo's shape are random (`synthetic_nemo.py`) and kept in the cache folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import machine
import synthetic_nemo

import nemo_fast
from nemo_fast.cache import cache_folder

LEVELS = ("avx512bf16", "avx512", "avx2")
COLUMNS = [
    "model",
    "kernels",
    "threads",
    "memory read",
    "decode",
    "share of memory",
    "4 at once",
    "prompt of 512",
    "share of peak",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-write", action="store_true")
    options = parser.parse_args()
    nemo = packed_nemo(options.layers)
    models = {f"Nemo's shape, {options.layers} layers": nemo, "SmolLM2-135M": nemo_fast.pull("smollm2-135m")}
    load = os.getloadavg()[0]
    rows = [
        row(name, folder, level, threads, options.rounds)
        for name, folder in models.items()
        for level in LEVELS
        for threads in (1, 2)
    ]
    lines = [
        *machine.heading("Speed of the engine on the CPU", ("numpy",)),
        f"- medians of {options.rounds} rounds, load average before {load:.2f}",
        "- linear layers in E4M3, KV cache in BF16; head in E4M3 (Nemo's shape) or BF16 (SmolLM2)",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
        *rows,
    ]
    result = "\n".join(lines) + "\n"
    print(result)
    if not options.no_write:
        path = machine.result_file("cpu-engine")
        path.write_text(result, encoding="utf-8")
        print(f"written to {path}")


def packed_nemo(layers: int) -> Path:
    """Return a packed folder of Nemo's shape with a head in E4M3, made if it is not there."""
    folder = cache_folder() / "benches" / f"nemo-{layers}-layers"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache_folder()) as source:
            synthetic_nemo.write_folder(Path(source), {**synthetic_nemo.CONFIG, "num_hidden_layers": layers})
            nemo_fast.convert(source, folder, lm_head="fp8")
    return folder


def row(name: str, folder: Path, level: str, threads: int, rounds: int) -> str:
    """Return a line of the table."""
    found = measured(folder, level, threads, rounds)
    dots = found.get("prefill_share_of_dot_peak")
    cells = [
        name,
        found["kernels"],
        str(threads),
        f"{found['memory_read_bytes_per_second'] / 1e9:.1f} GB/s",
        f"{found['decode_tokens_per_second_batch_1']:.1f} tokens/s",
        f"{100 * found['decode_share_of_memory_read']:.0f} %",
        f"{found['decode_tokens_per_second_batch_4']:.1f} tokens/s",
        f"{found['prefill_tokens_per_second']:.0f} tokens/s",
        "-"
        if dots is None
        else f"{100 * dots:.0f} % of {found['dot_operations_per_second'] / 1e9:.0f} GFLOP/s",
    ]
    return f"| {' | '.join(cells)} |"


def measured(folder: Path, level: str, threads: int, rounds: int) -> dict[str, Any]:
    """Return what `nemo-fast bench --json` prints."""
    command = [sys.executable, "-m", "nemo_fast", "bench", str(folder), "--json", "--rounds", str(rounds)]
    command += ["--threads", str(threads), "--context-length", "1024"]
    environment = {**os.environ, "NEMO_FAST_CPU": level}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
