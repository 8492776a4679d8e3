"""Measure the tokenizer beside its peers: every row of speed, on the same texts, in one run.

    python benches/python/fetch_corpus.py                 once: the texts
    python benches/python/tokenizer_speed.py              all peers and texts, about 20 minutes
    python benches/python/tokenizer_speed.py --quick      four peers, four texts, one round: about two minutes
    python benches/python/tokenizer_speed.py --peers nemo_fast,gigatoken --texts en,zh --rows encode,count

First every call of every peer is compared with the ids of mistral-common, on the texts and the pathological
families. A peer that differs on a text is left out; one that differs or fails on a family counts as 0 there.
Then each measurement runs in a process of its own, pinned to one processor where it is of one thread, peer by
peer within each round; the best of the rounds counts. Writes JSON and a report to `benches/results/`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import fetch_corpus
import machine
from peer_files import peer_files
from peer_process import Record, Windows, environment, measure
from peers import OURS, PEERS, REFERENCE
from speed_report import report

TEXTS = ("en", "de", "ru", "zh", "ja", "code_python", "json_min", "mixed")
QUICK_TEXTS = ("en", "ru", "zh", "code_python")
QUICK_PEERS = (OURS, "gigatoken", "fastokens", "quicktok")
THREAD_TEXTS = ("en", "zh", "mixed")
THREAD_PEERS = (OURS, "gigatoken", "fastokens", "quicktok", "tuetoken")
ROWS = ("encode", "array", "count", "pathological", "batch", "threads", "load", "memory", "import")
STARTS = {
    "bare": "pass",
    "import": "import nemo_fast",
    "count": "import nemo_fast; nemo_fast.count('first')",
}


class Run:
    """One run of the benchmark: who, on what, how often. It collects the best of the rounds."""

    def __init__(
        self, peers: list[str], texts: list[Path], rows: list[str], *, rounds: int, quick: bool
    ) -> None:
        self.peers, self.texts, self.rows, self.rounds, self.quick = peers, texts, rows, rounds, quick
        self.shrink = 4 if quick else 1  # the pathological texts to this part
        self.processors = sorted(os.sched_getaffinity(0))
        self.records: dict[tuple[str, str, str], Record] = {}
        self.wrong: dict[str, list[Record]] = {}

    def check(self) -> None:
        """Compare every peer with the reference, and leave out those that differ on a text."""
        shrink = self.shrink if "pathological" in self.rows else 0
        with tempfile.TemporaryDirectory() as truth:
            self._measure("truth", REFERENCE, truth, shrink, *self.texts)
            for peer in self.peers:
                if found := self._measure("check", peer, truth, shrink, *self.texts):
                    self.wrong[peer] = found
        assert OURS not in self.wrong, f"{OURS} differs from {REFERENCE}: {self.wrong[OURS]}"
        names = {path.stem for path in self.texts}
        inexact = {peer for peer, found in self.wrong.items() if names & {record["text"] for record in found}}
        self.peers = [peer for peer in self.peers if peer not in inexact]
        say("ids compared")

    def texts_in_turns(self, modes: list[str]) -> None:
        """Measure the rows of one thread on every text."""
        for number in range(self.rounds):
            for text in self.texts:
                for peer in self._peers_of(number):
                    for mode in modes:
                        self._keep(peer, text.stem, self._measure(mode, peer, text))
            say(f"{', '.join(modes)}: round {number + 1} of {self.rounds}")

    def pathological(self) -> None:
        """Measure the pathological families, and for nemo_fast an eighth of each, to see if it is linear."""
        for number in range(min(self.rounds, 2)):
            for peer in self._peers_of(number):
                self._keep(peer, "", self._measure("pathological", peer, self.shrink))
            eighths = self._measure("pathological", OURS, 8 * self.shrink)
            self._keep(OURS, "", [{**record, "row": f"{record['row']}/eighth"} for record in eighths])

    def batch(self) -> None:
        """Measure batches with two threads."""
        for number in range(min(self.rounds, 2)):
            for text in self.texts:
                for peer in self._peers_of(number):
                    self._keep(peer, text.stem, self._measure("batch", peer, text, 2, threads=2))

    def load(self) -> None:
        """Measure loading."""
        for _ in range(self.rounds):
            for peer in self.peers:
                self._keep(peer, "", self._measure("load", peer))

    def memory(self) -> None:
        """Measure memory."""
        for peer in self._peers_of(1):
            self._keep(peer, "", self._measure("memory", peer, *self.texts))

    def threads(self) -> None:
        """Measure one thread, two processes, and two threads of one process, in turns."""
        if len(self.processors) < 2:
            print("threads: there is one processor only")
            return
        texts = [path for path in self.texts if path.stem in THREAD_TEXTS]
        for text in texts[:1] if self.quick else texts:
            for peer in (peer for peer in THREAD_PEERS if peer in self.peers):
                for what in ("count", "encode_array"):
                    self._gain(peer, what, text)

    def _gain(self, peer: str, what: str, text: Path) -> None:
        first, second = self.processors[:2]
        turns: list[dict[str, float]] = []
        with Windows(peer, what, text) as one, Windows(peer, what, text) as other:
            if not (one.is_ready and other.is_ready):
                return
            for _ in range(2 * self.rounds + 1):
                alone = one.ask(1, first)
                running = [one.start(1, first), other.start(1, second)]
                both = sum(process.answer() for process in running)
                turns.append({"one": alone, "processes": both, "threads": one.ask(2, first, second)})
        best = {name: max(turn[name] for turn in turns) for name in turns[0]}
        self._keep(peer, text.stem, [{"row": f"threads/{what}", **best}])

    def start_up(self) -> None:
        """Measure whole interpreters, and check that numpy is not among what they import."""
        seconds: dict[str, list[float]] = {name: [] for name in STARTS}
        for code in STARTS.values():
            _interpreter(f"{code}; import sys; assert 'numpy' not in sys.modules")
        for _ in range(7 * self.rounds):
            for name, code in STARTS.items():
                start = time.perf_counter()
                _interpreter(code)
                seconds[name].append(time.perf_counter() - start)
        for name, times in seconds.items():
            found = {"row": "import", "median": statistics.median(times), "best": min(times)}
            self._keep(name, "", [found])

    def _peers_of(self, number: int) -> list[str]:
        """Return who takes part in a round: the slow ones only in the first."""
        return [peer for peer in self.peers if number == 0 or not PEERS[peer].slow]

    def _measure(self, mode: str, peer: str, *arguments: object, threads: int = 1) -> list[Record]:
        return measure(mode, peer, *arguments, processors=self.processors[-threads:])

    def _keep(self, peer: str, text: str, found: list[Record]) -> None:
        """Keep the least time of each row."""
        for record in found:
            key = record["row"], peer, record.get("text", text)
            known = self.records.setdefault(key, {"peer": peer, "text": text} | record)
            for clock in ("cpu", "wall"):
                if clock in record:
                    known[clock] = min(known[clock], record[clock])


def _interpreter(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(1))  # noqa: S603


def say(what: str) -> None:
    """Print what has been done, and when."""
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


def arguments() -> argparse.Namespace:
    """Read the command line."""

    def names(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", type=names, help=",".join(PEERS))
    parser.add_argument("--texts", type=names, help=",".join(TEXTS))
    parser.add_argument("--rows", type=names, default=list(ROWS), help=",".join(ROWS))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--corpus", type=Path, default=fetch_corpus.FOLDER)
    parser.add_argument("--output", type=Path, help="a path without ending, instead of benches/results/...")
    options = parser.parse_args()
    options.peers = options.peers or list(QUICK_PEERS if options.quick else PEERS)
    options.texts = options.texts or list(QUICK_TEXTS if options.quick else TEXTS)
    options.rounds = options.rounds or (1 if options.quick else 3)
    if missing := [name for name in options.texts if not (options.corpus / f"{name}.txt").exists()]:
        parser.error(f"no {', '.join(missing)} in {options.corpus}: run benches/python/fetch_corpus.py")
    if unknown := {*options.peers, *options.rows} - {*PEERS, *ROWS}:
        parser.error(f"no such peer or row: {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    options = arguments()
    versions = {peer: PEERS[peer].version for peer in options.peers}
    texts = [options.corpus / f"{name}.txt" for name in options.texts]
    peers = [peer for peer in versions if versions[peer]]
    run = Run(peers, texts, options.rows, rounds=options.rounds, quick=options.quick)
    started, load = time.time(), os.getloadavg()[0]
    peer_files()
    run.check()
    if modes := [row for row in ("encode", "array", "count") if row in options.rows]:
        run.texts_in_turns(modes)
    others = {
        "pathological": run.pathological,
        "batch": run.batch,
        "threads": run.threads,
        "load": run.load,
        "memory": run.memory,
        "import": run.start_up,
    }
    for row, of_row in others.items():
        if row in options.rows:
            of_row()
            say(row)
    result: dict[str, Any] = {
        "heading": machine.heading("Tokenizer beside its peers", ("numpy",)),
        "versions": versions,
        "texts": {path.stem: path.stat().st_size for path in texts},
        "rounds": options.rounds,
        "load": load,
        "seconds": round(time.time() - started),
        "wrong": run.wrong,
        "records": list(run.records.values()),
    }
    path = options.output or machine.result_file("tokenizer-speed").with_suffix("")
    content = json.dumps(result, indent=0, ensure_ascii=False) + "\n"
    path.with_name(f"{path.name}.json").write_text(content, encoding="utf-8")
    path.with_name(f"{path.name}.md").write_text(report(result), encoding="utf-8")
    print(report(result))


if __name__ == "__main__":
    main()
