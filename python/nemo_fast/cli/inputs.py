"""What a command reads: files, globs, folders or stdin, as the bytes they are.

No newline is changed and no byte order mark is dropped: a token count is that of the file. Nothing is
imported here but click and the native module, so that counting starts at once.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

STDIN = "-"


class InputText(NamedTuple):
    """A text and where it came from: a path, or "-" for stdin."""

    path: str
    text: str


class Found(NamedTuple):
    """What a name of the command line led to: a path, or "-" for stdin.

    `walked`: not named itself, but found in a folder or by a glob. `problem`: why a folder could not be read.
    """

    path: str
    walked: bool = False
    problem: str | None = None


def read_inputs(names: tuple[str, ...]) -> Iterator[InputText]:
    """Read the files that the names and globs mean, or stdin for "-" and for no name at all, one by one.

    Errors: `click.UsageError` without a name at a terminal, `OSError`, `click.ClickException` for a file that
    is not UTF-8.
    """
    for path in input_paths(names):
        yield InputText(shown(path), _text(path))


def input_paths(names: tuple[str, ...]) -> Iterator[str]:
    """Yield the paths that the names and globs mean, or stdin's; errors: those of names in `read_inputs`."""
    for name in names_or_stdin(names):
        # A folder is left to `open`, which says that it is one.
        for found in [Found(name)] if is_folder(name) else find_files(name):
            if found.problem is not None:
                raise failure(found.path, found.problem)
            yield found.path


def names_or_stdin(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names, or stdin's if there are none; `click.UsageError` if that is a terminal."""
    if not names and is_terminal():
        raise click.UsageError("give files, or a text on stdin")
    return names or (STDIN,)


def find_files(name: str, *, hidden: bool = False, ignored: bool = False) -> list[Found]:
    """Return the files that a name means: a folder's, a glob's that the shell has left as it is, or its own.

    Folders and globs leave out what `.gitignore` files exclude and hidden files, unless asked for, and
    symbolic links and `.git` always. Errors: `FileNotFoundError` for a glob that matches nothing.
    """
    if is_folder(name):
        return _walk(name, name, None, hidden=hidden, ignored=ignored)
    if name == STDIN or os.path.lexists(name) or not any(sign in name for sign in "*?["):
        return [Found(name)]
    parts = name.split("/")
    first = next(index for index, part in enumerate(parts) if any(sign in part for sign in "*?["))
    prefix, glob = "/".join([*parts[:first], ""]), "/".join(parts[first:])
    # A pattern that spells out a dot, such as `.*rc`, asks for hidden files.
    hidden = hidden or any(part.startswith(".") for part in parts[first:])
    folder = prefix or os.curdir
    found = _walk(folder, prefix, glob, hidden=hidden, ignored=ignored) if is_folder(folder) else []
    if not found:
        raise FileNotFoundError(f"no file matches {name}")
    return found


def is_folder(name: str) -> bool:
    """Tell whether a name of the command line is a folder's."""
    return name != STDIN and os.path.isdir(name)  # noqa: PTH112 - as everywhere here, no pathlib


def is_terminal() -> bool:
    """Tell whether nobody can have put a text on stdin: it is a terminal, or closed."""
    return sys.stdin is None or sys.stdin.isatty()


def read_stdin() -> str:
    """Return all of stdin."""
    return _text(STDIN)


def read_bytes(path: str) -> bytes:
    """Return the content of a file, or of stdin."""
    if path != STDIN:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read()
    if sys.stdin is None:
        raise click.UsageError("stdin is closed")
    return sys.stdin.buffer.read()


def shown(path: str) -> str:
    """Return a path as it can be printed: what is not UTF-8 in a name becomes U+FFFD."""
    return click.format_filename(path)


def failure(path: str, reason: object) -> click.ClickException:
    """Return the error for an input that cannot be read as text."""
    return click.ClickException(f"{'stdin' if path == STDIN else shown(path)}: {reason}")


def _walk(folder: str, prefix: str, glob: str | None, *, hidden: bool, ignored: bool) -> list[Found]:
    from nemo_fast._native import walk_files

    files = walk_files(folder, glob=glob, hidden=hidden, ignored=ignored)
    return [
        Found(os.path.join(prefix, path), walked=True, problem=problem)  # noqa: PTH118
        for path, problem in files
    ]


def _text(path: str) -> str:
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise failure(path, f"not UTF-8 at byte {error.start}") from error
