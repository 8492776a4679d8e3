"""What the commands for chat requests share: the requests of files, and those that are refused.

A file holds one JSON document, a request or a bare list of messages; or requests one a line (JSON Lines).
It is lines if it is called `.jsonl` or `.ndjson`, or if its first line is a whole JSON value and more follow.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from nemo_fast._native import PromptError, TokenizerError
from nemo_fast.cli.inputs import STDIN, read_bytes, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# More are summed up in one line: a file can hold very many requests.
_SHOWN = 10


class Place(NamedTuple):
    """Where a request stands: a file, and the line where they stand one a line."""

    path: str
    line: int | None

    def __str__(self) -> str:
        path = "stdin" if self.path == STDIN else shown(self.path)
        return path if self.line is None else f"{path}:{self.line}"


class Refused(NamedTuple):
    """A request that is none, or is not allowed."""

    place: Place
    error: Exception

    def to_dict(self) -> dict[str, object]:
        """Return the entry of `--json`."""
        kind = getattr(self.error, "error_type", "")
        return {"line": self.place.line, "error": str(self.error)} | ({"error_type": kind} if kind else {})


class ChatFile(NamedTuple):
    """The bytes of a file and whether its requests stand one a line."""

    path: str
    content: bytes
    is_lines: bool

    def requests(self) -> Iterator[tuple[Place, bytes]]:
        """Yield where each request stands and its JSON. Lines of white space alone are none."""
        if not self.is_lines:
            yield Place(self.path, None), self.content
            return
        for number, line in enumerate(self.content.split(b"\n"), start=1):
            if line.strip(b" \t\r"):
                yield Place(self.path, number), line


def is_called_lines(path: str) -> bool:
    """Tell whether a file's name says that its requests stand one a line."""
    return path.endswith((".jsonl", ".ndjson"))


def read_chat_file(path: str) -> ChatFile:
    """Read a file, or stdin."""
    content = read_bytes(path)
    return ChatFile(path, content, is_called_lines(path) or _starts_with_a_line(path, content))


def _starts_with_a_line(path: str, content: bytes) -> bool:
    first, _, rest = content.strip().partition(b"\n")
    if not first:  # no lines at all, unless it ought to be a document
        return not path.endswith(".json")
    if not rest:
        return False
    try:
        json.loads(first.decode())
    except (ValueError, RecursionError):
        return False
    return True


def parsed(content: bytes) -> Any:  # noqa: ANN401 - JSON is anything
    """Return JSON as Python reads it; what is none is refused by the errors of `count_request`."""
    try:
        return json.loads(content.decode())
    except UnicodeDecodeError as error:
        raise TokenizerError(f"the text is not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        refused = PromptError(str(error))
        refused.error_type = type(error).__name__
        raise refused from error


def request_of(place: Place, content: bytes) -> Any:  # noqa: ANN401
    """Return what `count_request` takes: the JSON itself, or for a list of messages a mapping."""
    if place.line is None and content.lstrip().startswith(b"["):
        return {"messages": parsed(content)}
    return content


def shown_lines(found: Iterable[str], rest: str) -> list[str]:
    """Return the first few lines, and one for the others: `rest` behind their number."""
    lines = list(found)
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], f"{more} {rest}; --json names all"] if more > 0 else lines


def refusal_lines(refused: Iterable[Refused]) -> list[str]:
    """Return the lines for stderr about requests that are refused."""
    return shown_lines((f"{place}: {error}" for place, error in refused), "more requests are refused")
