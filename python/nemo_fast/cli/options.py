"""Options of more than one command: files, `--json`, rules of chat requests, what running a model takes.

The last are OpenAI's sampling parameters, threads, context length, the formats of KV cache and head, and how
prompts are multiplied.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import click

Function = TypeVar("Function", bound=Callable[..., Any])

FILES = click.argument("files", nargs=-1, metavar="[FILE | GLOB | -]...")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

KV_CACHE = click.option(
    "--kv-cache",
    type=click.Choice(["bf16", "fp8"]),
    default="bf16",
    show_default=True,
    help="How keys and values are kept; fp8 takes half the memory.",
)
LM_HEAD = click.option(
    "--lm-head",
    type=click.Choice(["source", "fp8"]),
    default="source",
    show_default=True,
    help="The head: as in the source, or E4M3, which takes half the memory.",
)

# Ranges are checked by the model, so that every way to ask for the same thing gets the same message.
_SAMPLING = (
    click.option(
        "--max-tokens", type=int, help="Most tokens to generate.  [default: what the context holds]"
    ),
    click.option("--temperature", type=float, help="0 always takes the likeliest token.  [default: 1.0]"),
    click.option("--top-p", type=float, help="Sample from the likeliest tokens of this total probability."),
    click.option("--top-k", type=int, help="Sample from this many of the likeliest tokens."),
    click.option("--min-p", type=float, help="Sample from tokens at least this likely beside the likeliest."),
    click.option("--seed", type=int, help="The same seed gives the same text."),
    click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be repeated."),
)
_LOADING = {
    "threads": click.option("--threads", type=click.IntRange(min=1), help="Threads to compute with."),
    "context_length": click.option(
        "--context-length", type=click.IntRange(min=1), help="Positions to keep memory for."
    ),
    "kv_cache": KV_CACHE,
    "lm_head": LM_HEAD,
    "prefill": click.option(
        "--prefill",
        type=click.Choice(["bf16", "int8"]),
        default="bf16",
        show_default=True,
        help="How prompts are multiplied; int8 is faster with AVX-512 VNNI, less exact.",
    ),
}
_CHAT = (
    click.option(
        "--mode",
        type=click.Choice(["test", "serving", "finetuning", "agnostic"]),
        help="Which rules requests have to obey.  [default: test]",
    ),
    click.option(
        "--tool-call-ids",
        type=click.Choice(["strict", "last9"]),
        help="Ids of nine letters or digits only, or the last nine characters of any.  [default: strict]",
    ),
)


def chat_options(function: Function) -> Function:
    """Add `--mode` and `--tool-call-ids`, which are None where not given."""
    return _add(_CHAT, function)


def refuse_given(options: Mapping[str, object], reason: str) -> None:
    """Refuse, with `click.UsageError`, those options of a command that were given, for a reason."""
    if names := [name for name, value in options.items() if value not in (None, False)]:
        raise click.UsageError(f"{', '.join(names)} {reason}")


def sampling_options(function: Function) -> Function:
    """Add the sampling options, which the command takes as keyword arguments."""
    return _add(_SAMPLING, function)


def loading_options(function: Function) -> Function:
    """Add what `Model.load` takes; the function gets it by name, as `loading`."""

    @functools.wraps(function)
    def with_loading(**options: object) -> None:
        loading = {name: options.pop(name) for name in _LOADING}
        function(loading=given(loading), **options)

    return _add(tuple(_LOADING.values()), cast("Function", with_loading))


def given(options: dict[str, object]) -> dict[str, Any]:
    """Return the options that were given; the others keep the model's defaults.

    >>> given({"temperature": 0.0, "top_p": None, "stop": ("END",)})
    {'temperature': 0.0, 'stop': ['END']}
    """
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if value is not None and value != ()
    }


def _add(options: tuple[Callable[[Function], Function], ...], function: Function) -> Function:
    for option in reversed(options):
        function = option(function)
    return function
