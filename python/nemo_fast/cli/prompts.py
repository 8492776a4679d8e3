"""`count --chat` and `encode --chat`: the prompts of chat requests, counted and encoded.

A request that is refused is named on stderr and stops no other.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import click

from nemo_fast._native import NemoFastError, RequestCounts, Tokenizer
from nemo_fast.cli.chat_requests import (
    Place,
    Refused,
    is_called_lines,
    read_chat_file,
    refusal_lines,
    request_of,
    shown_lines,
)
from nemo_fast.cli.count_tree import Counted
from nemo_fast.cli.counting import budget_fields, budgets_exceeded, excess, total
from nemo_fast.cli.inputs import STDIN, input_paths, shown

if TYPE_CHECKING:
    from collections.abc import Iterator


class Budgets(NamedTuple):
    """Most tokens of all requests, of those of a file, and of one; None where any number is allowed."""

    budget: int | None
    file_budget: int | None
    request_budget: int | None


class CountedFile(NamedTuple):
    """The requests of a file: their lines, None for one document; their tokens, 0 for those refused."""

    path: str
    lines: list[int | None]
    tokens: list[int]
    refused: list[Refused]

    @classmethod
    def of_lines(cls, path: str, found: RequestCounts) -> CountedFile:
        """Take the counts of lines."""
        refused = [Refused(Place(path, line), error) for line, error in found.errors]
        return cls(path, found.lines.tolist(), found.counts.tolist(), refused)

    def allowed(self) -> Iterator[tuple[Place, int]]:
        """Yield place and tokens of the requests that are allowed."""
        for line, tokens in zip(self.lines, self.tokens, strict=True):
            if tokens > 0:  # no prompt has fewer than one
                yield Place(self.path, line), tokens

    def to_dict(self) -> dict[str, object]:
        """Return the entry of `--json`."""
        refused = {found.place.line: found.to_dict() for found in self.refused}
        requests = [
            {"line": line, "tokens": tokens} if tokens > 0 else refused[line]
            for line, tokens in zip(self.lines, self.tokens, strict=True)
        ]
        return {"path": shown(self.path), "tokens": sum(self.tokens), "requests": requests}


def count_prompts(
    context: click.Context,
    names: tuple[str, ...],
    budgets: Budgets,
    options: dict[str, Any],
    *,
    each: bool,
    as_json: bool,
) -> NoReturn:
    """Count the requests of files and exit: with 3 over a budget, with 1 if a request is refused."""
    tokenizer = Tokenizer()
    files = [_count_file(tokenizer, path, options) for path in input_paths(names)]
    counts = [Counted(file.path, sum(file.tokens)) for file in files]
    over = [
        *_requests_over(files, budgets.request_budget),
        *budgets_exceeded(counts, budgets.budget, budgets.file_budget),
    ]
    refused = [found for file in files for found in file.refused]

    if as_json:
        result = {"files": [file.to_dict() for file in files], "skipped": [], "total": total(counts)}
        click.echo(json.dumps(result | budget_fields(budgets._asdict(), over=bool(over)), ensure_ascii=False))
    elif each:
        for file in files:
            click.echo("".join(f"{tokens}\t{place}\n" for place, tokens in file.allowed()), nl=False)
        click.echo(f"{total(counts)}\ttotal")
    elif len(counts) == 1:
        click.echo(total(counts))
    else:
        for path, tokens, _ in counts:
            click.echo(f"{tokens}\t{shown(path)}")
        click.echo(f"{total(counts)}\ttotal")
    for line in [*refusal_lines(refused), *over]:
        click.echo(f"{context.command_path}: {line}", err=True)
    context.exit(3 if over else int(bool(refused)))


def _count_file(tokenizer: Tokenizer, path: str, options: dict[str, Any]) -> CountedFile:
    if path != STDIN and is_called_lines(path):
        return CountedFile.of_lines(path, tokenizer.count_requests_file(path, **options))
    file = read_chat_file(path)
    if file.is_lines:
        return CountedFile.of_lines(path, tokenizer.count_request_lines(file.content, **options))
    place = Place(path, None)
    try:
        tokens = tokenizer.count_request(request_of(place, file.content), **options)
    except NemoFastError as error:
        return CountedFile(path, [None], [0], [Refused(place, error)])
    return CountedFile(path, [None], [tokens], [])


def _requests_over(files: list[CountedFile], budget: int | None) -> list[str]:
    if budget is None:
        return []
    over = (
        f"{place}: {excess(tokens, budget)}"
        for file in files
        for place, tokens in file.allowed()
        if tokens > budget
    )
    return shown_lines(over, f"more requests are over the budget of {budget}")


def encode_prompts(
    context: click.Context, names: tuple[str, ...], options: dict[str, Any], *, as_json: bool
) -> NoReturn:
    """Print the ids of requests and exit, with 1 if one is refused: its line is empty, as no prompt is."""
    tokenizer = Tokenizer()
    files: list[dict[str, object]] = []
    refused: list[Refused] = []
    for path in input_paths(names):
        results: list[dict[str, object]] = []
        for place, content in read_chat_file(path).requests():
            ids: list[int] = []
            try:
                ids = tokenizer.encode_request(request_of(place, content), **options)
                entry: dict[str, object] = {"line": place.line, "ids": ids}
            except NemoFastError as error:
                refused.append(Refused(place, error))
                entry = refused[-1].to_dict()
            if as_json:
                results.append(entry)
            else:
                click.echo(" ".join(map(str, ids)))
        files.append({"path": shown(path), "requests": results})
    if as_json:
        click.echo(json.dumps({"files": files}, ensure_ascii=False))
    for line in refusal_lines(refused):
        click.echo(f"{context.command_path}: {line}", err=True)
    context.exit(int(bool(refused)))
