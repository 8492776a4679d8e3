"""`truncate` and `split`: what they print is what the tokenizer's methods return, byte for byte."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import run

from nemo_fast import Tokenizer

TEXT = "Première ligne.\r\n\n日本語の文章です。 def f(x): return x ** 2  # 😀\n" * 3
LIMIT = st.integers(4, 40)


@given(st.text(max_size=80), LIMIT, st.sampled_from(["right", "left", "middle"]))
def test_truncate(text, limit, side):
    tokenizer = Tokenizer()
    expected = tokenizer.truncate(text, limit, side=side)
    options = ("--max-tokens", limit, "--side", side)
    assert run("truncate", *options, stdin=text.encode()).stdout_bytes == expected.encode()
    (file,) = json.loads(run("truncate", *options, "--json", stdin=text.encode()).stdout)["files"]
    assert file == {
        "path": "-",
        "text": expected,
        "tokens": tokenizer.count(expected),
        "truncated": expected != text,
    }
    assert file["tokens"] <= limit


@given(st.text(max_size=80), LIMIT, st.integers(0, 3))
def test_split(text, limit, overlap):
    tokenizer = Tokenizer()
    pieces = tokenizer.split(text, limit, overlap=overlap)
    options = ("--max-tokens", limit, "--overlap", overlap)
    separated = run("split", *options, "--separator", r"\0\n\t", stdin=text.encode())
    assert separated.stdout_bytes == "\0\n\t".join(pieces).encode()
    (file,) = json.loads(run("split", *options, "--json", stdin=text.encode()).stdout)["files"]
    counted = [{"text": piece, "tokens": tokenizer.count(piece)} for piece in pieces]
    assert file == {"path": "-", "pieces": counted}


def test_pieces_of_several_files(tmp_path):
    (tmp_path / "a").write_bytes(TEXT.encode())
    (tmp_path / "b").write_bytes(b"one")
    pieces = [*Tokenizer().split(TEXT, 8), "one"]
    assert len(pieces) > 4
    result = run("split", "--max-tokens", 8, tmp_path / "*")
    assert result.stdout_bytes == "\n---\n".join(pieces).encode()
    joined = run("split", "--max-tokens", 8, "--separator", "", tmp_path / "*")
    assert joined.stdout_bytes == TEXT.encode() + b"one"
    assert run("truncate", "--max-tokens", 1000, tmp_path / "*").stdout_bytes == joined.stdout_bytes


def test_nothing_to_cut():
    assert run("truncate", "--max-tokens", 5, stdin="").stdout == ""
    assert run("truncate", "--max-tokens", 0, stdin="text").stdout == ""
    assert run("split", "--max-tokens", 5, stdin="").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["truncate"], 2, "--max-tokens"),
        (["truncate", "--max-tokens", "-1"], 2, "--max-tokens"),
        (["truncate", "--max-tokens", "5", "--side", "top"], 2, "--side"),
        (["split", "--max-tokens", "0"], 2, "--max-tokens"),
        (["split", "--max-tokens", "5", "--overlap", "5"], 2, "overlap"),
        (["split", "--max-tokens", "1"], 2, "max_tokens"),
    ],
)
def test_errors(arguments, code, message):
    result = run(*arguments, stdin="a 𓂀")
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
