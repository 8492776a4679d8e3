"""How `count` lays out the counts of folders: a line a file and folder, with the sum of what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nemo_fast.cli.inputs import is_folder, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Counted(NamedTuple):
    """The tokens of a file, and the folder of the command line in which it was found, if in any."""

    path: str
    tokens: int
    folder: str | None = None


class _Entry:
    """A file or folder of the tree."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tokens = 0
        self.entries: dict[str, _Entry] = {}

    def add(self, names: Iterable[str], tokens: int) -> None:
        """Add tokens to this entry and to each of the names below it, one in the other."""
        entry = self
        entry.tokens += tokens
        for name in names:
            entry = entry.entries.setdefault(name, _Entry(name))
            entry.tokens += tokens


def tree_lines(
    counts: Iterable[Counted], names: Iterable[str], *, depth: int | None = None, by_tokens: bool = False
) -> list[str]:
    r"""Return the lines: the folders among the names with what is in them, and files; at last the total.

    `depth`: how many levels to show below a name. `by_tokens`: the largest first, at each level.

    >>> counts = [Counted("docs/a/one.md", 90, "docs"), Counted("docs/two.md", 8, "docs"), Counted("x.md", 7)]
    >>> print(*tree_lines(counts, []), sep="\n")
     98  docs/
     90    a/
     90      one.md
      8    two.md
      7  x.md
    105  total
    """
    tops = _Entry("total")
    for path, tokens, folder in counts:
        if folder is None:
            tops.add([path], tokens)
        else:
            top = _folder_name(folder)
            *folders, file = path.removeprefix(top).split("/")
            tops.add([top, *map(_folder_name, folders), file], tokens)
    for name in filter(is_folder, names):  # one with nothing to count has a line too
        tops.add([_folder_name(name)], 0)
    width = len(str(tops.tokens))
    lines = [
        f"{entry.tokens:{width}}  {'  ' * level}{shown(entry.name)}"
        for entry, level in _levels(tops, by_tokens=by_tokens)
        if depth is None or level <= depth
    ]
    return lines if len(tops.entries) == 1 else [*lines, f"{tops.tokens:{width}}  total"]


def _levels(tops: _Entry, *, by_tokens: bool) -> Iterator[tuple[_Entry, int]]:
    """Yield all entries, each before those in it, with their levels. Folders can nest deeper than calls."""
    waiting = [(tops, -1)]
    while waiting:
        entry, level = waiting.pop()
        if level >= 0:
            yield entry, level
        below = list(entry.entries.values())
        if by_tokens:
            below.sort(key=lambda entry: -entry.tokens)
        waiting += [(child, level + 1) for child in reversed(below)]


def _folder_name(folder: str) -> str:
    return folder if folder.endswith("/") else f"{folder}/"
