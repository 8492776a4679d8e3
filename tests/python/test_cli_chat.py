"""`count --chat`, `encode --chat` and `fit`: requests in documents and lines, refusals, budgets, JSON."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from request_strategies import requests
from test_cli import run, run_process
from test_walk_files import write

import nemo_fast

USER = {"role": "user", "content": "Hello, how are you?"}
HELLO = {"messages": [USER]}
TALK = [USER, {"role": "assistant", "content": "Fine."}, {"role": "user", "content": "Good to hear."}]
LONG = {"model": "nemo", "messages": TALK, "temperature": 0.5}
EMPTY = {"messages": []}
EMPTY_REASON = "Conversation must have at least one message"


def lines_of(*requests_, newline="\n"):
    return "".join(json.dumps(request) + newline for request in requests_)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Requests in two layouts, a list of messages, and lines: one blank, one refused, one that is no JSON."""
    write(
        tmp_path,
        {
            "one.json": json.dumps(HELLO),
            "pretty.json": json.dumps(LONG, indent=2),
            "list.json": json.dumps(TALK, indent=2),
            "good.jsonl": lines_of(HELLO, LONG, newline="\r\n"),
            "bad.jsonl": lines_of(HELLO, EMPTY) + "\n{\n" + lines_of(LONG),
        },
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def tokens():
    return nemo_fast.count_request(HELLO), nemo_fast.count_request(LONG)


def test_counts_are_the_references(files, golden, reference_chat):
    cases = [case["request"] for case in golden["chat"] if case["ok"] and case["mode"] == "test"]
    write(files, {"golden.jsonl": lines_of(*cases)})
    expected = [
        len(reference_chat.encode_chat_completion(ChatCompletionRequest.from_openai(**case)).tokens)
        for case in cases
    ]
    assert run("count", "--chat", "golden.jsonl").stdout == f"{sum(expected)}\n"
    each = run("count", "--chat", "--each", "golden.jsonl").stdout.splitlines()
    assert each == [
        *(f"{count}\tgolden.jsonl:{line}" for line, count in enumerate(expected, start=1)),
        f"{sum(expected)}\ttotal",
    ]
    encoded = run("encode", "--chat", "golden.jsonl").stdout.splitlines()
    assert [len(line.split()) for line in encoded] == expected


@pytest.mark.usefixtures("files")
def test_documents_and_lines(tokens):
    small, large = tokens
    for name, expected in (
        ("one.json", small),
        ("pretty.json", large),
        ("list.json", large),
        ("good.jsonl", small + large),
    ):
        assert run("count", "--chat", name).stdout == f"{expected}\n"
        content = Path(name).read_bytes().decode()
        # stdin has no name that could say whether it is lines.
        assert run("count", "--chat", stdin=content).stdout == f"{expected}\n"
        assert run("count", "--chat", "-", stdin=content).stdout == f"{expected}\n"
        # Without --chat a file is a text.
        assert run("count", name).stdout == f"{nemo_fast.count(content)}\n"
    several = run("count", "--chat", "one.json", "*.jsonl").stdout.splitlines()
    assert several == [
        f"{small}\tone.json",
        f"{small + large}\tbad.jsonl",
        f"{small + large}\tgood.jsonl",
        f"{3 * small + 2 * large}\ttotal",
    ]
    assert run("count", "--chat", stdin=lines_of(HELLO)).stdout == f"{small}\n"


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    "command", [("count", "--chat"), ("encode", "--chat"), ("fit", "--max-tokens", "99")]
)
def test_refused_requests_are_named_and_stop_no_other(command):
    result = run(*command, "bad.jsonl")
    assert result.exit_code == 1
    name, *_ = command
    refused, no_json = result.stderr.splitlines()
    assert refused == f"nemo-fast {name}: bad.jsonl:2: {EMPTY_REASON}"
    assert no_json.startswith(f"nemo-fast {name}: bad.jsonl:4: ")
    assert "xpecting property name" in no_json
    alone = run(*command, stdin=json.dumps(EMPTY))
    assert alone.exit_code == 1
    assert alone.stderr == f"nemo-fast {name}: stdin: {EMPTY_REASON}\n"
    many = run(*command, stdin=lines_of(*[EMPTY] * 14))
    assert len(many.stderr.splitlines()) == 11
    assert many.stderr.endswith(f"nemo-fast {name}: 4 more requests are refused; --json names all\n")
    kinds = ["InvalidMessageStructureException", "JSONDecodeError"]
    report = json.loads(run(*command, "--json", "bad.jsonl").stdout)
    entries = [entry for entry in report["files"][0]["requests"] if "error" in entry]
    assert [(entry["line"], entry["error_type"]) for entry in entries] == [(2, kinds[0]), (4, kinds[1])]
    report = json.loads(run(*command, "--json", stdin="[{").stdout)
    assert report["files"][0]["requests"][0]["error_type"] == "JSONDecodeError"
    broken = run(*command, stdin=b'{"messages": [\xff')
    assert broken.stderr == f"nemo-fast {name}: stdin: the text is not UTF-8 at byte 14\n"


@pytest.mark.usefixtures("files")
def test_what_is_printed_beside_refused_requests(tokens):
    small, large = tokens
    assert run("count", "--chat", "--each", "bad.jsonl").stdout.splitlines() == [
        f"{small}\tbad.jsonl:1",
        f"{large}\tbad.jsonl:5",
        f"{small + large}\ttotal",
    ]
    encoded = run("encode", "--chat", "bad.jsonl").stdout.splitlines()
    assert [len(line.split()) for line in encoded] == [small, 0, 0, large]
    assert run("fit", "--max-tokens", "99", "bad.jsonl").stdout == lines_of(HELLO, LONG)


@given(st.lists(requests(), max_size=5), st.sampled_from(["test", "serving", "finetuning", "agnostic"]))
def test_each_request_counts_as_the_methods_count_it(drawn, mode):
    content = lines_of(*(request for request, _ in drawn)).encode()
    result = json.loads(run("count", "--chat", "--mode", mode, "--json", stdin=b"\n\n" + content).stdout)
    encoded = json.loads(run("encode", "--chat", "--mode", mode, "--json", stdin=b"\n\n" + content).stdout)
    (counted,), (ids_of,) = result["files"], encoded["files"]
    # One line is a document.
    numbers = [None] if len(drawn) == 1 else list(range(3, 3 + len(drawn)))
    assert [entry["line"] for entry in counted["requests"]] == numbers
    total = 0
    for place, (entry, ids_entry) in enumerate(zip(counted["requests"], ids_of["requests"], strict=True)):
        line = content.split(b"\n")[place]
        try:
            ids = nemo_fast.encode_request(line, mode=mode)
        except nemo_fast.PromptError as error:
            expected = {"line": entry["line"], "error": str(error), "error_type": error.error_type}
            assert entry == ids_entry == expected
            continue
        assert entry == {"line": entry["line"], "tokens": len(ids)}
        assert ids_entry == {"line": entry["line"], "ids": ids}
        total += len(ids)
    assert result["total"] == counted["tokens"] == total


def test_no_request_at_all(tmp_path):
    write(tmp_path, {"empty.jsonl": " \n\n", "empty.json": "\n"})
    for arguments in (["count", "--chat"], ["encode", "--chat"], ["fit", "--max-tokens", "9"]):
        expected = "0\n" if arguments[0] == "count" else ""
        assert (
            run(*arguments, tmp_path / "empty.jsonl").stdout == run(*arguments, stdin="").stdout == expected
        )
        document = run(*arguments, tmp_path / "empty.json")
        assert document.exit_code == 1
        assert "xpecting value" in document.stderr


@pytest.mark.usefixtures("files")
def test_rules_of_requests():
    id_ = "call_VvvODy9mT"
    call = {"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": id_, "content": "1"}
    called = {"messages": [USER, {"role": "assistant", "tool_calls": [call]}, result]}
    cut = nemo_fast.encode_request(called, tool_call_ids="last9")
    assert run("count", "--chat", stdin=json.dumps(called)).exit_code == 1
    assert (
        run("count", "--chat", "--tool-call-ids", "last9", stdin=json.dumps(called)).stdout == f"{len(cut)}\n"
    )
    ids = run("encode", "--chat", "--tool-call-ids", "last9", stdin=json.dumps(called)).stdout.split()
    assert list(map(int, ids)) == cut
    assert (
        run("fit", "--max-tokens", "99", "--tool-call-ids", "last9", stdin=json.dumps(called)).exit_code == 0
    )
    serving = run("count", "--chat", "--mode", "serving", "one.json", "pretty.json")
    assert serving.stderr == "nemo-fast count: one.json: Model name parameter is required for serving mode\n"


@pytest.mark.usefixtures("files")
def test_budgets(tokens):
    small, large = tokens
    assert run("count", "--chat", "--request-budget", large, "good.jsonl").exit_code == 0
    over = run("count", "--chat", "--request-budget", large - 2, "good.jsonl", "list.json")
    assert over.exit_code == 3
    assert over.stdout.splitlines()[-1] == f"{small + 2 * large}\ttotal"
    reason = f"{large} tokens are 2 over the budget of {large - 2}"
    assert over.stderr.splitlines() == [
        f"nemo-fast count: good.jsonl:2: {reason}",
        f"nemo-fast count: list.json: {reason}",
    ]
    many = run("count", "--chat", "--request-budget", 1, stdin=lines_of(*[HELLO] * 12))
    assert many.stderr.splitlines()[-1] == (
        "nemo-fast count: 2 more requests are over the budget of 1; --json names all"
    )
    total = run("count", "--chat", "--budget", small, "--file-budget", small, "good.jsonl", "one.json")
    assert total.exit_code == 3
    assert total.stderr.splitlines() == [
        f"nemo-fast count: good.jsonl: {small + large} tokens are {large} over the budget of {small}",
        f"nemo-fast count: {2 * small + large} tokens are {small + large} over the budget of {small}",
    ]
    # Over a budget and refused: both are said, and the budget is the exit code.
    both = run("count", "--chat", "--request-budget", 1, "bad.jsonl")
    assert (both.exit_code, len(both.stderr.splitlines())) == (3, 4)


@pytest.mark.usefixtures("files")
def test_json_of_count(tokens):
    small, large = tokens
    result = run("count", "--chat", "--json", "--request-budget", large - 1, "good.jsonl", "one.json")
    entries = [{"line": 1, "tokens": small}, {"line": 2, "tokens": large}]
    assert json.loads(result.stdout) == {
        "files": [
            {"path": "good.jsonl", "tokens": small + large, "requests": entries},
            {"path": "one.json", "tokens": small, "requests": [{"line": None, "tokens": small}]},
        ],
        "skipped": [],
        "total": 2 * small + large,
        "request_budget": large - 1,
        "over": True,
    }


@pytest.mark.usefixtures("files")
def test_fit_drops_turns_and_keeps_all_else(tokens):
    small, large = tokens
    kept = {**LONG, "messages": TALK[2:]}
    after = nemo_fast.count_request(kept)
    result = run("fit", "--max-tokens", large - 1, "good.jsonl", "list.json")
    assert result.exit_code == 0
    assert result.stdout == lines_of(HELLO, kept) + lines_of(TALK[2:])
    assert result.stderr.splitlines() == [
        f"nemo-fast fit: {place}: dropped messages 0-1; {large} tokens became {after}"
        for place in ("good.jsonl:2", "list.json")
    ]
    whole = run("fit", "--max-tokens", large, "good.jsonl")
    assert (whole.stdout, whole.stderr) == (lines_of(HELLO, LONG), "")
    reserved = run("fit", "--max-tokens", large, "--reserve", 1, "good.jsonl")
    assert reserved.stdout == lines_of(HELLO, kept)
    report = json.loads(run("fit", "--json", "--max-tokens", large - 1, "good.jsonl").stdout)
    assert report == {
        "files": [
            {
                "path": "good.jsonl",
                "requests": [
                    {"line": 1, "request": HELLO, "token_count": small, "dropped": []},
                    {"line": 2, "request": kept, "token_count": after, "dropped": [0, 1]},
                ],
            }
        ]
    }


def test_fit_keeps_both_ends():
    talk = [{"role": "user", "content": f"Question {number}"} for number in range(9)]
    answered = [message for user in talk[:-1] for message in (user, {"role": "assistant", "content": "Yes."})]
    request = {"messages": [*answered, talk[-1]]}
    most = nemo_fast.count_request(request) - 1
    for policy in ("drop_oldest", "keep_ends"):
        fitted = json.loads(
            run("fit", "--max-tokens", most, "--policy", policy, stdin=json.dumps(request)).stdout
        )
        expected = nemo_fast.fit_chat(request["messages"], most, policy=policy)
        assert fitted == {"messages": expected.messages}


@pytest.mark.usefixtures("files")
def test_requests_that_do_not_fit():
    least = nemo_fast.count_chat(TALK[2:])
    result = run("fit", "--max-tokens", least - 1, "good.jsonl", "pretty.json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert (
        f"pretty.json: the least that can stay is {least} tokens, 1 over the budget of {least - 1}"
        in result.stderr
    )
    reserved = run("fit", "--max-tokens", least, "--reserve", 3, "pretty.json")
    assert reserved.stderr == (
        f"nemo-fast fit: pretty.json: the least that can stay is {least + 3} tokens, 3 of them reserved, "
        f"3 over the budget of {least}\n"
    )
    entry = json.loads(run("fit", "--json", "--max-tokens", least - 1, "list.json").stdout)["files"][0][
        "requests"
    ][0]
    assert (entry["line"], entry["prompt_tokens"], entry["context_length"]) == (None, least, least - 1)
    # The others are printed.
    both = run(
        "fit", "--max-tokens", 9, stdin=lines_of({"messages": [{**USER, "content": "x " * 99}]}, HELLO)
    )
    assert (both.exit_code, both.stdout) == (3, lines_of(HELLO))


def test_fit_writes_what_json_can_hold():
    odd = r'{"a": NaN, "b": [-Infinity, 1e+16, 123456789012345678901234567890], "c": "\ud83d é 😀 \u0000", '
    odd += r'"c": "\udc00\ud800", "messages": [{"role": "user", "content": "\ud800 Grüße"}]}'
    result = run("fit", "--max-tokens", 99, stdin=odd.encode())
    assert result.exit_code == 0, result.stderr
    written, expected = json.loads(result.stdout_bytes), json.loads(odd)
    assert math.isnan(written.pop("a"))
    del expected["a"]
    assert written == expected
    assert "Grüße" in result.stdout
    for value, kind in (("[1]", "a list"), ("3", "an integer"), ("null", "null")):
        refused = run("fit", "--max-tokens", 99, stdin=f"{value}\n{value}")
        assert f"stdin:1: a request must be a mapping, found {kind}" in refused.stderr


@given(st.lists(requests(), min_size=2, max_size=4), st.integers(0, 60))
def test_fitted_lines_fit(drawn, most):
    content = lines_of(*(request for request, _ in drawn)).encode()
    fitted = run("fit", "--max-tokens", most, stdin=content)
    counted = run("count", "--chat", "--request-budget", most, "--json", stdin=b"\n\n" + fitted.stdout_bytes)
    assert json.loads(counted.stdout)["over"] is False
    if fitted.exit_code == 0:
        assert len(fitted.stdout_bytes.splitlines()) == len(drawn)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["count", "--mode", "test", "one.json"], 2, "--mode is for chat requests, with --chat"),
        (
            ["count", "--each", "--request-budget", "3", "one.json"],
            2,
            "--request-budget, --each is for chat requests, with --chat",
        ),
        (
            ["encode", "--tool-call-ids", "last9", "one.json"],
            2,
            "--tool-call-ids is for chat requests, with --chat",
        ),
        (["encode", "--chat", "--bos", "one.json"], 2, "--bos is for texts, not with --chat"),
        (
            ["count", "--chat", "--flat", "one.json"],
            2,
            "--flat is for files and folders of text, not with --chat",
        ),
        (["count", "--chat", "missing.json"], 1, "missing.json: No such file or directory"),
        (["count", "--chat", "missing.jsonl"], 1, "missing.jsonl: No such file or directory (os error 2)"),
        (["count", "--chat", "."], 1, ".: Is a directory"),
        (["fit", "--max-tokens", "9", "*.nothing"], 1, "no file matches *.nothing"),
        (["fit", "one.json"], 2, "Missing option '--max-tokens'."),
    ],
)
def test_errors(arguments, code, message):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.endswith(f": {message}\n")


def test_counting_a_text_imports_nothing_for_requests(files):
    program = (
        "import sys; from nemo_fast.cli import main\n"
        "try: main(['count', 'one.json'])\n"
        "except SystemExit: print({'json', 'numpy', 'nemo_fast.cli.prompts'} & set(sys.modules))"
    )
    done = run_process("-c", program, cwd=files)
    assert done.stdout.splitlines()[-1] == b"set()"
