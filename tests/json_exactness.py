"""Compare the crate's JSON with Python's `json` on generated documents; exit code 1 if any differs.

python tests/json_exactness.py --documents 1000000

Of a document that both accept, `json.dumps` of the value is compared; of one that Python refuses, its message
and its position. Halves of surrogate pairs are U+FFFD in Rust. Documents of 985 to 1,100 levels are not made:
there, Python's answer depends on who calls it. The other process is an ignored test of `tests/rust/json.rs`.
What comes out is a table in Markdown: how many documents had which answer.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from exactness import test_binary

CAMPAIGN = ("json::campaign", "--exact", "--ignored")
# So many documents are in memory at once.
CHUNK = 100_000

SPACE = ("", "", "", "", " ", "\n", "\t", "\r\n  ")
WRONG_SPACE = ("\x0b", "\x0c", "\xa0", "\u2028", "\ufeff", "\x00")
PLAIN = (
    "a",
    "b",
    "key",
    "Zürich ",
    "中文",
    "😀",
    "/",
    "'",
    "\x7f",
    "\u2028",
    "\ufeff",
    "\ufffd",
    "word " * 5,
    "{[",
    "]}",
)
ESCAPES = (
    *(f"\\{escape}" for escape in '"\\/bfnrt'),
    *(
        f"\\u{unit}"
        for unit in ("0000", "001f", "0041", "00fC", "2028", "d7ff", "e000", "FFFD", "feff", "ffff")
    ),
)
SURROGATES = (
    "\\ud800",
    "\\uDBFF",
    "\\ud83d",
    "\\udc00",
    "\\udfff",
    "\\uDE00",
    "\\ud83d\\ude00",
    "\\uDBFF\\udfff",
)
WRONG_IN_STRING = (
    "\\x",
    "\\u12",
    "\\u 123",
    "\\u+123",
    "\\uGGGG",
    "\\u12é4",
    "\\",
    "\n",
    "\x00",
    "\x1f",
    "\t",
    '"',
)
KEYS = ("a", "b", "", "\\u0061", "\ufffd", "\\ufffd", "\\ud800", "\\uD800", "\\udc00", "k")
SYNTAX = (*'[]{}:,"\\0123456789-+.eE', "null", "true", "NaN", "Infinity", "\\u", "\x01", " ", "\n", "é", "😀")
WORDS = ("null", "true", "false", "NaN", "Infinity", "-Infinity")
WRONG_WORDS = (
    "nul",
    "True",
    "nan",
    "-NaN",
    "+1",
    "Infinit",
    "-Inf",
    "undefined",
    "'a'",
    "",
    "-",
    ".5",
    "0x10",
    "٣",
)
INTS = ("0", "1", "-", "00", "-01", "12", "9007199254740993", "18446744073709551616", "4" * 40)
EXPONENTS = ("e5", "E16", "e-5", "e+00", "E-007", "e15", "e-4", "e308", "e400", "e-400", "e", "E+", "e-")


class Documents:
    """A generator of documents, most of them valid JSON, and of mutations of them."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def integer(self):
        number = self.random
        if number.random() < 0.6:
            return number.choice(INTS)
        if number.random() < 0.01:
            return number.choice(("", "-")) + "7" * number.randrange(4_298, 4_304)
        return str(number.randrange(-(10 ** number.randrange(1, 40)), 10 ** number.randrange(1, 40)))

    def number(self):
        kind = self.random.random()
        if kind < 0.3:
            return self.integer()
        if kind < 0.6:
            (value,) = struct.unpack("d", self.random.randbytes(8))
            return json.dumps(value)
        if kind < 0.65:
            # Among them are floats halfway between two shortest texts, and powers of two.
            value = self.random.randrange(2 ** self.random.randrange(1, 54)) * 2.0 ** self.random.randrange(
                -9, 9
            )
            return json.dumps(self.random.choice((value, 2.0 ** self.random.randrange(-1_074, 1_024))))
        if kind < 0.8:
            digits = self.random.randrange(10 ** self.random.randrange(1, 18))
            return f"{digits}e{self.random.randrange(-340, 320)}"
        fraction = self.random.choice(("", ".", ".0", ".5", ".25", f".{self.random.random()!r:.20}"[:9]))
        return self.integer() + fraction + self.random.choice(EXPONENTS)

    def string(self):
        pieces = []
        for _ in range(self.random.randrange(5)):
            kind = self.random.random()
            if kind < 0.5:
                pieces.append(self.random.choice(PLAIN))
            elif kind < 0.75:
                pieces.append(self.random.choice(ESCAPES))
            elif kind < 0.985:
                pieces.append(self.random.choice(SURROGATES))
            else:
                pieces.append(self.random.choice(WRONG_IN_STRING))
        return f'"{"".join(pieces)}"'

    def key(self):
        return self.string() if self.random.random() < 0.4 else f'"{self.random.choice(KEYS)}"'

    def space(self):
        return self.random.choice(WRONG_SPACE if self.random.random() < 0.002 else SPACE)

    def length(self, depth):
        if depth and self.random.random() < 0.02:
            return self.random.randrange(10, 40)
        return self.random.randrange(5)

    def value(self, depth):
        kind = self.random.random()
        if depth and kind < 0.2:
            items = [self.value(depth - 1) for _ in range(self.length(depth))]
            return f"{self.space()}[{','.join(items) or self.space()}]{self.space()}"
        if depth and kind < 0.45:
            members = [
                f"{self.space()}{self.key()}{self.space()}:{self.value(depth - 1)}"
                for _ in range(self.length(depth))
            ]
            return f"{self.space()}{{{','.join(members) or self.space()}}}{self.space()}"
        if kind < 0.65:
            leaf = self.string()
        elif kind < 0.87:
            leaf = self.number()
        else:
            leaf = self.random.choice(WORDS if kind < 0.99 else WRONG_WORDS)
        return f"{self.space()}{leaf}{self.space()}"

    def mutated(self, text):
        for _ in range(self.random.randrange(1, 4)):
            start = self.random.randrange(len(text) + 1)
            end = start + self.random.randrange(1, 4)
            match self.random.randrange(6):
                case 0:
                    text = text[:start]
                case 1:
                    text = text[:start] + text[end:]
                case 2:
                    text = text[:start] + self.random.choice(SYNTAX) + text[end:]
                case 3:
                    text = text[:start] + self.random.choice(SYNTAX) + text[start:]
                case 4:
                    text = text[:end] + text[start:]
                case _:
                    other = self.random.randrange(len(text) + 1)
                    text = text[:start] + text[other : other + 8] + text[start:]
        return text

    def deep(self):
        depth = self.random.choice((self.random.randrange(1, 986), 1_100, 5_000))
        opening = [self.random.choice(("[", '{"a":', "[1, ")) for _ in range(depth)]
        closing = ["}" if bracket.startswith("{") else "]" for bracket in reversed(opening)]
        return f"{''.join(opening)}{self.value(1)}{''.join(closing)}"

    def document(self):
        kind = self.random.random()
        if kind < 0.001:
            return self.deep()
        if kind < 0.1:
            return self.value(0)
        text = self.value(4)
        if kind < 0.4:
            text = self.mutated(text)
        return "\ufeff" + text if kind > 0.999 else text


def outcome(document):
    """Return what Python makes of a document, in the words of the other process."""
    try:
        value = json.loads(document)
    except json.JSONDecodeError as error:
        return f"{error.msg.lower()} {error.pos}"
    except RecursionError:
        return "too deep"
    except ValueError:
        return "huge integer"
    return "value " + re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(value, ensure_ascii=False))


def outcomes_of_rust(binary, documents, folder):
    """Run the other process on the documents, and return its answers in order."""
    paths = {"NEMO_FAST_JSON_DOCUMENTS": folder / "documents", "NEMO_FAST_JSON_OUTCOMES": folder / "outcomes"}
    with paths["NEMO_FAST_JSON_DOCUMENTS"].open("wb") as file:
        for document in documents:
            text = document.encode()
            file.write(struct.pack("<I", len(text)) + text)
    environment = os.environ | {name: str(path) for name, path in paths.items()}
    subprocess.run([binary, *CAMPAIGN], env=environment, stdout=subprocess.DEVNULL, check=True)
    answers = paths["NEMO_FAST_JSON_OUTCOMES"].read_bytes()
    start = 0
    while start < len(answers):
        (length,) = struct.unpack_from("<I", answers, start)
        start += 4 + length
        yield answers[start - length : start].decode()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=240_718, help="of the generator (default: %(default)s)")
    arguments = parser.parse_args()
    binary = test_binary()
    source = Documents(arguments.seed)
    found = collections.Counter()
    characters = differences = 0
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for done in range(0, arguments.documents, CHUNK):
            size = min(CHUNK, arguments.documents - done)
            documents = [source.document() for _ in range(size)]
            answers = outcomes_of_rust(binary, documents, Path(folder))
            for document, answer in zip(documents, answers, strict=True):
                characters += len(document)
                expected = outcome(document)
                kind = "value" if expected.startswith("value ") else re.sub(r" \d+$", "", expected)
                found[kind] += 1
                if answer != expected:
                    differences += 1
                    if differences <= 20:
                        sys.stderr.write(
                            f"{document[:500]!r}\n  Python: {expected[:500]}\n  Rust: {answer[:500]}\n"
                        )
    rows = "".join(f"| {kind} | {count:,} |\n" for kind, count in found.most_common())
    total = f"{arguments.documents:,} documents, {characters:,} characters, {differences:,} differences"
    sys.stdout.write(f"| Python's answer | documents |\n| --- | ---: |\n{rows}\n{total}.\n")
    sys.stderr.write(f"{time.monotonic() - start:.0f} s\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
