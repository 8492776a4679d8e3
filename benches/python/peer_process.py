"""Starting `measure.py`: once for a measurement, or to be asked again and again for a moment of work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self, TypeAlias

MEASURE = Path(__file__).with_name("measure.py")
TIMEOUT = 300  # seconds
Record: TypeAlias = dict[str, Any]


def environment(threads: int) -> dict[str, str]:
    """Return the environment in which the peers' own pools have that many threads."""
    pools = {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false"}
    return {**os.environ, **pools}


def measure(mode: str, peer: str, *arguments: object, processors: list[int]) -> list[Record]:
    """Run one measurement on some processors; a crash or a time-out is printed and finds nothing."""
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, str(MEASURE), mode, peer, *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=TIMEOUT,
            env=environment(len(processors)),
            preexec_fn=lambda: os.sched_setaffinity(0, processors),
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{peer}, {mode}: {error}", flush=True)
        return []
    return list(json.loads(done.stdout.splitlines()[-1]))


class Windows:
    """A process that runs for a moment when asked, and answers with bytes a second."""

    def __init__(self, peer: str, what: str, text: Path) -> None:
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, str(MEASURE), "threads", peer, what, str(text)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(1),
        )
        self.is_ready = False

    def __enter__(self) -> Self:
        self.is_ready = self._line() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def start(self, threads: int, *processors: int) -> Self:
        """Let it run with that many threads on these processors."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{threads} {' '.join(map(str, processors))}\n")
        self.process.stdin.flush()
        return self

    def answer(self) -> float:
        """Wait for the end of what was started."""
        return float(self._line())

    def ask(self, threads: int, *processors: int) -> float:
        """Start and wait."""
        return self.start(threads, *processors).answer()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()
