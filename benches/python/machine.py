"""Where a benchmark runs: facts for the head of a result, and the speed at which memory is read here."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from nemo_fast import build_info

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benches" / "results"


def cpu() -> dict[str, str]:
    """Return the first processor's fields of /proc/cpuinfo, and how many processors there are."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^(\S.*?)\s*: (.*)$", text.split("\n\n")[0], re.MULTILINE))
    return {**fields, "processors": str(text.count("processor\t"))}


def commit() -> str:
    """Return the commit that was measured; "and changes" where the code under test differs from it."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--", "rust", "python", "Cargo.lock")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head} and changes" if changed else head


def _git(*arguments: str) -> str:
    command = ("git", "-C", str(ROOT), *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603


def result_file(kind: str) -> Path:
    """Return the path of today's result on this CPU: `<date>-<cpu>-<kind>.md`."""
    facts = cpu()
    name = f"{facts['model name']} {facts.get('cpu family', '')} {facts.get('model', '')}"
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{slug}-{kind}.md"


def heading(title: str, packages: tuple[str, ...]) -> list[str]:
    """Return a result's first lines: date, CPU, versions, commit."""
    facts, built = cpu(), build_info()
    kernels = f"{built['cpu_level']} (tokenizer), {built['engine_cpu_level']} (engine)"
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    family = f"family {facts.get('cpu family', '?')} model {facts.get('model', '?')}"
    return [
        f"# {title}",
        "",
        f"- date: {datetime.now(UTC):%Y-%m-%d}",
        f"- CPU: {facts['model name']}, {family}, {facts['processors']} processors, {platform.system()}",
        f"- nemo_fast: {built['version']}, commit {commit()}, kernels: {kernels}",
        f"- Python {sys.version.split()[0]}, {versions}",
    ]


def memory_read_speed(threads: int, *, rounds: int = 5) -> float:
    """Return bytes a second at which numpy's sum reads 256 MiB for each thread; the best of some rounds."""
    arrays = [np.ones(32 << 20, np.float64) for _ in range(threads)]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            start = time.perf_counter()
            list(pool.map(np.sum, arrays))
            best = max(best, sum(array.nbytes for array in arrays) / (time.perf_counter() - start))
    return best
