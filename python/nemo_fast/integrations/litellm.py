"""litellm: its tokenizer argument, and an exact counter of requests in the place of its estimate.

The package is not needed here: its messages are OpenAI's, as dicts or as objects with `model_dump`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

import nemo_fast
from nemo_fast.integrations.openai_shape import count_prompt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nemo_fast._native import _Messages as Messages
    from nemo_fast._native import _Tools as Tools


class CustomTokenizer(TypedDict):
    """What litellm's `create_pretrained_tokenizer` returns."""

    type: Literal["huggingface_tokenizer"]
    tokenizer: HuggingFaceShape


def custom_tokenizer(tokenizer: nemo_fast.Tokenizer | None = None) -> CustomTokenizer:
    """Return a tokenizer for litellm's `custom_tokenizer=` in `token_counter`, `encode` and `decode`.

    litellm counts a text with it exactly (one of over four million characters it estimates), messages not:
    it adds what OpenAI's prompts need. `token_counter` here is exact for both.

    >>> custom_tokenizer()["tokenizer"].encode("Hi").ids
    [37133]
    """
    tokenizer = nemo_fast.Tokenizer() if tokenizer is None else tokenizer
    return {"type": "huggingface_tokenizer", "tokenizer": HuggingFaceShape(tokenizer)}


def token_counter(
    model: str = "",  # noqa: ARG001  # litellm's callers give it
    *,
    text: str | Sequence[str] | None = None,
    messages: Messages | None = None,
    tools: Tools | None = None,
) -> int:
    """Return the number of token ids of a text, or of the prompt for messages and tools.

    Named and called as litellm's function is; `model` is not looked at. A list of texts is one text.
    Errors: `ValueError` for both or none of text and messages, and for a text with tools;
    `nemo_fast.PromptError` for what is no prompt.

    >>> token_counter("mistral/open-mistral-nemo", messages=[{"role": "user", "content": "Hi"}])
    4
    """
    if text is None:
        if messages is None:
            raise ValueError("give a text or messages")
        return count_prompt(messages, tools)
    if messages is not None:
        raise ValueError("give a text or messages, not both")
    if tools:
        raise ValueError("tools belong to messages, not to a text")
    return nemo_fast.count(text if isinstance(text, str) else "".join(text))


class Encoded(list[int]):
    """Token ids with the attribute of the `tokenizers` package's `Encoding` that litellm looks for."""

    @property
    def ids(self) -> list[int]:
        """The token ids, as a plain list."""
        return list(self)


class HuggingFaceShape:
    """A `Tokenizer` with the methods of `tokenizers.Tokenizer` that litellm calls; no ids are added."""

    def __init__(self, tokenizer: nemo_fast.Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> Encoded:
        """Return the token ids of a text; names of special tokens are text."""
        return Encoded(self._tokenizer.encode(text))

    def encode_batch_fast(self, texts: Iterable[str]) -> list[Encoded]:
        """Return the token ids of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of token ids."""
        return self._tokenizer.decode(ids, special="skip" if skip_special_tokens else "keep")
