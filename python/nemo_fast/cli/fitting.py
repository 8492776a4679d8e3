"""`fit`: chat requests cut to a number of tokens by whole turns, written as JSON again."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

import click

from nemo_fast._native import ContextLengthError, FittedChat, NemoFastError, Tokenizer
from nemo_fast.cli.chat_requests import (
    Place,
    Refused,
    parsed,
    read_chat_file,
    refusal_lines,
    request_of,
    shown_lines,
)
from nemo_fast.cli.inputs import input_paths, shown
from nemo_fast.cli.options import FILES, JSON, chat_options, given


class Budget(NamedTuple):
    """What a prompt and its answer have to fit, and which turns go first."""

    max_tokens: int
    reserve: int
    policy: Literal["drop_oldest", "keep_ends"]


class Fitted(NamedTuple):
    """A request that fits: its JSON value, what became of its messages, and the tokens that it had."""

    place: Place
    value: object
    chat: FittedChat
    tokens_before: int

    def __str__(self) -> str:
        tokens = f"{self.tokens_before} tokens became {self.chat.token_count}"
        return f"{self.place}: dropped messages {_ranges(self.chat.dropped)}; {tokens}"

    def to_dict(self) -> dict[str, object]:
        """Return the entry of `--json`."""
        return {
            "line": self.place.line,
            "request": self.value,
            "token_count": self.chat.token_count,
            "dropped": self.chat.dropped,
        }


class TooLong(NamedTuple):
    """A request whose last turn and what else has to stay does not fit."""

    place: Place
    tokens: int
    budget: Budget

    def __str__(self) -> str:
        return f"{self.place}: {self._reason()}"

    def _reason(self) -> str:
        most, reserve, _ = self.budget
        reserved = f", {reserve} of them reserved" if reserve else ""
        total = self.tokens + reserve
        return (
            f"the least that can stay is {total} tokens{reserved}, {total - most} over the budget of {most}"
        )

    def to_dict(self) -> dict[str, object]:
        """Return the entry of `--json`."""
        numbers = {"prompt_tokens": self.tokens, "context_length": self.budget.max_tokens}
        return {"line": self.place.line, "error": self._reason(), **numbers}


@click.command()
@FILES
@click.option("--max-tokens", type=click.IntRange(min=0), required=True, help="Most tokens of a prompt.")
@click.option(
    "--reserve",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Tokens of these to keep for the answer.",
)
@click.option(
    "--policy",
    type=click.Choice(["drop_oldest", "keep_ends"]),
    default="drop_oldest",
    show_default=True,
    help="Drop turns from the start on, or from the second on and the first at last.",
)
@chat_options
@JSON
@click.pass_context
def fit(
    context: click.Context,
    files: tuple[str, ...],
    *,
    max_tokens: int,
    reserve: int,
    policy: Literal["drop_oldest", "keep_ends"],
    mode: str | None,
    tool_call_ids: str | None,
    as_json: bool,
) -> None:
    """Drop whole turns of chat requests until each fits, and print the requests as JSON, a line each.

    Files hold a request, a list of messages, or requests one a line. System messages, tools and the last turn
    stay; so do all fields but the messages. What was dropped is said on stderr.

    Example: nemo-fast fit --max-tokens 8000 --reserve 1000 requests.jsonl > fitted.jsonl
    """
    tokenizer, budget = Tokenizer(), Budget(max_tokens, reserve, policy)
    options = given({"mode": mode, "tool_call_ids": tool_call_ids})
    results: list[dict[str, object]] = []
    outcomes: list[Fitted | TooLong | Refused] = []
    for path in input_paths(files):
        first = len(outcomes)
        for place, content in read_chat_file(path).requests():
            outcomes.append(outcome := _fit(tokenizer, place, content, budget, options))
            if isinstance(outcome, Fitted) and not as_json:
                _print(outcome.value)
        if as_json:
            results.append({"path": shown(path), "requests": [found.to_dict() for found in outcomes[first:]]})
    if as_json:
        _print({"files": results})

    cut = (str(found) for found in outcomes if isinstance(found, Fitted) and found.chat.dropped)
    too_long = [str(found) for found in outcomes if isinstance(found, TooLong)]
    refused = [found for found in outcomes if isinstance(found, Refused)]
    lines = [*shown_lines(cut, "more requests lost messages"), *refusal_lines(refused)]
    for line in [*lines, *shown_lines(too_long, "more requests do not fit")]:
        click.echo(f"{context.command_path}: {line}", err=True)
    context.exit(3 if too_long else int(bool(refused)))


def _fit(
    tokenizer: Tokenizer, place: Place, content: bytes, budget: Budget, options: dict[str, Any]
) -> Fitted | TooLong | Refused:
    try:
        before = tokenizer.count_request(request_of(place, content), **options)
        value = parsed(content)
        is_list = isinstance(value, list)
        request = {"messages": value} if is_list else value
        chat = tokenizer.fit_request(request, **budget._asdict(), **options)
    except ContextLengthError as error:
        return TooLong(place, error.prompt_tokens, budget)
    except NemoFastError as error:
        return Refused(place, error)
    return Fitted(place, chat.messages if is_list else request | {"messages": chat.messages}, chat, before)


def _print(value: object) -> None:
    """Print JSON on a line; halves of surrogate pairs, for which UTF-8 has no form, as JSON's escapes."""
    click.echo(json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace"))


def _ranges(indices: list[int]) -> str:
    """Return ascending indices as text, those in a row together.

    >>> _ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
