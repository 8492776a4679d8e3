"""The report on a run of `tokenizer_speed.py`: targets with measured ratios, then each row by peer and text.

python benches/python/speed_report.py RESULT.json     print it again
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers import OURS
from speeds import LISTS_AND_ARRAYS, PHASES, Speeds, geometric_mean, in_phase

if TYPE_CHECKING:
    from collections.abc import Callable

ROW_NAMES = {
    "encode/list": "Encode to a list",
    "encode/array": "Encode to an array or bytes",
    "count": "Count",
}
COUNTS = ("count", *LISTS_AND_ARRAYS)  # who has no count encodes and takes the length


def report(result: dict[str, Any]) -> str:
    """Return the whole report in Markdown."""
    speeds = Speeds(result)
    versions = ", ".join(f"{name} {number or 'not installed'}" for name, number in result["versions"].items())
    sizes = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in result["texts"].items())
    minutes = f"{result['seconds'] / 60:.0f} minutes"
    lines = [
        *result["heading"],
        f"- peers: {versions}",
        f"- texts, MB: {sizes}",
        f"- {result['rounds']} rounds, {minutes}, load average before {result['load']:.2f}",
        "",
        "MB/s of UTF-8 by CPU time on one processor (batches: by the clock on two), geometric means over the",
        "texts; each tokenizer in the form of ids in which it is fastest. The ratio is to the best peer,",
        "where no other is named. `benches/README.md` says how it is measured.",
        "",
        "| what | nemo_fast | peer | ratio | at least | goal |",
        "|---|---|---|---|---|---|",
        *rate_targets(speeds),
        *call_and_decode_targets(speeds),
        *thread_targets(speeds),
        *start_targets(speeds),
        *pathological_targets(speeds),
        "",
        *differences(result),
        *tables(speeds),
        *threads_table(speeds),
    ]
    return "\n".join(lines) + "\n"


def rate_targets(speeds: Speeds) -> list[str]:
    """Return the lines of the targets in MB/s."""
    asian = [text for text in speeds.texts if text in {"zh", "ja"}]
    limits = {"cold": ("1.6", "2.5"), "new": ("1.6", "2.5"), "warm": ("1.15", "1.5")}
    rows = [
        (f"encode, {PHASES[phase]}", in_phase(LISTS_AND_ARRAYS, phase), speeds.texts, limit)
        for phase, limit in limits.items()
    ]
    rows += [
        (
            f"encode {' and '.join(asian)}, {PHASES[phase]}",
            in_phase(LISTS_AND_ARRAYS, phase),
            asian,
            ("2", "3"),
        )
        for phase in ("cold", "new")
    ]
    limits = {"cold": ("1.7", "3"), "new": ("1.7", "3"), "warm": ("1.3", "2")}
    rows += [
        (f"count, {PHASES[phase]}", in_phase(COUNTS, phase), speeds.texts, limit)
        for phase, limit in limits.items()
    ]
    for what, of in (("encode", ["batch/encode"]), ("count", ["batch/count", "batch/encode"])):
        rows += [
            (f"batch of {what}, 2 threads, {PHASES[phase]}", in_phase(of, phase), speeds.texts, ("1.5", "2"))
            for phase in ("cold", "warm")
        ]
    return [
        line(speeds, what, lambda peer, of=of, texts=texts: speeds.best_rate(of, peer, texts), limit)
        for what, of, texts, limit in rows
    ]


def line(
    speeds: Speeds,
    what: str,
    value: Callable[[str], float | None],
    limits: tuple[str, str],
    peer: str | None = None,
) -> str:
    """Return the line of a target: the value of nemo_fast beside the best peer's, or a named peer's."""
    ours, theirs = value(OURS), speeds.best_peer(value)
    if peer is not None:
        number = value(peer)
        theirs = None if number is None else (peer, number)
    ratio = f"**{ours / theirs[1]:.2f}**" if ours and theirs and theirs[1] else "-"
    return f"| {what} | {_number(ours)} | {_named(theirs)} | {ratio} | {limits[0]} | {limits[1]} |"


def _number(value: float | None, unit: str = "MB/s") -> str:
    return "-" if value is None else f"{value:.3g} {unit}"


def _named(found: tuple[str, float] | None, unit: str = "MB/s") -> str:
    return "-" if found is None else f"{found[0]} {_number(found[1], unit)}"


def call_and_decode_targets(speeds: Speeds) -> list[str]:
    """Return the lines that are set beside gigatoken."""
    lines = []
    theirs = speeds.best_call_time(LISTS_AND_ARRAYS, "gigatoken")
    for what, rows in (("encode", LISTS_AND_ARRAYS), ("count", ["count"])):
        ours = speeds.best_call_time(rows, OURS)
        if ours and theirs:
            numbers = f"{ours:.2f} µs | gigatoken {theirs:.2f} µs | **{ours / theirs:.2f}**"
            lines.append(f"| {what}, a call of 200 characters: time | {numbers} | ≤ 0.6 | ≤ 0.4 |")
    for what, rows in (("str", ["decode/list", "decode/array"]), ("bytes", ["decode/bytes"])):
        value = lambda peer, rows=rows: speeds.best_rate(rows, peer)  # noqa: E731
        lines.append(line(speeds, f"decode to {what}", value, ("2", "3"), peer="gigatoken"))
    return lines


def thread_targets(speeds: Speeds) -> list[str]:
    """Return the lines on two Python threads, beside two processes of the same tokenizer."""
    lines = []
    for what in ("count", "encode_array", "encode_list"):
        threads, processes = (speeds.gain(f"threads/{what}", OURS, kind) for kind in ("threads", "processes"))
        if threads and processes:
            best = speeds.best_peer(lambda peer, what=what: speeds.gain(f"threads/{what}", peer, "threads"))
            peer = f"{best[0]} × {best[1]:.2f}" if best else "-"
            share = f"**{threads / processes:.0%}** of two processes (× {processes:.2f})"
            lines.append(f"| {what}, two Python threads, 4 KB | × {threads:.2f} | {peer} | {share} | 95% | |")
    return lines


def start_targets(speeds: Speeds) -> list[str]:
    """Return the lines on loading, importing and memory."""
    memory = "private memory of import, first count, 20 MB of counting"
    rows = [
        ("load/construct", "cpu", 1e3, "ms", "`Tokenizer()`", ("≤ 2 ms", "≤ 0.1 ms")),
        ("load/first call", "cpu", 1e3, "ms", "the first call after it", ("", "")),
        ("memory/private/counted", "bytes", 1e-6, "MB", memory, ("≤ 12 MB", "≤ 4 MB")),
        ("memory/file/counted", "bytes", 1e-6, "MB", "mapped files in memory beside it", ("reported", "")),
    ]
    lines = []
    for row, field, scale, unit, what, limits in rows:
        found = {peer: speeds.records.get((row, peer, "")) for peer in speeds.peers}
        numbers = {peer: record[field] * scale for peer, record in found.items() if record}
        if (ours := numbers.pop(OURS, None)) is not None:
            best = min(numbers.items(), key=lambda item: item[1], default=None)
            ratio = f"**{ours / best[1]:.3f}**" if best and best[1] else "-"
            shown = f"{_number(ours, unit)} | {_named(best, unit)} | {ratio}"
            lines.append(f"| {what} | {shown} | {limits[0]} | {limits[1]} |")
    bare, count = (speeds.records.get(("import", name, "")) for name in ("bare", "count"))
    if bare and count:
        beyond = f"{(count['median'] - bare['median']) * 1e3:.1f} ms"
        what = "`import nemo_fast` and a first count, beyond a bare interpreter; numpy is not imported"
        bare_time = f"the bare one {bare['median'] * 1e3:.1f} ms"
        lines.append(f"| {what} | {beyond} | {bare_time} | - | ≤ 50 ms | ≤ 15 ms |")
    return lines


def pathological_targets(speeds: Speeds) -> list[str]:
    """Return the lines on the worst of the pathological families, and on how time grows with length."""
    lines = [
        line(
            speeds,
            f"worst pathological input, {what}",
            lambda peer, of=of: speeds.worst_family(of, peer),
            limits,
        )
        for what, of, limits in (
            ("encode", ["pathological/encode"], ("3", "linear")),
            ("count", ["pathological/count", "pathological/encode"], ("3", "linear")),
        )
    ]
    for what in ("encode", "count"):
        whole = speeds.families(f"pathological/{what}", OURS)
        eighth = speeds.families(f"pathological/{what}/eighth", OURS)
        if growth := {name: 8 * eighth[name] / whole[name] for name in whole if eighth.get(name)}:
            worst = max(growth, key=lambda name: growth[name])
            measured = f"× {growth[worst]:.1f} ({worst})"
            lines.append(
                f"| eight times as long a pathological text, {what}: time | {measured} | - | - | | × 8 |"
            )
    return lines


def differences(result: dict[str, Any]) -> list[str]:
    """Return what differed from the reference."""
    lines = []
    for peer, found in result["wrong"].items():
        texts = sorted({record["text"] for record in found})
        what = "left out, it differs on" if set(texts) & set(result["texts"]) else "differs or fails on"
        lines.append(f"- {peer}: {what} {', '.join(texts)} ({found[0]['wrong'][:80]})")
    if not lines:
        return ["All ids, counts and decoded texts are those of mistral-common.", ""]
    return ["All ids, counts and decoded texts are those of mistral-common, but:", "", *lines, ""]


def tables(speeds: Speeds) -> list[str]:
    """Return every row of MB/s and microseconds by peer and text."""
    lines = []
    for phase, title in PHASES.items():
        for row, name in ROW_NAMES.items():
            lines += rates_table(speeds, f"{name}, {title}", f"{row}/{phase}")
    for row, name in ROW_NAMES.items():
        value = lambda peer, text, row=row: speeds.call_time(row, peer, text)  # noqa: E731
        lines += table(speeds, f"{name}, calls of 200 characters, µs", value, speeds.texts)
    for row in ("list", "array", "bytes"):
        lines += rates_table(speeds, f"Decode: {row}", f"decode/{row}")
    for what in ("encode", "count"):
        for phase in ("cold", "warm"):
            title = f"Batch of {what}, two threads, {PHASES[phase]}"
            lines += rates_table(speeds, title, f"batch/{what}/{phase}")
    for what in ("encode", "count"):
        row = f"pathological/{what}"
        found = {peer: rates for peer in speeds.peers if (rates := speeds.families(row, peer))}
        names = list(next(iter(found.values()), {}))
        value = lambda peer, name, found=found: found.get(peer, {}).get(name)  # noqa: E731
        lines += table(speeds, f"Pathological, {what}, MB/s", value, names)
        worst = {peer: min(rates, key=lambda name, rates=rates: rates[name]) for peer, rates in found.items()}
        named = (f"{peer} {found[peer][name]:.3g} ({name})" for peer, name in worst.items())
        lines += [f"Worst: {', '.join(named)}.", ""] if worst else []
    return lines


def rates_table(speeds: Speeds, title: str, row: str) -> list[str]:
    """Return the table of a row in MB/s."""
    return table(speeds, f"{title}, MB/s", lambda peer, text: speeds.rate(row, peer, text), speeds.texts)


def table(
    speeds: Speeds, title: str, value: Callable[[str, str], float | None], columns: list[str]
) -> list[str]:
    """Return a table of peers by columns; nothing if it would be empty."""
    lines = [f"## {title}", "", f"| | {' | '.join(columns)} | mean |", "|---" * (len(columns) + 2) + "|"]
    heading = len(lines)
    for peer in speeds.peers:
        numbers = [value(peer, column) for column in columns]
        if any(numbers):
            mean = geometric_mean(filter(None, numbers)) if all(numbers) else None
            cells = ["-" if number is None else f"{number:.3g}" for number in [*numbers, mean]]
            lines.append(f"| {peer} | {' | '.join(cells)} |")
    return [*lines, ""] if len(lines) > heading else []


def threads_table(speeds: Speeds) -> list[str]:
    """Return the gains of two threads and two processes by call, text and peer."""
    lines = [
        "## Two threads on one tokenizer, documents of 4,000 characters",
        "",
        "| call | text | peer | one, MB/s | two processes | two threads |",
        "|---|---|---|---|---|---|",
    ]
    heading = len(lines)
    for (row, peer, text), record in sorted(speeds.records.items()):
        if row.startswith("threads/"):
            gains = " | ".join(f"× {record[kind] / record['one']:.2f}" for kind in ("processes", "threads"))
            call = row.removeprefix("threads/")
            lines.append(f"| {call} | {text} | {peer} | {record['one'] / 1e6:.3g} | {gains} |")
    return lines if len(lines) > heading else []


if __name__ == "__main__":
    print(report(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), end="")
