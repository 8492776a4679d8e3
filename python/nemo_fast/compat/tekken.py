"""The methods of mistral-common's `Tekkenizer` on a `Tokenizer`; prompts are made by `encode_chat`."""

from __future__ import annotations

import operator
from functools import cached_property
from typing import TYPE_CHECKING, Literal, SupportsIndex

from nemo_fast._native import Tokenizer, TokenizerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

# mistral-common's names (its enum's members are strings) and ours.
_POLICIES: dict[str, Literal["skip", "keep", "raise"]] = {"ignore": "skip", "keep": "keep", "raise": "raise"}


class Tekkenizer:
    """A `Tokenizer` with the methods of mistral-common's `Tekkenizer`; made by `tekkenizer` or from a file.

    It differs in this:

    - Texts may also be `bytes`. A text of any length is encoded; the reference gives up on a million spaces.
    - An id that is no token is a `KeyError`; a negative one too, which the reference counts from the end of
      the special tokens. What is no integer is a `TypeError`.
    - `version` is a `str` ("v3"), which equals the reference's enum member.
    - A policy is one of "ignore", "keep" and "raise", or the member of the reference's enum.
    - It knows nothing of images, audio and model settings, and is not a subclass of the reference's classes.

    >>> from nemo_fast.compat import tekkenizer
    >>> tekken = tekkenizer()
    >>> tekken.decode(tekken.encode("Hi", bos=True, eos=True), "keep")
    '<s>Hi</s>'
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> Tekkenizer:
        """Read a `tekken.json`: `Tokenizer.from_file`.

        Example (not run: it needs a file): ``Tekkenizer.from_file("tekken.json")``
        """
        return cls(Tokenizer.from_file(path))

    def __repr__(self) -> str:
        return f"Tekkenizer(n_words={self.n_words}, version={self.version!r})"

    def __reduce__(self) -> tuple[type[Tekkenizer], tuple[Tokenizer]]:
        return type(self), (self._tokenizer,)

    # Texts and ids

    def encode(self, s: str, bos: bool, eos: bool) -> list[int]:
        """Return the token ids of a text, on request between `<s>` (bos) and `</s>` (eos).

        >>> from nemo_fast.compat import tekkenizer
        >>> tekkenizer().encode("Hi", bos=True, eos=True)
        [1, 37133, 2]
        """
        return self._tokenizer.encode(s, bos=bos, eos=eos)

    def decode(self, tokens: Sequence[int], special_token_policy: str = "ignore") -> str:  # noqa: S107
        """Return the text of token ids; special tokens are left out, kept by name, or a `ValueError`.

        >>> from nemo_fast.compat import tekkenizer
        >>> tekkenizer().decode([1, 37133, 2])
        'Hi'
        """
        policy = _policy(special_token_policy)
        if policy == "raise" and (specials := [token for token in tokens if self.is_special(token)]):
            raise ValueError(f"the special tokens {specials} are not decoded under the policy 'raise'")
        try:
            return self._tokenizer.decode(tokens, special=policy)
        except TokenizerError as error:
            raise KeyError(str(error)) from None

    def id_to_piece(self, token_id: int) -> str:
        """Return the text of one token, U+FFFD for bytes that are no character; a special token's name.

        >>> from nemo_fast.compat import tekkenizer
        >>> tekkenizer().id_to_piece(22177)
        'Hello'
        """
        return self.decode([token_id], "keep")

    def id_to_byte_piece(self, token_id: int, special_token_policy: str = "ignore") -> bytes:  # noqa: S107
        r"""Return the bytes of one token; for a special token none, those of its name, or a `ValueError`.

        >>> from nemo_fast.compat import tekkenizer
        >>> tekkenizer().id_to_byte_piece(1255)
        b'\xff'
        """
        policy = _policy(special_token_policy)
        if policy == "raise" and self.is_special(token_id):
            raise ValueError(f"{token_id} is a special token")
        try:
            return self._tokenizer.decode_bytes([token_id], special=policy)
        except TokenizerError as error:
            raise KeyError(str(error)) from None

    # The vocabulary

    def vocab(self) -> list[str]:
        """Return the text of every token in the order of ids, as `id_to_piece` gives it. It is one list.

        >>> from nemo_fast.compat import tekkenizer
        >>> tekkenizer().vocab()[:3]
        ['<unk>', '<s>', '</s>']
        """
        return self._pieces

    def is_byte(self, token_id: int) -> bool:
        """Return whether a token is one of the 256 single bytes.

        >>> from nemo_fast.compat import tekkenizer
        >>> tekkenizer().is_byte(1255)
        True
        """
        return 0 <= token_id - self.num_special_tokens < 256

    def is_special(self, token: SupportsIndex | str) -> bool:
        """Return whether an id or a name is that of a special token.

        >>> from nemo_fast.compat import tekkenizer
        >>> tekkenizer().is_special("[INST]"), tekkenizer().is_special(1000)
        (True, False)
        """
        if isinstance(token, str):
            return token in self._special_ids
        try:
            return 0 <= operator.index(token) < self.num_special_tokens
        except TypeError:
            raise TypeError(f"Expected int or str, got {type(token).__name__}") from None

    def get_special_token(self, s: str) -> int:
        """Return the id of the special token of a name.

        >>> from nemo_fast.compat import tekkenizer
        >>> tekkenizer().get_special_token("[INST]")
        3
        """
        if s not in self._special_ids:
            raise ValueError(f"Unknown control token {s}")
        return self._special_ids[s]

    @property
    def version(self) -> str:
        """The version of the file: which special tokens there are, and what prompts are made of them."""
        return self._tokenizer.tekken_version

    @property
    def n_words(self) -> int:
        """Number of tokens, special tokens included."""
        return self._tokenizer.vocab_size

    @cached_property
    def num_special_tokens(self) -> int:
        """Number of special tokens, those without a meaning included."""
        return len(self._special_ids)

    @cached_property
    def special_ids(self) -> set[int]:
        """Ids of the special tokens."""
        return set(self._special_ids.values())

    @property
    def bos_id(self) -> int:
        """Id of `<s>`."""
        return self._tokenizer.bos_id

    @property
    def eos_id(self) -> int:
        """Id of `</s>`."""
        return self._tokenizer.eos_id

    @property
    def pad_id(self) -> int:
        """Id of `<pad>`."""
        return self.get_special_token("<pad>")

    @property
    def unk_id(self) -> int:
        """Id of `<unk>`."""
        return self.get_special_token("<unk>")

    @cached_property
    def _special_ids(self) -> dict[str, int]:
        return self._tokenizer.special_tokens

    @cached_property
    def _pieces(self) -> list[str]:
        return [self.id_to_piece(token_id) for token_id in range(self.n_words)]


def _policy(special_token_policy: str) -> Literal["skip", "keep", "raise"]:
    if special_token_policy not in tuple(_POLICIES):
        raise ValueError(
            f"Invalid `special_token_policy` {special_token_policy!r}. "
            "Expected one of: 'ignore', 'keep', 'raise'."
        )
    return _POLICIES[special_token_policy]
