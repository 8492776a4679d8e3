"""The command line: what it prints, its exit codes, and what it does not import."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from model_files import TINY, TINY_TIED, write_gguf

from nemo_fast import Model, cli
from nemo_fast._native import GenerationError, Tokenizer
from nemo_fast.cli.generation import talk

COMMANDS = (
    "count",
    "encode",
    "decode",
    "truncate",
    "split",
    "fit",
    "pull",
    "convert",
    "info",
    "generate",
    "chat",
)


def run(*arguments, stdin=None):
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(cli.main, words, input=stdin, prog_name="nemo-fast")


def run_process(*arguments, stdin=b"", **options):
    command = [sys.executable, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60, **options)


class FakeModel:
    """Answers "Paris." in two pieces and keeps what it was asked."""

    def __init__(self):
        self.requests = []

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        pass

    def generate(self, prompt, **sampling):
        self.requests.append((prompt, sampling))
        return SimpleNamespace(to_json=lambda: b'{"object":"text_completion"}')

    def stream(self, prompt, **sampling):
        self.requests.append((prompt, sampling))
        for text in ("Par", "is."):
            yield SimpleNamespace(text=text)

    def chat(self, messages, *, stream=False, **sampling):
        self.requests.append(([dict(message) for message in messages], sampling))
        if not stream:
            return SimpleNamespace(to_json=lambda: b'{"object":"chat.completion"}')
        deltas = [SimpleNamespace(delta=SimpleNamespace(content=text)) for text in (None, "Par", "is.")]
        return (SimpleNamespace(choices=choices) for choices in (*((delta,) for delta in deltas), ()))


@pytest.fixture
def model(monkeypatch):
    fake = FakeModel()
    monkeypatch.setattr(cli.generation, "_load", lambda *_arguments: fake)
    return fake


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_shows_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Example: " in result.output
    assert f"nemo-fast {command}" in result.output
    assert "--json" in result.output
    assert command in run("--help").output


def test_count(tmp_path):
    tokenizer = Tokenizer()
    # A byte order mark and a carriage return are counted: the bytes are those of the file.
    one, two = "\ufeffone\r\ntwo\n", "drei"
    (tmp_path / "one.txt").write_bytes(one.encode())
    (tmp_path / "two.txt").write_bytes(two.encode())
    first, second = tokenizer.count(one), tokenizer.count(two)
    assert run("count", tmp_path / "one.txt").output == f"{first}\n"
    assert run("count", stdin=two).output == f"{second}\n"
    assert run("count", "-", stdin=two).output == f"{second}\n"
    lines = run("count", tmp_path / "*.txt").output.splitlines()
    assert lines == [
        f"{first}\t{tmp_path / 'one.txt'}",
        f"{second}\t{tmp_path / 'two.txt'}",
        f"{first + second}\ttotal",
    ]
    result = json.loads(run("count", "--json", tmp_path / "two.txt").output)
    file = {"path": str(tmp_path / "two.txt"), "tokens": second}
    assert result == {"files": [file], "skipped": [], "total": second}


def test_budget():
    tokens = Tokenizer().count("one two three")
    assert run("count", "--budget", tokens, stdin="one two three").exit_code == 0
    over = run("count", "--budget", tokens - 1, stdin="one two three")
    assert over.exit_code == 3
    assert over.stdout == f"{tokens}\n"
    assert f"over the budget of {tokens - 1}" in over.stderr
    over = run("count", "--json", "--budget", tokens - 1, stdin="one two three")
    assert over.exit_code == 3
    assert json.loads(over.stdout)["over"] is True


def test_encode_and_decode(tmp_path):
    text = "Hällo 日本 <s>\r\n"
    ids = Tokenizer().encode(text)
    assert run("encode", stdin=text).output == " ".join(map(str, ids)) + "\n"
    assert run("encode", "--bos", "--eos", stdin="").output.split() == ["1", "2"]
    result = json.loads(run("encode", "--json", stdin=text).output)
    assert result == {"files": [{"path": "-", "ids": ids}]}
    for written in (" ".join(map(str, ids)), json.dumps(ids), "\n".join(map(str, ids))):
        assert run("decode", stdin=written).stdout_bytes == text.encode()
    assert json.loads(run("decode", "--json", stdin=json.dumps(ids)).output)["files"][0]["text"] == text
    assert run("decode", "--special", "keep", stdin="1 2").output == "<s></s>"
    (tmp_path / "ids.txt").write_text("1")
    assert run("decode", tmp_path / "ids.txt").output == ""


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "message"),
    [
        (["count", "missing.txt"], None, 1, "missing.txt: No such file or directory"),
        (["count", "missing/*.txt"], None, 1, "no file matches missing/*.txt"),
        (["count"], b"abc\xffdef", 1, "stdin: the text is not UTF-8 at byte 3"),
        (["encode"], b"abc\xffdef", 1, "stdin: not UTF-8 at byte 3"),
        (["count", "--budget", "-1"], "", 2, "--budget"),
        (["count", "--nonsense"], "", 2, "--nonsense"),
        (["nonsense"], "", 2, "nonsense"),
        (["decode"], "1 two", 2, "'two' is not a token id"),
        (["decode"], "99999999", 1, "99999999"),
        (["decode", "--special", "raise"], "1", 1, ""),
        (["info", "nonsense"], None, 2, "nonsense is no folder and no known model (smollm2-135m)"),
        (["pull", "nonsense"], None, 2, "unknown model 'nonsense'"),
        (["convert", "missing.gguf", "no-such-folder"], None, 1, "missing.gguf: No such file or directory"),
        (["convert", "missing.gguf", "no-such-folder", "--format", "exl3"], None, 2, "'exl3'"),
        (["convert", "only-one"], None, 2, "TARGET"),
        (["generate"], None, 2, "MODEL"),
    ],
)
def test_errors_are_one_line(arguments, stdin, code, message):
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == code
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.startswith("nemo-fast")
    assert result.stderr.count("\n") == 1


def test_interrupts_and_bugs(monkeypatch):
    def raising(error):
        def find_files(*_arguments, **_options):
            raise error

        monkeypatch.setattr(cli.counting, "find_files", find_files)
        return run("count", stdin="")

    assert raising(KeyboardInterrupt()).exit_code == 130
    assert raising(GenerationError("pool\nis full")).stderr == "nemo-fast: pool is full\n"
    # What no user can do anything about keeps its traceback.
    assert isinstance(raising(ZeroDivisionError()).exception, ZeroDivisionError)


def test_info():
    pytest.importorskip("numpy")
    facts = json.loads(run("info", TINY, "--context-length", 100, "--json").output)
    linear = 3 * (96 * 128 * 2 + 96 * 64 * 2 + 3 * 96 * 224)
    rows = 3 * (128 + 2 * 64 + 96 + 2 * 224 + 96)
    dense = 2 * 1000 * 96 + 7 * 96
    assert facts["parameters"] == linear + dense
    # Norms are float32 once they are loaded.
    assert facts["weights_bytes"] == linear + 4 * rows + 2 * dense + 2 * 7 * 96
    assert facts["private_weights_bytes"] == linear + 4 * rows + 4 * 7 * 96
    # Values are kept in units of 64 dimensions, so these 32 take twice their room.
    assert facts["kv_cache_bytes_per_token"] == 2 * 3 * 2 * (32 + 64)
    assert facts["kv_cache_bytes"] == 128 * facts["kv_cache_bytes_per_token"]
    assert facts["weights_and_cache_bytes"] == facts["weights_bytes"] + facts["kv_cache_bytes"]
    assert facts["kv_cache"] == "bf16"
    # A code for each element, and a float32 scale for each key and value of a position and head.
    fp8 = json.loads(run("info", TINY, "--kv-cache", "fp8", "--json").output)
    assert fp8["kv_cache_bytes_per_token"] == facts["kv_cache_bytes_per_token"] // 2 + 2 * 3 * 2 * 4
    assert facts["format"] == "Hugging Face, not quantized"
    shown = run("info", TINY).output
    assert "weights bytes" in shown
    assert "131,072" in shown
    tied = json.loads(run("info", TINY_TIED, "--json").output)
    assert tied["format"] == "Hugging Face, not quantized"


def test_info_refuses_the_contexts_that_loading_refuses(tmp_path):
    pytest.importorskip("numpy")
    folder = shutil.copytree(TINY, tmp_path / "model")
    config = json.loads((folder / "config.json").read_bytes())
    for positions, longest in ((256, 256), (1_024_000, 131_072)):
        (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": positions}))
        for options in ((), ("--context-length", longest)):
            assert json.loads(run("info", folder, *options, "--json").output)["context_length"] == longest
        message = f"context_length must be between 1 and {longest}, found {longest + 1}"
        with pytest.raises(ValueError, match=message):
            Model.load(folder, context_length=longest + 1)
        refused = run("info", folder, "--context-length", longest + 1, "--json")
        assert (refused.exit_code, refused.stdout, refused.stderr) == (2, "", f"nemo-fast: {message}\n")


@pytest.mark.filterwarnings("always:.*has no tokenizer:UserWarning")
def test_convert(tmp_path):
    pytest.importorskip("gguf")
    source = write_gguf(tmp_path / "tiny.gguf", TINY)
    result = run("convert", source, tmp_path / "converted", "--quiet")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'converted'}\n")
    assert result.stderr.startswith("nemo-fast: warning: ")
    assert result.stderr.count("\n") == 1
    again = run("convert", source, tmp_path / "converted", "--quiet")
    assert (again.exit_code, again.stderr) == (1, f"nemo-fast: {tmp_path / 'converted'}: it exists already\n")
    shown = json.loads(run("info", tmp_path / "converted", "--json").output)
    assert shown["format"] == "packed (panel16), E4M3"
    assert (shown["source"], shown["source_sha256"]) == (
        "tiny.gguf",
        hashlib.sha256(source.read_bytes()).hexdigest(),
    )
    options = ("--format", "compressed-tensors", "--quiet", "--json")
    result = run("convert", tmp_path / "converted", tmp_path / "second", *options)
    assert json.loads(result.stdout) == {"path": str(tmp_path / "second")}
    assert "compressed-tensors" in run("info", tmp_path / "second").output


def test_info_of_a_packed_head(tmp_path):
    wide, packed = tmp_path / "wide", tmp_path / "packed"
    run("convert", TINY, wide, "--quiet")
    assert run("convert", TINY, packed, "--quiet", "--lm-head", "fp8").exit_code == 0
    shown = [json.loads(run("info", folder, "--json").output) for folder in (wide, packed)]
    assert shown[0]["parameters"] == shown[1]["parameters"]
    # A thousand rows of 96 BF16 numbers become as many bytes, and a scale each.
    # The last panel is filled up to sixteen rows.
    assert shown[0]["weights_bytes"] - shown[1]["weights_bytes"] == 1000 * 2 * 96 - 1008 * (96 + 4)
    # Of packed weights a process has only scales and norms for itself, and what it makes at its own wish.
    by_wish = json.loads(run("info", wide, "--lm-head", "fp8", "--json").output)
    assert by_wish["weights_bytes"] == shown[1]["weights_bytes"]
    assert by_wish["private_weights_bytes"] == shown[0]["private_weights_bytes"] + 1008 * (96 + 4)
    assert shown[1]["private_weights_bytes"] == shown[0]["private_weights_bytes"] + 1008 * 4
    assert [facts["lm_head"] for facts in (*shown, by_wish)] == ["source", "fp8", "fp8"]
    refused = run("convert", TINY, tmp_path / "x", "--lm-head", "fp8", "--format", "compressed-tensors")
    assert refused.exit_code in (1, 2)
    assert "'compressed-tensors' keeps the head as in the source" in refused.stderr


def test_generate(model):
    options = ("--max-tokens", 8, "--temperature", 0, "--stop", "a", "--stop", "b", "--seed", 7)
    assert run("generate", "folder", "The capital", *options).output == "Paris.\n"
    assert run("generate", "folder", stdin="The capital").output == "Paris.\n"
    assert (
        json.loads(run("generate", "folder", "-", "--json", stdin="x").output)["object"] == "text_completion"
    )
    assert model.requests == [
        ("The capital", {"max_tokens": 8, "temperature": 0.0, "stop": ["a", "b"], "seed": 7}),
        ("The capital", {}),
        ("x", {}),
    ]


def test_chat(model):
    user = {"role": "user", "content": "Capital?"}
    assert run("chat", "folder", "Capital?", "--system", "Be brief.", "--top-p", 0.5).output == "Paris.\n"
    assert run("chat", "folder", stdin="Capital?").output == "Paris.\n"
    assert json.loads(run("chat", "folder", "Capital?", "--json").output)["object"] == "chat.completion"
    assert model.requests == [
        ([{"role": "system", "content": "Be brief."}, user], {"top_p": 0.5}),
        ([user], {}),
        ([user], {}),
    ]


def test_talking(capsys):
    model, lines = FakeModel(), iter(["First?", "  ", "Second?"])

    def read_line():
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    talk(model, [], {"seed": 1}, read_line=read_line)
    assert capsys.readouterr().out == "Paris.\nParis.\n\n"
    roles = [[message["role"] for message in messages] for messages, _ in model.requests]
    assert roles == [["user"], ["user", "assistant", "user"]]
    assert model.requests[1][0][1]["content"] == "Paris."


@pytest.mark.parametrize("said", [["Par"], []])
def test_an_answer_that_is_stopped(said):
    closed = []

    class Stream:
        def __iter__(self):
            for text in said:
                yield SimpleNamespace(choices=(SimpleNamespace(delta=SimpleNamespace(content=text)),))
            raise KeyboardInterrupt

        def close(self):
            closed.append(True)

    model, messages = SimpleNamespace(chat=lambda *_messages, **_options: Stream()), []
    answers = iter(["Capital?"])

    def read_line():
        for line in answers:
            return line
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        talk(model, messages, {}, read_line=read_line)
    assert closed == [True]
    assert [message["content"] for message in messages] == (["Capital?", "Par"] if said else [])


def test_a_first_use_pulls_the_model(monkeypatch, tmp_path):
    monkeypatch.setattr("nemo_fast.download.pull", lambda name, **_options: tmp_path / name)
    from nemo_fast.cli.models import model_folder

    assert model_folder("smollm2-135m") == tmp_path / "smollm2-135m"
    with pytest.raises(click.UsageError, match="no known model"):
        model_folder("owner/name")


def test_as_a_process(tmp_path):
    (tmp_path / "text.txt").write_text("one two")
    done = run_process("-m", "nemo_fast", "count", "text.txt", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert int(done.stdout) == Tokenizer().count("one two")
    done = run_process("-m", "nemo_fast", "count", stdin=b"\xff")
    assert (done.returncode, done.stderr) == (1, b"nemo-fast: stdin: the text is not UTF-8 at byte 0\n")
    assert run_process("-m", "nemo_fast", "--version").stdout.startswith(b"nemo-fast, version ")


def test_a_closed_pipe_is_quiet():
    process = subprocess.Popen(
        [sys.executable, "-m", "nemo_fast", "encode"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    process.stdin.write(b"word " * 100_000)
    process.stdin.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 1


def test_counting_imports_little():
    heavy = {"numpy", "jinja2", "tokenizers", "rich", "gguf", "nemo_fast.model", "nemo_fast.conversion"}
    program = (
        "import sys; from nemo_fast.cli import main\n"
        "try: main(['count'])\n"
        f"except SystemExit: print({heavy} & set(sys.modules))"
    )
    done = run_process("-c", program, stdin=b"text")
    assert done.stdout.splitlines()[-1] == b"set()"
