"""`encode`, `decode`: text and token ids of the embedded Mistral Nemo vocabulary.

None of them needs numpy, a model or an optional package.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Literal

import click

from nemo_fast.cli.inputs import InputText, read_inputs
from nemo_fast.cli.options import FILES, JSON, chat_options, given, refuse_given

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command()
@FILES
@click.option("--bos", is_flag=True, help="Put the id of <s> first.")
@click.option("--eos", is_flag=True, help="Put the id of </s> last.")
@click.option(
    "--special",
    type=click.Choice(["text", "parse", "forbid"]),
    default="text",
    show_default=True,
    help="What control strings such as [INST] are: text, special tokens, or an error.",
)
@click.option("--chat", is_flag=True, help="Print the prompts of chat requests: JSON, or one request a line.")
@chat_options
@JSON
@click.pass_context
def encode(
    context: click.Context,
    files: tuple[str, ...],
    *,
    bos: bool,
    eos: bool,
    special: Literal["text", "parse", "forbid"],
    chat: bool,
    mode: str | None,
    tool_call_ids: str | None,
    as_json: bool,
) -> None:
    """Print the token ids of texts, one line a text, or with --chat of prompts, one line a request.

    Example: echo Hello | nemo-fast encode --bos
    """
    if chat:
        from nemo_fast.cli.prompts import encode_prompts

        of_text = {"--bos": bos, "--eos": eos, "--special": special != "text"}
        refuse_given(of_text, "is for texts, not with --chat")
        options = given({"mode": mode, "tool_call_ids": tool_call_ids})
        encode_prompts(context, files, options, as_json=as_json)
    refuse_given({"--mode": mode, "--tool-call-ids": tool_call_ids}, "is for chat requests, with --chat")
    from nemo_fast._native import Tokenizer

    tokenizer = Tokenizer()

    def ids_of(found: InputText) -> list[int]:
        return list(tokenizer.encode(found.text, bos=bos, eos=eos, special=special))

    if as_json:
        results = [{"path": found.path, "ids": ids_of(found)} for found in read_inputs(files)]
        click.echo(json.dumps({"files": results}, ensure_ascii=False))
        return
    for found in read_inputs(files):
        click.echo(" ".join(map(str, ids_of(found))))


@click.command()
@click.argument("inputs", nargs=-1, metavar="[ID... | FILE | GLOB | -]...")
@click.option(
    "--special",
    type=click.Choice(["skip", "keep", "raise"]),
    default="skip",
    show_default=True,
    help="What special tokens become.",
)
@click.option(
    "--errors",
    type=click.Choice(["replace", "strict"]),
    default="replace",
    show_default=True,
    help="What bytes that are not UTF-8 become.",
)
@JSON
def decode(
    inputs: tuple[str, ...],
    special: Literal["skip", "keep", "raise"],
    errors: Literal["replace", "strict"],
    as_json: bool,
) -> None:
    """Print the text of token ids: numbers between spaces, commas or newlines, or a JSON array.

    They are the arguments themselves, or in files or on stdin; a file whose name is a number is ./7. The text
    is written as it is, with no newline added unless it goes to a terminal.

    Example: nemo-fast decode 1 22177 1044 4304 1033 --special keep
    """
    from nemo_fast._native import Tokenizer

    tokenizer = Tokenizer()
    texts = [
        (found.path, tokenizer.decode(_parse_ids(found), errors=errors, special=special))
        for found in _id_inputs(inputs)
    ]
    if as_json:
        results = [{"path": path, "text": text} for path, text in texts]
        click.echo(json.dumps({"files": results}, ensure_ascii=False))
        return
    for _, text in texts:
        click.echo(text.encode(), nl=sys.stdout.isatty())


def _id_inputs(inputs: tuple[str, ...]) -> Iterator[InputText]:
    """Return the arguments as one text if all of them can be ids, else what they name."""
    written = " ".join(inputs)
    if re.fullmatch(r"[\[\]0-9,\s]*[0-9][\[\]0-9,\s]*", written):
        return iter([InputText("arguments", written)])
    return read_inputs(inputs)


def _parse_ids(found: InputText) -> list[int]:
    words = found.text.strip().removeprefix("[").removesuffix("]").replace(",", " ").split()
    for word in words:
        if not (word.isascii() and word.isdigit()):
            raise click.UsageError(f"{found.path}: {word[:40]!r} is not a token id")
    return [int(word) for word in words]
