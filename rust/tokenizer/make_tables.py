"""Make the two tables that the tokenizer embeds, or check that they are what this script makes.

    python rust/tokenizer/make_tables.py            write them
    python rust/tokenizer/make_tables.py --check    rebuild them and compare byte for byte

`nemo_vocabulary.bin` comes from the `tekken_240718.json` inside mistral-common 1.13.1; `merge_list.rs`
documents its format. `unicode_classes.rs` comes from `unicodedata2` 16.0.0: the reference's pattern is
compiled with the classes of Unicode 16, and a newer Unicode has letters that the reference does not know.
"""

import base64
import hashlib
import json
import sys
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import unicodedata2

HERE = Path(__file__).parent
VOCABULARY_SHA256 = "eccd1665d2e477697c33cb7f0daa6f6dfefc57a0a6bceb66d4be52952f827516"
VOCABULARY_SIZE = 131_072
SPECIAL_TOKENS = 1_000

CLASS_OF_CATEGORY = {
    "Lu": "Upper",
    "Lt": "Upper",
    "Ll": "Lower",
    "Lm": "BothCases",
    "Lo": "BothCases",
    "Mn": "Mark",
    "Mc": "Mark",
    "Me": "Mark",
    "Nd": "Number",
    "Nl": "Number",
    "No": "Number",
    "Zs": "Space",
    "Zl": "Space",
    "Zp": "Space",
}
# `\s` is the property White_Space: the separators above and these controls. (Python's `str.isspace` also has
# U+001C to U+001F, which are not white space to the pattern.)
NEWLINES = {"\n", "\r"}
SPACE_CONTROLS = {"\t", "\v", "\f", "\x85"}

CLASSES_HEADER = """\
//! Character classes of Unicode {version}, made by `make_tables.py`: do not edit.

use super::char_class::CharClass::{{self, BothCases, Lower, Mark, Newline, Number, Other, Space, Upper}};

/// First code point and class of each run, in ascending order; a run ends where the next one starts.
#[rustfmt::skip]
pub(super) static RUNS: [(u32, CharClass); {count}] = [
"""


def vocabulary_tokens() -> list[bytes]:
    """Return the bytes of every token in the order of ranks, special tokens left out."""
    source = (files("mistral_common") / "data" / "tekken_240718.json").read_bytes()
    if hashlib.sha256(source).hexdigest() != VOCABULARY_SHA256:
        raise SystemExit("tekken_240718.json is not the file of mistral-common 1.13.1")
    entries = json.loads(source)["vocab"][: VOCABULARY_SIZE - SPECIAL_TOKENS]
    return [base64.b64decode(entry["token_bytes"]) for entry in entries]


def last_merge(token: bytes, ranks: dict[bytes, int]) -> tuple[int, int]:
    """Merge the bytes of a token until two parts are left, and return their ranks."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        lowest = min(range(len(pairs)), key=pairs.__getitem__)
        if pairs[lowest] == len(ranks):
            raise SystemExit(f"{token!r} cannot be reached by merging")
        parts[lowest : lowest + 2] = [parts[lowest] + parts[lowest + 1]]
    return ranks[parts[0]], ranks[parts[1]]


def vocabulary_file() -> bytes:
    """Return six planes of bytes: low, middle and high byte of the left ranks, then of the right ranks."""
    tokens = vocabulary_tokens()
    if tokens[:256] != [bytes([value]) for value in range(256)]:
        raise SystemExit("the first 256 ranks are not the single bytes")
    ranks = {token: rank for rank, token in enumerate(tokens)}
    merges = [last_merge(token, ranks) for token in tokens[256:]]
    return b"".join(
        bytes(merge[side] >> shift & 0xFF for merge in merges) for side in (0, 1) for shift in (0, 8, 16)
    )


def char_class(character: str) -> str:
    """Return the name of the class that the pattern sees in a character."""
    if character in NEWLINES:
        return "Newline"
    if character in SPACE_CONTROLS:
        return "Space"
    return CLASS_OF_CATEGORY.get(unicodedata2.category(character), "Other")


def classes_file() -> bytes:
    """Return the Rust source of the runs of equal class."""
    if unicodedata2.unidata_version != "16.0.0":
        raise SystemExit(f"unicodedata2 has Unicode {unicodedata2.unidata_version}, expected 16.0.0")
    runs: list[tuple[int, str]] = []
    for code_point in range(sys.maxunicode + 1):
        name = char_class(chr(code_point))
        if not runs or runs[-1][1] != name:
            runs.append((code_point, name))
    items = [f"(0x{start:X}, {name})," for start, name in runs]
    lines = ["    " + " ".join(items[i : i + 5]) for i in range(0, len(items), 5)]
    header = CLASSES_HEADER.format(version=unicodedata2.unidata_version, count=len(runs))
    return (header + "\n".join(lines) + "\n];\n").encode()


def main() -> None:
    """Write both files, or compare them with what is there."""
    check = sys.argv[1:] == ["--check"]
    for name, content in (("nemo_vocabulary.bin", vocabulary_file()), ("unicode_classes.rs", classes_file())):
        path = HERE / name
        if not check:
            path.write_bytes(content)
        elif path.read_bytes() != content:
            raise SystemExit(f"{path} is not what make_tables.py makes")


if __name__ == "__main__":
    main()
