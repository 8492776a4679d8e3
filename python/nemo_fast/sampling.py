"""The sampling parameters: OpenAI's and vLLM's names, checked and handed to the engine.

Types are checked here; ranges are checked in the engine, once for every caller.
"""

from __future__ import annotations

import operator
import secrets
from typing import TYPE_CHECKING, Any, SupportsIndex, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence


class SamplingOptions(TypedDict, total=False):
    """How an answer is drawn and what ends it. All are optional.

    max_tokens: tokens at most; without it the context is filled.
    temperature: 0 to 2, default 1; 0 takes the likeliest token. Mistral recommends 0.3 for Nemo.
    top_p: above 0 to 1, default 1: the fewest likeliest tokens that reach this probability.
    top_k: that many likeliest tokens; None, 0 and -1 keep all.
    min_p: 0 to 1, default 0: tokens at least this fraction as likely as the likeliest.
    n: answers, default 1.
    seed: the same seed draws the same answer, whatever else runs; without it each call draws another.
    stop: a string or up to four, before which the text is cut.
    stop_token_ids: token ids that end an answer, besides the model's own.
    ignore_eos: go on after the model's own end tokens.
    """

    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int | None
    min_p: float
    n: int
    seed: int | None
    stop: str | Sequence[str] | None
    stop_token_ids: Sequence[int] | None
    ignore_eos: bool


# What a 64-bit machine can count.
MOST = 2**63 - 1

DEFAULTS: SamplingOptions = {
    "max_tokens": None,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": None,
    "min_p": 0.0,
    "n": 1,
    "seed": None,
    "stop": None,
    "stop_token_ids": None,
    "ignore_eos": False,
}


def engine_arguments(sampling: SamplingOptions) -> dict[str, Any]:
    """Return the keyword arguments of `Engine.submit`: defaults filled in, a seed drawn where none is given.

    >>> engine_arguments({"stop": "END", "seed": 7})["stop"]
    ['END']
    """
    unknown = sampling.keys() - DEFAULTS.keys()
    if unknown:
        raise TypeError(f"unknown sampling parameter {min(unknown)!r}; known are {', '.join(DEFAULTS)}")
    values: dict[str, Any] = {**DEFAULTS, **sampling}
    values["max_tokens"] = whole_number("max_tokens", values["max_tokens"], none=None, least=1)
    values["n"] = whole_number("n", values["n"], none=1, least=1)
    top_k = whole_number("top_k", values["top_k"], none=0, least=-1)
    values["top_k"] = 0 if top_k == -1 else top_k
    # Any seed is good: it is a key, so only its lowest 64 bits count.
    seed = whole_number("seed", values["seed"], none=secrets.randbits(64), least=None)
    values["seed"] = (seed or 0) % 2**64
    values["stop"] = _strings("stop", values["stop"])
    ids = values["stop_token_ids"]
    values["stop_token_ids"] = [] if ids is None else ids
    return values


def whole_number(name: str, value: object, *, none: int | None, least: int | None) -> int | None:
    """Return an integer parameter, `none` where it is None; `TypeError` or `ValueError` name it.

    `least`: the smallest that is allowed; with one, nothing above `MOST` is. numpy's integers are integers.

    >>> whole_number("top_k", 40, none=0, least=-1)
    40
    """
    if value is None:
        return none
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be an integer, found {value!r}")
    number = operator.index(value)
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}, found {number}")
    if least is not None and number > MOST:
        raise ValueError(f"{name} must be at most {MOST}, found {number}")
    return number


def _strings(name: str, value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, (list, tuple)) and all(isinstance(string, str) for string in value):
        return list(value)
    raise TypeError(f"{name} must be a string or a list of strings, found {value!r}")
