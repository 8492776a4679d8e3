"""Tells on stderr how far a long job is.

A bar if `rich` is installed (extra `progress`), plain lines otherwise. Nothing else of `rich` is used, and
nothing here writes to stdout, which belongs to results.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A plain line every tenth of the job: few enough for a log, often enough to see that it lives.
_PLAIN_LINES = 10


def announce(text: str, *, progress: bool) -> None:
    """Write a line about what is going on, if `progress` is asked for."""
    if progress:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def progress_bar(label: str, total: int, *, progress: bool) -> Iterator[Callable[[int], None]]:
    """Show a job of `total` bytes while the block runs; the function it gives is told of bytes done.

    >>> with progress_bar("hashing", 100, progress=False) as advance:
    ...     advance(100)
    """
    if not progress:
        yield lambda _amount: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield _plain_lines(label, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda amount: bar.advance(task, amount)


@contextmanager
def loading_bar(file_bytes: int, *, progress: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a model being loaded; the function it gives is told of layers done, and of how many.

    >>> with loading_bar(100, progress=False) as report:
    ...     report(1, 2)
    """
    with progress_bar("loading", file_bytes, progress=progress) as advance:
        shown = 0

        def report(layers: int, of_layers: int) -> None:
            nonlocal shown
            reached = file_bytes * layers // of_layers
            advance(reached - shown)
            shown = reached

        yield report


def _plain_lines(label: str, total: int) -> Callable[[int], None]:
    done = shown = 0

    def advance(amount: int) -> None:
        nonlocal done, shown
        done += amount
        reached = done * _PLAIN_LINES // max(total, 1)
        if reached > shown:
            shown = reached
            print(f"{label}: {done:,} of {total:,} bytes", file=sys.stderr, flush=True)

    return advance
