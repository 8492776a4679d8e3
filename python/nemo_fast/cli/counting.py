"""`count`: the tokens of files, folders and stdin. How the numbers are laid out is in `count_tree`.

Nothing is imported but click and the native module, `json` with `--json` apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from nemo_fast.cli.count_tree import Counted, tree_lines
from nemo_fast.cli.inputs import (
    STDIN,
    Found,
    failure,
    find_files,
    is_folder,
    names_or_stdin,
    read_bytes,
    shown,
)
from nemo_fast.cli.options import JSON, chat_options, given, refuse_given

if TYPE_CHECKING:
    from nemo_fast._native import Tokenizer

# More are summed up in one line, since a folder can hold thousands of pictures.
_SKIPPED_SHOWN = 10
# As git does: a file is no text if it has a NUL byte in its first 8,000.
_BINARY_PREFIX = 8_000


class Skipped(NamedTuple):
    """A file or folder that is not counted, and why; `failed` where the total misses text because of it."""

    path: str
    reason: str
    failed: bool


@click.command()
@click.argument("names", nargs=-1, metavar="[FILE | FOLDER | GLOB | -]...")
@click.option(
    "--budget", type=click.IntRange(min=0), help="Exit with 3 if the total is over this many tokens."
)
@click.option(
    "--file-budget", type=click.IntRange(min=0), help="Exit with 3 if a file is over this many tokens."
)
@click.option("--depth", type=click.IntRange(min=0), help="Levels of a folder to show; sums hold all of it.")
@click.option("--flat", is_flag=True, help="A line a file, tokens and path with a tab between, no tree.")
@click.option(
    "--sort",
    "order",
    type=click.Choice(["name", "tokens"]),
    default="name",
    show_default=True,
    help="Names as given and found, or most tokens first.",
)
@click.option("--hidden", is_flag=True, help="Go also into hidden files and folders.")
@click.option("--no-ignore", is_flag=True, help="Count also what .gitignore files exclude.")
@click.option("--chat", is_flag=True, help="Count the prompts of chat requests: JSON, or one request a line.")
@click.option(
    "--request-budget", type=click.IntRange(min=0), help="Exit with 3 if a request is over this many tokens."
)
@click.option("--each", is_flag=True, help="A line a request: tokens, and file and line, a tab between.")
@chat_options
@JSON
@click.pass_context
def count(
    context: click.Context,
    names: tuple[str, ...],
    *,
    budget: int | None,
    file_budget: int | None,
    depth: int | None,
    flat: bool,
    order: str,
    hidden: bool,
    no_ignore: bool,
    chat: bool,
    request_budget: int | None,
    each: bool,
    mode: str | None,
    tool_call_ids: str | None,
    as_json: bool,
) -> None:
    """Count tokens: a number for one text, a line for each of several, a tree of sums for folders.

    Files that are not text are an error if named, and left out and reported if found in a folder or by a
    glob. Both leave out hidden files and what .gitignore files exclude. With --chat, files hold requests.

    Example: nemo-fast count --budget 8000 README.md docs 'src/**/*.py'
    """
    of_folders = {"--depth": depth is not None, "--flat": flat, "--sort": order != "name", "--hidden": hidden}
    of_folders["--no-ignore"] = no_ignore
    of_chat = {"--request-budget": request_budget is not None, "--each": each, "--mode": mode}
    of_chat["--tool-call-ids"] = tool_call_ids
    if chat:
        from nemo_fast.cli.prompts import Budgets, count_prompts

        refuse_given(of_folders, "is for files and folders of text, not with --chat")
        budgets = Budgets(budget, file_budget, request_budget)
        options = given({"mode": mode, "tool_call_ids": tool_call_ids})
        count_prompts(context, names, budgets, options, each=each, as_json=as_json)
    refuse_given(of_chat, "is for chat requests, with --chat")
    if flat and depth is not None:
        raise click.UsageError("--flat has no levels, so it does not go with --depth")
    names = names_or_stdin(names)
    counts, skipped = _count_all(names, hidden=hidden, ignored=no_ignore)
    if order == "tokens":
        counts.sort(key=lambda counted: -counted.tokens)
    over = budgets_exceeded(counts, budget, file_budget)

    if as_json:
        _print_json(counts, skipped, budget, file_budget, over=bool(over))
    elif len(counts) == 1 and counts[0].folder is None:
        click.echo(counts[0].tokens)
    elif flat or not any(map(is_folder, names)):
        for counted in counts:
            click.echo(f"{counted.tokens}\t{shown(counted.path)}")
        click.echo(f"{total(counts)}\ttotal")
    else:
        for line in tree_lines(counts, names, depth=depth, by_tokens=order == "tokens"):
            click.echo(line)
    for line in [*_skipped_lines(skipped), *over]:
        click.echo(f"{context.command_path}: {line}", err=True)
    context.exit(3 if over else int(any(entry.failed for entry in skipped)))


def _count_all(names: tuple[str, ...], *, hidden: bool, ignored: bool) -> tuple[list[Counted], list[Skipped]]:
    from nemo_fast._native import Tokenizer

    tokenizer, counts, skipped = Tokenizer(), list[Counted](), list[Skipped]()
    for name in names:
        folder = name if is_folder(name) else None
        for found in find_files(name, hidden=hidden, ignored=ignored):
            outcome = _count(tokenizer, found)
            if isinstance(outcome, Skipped):
                skipped.append(outcome)
            else:
                counts.append(Counted(found.path, outcome, folder))
    return counts, skipped


def _count(tokenizer: Tokenizer, found: Found) -> int | Skipped:
    """Count a file. What is wrong with it is raised if it was named, else returned."""
    from nemo_fast._native import TokenizerError

    if found.problem is not None:
        return Skipped(found.path, found.problem, failed=True)
    try:
        if found.walked and _is_binary(found.path):
            return Skipped(found.path, "binary", failed=False)
        return tokenizer.count(read_bytes(found.path))
    except TokenizerError as error:
        if not found.walked:
            raise failure(found.path, error) from error
        return Skipped(found.path, str(error), failed=False)
    except OSError as error:
        if not found.walked:
            raise
        return Skipped(found.path, error.strerror or str(error), failed=True)


def _is_binary(path: str) -> bool:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - pathlib takes longer to import than to count
        return b"\0" in file.read(_BINARY_PREFIX)


def total(counts: list[Counted]) -> int:
    """Return the tokens of all files."""
    return sum(counted.tokens for counted in counts)


def budgets_exceeded(counts: list[Counted], budget: int | None, file_budget: int | None) -> list[str]:
    """Return a line for each budget that is exceeded, and by how much."""
    lines = []
    if file_budget is not None:
        lines += [
            f"{_name(path)}: {excess(tokens, file_budget)}"
            for path, tokens, _ in counts
            if tokens > file_budget
        ]
    if budget is not None and total(counts) > budget:
        lines.append(excess(total(counts), budget))
    return lines


def excess(tokens: int, budget: int) -> str:
    """Return by how much a budget is exceeded."""
    return f"{tokens} tokens are {tokens - budget} over the budget of {budget}"


def _name(path: str) -> str:
    return "stdin" if path == STDIN else shown(path)


def _skipped_lines(skipped: list[Skipped]) -> list[str]:
    """Return a line for each that failed, for the first few of the others, and for the rest of them."""
    failed = [f"{shown(path)}: {reason}" for path, reason, failed in skipped if failed]
    left_out = [f"skipped {shown(path)}: {reason}" for path, reason, failed in skipped if not failed]
    lines, rest = failed + left_out[:_SKIPPED_SHOWN], len(left_out) - _SKIPPED_SHOWN
    return [*lines, f"skipped {rest} more files that are no text; --json names them"] if rest > 0 else lines


def _print_json(
    counts: list[Counted], skipped: list[Skipped], budget: int | None, file_budget: int | None, *, over: bool
) -> None:
    import json

    result: dict[str, object] = {
        "files": [{"path": shown(path), "tokens": tokens} for path, tokens, _ in counts],
        "skipped": [{"path": shown(path), "reason": reason} for path, reason, _ in skipped],
        "total": total(counts),
    }
    result |= budget_fields({"budget": budget, "file_budget": file_budget}, over=over)
    click.echo(json.dumps(result, ensure_ascii=False))


def budget_fields(budgets: dict[str, int | None], *, over: bool) -> dict[str, object]:
    """Return what `--json` says about the budgets that are given."""
    given_budgets: dict[str, object] = {
        name: tokens for name, tokens in budgets.items() if tokens is not None
    }
    return given_budgets | {"over": over} if given_budgets else {}
