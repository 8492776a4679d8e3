"""Measure the engine on this CPU beside others: Nemo's shape with four layers, and SmolLM2's.

    python benches/python/cpu_engine.py                  half an hour; writes benches/results
    python benches/python/cpu_engine.py --no-write --rounds 1
    python benches/python/cpu_engine.py --layers 40      the whole of Nemo's shape, not behind a context

In each round every engine runs once, in a process of its own, and `nemo-fast bench` measures what the
machine can do at most: decoding is a share of the speed at which memory is read, prompts of the peak of bf16
products. The weights are random (`synthetic_nemo.py`) and kept in the cache folder, ours in E4M3 and the
others' in Q8_0. Peers are those that `engine_peers.py` has built.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import engine_runs
import machine
import synthetic_nemo
from engine_peers import IK, LLAMA, Peer

import nemo_fast
from nemo_fast._native import Checkpoint
from nemo_fast.cache import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEQUENCES = 4
PROMPT = 512
NEW = 32
CONTEXT = 16_384
# Read for a token, and the same of llama.cpp's Q8_0: 34 bytes for 32 weights.
Q8_0_BYTES = 34 / 32


@dataclass(frozen=True)
class Model:
    """One shape, in our format and the others'."""

    title: str
    folder: Path
    config: dict[str, Any]
    threads: tuple[int, ...]
    has_fp8_head: bool

    @property
    def gguf(self) -> Path:
        """The shape as Q8_0, made when a peer first asks for it."""
        path = cache_folder() / "benches" / f"{self.folder.name}-q8_0.gguf"
        if not path.exists():
            half = path.with_suffix(".part")
            synthetic_nemo.write_gguf(half, self.config)
            half.rename(path)
        return path


@dataclass(frozen=True)
class Contender:
    """An engine in one setting: what it measures of a model, by name."""

    title: str
    speeds: Callable[[Model, int], dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--no-write", action="store_true")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    nemo = nemo_model(options.layers)
    whole = options.layers >= synthetic_nemo.LAYERS
    models = [nemo] if whole else [nemo, smollm2_model()]
    peers = [peer for peer in (LLAMA, IK) if peer.is_built and not options.no_peers]
    lines = [
        *machine.heading("The engine on the CPU", ("numpy",)),
        f"- {'; '.join(peer.title for peer in peers) or 'without peers'}",
        f"- medians of {options.rounds} rounds in turns, load average before {load:.2f}",
        "- ours: E4M3 (SmolLM2's head BF16), KV cache BF16; peers: Q8_0, KV cache F16",
    ]
    path = machine.result_file("cpu-engine-40-layers" if whole else "cpu-engine")
    for line in lines:
        print(line)
    for title, table in tables(models, peers, options.rounds):
        # Shown and kept as it comes: a run takes long, and the next part may fail.
        section = ["", f"## {title}", "", *table]
        print("\n".join(section), flush=True)
        lines += section
        if not options.no_write:
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def tables(models: list[Model], peers: list[Peer], rounds: int) -> Iterator[tuple[str, list[str]]]:
    """Yield titles and lines: start and long contexts of the first model, then the speeds of all."""
    nemo = models[0]
    yield f"Start and memory ({nemo.title})", start_table(nemo, peers, rounds)
    for model in models:
        for threads in model.threads:
            table = speed_table(model, threads, contenders(model, peers, threads), rounds)
            yield f"{model.title}, threads: {threads}", table
    if len(models) > 1:
        yield f"Behind a context of {CONTEXT:,} tokens ({nemo.title})", context_table(nemo, peers, rounds)


def nemo_model(layers: int) -> Model:
    """Return Nemo's shape with a head in E4M3, packed; made if it is not there."""
    config = {**synthetic_nemo.CONFIG, "num_hidden_layers": layers}
    folder = cache_folder() / "benches" / f"nemo-{layers}-layers"
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as source:
            synthetic_nemo.write_folder(Path(source), config)
            nemo_fast.convert(source, folder, lm_head="fp8")
    threads = (1, 2) if layers < synthetic_nemo.LAYERS else (2,)
    return Model(f"Nemo's width, {layers} layers", folder, config, threads, has_fp8_head=True)


def smollm2_model() -> Model:
    """Return SmolLM2-135M, whose peers get random weights of its shape."""
    folder = nemo_fast.pull("smollm2-135m")
    config = Checkpoint(folder).config
    return Model("SmolLM2-135M", folder, config, (1, 2), has_fp8_head=False)


def contenders(model: Model, peers: list[Peer], threads: int) -> Iterator[Contender]:
    """Yield our engine in its settings, then the peers."""
    yield Contender("nemo_fast", ours)
    if not model.has_fp8_head:
        yield Contender('nemo_fast, lm_head="fp8"', partial(ours, options=("--lm-head", "fp8")))
    yield Contender('nemo_fast, prefill="int8"', partial(ours, options=("--prefill", "int8")))
    if threads == max(model.threads):
        yield Contender("nemo_fast, AVX-512 without BF16", partial(ours, level="avx512"))
        yield Contender("nemo_fast, AVX2", partial(ours, level="avx2"))
    for peer in peers:
        yield Contender(peer.name, partial(theirs, peer))


def ours(model: Model, threads: int, *, level: str = "", options: tuple[str, ...] = ()) -> dict[str, float]:
    """Return what `nemo-fast bench` finds in one round."""
    sizes = ("--prompt-tokens", str(PROMPT), "--new-tokens", str(NEW), "--context-length", "1024")
    found = engine_runs.bench(model.folder, threads, *sizes, *options, level=level)
    return {
        "decode": found["decode_tokens_per_second_batch_1"],
        "several": found["decode_tokens_per_second_batch_4"],
        "prefill": found["prefill_tokens_per_second"],
        "bytes": found["bytes_read_per_token"],
        "operations": found["operations_per_prompt_token"],
        "read": found["memory_read_bytes_per_second"],
        "dots": found.get("dot_operations_per_second", 0.0),
    }


def theirs(peer: Peer, model: Model, threads: int) -> dict[str, float]:
    """Return what a peer's own benchmark finds; its limits are those that ours found in the same round."""
    found = peer.speeds(model.gguf, threads, prompt=PROMPT, new=NEW)
    if "llama-batched-bench" in peer.programs:
        found["several"] = peer.several(model.gguf, threads, sequences=SEQUENCES, new=NEW)
    return found


def speed_table(model: Model, threads: int, engines: Iterator[Contender], rounds: int) -> list[str]:
    """Return the lines of a table: a row for each engine."""
    all_engines = list(engines)
    found: dict[str, list[dict[str, float]]] = {engine.title: [] for engine in all_engines}
    for _ in range(rounds):
        for engine in all_engines:
            found[engine.title].append(engine.speeds(model, threads))
    first = median(found[all_engines[0].title])
    # Zero where the kernels have no instruction for bf16 products.
    read, dots = first["read"], first["dots"]
    peak = f"the peak of bf16 products is {dots / 1e9:.0f} GFLOP/s" if dots else "no instruction is for bf16"
    lines = [
        f"Memory is read at {read / 1e9:.1f} GB/s; {peak}.",
        "",
        f"| engine | decode | of memory | {SEQUENCES} at once | over one | prompt of {PROMPT} | of peak |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, rows in found.items():
        row = median(rows)
        weight_bytes = row.get("bytes", first["bytes"] * Q8_0_BYTES)
        several = row.get("several")
        cells = [
            title,
            f"{row['decode']:.1f} tokens/s",
            f"{100 * row['decode'] * weight_bytes / read:.0f} %",
            f"{several:.1f} tokens/s" if several else "-",
            f"{several / row['decode']:.1f} x" if several else "-",
            f"{row['prefill']:.0f} tokens/s",
            f"{100 * row['prefill'] * first['operations'] / dots:.0f} %" if dots else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def median(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each number."""
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def context_table(model: Model, peers: list[Peer], rounds: int) -> list[str]:
    """Return how much slower decoding is behind a long context, beside how much more is read."""
    lines = [
        "| engine, KV cache | decode | behind the context | slower | more bytes | of memory |",
        "|---|---|---|---|---|---|",
    ]
    threads = max(model.threads)
    for kv_cache in ("bf16", "fp8"):
        found = engine_runs.bench(
            *(model.folder, threads, "--kv-cache", kv_cache, "--new-tokens", str(NEW)),
            *("--context-tokens", str(CONTEXT), "--context-length", str(CONTEXT + 1024)),
            rounds=rounds,
        )
        behind = found["decode_tokens_per_second_behind_context"]
        weights, more = found["bytes_read_per_token"], found["kv_cache_bytes_per_token"] * CONTEXT
        cells = [
            f"nemo_fast, {kv_cache}",
            f"{found['decode_tokens_per_second_batch_1']:.1f} tokens/s",
            f"{behind:.1f} tokens/s",
            f"{100 * (1 / found['decode_share_behind_context'] - 1):.0f} %",
            f"{100 * more / weights:.0f} %",
            f"{100 * behind * (weights + more) / found['memory_read_bytes_per_second']:.0f} %",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if LLAMA in peers:
        before, behind = LLAMA.behind(model.gguf, threads, context=CONTEXT, new=NEW)
        speeds = f"{before:.1f} tokens/s | {behind:.1f} tokens/s | {100 * (before / behind - 1):.0f} %"
        lines.append(f"| {LLAMA.name}, f16 | {speeds} | - | - |")
    return lines


def start_table(model: Model, peers: list[Peer], rounds: int) -> list[str]:
    """Return the time of a process to its first token, files being in the page cache, and its memory."""
    threads = max(model.threads)
    commands = {"nemo_fast": engine_runs.first_token(model.folder, threads)}
    commands |= {peer.name: peer.start(model.gguf, threads) for peer in peers}
    lines = ["| engine | start to first token | private memory at the end |", "|---|---|---|"]
    for name, command in commands.items():
        engine_runs.started(command)  # the file is read to the page cache
        runs = [engine_runs.started(command) for _ in range(rounds)]
        seconds = statistics.median(run.seconds for run in runs)
        lines.append(f"| {name} | {seconds:.2f} s | {max(run.private_bytes for run in runs) / 1e6:.0f} MB |")
    return lines


if __name__ == "__main__":
    main()
