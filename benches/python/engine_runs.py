"""Runs of an engine in processes of their own: `nemo-fast bench`, and the start to a first token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LOAD_AND_GENERATE = """
import sys, nemo_fast
with nemo_fast.Model.load(sys.argv[1], threads=int(sys.argv[2]), context_length=1024) as model:
    assert len(model.generate([1, 2], max_tokens=1, ignore_eos=True).token_ids) == 1
"""


@dataclass(frozen=True)
class Start:
    """A process from its start to its end, and the most memory that was its own."""

    seconds: float
    private_bytes: int


def bench(folder: Path, threads: int, *options: str, level: str = "", rounds: int = 1) -> dict[str, Any]:
    """Return what `nemo-fast bench --json` prints, with kernels of a level at most."""
    command = [sys.executable, "-m", "nemo_fast", "bench", str(folder), "--json", "--rounds", str(rounds)]
    command += ["--threads", str(threads), *options]
    environment = {**os.environ, **({"NEMO_FAST_CPU": level} if level else {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def first_token(folder: Path, threads: int) -> list[str]:
    """Return the command that imports the package, loads a model, makes one token and ends."""
    return [sys.executable, "-c", _LOAD_AND_GENERATE, str(folder), str(threads)]


def started(command: list[str]) -> Start:
    """Run a command to its end, looking every few milliseconds at the memory that is no file's."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603
    most = 0
    while process.poll() is None:
        most = max(most, _private_bytes(process.pid))
        time.sleep(0.005)
    seconds = time.perf_counter() - start
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{errors.decode()[-2000:]}")
    return Start(seconds, most)


def _private_bytes(process: int) -> int:
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:  # it has ended
        return 0
    kilobytes = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return 1024 * int(kilobytes[0]) if kilobytes else 0
