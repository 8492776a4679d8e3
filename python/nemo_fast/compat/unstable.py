"""What the end of a text may become when the text goes on: `Encoding.encode_with_unstable`.

Ids are stable where no continuation changes them. Only the last pretoken is taken to be unstable, and white
space in front of it if it starts with some: a newline that follows would join it. The sequences that the rest
may become are found by trying every token that can straddle the end of the text. tiktoken does the same, and
calls it unstable itself: neither of the two finds every sequence.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_fast._native import Tokenizer

# White space that joins other white space; carriage returns are not looked at.
_SPACE = frozenset(b" \n\t")
# What Python takes for white space and Unicode does not.
_SEPARATORS = "\x1c\x1d\x1e\x1f"


def unstable_length(tokenizer: Tokenizer, tokens: list[int], tail: str) -> int:
    """Return how many ids at the end can change; `tail` is the text behind the last special token."""
    pretokens = tokenizer.pretokens(tail)
    if not pretokens:
        return 0
    length = len(tokenizer.encode_pretoken(pretokens[-1].encode()))
    specials = len(tokenizer.special_tokens)

    def is_space(token: int) -> bool:
        return token >= specials and _SPACE.issuperset(tokenizer.token_bytes(token))

    if is_space(tokens[-length]):
        while length < len(tokens) and is_space(tokens[-length - 1]):
            length += 1
    return length


def completions(tokenizer: Tokenizer, sorted_tokens: list[bytes], rest: bytes) -> list[list[int]]:
    """Return the sequences of ids that the last bytes of a text may become; the last id may reach beyond."""
    found: set[tuple[int, ...]] = set()
    if rest:
        found.update(tuple(tokenizer.encode_pretoken(token)) for token in _starting_with(sorted_tokens, rest))
    for start in range(1, len(rest)):
        for token in _starting_with(sorted_tokens, rest[start:]):
            found.add(_covering(tokenizer, _encode(tokenizer, rest[:start] + token), len(rest)))
    # White space at the end leaves its last character to what follows, so that a pretoken may end before it.
    space = _last_space(rest)
    if 0 < space < len(rest):
        cut = len(rest) - space
        found.add((*tokenizer.encode_pretoken(rest[:cut]), *tokenizer.encode_pretoken(rest[cut:])))
    return [list(sequence) for sequence in found]


def _starting_with(sorted_tokens: list[bytes], prefix: bytes) -> Iterator[bytes]:
    for index in range(bisect_left(sorted_tokens, prefix), len(sorted_tokens)):
        if not sorted_tokens[index].startswith(prefix):
            return
        yield sorted_tokens[index]


def _encode(tokenizer: Tokenizer, text: bytes) -> list[int]:
    """Encode bytes; as one pretoken, if they end inside a character."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return tokenizer.encode_pretoken(text)
    return tokenizer.encode(text)


def _covering(tokenizer: Tokenizer, tokens: list[int], length: int) -> tuple[int, ...]:
    """Return the ids at the start that together have at least so many bytes."""
    covered = 0
    for end, token in enumerate(tokens, 1):
        covered += len(tokenizer.token_bytes(token))
        if covered >= length:
            return tuple(tokens[:end])
    return tuple(tokens)


def _last_space(rest: bytes) -> int:
    """Return the number of bytes of the last character if it is white space, otherwise 0."""
    for length in range(1, min(4, len(rest)) + 1):
        try:
            character = rest[-length:].decode()
        except UnicodeDecodeError:
            continue
        return length if character.isspace() and character not in _SEPARATORS else 0
    return 0
