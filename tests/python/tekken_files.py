"""Tekken files for the tests: in the layouts of the versions, and with small vocabularies."""

import base64
import json

from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

PUBLISHED = [MistralTokenizer._data_path() / name for name in ("tekken_240718.json", "tekken_240911.json")]

# The names of version 3, and what later versions have among the reserved ones.
_V3 = [str(token["token_str"]) for token in Tekkenizer.DEPRECATED_SPECIAL_TOKENS]
LATER_NAMES = {
    "v7": {},
    "v11": {24: "[AUDIO]", 25: "[BEGIN_AUDIO]", 32: "[ARGS]", 33: "[CALL_ID]", 34: "[THINK]", 35: "[/THINK]"},
    "v13": {24: "[AUDIO]", 25: "[BEGIN_AUDIO]", 32: "[ARGS]", 33: "[CALL_ID]", 34: "[TRANSCRIBE]"},
}


def names_of(version, count=1_000):
    """Return the names of all special tokens of a version, in the order of ids."""
    names = [*_V3, *(f"<SPECIAL_{token_id}>" for token_id in range(len(_V3), count))]
    for token_id, name in LATER_NAMES[version].items():
        names[token_id] = name
    return names


def special_tokens(names):
    """Return names as the list of a file."""
    return [{"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(names)]


def vocab(tokens):
    """Return the bytes of tokens as the list of a file."""
    return [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": text_of(token)}
        for rank, token in enumerate(tokens)
    ]


def text_of(token):
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None


def pattern():
    """Return the pattern of the published files."""
    with PUBLISHED[0].open(encoding="utf-8") as file:
        start = file.read(2_000)
    return json.JSONDecoder().raw_decode(start[start.index('"pattern"') + len('"pattern"') :].lstrip(": "))[0]


def tekken(version, tokens, names, *, special_count=None, **keys):
    """Return the content of a file; `names`: None for a file that does not list its special tokens."""
    special_count = special_count or len(names)
    listed = {} if names is None else {"special_tokens": special_tokens(names)}
    config = {
        "pattern": PATTERN,
        "num_vocab_tokens": len(tokens),
        "default_vocab_size": len(tokens) + special_count,
        "default_num_special_tokens": special_count,
        "version": version,
    }
    return {"config": config, "vocab": vocab(tokens), **listed, **keys}


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


PATTERN = pattern()
BYTES = [bytes([byte]) for byte in range(256)]
