"""What a command reads: files, globs or stdin, as the bytes they are.

No newline is changed and no byte order mark is dropped: a token count is that of the file.
"""

from __future__ import annotations

import glob
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

STDIN = "-"


@dataclass(frozen=True, slots=True)
class InputText:
    """A text and where it came from: a path, or "-" for stdin."""

    path: str
    text: str


def read_inputs(names: tuple[str, ...]) -> Iterator[InputText]:
    """Read the files that the names and globs mean, or stdin for "-" and for no name at all, one by one.

    Errors: `click.UsageError` without a name at a terminal, `FileNotFoundError`, `click.ClickException` for a
    file that is not UTF-8.
    """
    if not names:
        if is_terminal():
            raise click.UsageError("give files, or a text on stdin")
        names = (STDIN,)
    for name in names:
        for path in _expand(name):
            # A name that is no UTF-8 is shown with U+FFFD: no output can hold its half characters.
            yield InputText(click.format_filename(path), _text(path))


def is_terminal() -> bool:
    """Tell whether nobody can have put a text on stdin: it is a terminal, or closed."""
    return sys.stdin is None or sys.stdin.isatty()


def read_stdin() -> str:
    """Return all of stdin."""
    return _text(STDIN)


def _expand(name: str) -> list[str]:
    """Return the files of a glob that the shell has left as it is, as on Windows; other names as they are."""
    if name == STDIN or Path(name).exists() or not glob.has_magic(name):
        return [name]
    # `Path.glob` takes no absolute pattern.
    found = glob.glob(name, recursive=True)  # noqa: PTH207
    matches = sorted(path for path in found if Path(path).is_file())
    if not matches:
        raise FileNotFoundError(f"no file matches {name}")
    return matches


def _text(path: str) -> str:
    if path == STDIN and sys.stdin is None:
        raise click.UsageError("stdin is closed")
    content = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        name = "stdin" if path == STDIN else path
        raise click.ClickException(f"{name}: not UTF-8 at byte {error.start}") from error
