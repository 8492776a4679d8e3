"""The vocabulary of Mistral Nemo in the formats that the peers read, made from mistral-common's Tekken file.

Hugging Face's `tokenizer.json` has the merges that the ranks imply and no added tokens: control strings in a
text are text, as in the reference. fastokens accepts no gaps in the ids, so those of the special tokens have
names that no text can have. `.tiktoken` is a line a token: its bytes in base64 and its id.
"""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from nemo_fast.cache import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = cache_folder() / "benches" / "peers"
TEKKEN = "tekken_240718.json"


class PeerFiles(NamedTuple):
    """Where the formats are. Ids are those of the reference: rank + the number of special tokens."""

    tekken: Path
    hugging_face: Path
    tiktoken: Path


def peer_files(folder: Path = FOLDER) -> PeerFiles:
    """Return the files, and make those that are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    found = PeerFiles(folder / TEKKEN, folder / "tokenizer.json", folder / "nemo.tiktoken")
    if not all(path.exists() for path in found):
        source = (files("mistral_common") / "data" / TEKKEN).read_bytes()
        found.tekken.write_bytes(source)
        pattern, tokens, first_id = read_tekken(source)
        content = json.dumps(hugging_face(pattern, tokens, first_id), ensure_ascii=False)
        found.hugging_face.write_text(content, encoding="utf-8")
        lines = (b"%s %d\n" % (base64.b64encode(token), id_) for id_, token in enumerate(tokens, first_id))
        found.tiktoken.write_bytes(b"".join(lines))
    return found


def read_tekken(content: bytes) -> tuple[str, list[bytes], int]:
    """Return the pattern, the tokens in the order of their ranks, and the id of the first one."""
    tekken = json.loads(content)
    special = tekken["config"]["default_num_special_tokens"]
    entries = tekken["vocab"][: tekken["config"]["default_vocab_size"] - special]
    return tekken["config"]["pattern"], [base64.b64decode(entry["token_bytes"]) for entry in entries], special


def hugging_face(pattern: str, tokens: list[bytes], first_id: int) -> dict[str, object]:
    """Return the content of a `tokenizer.json`."""
    names = _byte_names()
    spelled = ["".join(names[byte] for byte in token) for token in tokens]
    # No byte is spelled by a character beyond U+0143.
    vocabulary = [*(f"\u2400{id_}" for id_ in range(first_id)), *spelled]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": True,
        "vocab": {name: id_ for id_, name in enumerate(vocabulary)},
        "merges": [[spelled[left], spelled[right]] for left, right in merges(tokens)],
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": model,
    }


def merges(tokens: list[bytes]) -> list[tuple[int, int]]:
    """Return every pair of ranks that join to a token, in the order of the token's rank."""
    ranks = {token: rank for rank, token in enumerate(tokens)}
    pairs: list[tuple[int, int]] = []
    for token in tokens:
        cuts = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        pairs += sorted(
            (ranks[left], ranks[right]) for left, right in cuts if left in ranks and right in ranks
        )
    return pairs


def _byte_names() -> list[str]:
    """Return the character that stands for each byte in Hugging Face's byte-level vocabularies."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]
