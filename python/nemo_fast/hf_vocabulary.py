"""What the tokens of a `tokenizer.json` mean in bytes, computed from the file alone.

Two kinds of decoder give every token fixed bytes, whatever stands beside it: byte-level ones and
SentencePiece-like ones. Only these are taken, so that a text decoded token by token is the text decoded at
once. A SentencePiece word mark is a space wherever it stands, the beginning of the text included.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from nemo_fast._native import TokenizerError
from nemo_fast.byte_level import byte_level_bytes

if TYPE_CHECKING:
    from pathlib import Path

_WORD_MARK = "\N{LOWER ONE EIGHTH BLOCK}"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def read_json_object(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Errors: `TokenizerError` that names the file, `OSError`."""
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise TokenizerError(f"{file}: {error}") from error
    if not isinstance(found, dict):
        raise TokenizerError(f"{file}: expected a JSON object, found {type(found).__name__}")
    return found


def vocabulary(description: dict[str, Any]) -> dict[str, int]:
    """Return the ids of the model's own tokens, added tokens left out, of a parsed `tokenizer.json`.

    >>> vocabulary({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}}})
    {'a': 0, 'b': 1}
    """
    model = description.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        kind = model.get("type") if isinstance(model, dict) else None
        raise TokenizerError(f"the model of tokenizer.json is of type {kind!r}: only BPE is supported")
    tokens = model.get("vocab")
    if not isinstance(tokens, dict) or not all(isinstance(index, int) for index in tokens.values()):
        raise TokenizerError("tokenizer.json has no vocabulary `model.vocab` of tokens and ids")
    return tokens


def added_tokens(description: dict[str, Any]) -> dict[int, tuple[str, bool]]:
    """Return the added tokens by id: the text of each, and whether it is a special token."""
    try:
        return {
            int(token["id"]): (str(token["content"]), bool(token.get("special", False)))
            for token in description.get("added_tokens") or ()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise TokenizerError("tokenizer.json has an entry of `added_tokens` without id or content") from error


def token_bytes(description: dict[str, Any], vocab_size: int | None = None) -> list[bytes]:
    """Return the bytes of each id, 0 to `vocab_size` - 1, of a parsed `tokenizer.json`.

    An id that no token has gets `b""`: a model's embedding is often padded beyond its tokenizer. Added
    tokens that lie beyond the model's vocabulary are left out. Errors: `TokenizerError` for an unsupported
    decoder and for a vocabulary larger than `vocab_size`.

    >>> token_bytes({"model": {"vocab": {"Ġa": 0, "b": 2}}, "decoder": {"type": "ByteLevel"}}, vocab_size=4)
    [b' a', b'', b'b', b'']
    """
    tokens = vocabulary(description)
    added = added_tokens(description)
    size = vocab_size if vocab_size is not None else 1 + max((*tokens.values(), *added), default=-1)
    byte_level = _is_byte_level(description.get("decoder"))
    table = [b""] * size
    for token, index in tokens.items():
        if index in added:
            continue
        if not 0 <= index < size:
            raise TokenizerError(
                f"token {token!r} of tokenizer.json has id {index}, but the model has {size} tokens"
            )
        table[index] = _byte_level(token) if byte_level else _sentencepiece(token)
    for index, (content, _) in added.items():
        if 0 <= index < size:
            table[index] = content.encode()
    return table


def _byte_level(token: str) -> bytes:
    # The `tokenizers` package, too, takes a token outside the alphabet as the text that it is.
    found = byte_level_bytes(token)
    return token.encode() if found is None else found


def _sentencepiece(token: str) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(token)
    return bytes.fromhex(byte[1]) if byte else token.replace(_WORD_MARK, " ").encode()


def _is_byte_level(decoder: object) -> bool:
    """Tell a byte-level decoder from a SentencePiece-like one; refuse every other by its name."""
    steps = _steps(decoder)
    kinds = {step.get("type") for step in steps}
    if "ByteLevel" in kinds and kinds <= {"ByteLevel", "Fuse"}:
        return True
    # `Strip` takes the space off the beginning of a whole text; a piece of text keeps it.
    if kinds & {"Metaspace", "Replace"} and kinds <= {
        "Metaspace",
        "Replace",
        "ByteFallback",
        "Fuse",
        "Strip",
    }:
        for step in steps:
            if step.get("type") == "Replace" and (step.get("pattern"), step.get("content")) != (
                {"String": _WORD_MARK},
                " ",
            ):
                raise TokenizerError(f"the decoder of tokenizer.json replaces {step.get('pattern')!r}")
        return False
    names = " + ".join(str(step.get("type")) for step in steps) or "none"
    raise TokenizerError(f"the decoder of tokenizer.json is not supported: {names}")


def _steps(decoder: object) -> list[dict[str, Any]]:
    if not isinstance(decoder, dict):
        return []
    if decoder.get("type") == "Sequence":
        return [step for inner in decoder.get("decoders") or () for step in _steps(inner)]
    return [decoder]
