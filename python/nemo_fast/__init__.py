"""Mistral Nemo 12B in process: exact tokenizer, chat prompts and an fp8 engine.

Importing the package imports neither numpy nor any optional dependency, and does not build the vocabulary.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from nemo_fast._native import (
    CheckpointError,
    ContextLengthError,
    DeviceError,
    GenerationError,
    NemoFastError,
    PromptError,
    StreamDecoder,
    Tokenizer,
    TokenizerError,
    TokenTable,
    __version__,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from typing_extensions import Buffer

__all__ = [
    "CheckpointError",
    "ContextLengthError",
    "DeviceError",
    "GenerationError",
    "NemoFastError",
    "PromptError",
    "StreamDecoder",
    "TokenTable",
    "Tokenizer",
    "TokenizerError",
    "__version__",
    "count",
    "count_chat",
    "decode",
    "encode",
    "encode_chat",
    "render_chat",
]


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer()


def encode(text: str | bytes, *, bos: bool = False, eos: bool = False) -> list[int]:
    """Return the token ids of a text: `Tokenizer.encode`.

    >>> encode("Hello, how are you?")
    [22177, 1044, 2606, 1584, 1636, 1063]
    """
    return _tokenizer().encode(text, bos=bos, eos=eos)


def count(text: str | bytes) -> int:
    """Return the number of token ids of a text, without building them: `Tokenizer.count`.

    >>> count("Hello, how are you?")
    6
    """
    return _tokenizer().count(text)


def decode(
    ids: Sequence[int] | Buffer,
    *,
    errors: Literal["replace", "strict"] = "replace",
    special: Literal["skip", "keep", "raise"] = "skip",
) -> str:
    """Return the text of token ids: `Tokenizer.decode`.

    >>> decode([22177, 1044, 2606, 1584, 1636, 1063])
    'Hello, how are you?'
    """
    return _tokenizer().decode(ids, errors=errors, special=special)


def encode_chat(messages: Iterable[Mapping[str, Any]], *, continue_final_message: bool = False) -> list[int]:
    """Return the token ids of the prompt for a conversation: `Tokenizer.encode_chat`.

    >>> encode_chat([{"role": "user", "content": "Hello, how are you?"}])
    [1, 3, 22177, 1044, 2606, 1584, 1636, 1063, 4]
    """
    return _tokenizer().encode_chat(messages, continue_final_message=continue_final_message)


def count_chat(messages: Iterable[Mapping[str, Any]], *, continue_final_message: bool = False) -> int:
    """Return the number of token ids of a prompt, without building them: `Tokenizer.count_chat`.

    >>> count_chat([{"role": "user", "content": "Hello, how are you?"}])
    9
    """
    return _tokenizer().count_chat(messages, continue_final_message=continue_final_message)


def render_chat(messages: Iterable[Mapping[str, Any]], *, continue_final_message: bool = False) -> str:
    """Return the prompt as a text to read: `Tokenizer.render_chat`.

    >>> render_chat([{"role": "user", "content": "Hi"}])
    '<s>[INST]Hi[/INST]'
    """
    return _tokenizer().render_chat(messages, continue_final_message=continue_final_message)
