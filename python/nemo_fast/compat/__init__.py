"""Objects with the methods of two other tokenizer libraries, for code that is written for them.

Neither library is needed. The ids are those of mistral-common; what differs from the originals, mostly in
errors, stands in the docstrings of `Encoding` and `Tekkenizer`.
"""

from __future__ import annotations

from nemo_fast._native import Tokenizer
from nemo_fast.compat.encoding import Encoding
from nemo_fast.compat.tekken import Tekkenizer

__all__ = ["Encoding", "Tekkenizer", "tekkenizer", "tiktoken_encoding"]


def tiktoken_encoding(tokenizer: Tokenizer | None = None, *, name: str = "tekken") -> Encoding:
    """Return an object with the methods of `tiktoken.Encoding`, by default of Mistral Nemo's vocabulary.

    >>> encoding = tiktoken_encoding()
    >>> encoding.encode("Hello, how are you?")
    [22177, 1044, 2606, 1584, 1636, 1063]
    >>> encoding.encode("<s>Hi", allowed_special={"<s>"})
    [1, 37133]
    """
    return Encoding(Tokenizer() if tokenizer is None else tokenizer, name)


def tekkenizer(tokenizer: Tokenizer | None = None) -> Tekkenizer:
    """Return an object with the methods of mistral-common's `Tekkenizer`, by default of Nemo's vocabulary.

    >>> tekkenizer().encode("Hi", bos=True, eos=False)
    [1, 37133]
    """
    return Tekkenizer(Tokenizer() if tokenizer is None else tokenizer)
