"""Requests one a line: counts and errors are those of `count_request` on each line."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from request_strategies import requests

import nemo_fast
from nemo_fast import PromptError, TokenizerError

HELLO = b'{"messages": [{"role": "user", "content": "Hello, how are you?"}]}'
MODES = ["test", "serving", "finetuning", "agnostic"]


def outcome(line, **options):
    """Return the count of one line, or what is wrong with it."""
    try:
        return nemo_fast.count_request(line, **options)
    except (PromptError, TokenizerError) as error:
        return described(error)


def described(error):
    return type(error), str(error), getattr(error, "error_type", None)


def outcomes(found):
    """Return the same of all lines, by their numbers."""
    errors = {line: described(error) for line, error in found.errors}
    assert list(errors) == sorted(errors)
    pairs = zip(found.lines.tolist(), found.counts.tolist(), strict=True)
    by_line = {line: count or errors.pop(line) for line, count in pairs}
    assert not errors
    assert (len(found), found.total) == (len(by_line), found.counts.sum())
    return by_line


def expected_outcomes(content, **options):
    """Count every line by itself."""
    lines = enumerate(content.split(b"\n"), start=1)
    return {number: outcome(line, **options) for number, line in lines if line.strip(b" \t\r")}


def as_json(request):
    return json.dumps(request).encode()


odd_lines = st.sampled_from(
    [
        b"",
        b" \t\r",
        b"\x0b",
        b"\x00",
        b"null",
        b"[]",
        b"{",
        b"\xef\xbb\xbf" + HELLO,
        HELLO + b"\x00",
        HELLO[:-9] + b"\xff" + HELLO[-9:],
        HELLO + HELLO,
        HELLO.replace(b"Hello", b"\x00"),
        HELLO.replace(b"Hello", b"\\ud83d"),
        b"[" * 2_000,
        b"9" * 4_301,
    ]
)
lines_of_requests = requests().map(lambda drawn: as_json(drawn[0]))


@given(
    st.lists(st.one_of(lines_of_requests, odd_lines), max_size=8),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.sampled_from(MODES),
    st.sampled_from(["strict", "last9"]),
)
def test_every_line_counts_as_by_itself(lines, newline, ends, mode, ids):
    content = newline.join(lines) + (newline if ends else b"")
    options = {"mode": mode, "tool_call_ids": ids}
    found = nemo_fast.Tokenizer().count_request_lines(content, **options)
    assert outcomes(found) == expected_outcomes(content, **options)


@pytest.fixture(scope="module")
def many():
    """Lines of some hundred kilobytes, so that several threads have work; one line is longer than a job."""
    lines = [HELLO.replace(b"how", str(number).encode() * (number % 90)) for number in range(3_000)]
    lines[7] = HELLO.replace(b"how", b"many words " * 30_000)
    lines[100:2_900:100] = [b"{}", b"", b"\xff"] * 9 + [b" "]
    return b"\n".join(lines)


@pytest.mark.parametrize("threads", [None, 1, 2, 3])
def test_threads_change_nothing(tokenizer, many, tmp_path, threads):
    path = tmp_path / "many.jsonl"
    path.write_bytes(many)
    expected = expected_outcomes(many)
    assert len(expected) == 2_990
    for given_path in (path, str(path)):
        assert outcomes(tokenizer.count_requests_file(given_path, threads=threads)) == expected
    assert outcomes(tokenizer.count_request_lines(many, threads=threads)) == expected


def test_counts_of_golden_requests(tokenizer, golden, tmp_path):
    cases = [case for case in golden["chat"] if case["mode"] == "test"]
    path = tmp_path / "golden.jsonl"
    path.write_bytes(b"\n".join(as_json(case["request"]) for case in cases))
    found = tokenizer.count_requests_file(path)
    assert found.counts.tolist() == [case.get("n_tokens", 0) for case in cases]
    assert [line for line, _ in found.errors] == [n for n, case in enumerate(cases, 1) if not case["ok"]]


def test_patterns_are_pythons_on_every_thread(tokenizer):
    """Patterns are compiled by Python's `re`, for which the threads have to take the GIL back."""

    def request(pattern):
        parameters = {"properties": {"a": {"pattern": pattern}}}
        tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
        return as_json({"messages": [{"role": "user", "content": "x" * 300}], "tools": [tool]})

    patterns = [
        "a+",
        "(",
        "(?P<n>a)(?P=n)",
        "a{2,1}",
        *(f"a{n}" for n in range(90)),
        *(f"({n}" for n in range(90)),
    ]
    content = b"\n".join(request(pattern) for pattern in patterns * 9)
    expected = expected_outcomes(content)
    assert {type(value) for value in expected.values()} == {int, tuple}
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(tokenizer.count_request_lines, [content] * 6):
            assert outcomes(found) == expected


def test_texts(tokenizer):
    line = '{"messages": [{"role": "user", "content": "Grüße 日本 😀"}]}'
    expected = nemo_fast.count_request(line)
    assert tokenizer.count_request_lines(f"{line}\n{line}").counts.tolist() == [expected] * 2
    assert tokenizer.count_request_lines(HELLO.decode()).counts.tolist() == [9]
    for nothing in ("", b"", "\n", b" \r\n\t"):
        found = tokenizer.count_request_lines(nothing)
        assert (found.lines.tolist(), found.counts.tolist(), found.errors, found.total) == ([], [], [], 0)
        assert found.counts.dtype == found.lines.dtype == "int64"


def test_whole_messages(tokenizer):
    found = tokenizer.count_request_lines(b"\xff\n\n{}\n\xef\xbb\xbf{}")
    assert [(line, str(error)) for line, error in found.errors] == [
        (1, "the text is not UTF-8 at byte 0"),
        (3, "a request must have messages"),
        (4, "unexpected utf-8 bom (decode using utf-8-sig) at character 0"),
    ]


def test_files_that_are_none(tokenizer, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        tokenizer.count_requests_file(tmp_path / "missing")
    with pytest.raises(OSError, match=str(tmp_path)):
        tokenizer.count_requests_file(tmp_path)
    (tmp_path / "empty").touch()
    assert len(tokenizer.count_requests_file(tmp_path / "empty")) == 0


def test_a_pipe_is_read_to_its_end(tokenizer, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        counted = pool.submit(tokenizer.count_requests_file, tmp_path / "pipe")
        (tmp_path / "pipe").write_bytes(HELLO)
        assert counted.result().counts.tolist() == [9]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "x"}, 'mode must be .*, found "x"'),
        ({"tool_call_ids": "x"}, 'tool_call_ids must be .*, found "x"'),
        ({"threads": 0}, "threads must be at least 1, found 0"),
        ({"threads": -1}, "threads must be at least 1, found -1"),
    ],
)
def test_bad_options(tokenizer, tmp_path, options, message):
    for count, argument in (
        (tokenizer.count_requests_file, tmp_path / "missing"),
        (tokenizer.count_request_lines, ""),
    ):
        with pytest.raises(ValueError, match=message):
            count(argument, **options)


@pytest.mark.parametrize("lines", [None, 3, [HELLO], {"messages": []}])
def test_lines_are_a_text(tokenizer, lines):
    with pytest.raises(TypeError, match="text must be str or bytes, found"):
        tokenizer.count_request_lines(lines)
