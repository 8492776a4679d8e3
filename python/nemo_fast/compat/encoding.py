"""The methods of tiktoken 0.14's `Encoding` on a `Tokenizer`."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Literal

from nemo_fast._native import Tokenizer, TokenizerError
from nemo_fast.compat.unstable import completions, unstable_length

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from collections.abc import Set as AbstractSet

    import numpy as np
    from numpy.typing import NDArray

_NONE: frozenset[str] = frozenset()


class Encoding:
    """A `Tokenizer` with the methods of `tiktoken.Encoding`; made by `tiktoken_encoding`.

    It is what tiktoken makes of the tokens of a Tekken file, each with its id (1000 and up for Nemo's), and
    of the file's special tokens. It differs in this:

    - Texts may also be `bytes`. A text of any length is encoded; tiktoken gives up on a million spaces.
    - An id that is no token is a `KeyError`, also a negative one; what is no integer is a `TypeError`.
    - `eot_token` is the id of `</s>`: Tekken has no `<|endoftext|>`.
    - Lone surrogates become U+FFFD in every method, not only in `encode`.
    - Where a special token's name begins with another one's name, the longer one is found.

    >>> from nemo_fast.compat import tiktoken_encoding
    >>> encoding = tiktoken_encoding()
    >>> encoding
    <Encoding 'tekken'>
    >>> encoding.decode(encoding.encode("tiktoken is great!"))
    'tiktoken is great!'
    """

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        self.name = name
        self._tokenizer = tokenizer

    def __repr__(self) -> str:
        return f"<Encoding {self.name!r}>"

    def __reduce__(self) -> tuple[type[Encoding], tuple[Tokenizer, str]]:
        return type(self), (self._tokenizer, self.name)

    # Encoding

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the token ids of a text in which special tokens' names are text.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().encode_ordinary("Hello<s>")
        [22177, 1060, 1115, 1062]
        """
        return self._tokenizer.encode(text)

    def encode(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = _NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[int]:
        """Return the token ids of a text.

        The names in `allowed_special` become special tokens. A text with a string in `disallowed_special`
        ("all": every name that is not allowed) is a `ValueError`. Other names are text.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().encode("Hello<s>", disallowed_special=())
        [22177, 1060, 1115, 1062]
        """
        # The common cases have no set of a thousand names to build and no pattern to search for.
        if disallowed_special == "all" and not allowed_special:
            try:
                return self._tokenizer.encode(text, special="forbid")
            except TokenizerError:
                _refuse(text, self.special_tokens_set)
                raise  # not because of a name
        if allowed_special == "all" and disallowed_special in ("all", ()):
            return self._tokenizer.encode(text, special="parse")
        return self._encode_parts(self._parts(text, allowed_special, disallowed_special))

    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = _NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> NDArray[np.uint32]:
        """Return the token ids of `encode` as an array.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().encode_to_numpy("Hello, how").tolist()
        [22177, 1044, 2606]
        """
        import numpy as np

        ids = self.encode(text, allowed_special=allowed_special, disallowed_special=disallowed_special)
        return np.array(ids, np.uint32)

    def encode_ordinary_batch(self, text: list[str], *, num_threads: int = 8) -> list[list[int]]:
        """Return the token ids of `encode_ordinary` of several texts.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().encode_ordinary_batch(["Hello", "Hi"])
        [[22177], [37133]]
        """
        return self._tokenizer.encode_batch(text, threads=num_threads).tolist()

    def encode_batch(
        self,
        text: list[str],
        *,
        num_threads: int = 8,
        allowed_special: Literal["all"] | AbstractSet[str] = _NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[list[int]]:
        """Return the token ids of `encode` of several texts.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().encode_batch(["Hello", "<s>"], allowed_special="all")
        [[22177], [1]]
        """
        encode = partial(self.encode, allowed_special=allowed_special, disallowed_special=disallowed_special)
        with ThreadPoolExecutor(num_threads) as threads:
            return list(threads.map(encode, text))

    def encode_with_unstable(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = _NONE,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> tuple[list[int], list[list[int]]]:
        """Return the ids at the start that stay when the text goes on, and what the rest may become.

        Each completion covers the rest of the text, and its last token may reach beyond. Like tiktoken's,
        this is a best effort. The order of the completions means nothing.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> encoding = tiktoken_encoding()
        >>> stable, completions = encoding.encode_with_unstable("Hello fant")
        >>> encoding.decode(stable), encoding.encode(" fantastic") in completions
        ('Hello', True)
        """
        parts = self._parts(text, allowed_special, disallowed_special)
        tokens = self._encode_parts(parts)
        stable = len(tokens) - unstable_length(self._tokenizer, tokens, parts[-1])
        rest = self.decode_bytes(tokens[stable:])
        return tokens[:stable], completions(self._tokenizer, self._sorted_tokens, rest)

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """Return the id of the token with these bytes, or of the special token of this name.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().encode_single_token("Hello")
        22177
        """
        token = text_or_bytes.encode() if isinstance(text_or_bytes, str) else text_or_bytes
        token_id = self._tokenizer.token_id(token)
        if token_id is None:
            # Bytes that are not UTF-8 are no name: they become surrogates, which no name has.
            token_id = self._special_ids.get(token.decode(errors="surrogateescape"))
        if token_id is None:
            raise KeyError(token)
        return token_id

    # Decoding

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of token ids, special tokens by name.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().decode_bytes([1, 37133])
        b'<s>Hi'
        """
        try:
            return self._tokenizer.decode_bytes(tokens, special="keep")
        except TokenizerError as error:
            raise KeyError(str(error)) from None

    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str:
        """Return the text of token ids, special tokens by name; `errors` is that of `bytes.decode`.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().decode([1, 37133])
        '<s>Hi'
        """
        return self.decode_bytes(tokens).decode("utf-8", errors=errors)

    def decode_single_token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token; those of a special token are its name.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().decode_single_token_bytes(22177)
        b'Hello'
        """
        try:
            return self._tokenizer.token_bytes(token)
        except TokenizerError as error:
            raise KeyError(str(error)) from None

    def decode_tokens_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes of each token.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().decode_tokens_bytes([22177, 1044])
        [b'Hello', b',']
        """
        return [self.decode_single_token_bytes(token) for token in tokens]

    def decode_with_offsets(self, tokens: Sequence[int]) -> tuple[str, list[int]]:
        """Return the text and the index of each token's first character in it.

        A token that starts inside a character has that character's index. Bytes that are not UTF-8 are a
        `UnicodeDecodeError`.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().decode_with_offsets([22177, 1044])
        ('Hello,', [0, 5])
        """
        parts = self.decode_tokens_bytes(tokens)
        offsets, characters = [], 0
        for part in parts:
            starts = sum(not _goes_on(byte) for byte in part)
            offsets.append(max(0, characters - _goes_on(part[0])))
            characters += starts
        return b"".join(parts).decode("utf-8"), offsets

    def decode_batch(
        self, batch: Sequence[Sequence[int]], *, errors: str = "replace", num_threads: int = 8
    ) -> list[str]:
        """Return the text of `decode` for several lists of token ids.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().decode_batch([[22177], [37133]])
        ['Hello', 'Hi']
        """
        with ThreadPoolExecutor(num_threads) as threads:
            return list(threads.map(partial(self.decode, errors=errors), batch))

    def decode_bytes_batch(self, batch: Sequence[Sequence[int]], *, num_threads: int = 8) -> list[bytes]:
        """Return the bytes of `decode_bytes` for several lists of token ids.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().decode_bytes_batch([[22177], [37133]])
        [b'Hello', b'Hi']
        """
        with ThreadPoolExecutor(num_threads) as threads:
            return list(threads.map(self.decode_bytes, batch))

    # The vocabulary

    def token_byte_values(self) -> list[bytes]:
        r"""Return the bytes of all tokens but the special ones, in their own order.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().token_byte_values()[:2]
        [b'\x00', b'\x01']
        """
        return list(self._sorted_tokens)

    @property
    def max_token_value(self) -> int:
        """The highest id."""
        return self._tokenizer.vocab_size - 1

    @property
    def n_vocab(self) -> int:
        """Number of tokens, special tokens included."""
        return self._tokenizer.vocab_size

    @property
    def eot_token(self) -> int:
        """Id of `</s>`."""
        return self._tokenizer.eos_id

    @cached_property
    def special_tokens_set(self) -> set[str]:
        """Names of the special tokens."""
        return set(self._special_ids)

    def is_special_token(self, token: int) -> bool:
        """Return whether a token is special.

        >>> from nemo_fast.compat import tiktoken_encoding
        >>> tiktoken_encoding().is_special_token(1)
        True
        """
        if not isinstance(token, int):
            raise TypeError(f"a token id must be an integer, found {type(token).__name__}")
        return 0 <= token < len(self._special_ids)

    @cached_property
    def _special_ids(self) -> dict[str, int]:
        return self._tokenizer.special_tokens

    @cached_property
    def _sorted_tokens(self) -> list[bytes]:
        ids = range(len(self._special_ids), self._tokenizer.vocab_size)
        return sorted(map(self._tokenizer.token_bytes, ids))

    def _parts(
        self,
        text: str,
        allowed_special: Literal["all"] | AbstractSet[str],
        disallowed_special: Literal["all"] | Collection[str],
    ) -> list[str]:
        """Cut a text at the allowed names: a text, a name, a text and so on, the last one a text."""
        allowed = (
            self.special_tokens_set if allowed_special == "all" else self.special_tokens_set & allowed_special
        )
        if disallowed_special == "all":
            disallowed_special = self.special_tokens_set - allowed
        _refuse(text, disallowed_special)
        return _pattern(frozenset(allowed)).split(text) if allowed else [text]

    def _encode_parts(self, parts: list[str]) -> list[int]:
        tokens = []
        for index, part in enumerate(parts):
            tokens += [self._special_ids[part]] if index % 2 else self.encode_ordinary(part)
        return tokens


@lru_cache(maxsize=128)
def _pattern(names: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, longest_first))})")


def _refuse(text: str, disallowed: Collection[str]) -> None:
    if not disallowed or (match := _pattern(frozenset(disallowed)).search(text)) is None:
        return
    name = match[0]
    raise ValueError(
        f"Encountered text corresponding to disallowed special token {name!r}.\n"
        f"It becomes the special token with `allowed_special={{{name!r}, ...}}`, and text like any other "
        f"with `disallowed_special=(enc.special_tokens_set - {{{name!r}}})`.\n"
        "With `disallowed_special=()` every special token's name is text.\n"
    )


def _goes_on(byte: int) -> bool:
    """Return whether a byte is inside a character, not at its start."""
    return 0x80 <= byte < 0xC0
