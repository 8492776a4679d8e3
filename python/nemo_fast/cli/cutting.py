"""`truncate`, `split`: texts cut to a number of tokens, at characters."""

from __future__ import annotations

import json
import sys
from typing import Literal

import click

from nemo_fast.cli.inputs import read_inputs
from nemo_fast.cli.options import FILES, JSON

_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\0": "\0"}


@click.command()
@FILES
@click.option(
    "--max-tokens", type=click.IntRange(min=0), required=True, help="Most tokens to keep of a text."
)
@click.option(
    "--side",
    type=click.Choice(["right", "left", "middle"]),
    default="right",
    show_default=True,
    help="What is cut off.",
)
@JSON
def truncate(
    files: tuple[str, ...], max_tokens: int, side: Literal["right", "left", "middle"], as_json: bool
) -> None:
    """Print the longest part of a text that has no more than so many tokens.

    The text is written as it is, with no newline added unless it goes to a terminal.

    Example: git diff | nemo-fast truncate --max-tokens 4000
    """
    from nemo_fast._native import Tokenizer

    tokenizer = Tokenizer()
    results: list[dict[str, object]] = []
    for found in read_inputs(files):
        text = tokenizer.truncate(found.text, max_tokens, side=side)
        if not as_json:
            click.echo(text.encode(), nl=sys.stdout.isatty())
            continue
        results.append(
            {
                "path": found.path,
                "text": text,
                "tokens": tokenizer.count(text),
                "truncated": len(text) < len(found.text),
            }
        )
    if as_json:
        click.echo(json.dumps({"files": results}, ensure_ascii=False))


@click.command()
@FILES
@click.option("--max-tokens", type=click.IntRange(min=1), required=True, help="Most tokens of a piece.")
@click.option(
    "--overlap",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Most tokens at the start of a piece that repeat the end of the one before.",
)
@click.option(
    "--separator",
    default=r"\n---\n",
    show_default=True,
    help=r"What to write between two pieces; \n, \t, \0 and \\ are understood.",
)
@JSON
def split(files: tuple[str, ...], max_tokens: int, overlap: int, separator: str, as_json: bool) -> None:
    r"""Print a text in pieces of no more than so many tokens, each as long as possible.

    Without an overlap and with an empty separator they are the text again.

    Example: nemo-fast split --max-tokens 512 --separator '\0' book.txt | xargs -0 -n 1 echo
    """
    from nemo_fast._native import Tokenizer

    tokenizer, between = Tokenizer(), _unescaped(separator).encode()
    results: list[dict[str, object]] = []
    is_first = True
    for found in read_inputs(files):
        pieces = tokenizer.split(found.text, max_tokens, overlap=overlap)
        if as_json:
            counted = [{"text": piece, "tokens": tokenizer.count(piece)} for piece in pieces]
            results.append({"path": found.path, "pieces": counted})
            continue
        for piece in pieces:
            click.echo(piece.encode() if is_first else between + piece.encode(), nl=False)
            is_first = False
    if as_json:
        click.echo(json.dumps({"files": results}, ensure_ascii=False))
    elif not is_first and sys.stdout.isatty():
        click.echo()


def _unescaped(separator: str) -> str:
    r"""Return a separator as it is written between pieces.

    >>> _unescaped(r"\n--\\--\n")
    '\n--\\--\n'
    """
    parts = separator.split(r"\\")
    for escape, character in _ESCAPES.items():
        parts = [part.replace(escape, character) for part in parts]
    return "\\".join(parts)
