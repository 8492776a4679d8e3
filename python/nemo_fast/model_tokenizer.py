"""Which tokenizer a model folder has: ours, the folder's own, or none.

Mistral Nemo's vocabulary is recognised in either of its files and then read by the embedded tokenizer. This
module decides and compares; it encodes nothing.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_fast._native import Tokenizer, TokenizerError
from nemo_fast.byte_level import byte_level_bytes
from nemo_fast.hf_tokenizer import HfTokenizer
from nemo_fast.hf_vocabulary import read_json_object, vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

NEMO_VOCAB_SIZE = 131_072
# Ids below are special tokens; the token of rank r has id r + 1000.
FIRST_RANKED_ID = 1000
CHAT_FORMATS = ("auto", "tekken", "template")


def load_tokenizer(
    folder: str | PathLike[str], vocab_size: int, chat_format: str = "auto"
) -> Tokenizer | HfTokenizer | None:
    """Return the tokenizer of a model folder whose model has `vocab_size` ids.

    `tekken.json` wins over `tokenizer.json`. Without either, a model of 131,072 ids takes the embedded
    tokenizer, and any other has none: it generates from ids. `chat_format`: "auto"; "tekken" insists on
    Mistral Nemo's vocabulary; "template" on `tokenizer.json` and its chat template. Errors: `TokenizerError`
    for files that are broken or do not fit, `ValueError` for another `chat_format`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(load_tokenizer(folder, vocab_size=1000))
    None
    """
    if chat_format not in CHAT_FORMATS:
        raise ValueError(f"chat_format is {chat_format!r}, not one of {', '.join(CHAT_FORMATS)}")
    found = _find(Path(folder), vocab_size, chat_format)
    if chat_format == "tekken" and not isinstance(found, Tokenizer):
        raise TokenizerError(f"{folder} does not have Mistral Nemo's vocabulary, so not its chat format")
    return found


def is_nemo_vocabulary(bytes_of_id: Callable[[int], bytes | None]) -> bool:
    """Tell whether every ranked token, ids 1000 to 131,071, has the bytes of Mistral Nemo's.

    >>> is_nemo_vocabulary(Tokenizer().token_bytes)
    True
    """
    ours = Tokenizer()
    return all(
        bytes_of_id(index) == ours.token_bytes(index) for index in range(FIRST_RANKED_ID, NEMO_VOCAB_SIZE)
    )


def _find(folder: Path, vocab_size: int, chat_format: str) -> Tokenizer | HfTokenizer | None:
    tekken, tokenizer_json = folder / "tekken.json", folder / "tokenizer.json"
    if chat_format == "template":
        return HfTokenizer(folder, vocab_size=vocab_size)
    if tekken.is_file():
        _check_tekken(tekken)
        return _ours(tekken, vocab_size)
    if not tokenizer_json.is_file():
        return Tokenizer() if vocab_size == NEMO_VOCAB_SIZE else None
    if _is_nemo_tokenizer_json(tokenizer_json):
        return _ours(tokenizer_json, vocab_size)
    return HfTokenizer(folder, vocab_size=vocab_size)


def _ours(file: Path, vocab_size: int) -> Tokenizer:
    if vocab_size != NEMO_VOCAB_SIZE:
        raise TokenizerError(f"{file} has {NEMO_VOCAB_SIZE} tokens, but the model has {vocab_size}")
    return Tokenizer()


def _check_tekken(file: Path) -> None:
    """Refuse a Tekken file whose tokens, or version, are not Mistral Nemo's."""
    description = read_json_object(file)
    try:
        config = description["config"]
        version, size = config["version"], config["default_vocab_size"]
        special_count = config["default_num_special_tokens"]
        used = description["vocab"][: NEMO_VOCAB_SIZE - FIRST_RANKED_ID]
        ranks = {int(entry["rank"]): base64.b64decode(entry["token_bytes"]) for entry in used}
    except (KeyError, TypeError, ValueError) as error:
        raise TokenizerError(f"{file} is not a Tekken file: {error!r}") from error
    if (version, size, special_count) != ("v3", NEMO_VOCAB_SIZE, FIRST_RANKED_ID):
        raise TokenizerError(
            f"{file} is of version {version} with {size} tokens, {special_count} of them special; "
            f"supported is Mistral Nemo's: v3 with {NEMO_VOCAB_SIZE} and {FIRST_RANKED_ID}"
        )
    if not is_nemo_vocabulary(lambda index: ranks.get(index - FIRST_RANKED_ID)):
        raise TokenizerError(f"the tokens of {file} are not Mistral Nemo's, which alone are supported")


def _is_nemo_tokenizer_json(file: Path) -> bool:
    """Compare the tokens by their bytes; what else the file says about splitting does not count.

    Copies of Nemo's file are about with split patterns that differ from the reference's; the embedded
    tokenizer is exact for all of them.
    """
    tokens = vocabulary(read_json_object(file))
    if len(tokens) < NEMO_VOCAB_SIZE - FIRST_RANKED_ID:
        return False
    of_id = {index: token for token, index in tokens.items()}
    return is_nemo_vocabulary(lambda index: byte_level_bytes(of_id[index]) if index in of_id else None)
