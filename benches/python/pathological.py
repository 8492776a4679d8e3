"""Texts that tokenizers are slow on: long pieces, no spaces, many merges or boundaries. Always the same."""

from __future__ import annotations

import base64
import random
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SPECIALS = [
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[TOOL_CALLS]",
    "<unk>",
    "[AVAILABLE_TOOLS]",
    "<pad>",
    "[PREFIX]",
]
_CONTRACTIONS = [
    "don't",
    "WE'LL",
    "it's",
    "I'm",
    "they've",
    "'tis",
    "CAN'T",
    "you'd",
    "rock'n'roll",
    "'s",
    "x'LL",
]
_EMOJI = ["👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🧑🏿‍🚀", "❤️‍🔥", "🇩🇪", "🇯🇵", "👩‍💻", "😀", "🫠"]
_THAI = [*range(0x0E01, 0x0E3B), *range(0x0E40, 0x0E4F)]


def _from(choices: str, length: int) -> Callable[[random.Random], str]:
    return lambda draw: "".join(draw.choices(choices, k=length))


def _points(points: list[int] | range, length: int) -> Callable[[random.Random], str]:
    return lambda draw: "".join(map(chr, draw.choices(points, k=length)))


def _words(words: list[str], count: int, between: str = " ") -> Callable[[random.Random], str]:
    return lambda draw: between.join(draw.choices(words, k=count))


def _same(text: str) -> Callable[[random.Random], str]:
    return lambda _: text


_ANY = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
# Of Unicode 3.2, so that it is the same text with every version of Python.
_ASSIGNED = [point for point in _ANY if unicodedata.ucd_3_2_0.category(chr(point)) not in {"Cn", "Co"}]
_LOWER = "abcdefghijklmnopqrstuvwxyz"
_MARKS = range(0x0300, 0x0370)
_FAMILIES: dict[str, Callable[[random.Random], str]] = {
    "A300k": _same("A" * 300_000),
    "a1m": _same("a" * 1_000_000),
    "ab500k": _same("ab" * 500_000),
    "abc_rep": _same("abcdefgh" * 60_000),
    "base64_1m": lambda draw: base64.b64encode(draw.randbytes(750_000)).decode(),
    "case_mix": lambda draw: "".join(draw.choice((c.upper(), c)) for c in draw.choices(_LOWER, k=400_000)),
    "cjk_run": _points(range(0x4E00, 0x9FFF), 200_000),
    "combining": lambda draw: "".join("e" + chr(draw.choice(_MARKS)) * 3 for _ in range(60_000)),
    "contractions": _words(_CONTRACTIONS, 60_000),
    "crlf_mix": _words(["\r\n", "\n", "\r", " ", "\t", "x", " \r\n", "/\n"], 200_000, ""),
    "dashes1m": _same("-" * 1_000_000),
    "digits300k": _from("0123456789", 300_000),
    "dna1m": _from("ACGT", 1_000_000),
    "emoji_zwj": _words(_EMOJI, 30_000, ""),
    "equals": _same(("=" * 80 + "\n") * 5_000),
    "hex_1m": _from("0123456789abcdef", 1_000_000),
    "kana_run": _points(range(0x3041, 0x3097), 200_000),
    "nl100k": _same("\n" * 100_000),
    "punct300k": _from("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 300_000),
    "rand_assigned": _points(_ASSIGNED, 200_000),
    "rand_unicode": _points(_ANY, 200_000),
    "randletters1m": _from(_LOWER + _LOWER.upper(), 1_000_000),
    "randlower1m": _from(_LOWER, 1_000_000),
    "space1m": _same(" " * 1_000_000),
    "specials": _words(_SPECIALS, 60_000, ""),
    "tab100k": _same("\t" * 100_000),
    "thai_like": _points(_THAI, 200_000),
    "word_space": _same("word " * 100_000),
}
NAMES = tuple(_FAMILIES)


def family(name: str, shrink: int = 1) -> str:
    """Return the text of a family, or its first part: one `shrink`-th of its characters."""
    text = _FAMILIES[name](random.Random(name))  # noqa: S311 - the same text every time, not a secret
    return text[: len(text) // shrink]
