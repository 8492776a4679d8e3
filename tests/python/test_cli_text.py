"""The commands on texts: folders, globs, what is left out, budgets, ids, cuts, the shape of JSON."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_cli import run, run_process
from test_walk_files import walked, write

from nemo_fast import Tokenizer
from nemo_fast.cli.count_tree import Counted, tree_lines


def counted(*arguments):
    """Return the paths that `count --json` counted, and what it wrote."""
    result = json.loads(run("count", "--json", *arguments).stdout)
    return [file["path"] for file in result["files"]], result


@pytest.fixture
def tree(tmp_path, monkeypatch):
    write(
        tmp_path,
        {
            "src/a.py": "print('a')\n",
            "src/deep/b.py": "print('b', 'c')\n" * 9,
            "src/deep/notes.md": "Ein Gürtel 日本\r\n",
            "src/picture.bin": b"\x00\x01",
            "src/latin.txt": "Gürtel".encode("latin-1"),
            "z.md": "z",
        },
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_tree_of_sums(tree):
    tokens = {
        name: Tokenizer().count((tree / name).read_bytes())
        for name in ("src/a.py", "src/deep/b.py", "src/deep/notes.md", "z.md")
    }
    a, b, notes, z = tokens.values()
    lines = [line.lstrip(" ") for line in run("count", "src", "z.md").stdout.splitlines()]
    assert [(int(tokens), name) for tokens, name in (line.split("  ", 1) for line in lines)] == [
        (a + b + notes, "src/"),
        (a, "  a.py"),
        (b + notes, "  deep/"),
        (b, "    b.py"),
        (notes, "    notes.md"),
        (z, "z.md"),
        (a + b + notes + z, "total"),
    ]
    largest = run("count", "src/", "--sort", "tokens").stdout.split()[1::2]
    assert largest == ["src/", "deep/", "b.py", "notes.md", "a.py"]
    assert run("count", "src", "--depth", "0").stdout.split() == [str(a + b + notes), "src/"]
    assert run("count", "src", "--depth", "1").stdout.split()[1::2] == ["src/", "a.py", "deep/"]
    flat = [line.split("\t") for line in run("count", ".", "--flat", "--sort", "tokens").stdout.splitlines()]
    assert flat == [
        *([str(tokens[name]), f"./{name}"] for name in sorted(tokens, key=lambda name: -tokens[name])),
        [str(sum(tokens.values())), "total"],
    ]


def test_counts_of_a_tree_are_the_references(tmp_path, reference):
    texts = {
        "a/one.txt": "Hello, how are you?\r\n\n\tYes.",
        "a/b/zwei.md": "Donaudampfschifffahrt — 日本語の文章です。\ufeff",
        "a/b/c/three.py": "def f(x):\n    return x ** 2  # 😀\n" * 50,
        "four.json": json.dumps({"key": [1, 2.5, None, "é" * 30]}),
        "empty": "",
    }
    write(tmp_path, texts)
    expected = {name: len(reference.encode(text, bos=False, eos=False)) for name, text in texts.items()}
    _, result = counted(tmp_path)
    assert {file["path"]: file["tokens"] for file in result["files"]} == {
        str(tmp_path / name): tokens for name, tokens in expected.items()
    }
    assert result["total"] == sum(expected.values())
    assert int(run("count", tmp_path).stdout.split()[0]) == sum(expected.values())


_PARTS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4)


@given(st.lists(st.tuples(_PARTS, st.integers(0, 999)), min_size=1, unique_by=lambda file: tuple(file[0])))
def test_every_folder_has_the_sum_of_what_is_in_it(files):
    # No name is a file's and a folder's at once, as in a file system.
    files = [("/".join(["top", *parts, "file"]), tokens) for parts, tokens in files]
    shown, above = [], []
    for line in tree_lines([Counted(path, tokens, "top") for path, tokens in files], []):
        tokens, indent, name = re.fullmatch(r" *(\d+)  ((?:  )*)(\S+)", line).groups()
        above[len(indent) // 2 :] = [name]
        shown.append(("".join(above), int(tokens)))
    assert len(shown) == len({path for path, _ in shown})
    for path, tokens in shown:
        below = [number for name, number in files if name.startswith(path)]
        assert tokens == sum(below)
    assert {path for path, _ in files} <= {path for path, _ in shown}


def test_what_is_named_is_counted_whatever_the_rules(tmp_path):
    write(tmp_path, {".gitignore": "*.log\n.h\n", "a.log": "one", ".h/b": "two"})
    assert counted(tmp_path)[0] == []
    names = (tmp_path / "a.log", tmp_path / ".gitignore", tmp_path / ".h" / "b")
    assert counted(*names)[0] == list(map(str, names))
    assert counted(tmp_path / ".h")[0] == [str(tmp_path / ".h" / "b")]
    assert counted(tmp_path, "--no-ignore", "--hidden")[0] == sorted(map(str, names))


def test_symbolic_links(tmp_path):
    write(tmp_path, {"real/a": "text", "b": "text"})
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to("b")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert walked(tmp_path) == ["b", "real/a"]
    assert walked(tmp_path, glob="**/*") == ["b", "real/a"]
    # A link that is named is followed.
    (tmp_path / "folder").symlink_to("real")
    assert walked(tmp_path / "folder") == ["a"]
    assert counted(tmp_path / "link")[0] == [str(tmp_path / "link")]


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("*.md", ["a.md"]),
        ("**/*.md", ["a.md", "x/b.md", "x/y/c.md"]),
        ("x/*.md", ["x/b.md"]),
        ("x/**", ["x/b.md", "x/y/c.md"]),
        ("?/y/[bc].md", ["x/y/c.md"]),
        ("./x/*", ["./x/b.md"]),
        (".*/*.md", [".h/d.md"]),
        (".h/*", [".h/d.md"]),
        ("out/*", ["out/e.md"]),
    ],
)
def test_globs(tmp_path, monkeypatch, glob, found):
    write(
        tmp_path,
        {".gitignore": "out/\n", **dict.fromkeys(("a.md", "x/b.md", "x/y/c.md", ".h/d.md", "out/e.md"), "t")},
    )
    monkeypatch.chdir(tmp_path)
    assert counted(glob)[0] == found
    assert counted(tmp_path / glob)[0] == [str(tmp_path / name) for name in found]
    assert len(run("encode", glob).stdout.splitlines()) == len(found)


def test_a_file_that_looks_like_a_glob(tmp_path, monkeypatch):
    write(tmp_path, {"[a].md": "one two", "a.md": "one"})
    monkeypatch.chdir(tmp_path)
    assert counted("[a].md")[0] == ["[a].md"]


def test_what_is_no_text_is_skipped_if_found_and_an_error_if_named(tree):
    result = run("count", "src")
    assert (result.exit_code, result.stderr.splitlines()) == (
        0,
        [
            "nemo-fast count: skipped src/latin.txt: the text is not UTF-8 at byte 1",
            "nemo-fast count: skipped src/picture.bin: binary",
        ],
    )
    assert counted("src/*")[1]["skipped"] == [
        {"path": "src/latin.txt", "reason": "the text is not UTF-8 at byte 1"},
        {"path": "src/picture.bin", "reason": "binary"},
    ]
    named = run("count", "z.md", "src/latin.txt")
    assert (named.exit_code, named.stdout) == (1, "")
    assert named.stderr == "nemo-fast: src/latin.txt: the text is not UTF-8 at byte 1\n"
    # A NUL is a character like any other in a text that is named.
    assert run("count", "src/picture.bin").stdout == f"{Tokenizer().count(chr(0) + chr(1))}\n"
    write(tree, {f"many/{number}": b"\xff" for number in range(13)})
    lines = run("count", "many").stderr.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "nemo-fast count: skipped 3 more files that are no text; --json names them"
    assert len(counted("many")[1]["skipped"]) == 13


@pytest.mark.usefixtures("tree")
def test_what_cannot_be_read_is_reported_and_fails_the_job(monkeypatch):
    paths = [("a.py", None), ("gone.py", None), ("locked", "Permission denied (os error 13)")]
    monkeypatch.setattr("nemo_fast._native.walk_files", lambda *_arguments, **_options: paths)
    result = run("count", "src")
    assert result.exit_code == 1
    assert result.stdout.split()[1::2] == ["src/", "a.py"]
    assert result.stderr.splitlines() == [
        "nemo-fast count: src/gone.py: No such file or directory",
        "nemo-fast count: src/locked: Permission denied (os error 13)",
    ]
    assert run("encode", "src/*").stderr == "nemo-fast: src/gone.py: No such file or directory\n"
    assert run("count", "src", "--budget", "1").exit_code == 3


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that even root cannot read")
def test_a_named_file_that_cannot_be_read():
    result = run("count", "/proc/self/mem")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("nemo-fast: ")
    assert "Input/output error" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission(tree):
    (tree / "src" / "deep").chmod(0)
    try:
        result = run("count", "src")
    finally:
        (tree / "src" / "deep").chmod(0o755)
    assert result.exit_code == 1
    assert "nemo-fast count: src/deep: Permission denied" in result.stderr


def test_budgets(tree):
    write(tree, {"p/one": "one two three", "p/two": "one two three four"})
    one, two = (Tokenizer().count((tree / "p" / name).read_bytes()) for name in ("one", "two"))
    total = one + two
    assert run("count", "p", "--budget", total).exit_code == 0
    over = run("count", "p", "--budget", total - 1)
    assert over.exit_code == 3
    assert over.stderr == f"nemo-fast count: {total} tokens are 1 over the budget of {total - 1}\n"
    assert run("count", "p", "--file-budget", two).exit_code == 0
    over = run("count", "p", "--file-budget", one)
    assert over.exit_code == 3
    assert over.stderr == f"nemo-fast count: p/two: {two} tokens are {two - one} over the budget of {one}\n"
    assert run("count", "--file-budget", "0", stdin="").exit_code == 0
    assert "stdin: 1 tokens" in run("count", "--file-budget", "0", stdin="a").stderr


@pytest.mark.usefixtures("tree")
def test_json_of_count():
    tokens = Tokenizer().count("z")
    files = [{"path": "z.md", "tokens": tokens}]
    result = {"files": files, "skipped": [], "total": tokens}
    assert counted("z.md")[1] == result
    assert counted("z.md", "--budget", "9")[1] == result | {"budget": 9, "over": False}
    assert counted("z.md", "--file-budget", "0")[1] == result | {"file_budget": 0, "over": True}
    # A folder is a list of its files.
    assert counted("src", "--depth", "0")[0] == ["src/a.py", "src/deep/b.py", "src/deep/notes.md"]


def test_nothing_to_count(tmp_path):
    assert run("count", stdin="").stdout == "0\n"
    (tmp_path / "empty").mkdir()
    assert run("count", tmp_path / "empty").stdout.split() == ["0", f"{tmp_path / 'empty'}/"]
    assert counted(tmp_path / "empty")[1] == {"files": [], "skipped": [], "total": 0}


def test_names_that_are_not_utf8(tmp_path):
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.txt", os.O_CREAT | os.O_WRONLY))
    assert walked(tmp_path) == ["\udcff.txt"]
    assert counted(tmp_path)[0] == [f"{tmp_path}/\ufffd.txt"]


def test_a_pipe_with_a_name(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(
        [sys.executable, "-m", "nemo_fast", "count", str(tmp_path / "pipe")], stdout=subprocess.PIPE
    ) as process:
        (tmp_path / "pipe").write_text("one two")
        assert int(process.stdout.read()) == Tokenizer().count("one two")
    assert walked(tmp_path) == []


def test_a_path_deeper_than_calls_may_nest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = tree_lines([Counted("top/" + "a/" * 2000 + "file", 7, "top")], [])
    assert len(lines) == 2002
    assert {line.split()[0] for line in lines} == {"7"}


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["count", "*.nothing"], 1, "no file matches *.nothing"),
        (["count", "nowhere/**"], 1, "no file matches nowhere/**"),
        (["count", "a[b"], 2, "glob \"a[b\": unclosed character class; missing ']'"),
        (
            ["count", "src", "--flat", "--depth", "1"],
            2,
            "--flat has no levels, so it does not go with --depth",
        ),
        (["encode", "src"], 1, "src: Is a directory"),
    ],
)
def test_errors(arguments, code, message):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith("nemo-fast")
    assert result.stderr.endswith(f": {message}\n")


def test_counting_a_folder_imports_little(tree):
    heavy = {"numpy", "json", "pathlib", "dataclasses", "glob"}
    program = (
        "import sys; from nemo_fast.cli import main\n"
        "before = set(sys.modules)\n"
        "try: main(['count', 'src/deep'])\n"
        f"except SystemExit: print({heavy} & (set(sys.modules) - before))"
    )
    done = run_process("-c", program, cwd=tree)
    assert done.stdout.splitlines()[-1] == b"set()"


def test_encode_with_control_strings():
    tokenizer = Tokenizer()
    text = "<s>Hi"
    for special in ("text", "parse"):
        ids = tokenizer.encode(text, special=special)
        assert run("encode", "--special", special, stdin=text).output.split() == list(map(str, ids))
    result = run("encode", "--special", "forbid", stdin=text)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the text has the control string <s> at byte 0" in result.stderr
    # An empty text has its line too, so that lines and files correspond.
    assert run("encode", "-", stdin="").stdout == "\n"


@given(st.text(max_size=30))
def test_decode_takes_what_encode_prints(text):
    line = run("encode", stdin=text.encode()).stdout
    for written in (line, "\n".join(line.split()), json.dumps(list(map(int, line.split())))):
        assert run("decode", stdin=written).stdout_bytes == text.encode()
    if line.split():
        assert run("decode", *line.split()).stdout_bytes == text.encode()


def test_decode_arguments(tmp_path, monkeypatch):
    assert run("decode", "[22177,", "1044]").stdout == "Hello,"
    assert run("decode", "[22177, 1044]").stdout == "Hello,"
    assert json.loads(run("decode", "--json", "22177").stdout) == {
        "files": [{"path": "arguments", "text": "Hello"}]
    }
    write(tmp_path, {"7": "22177", "[1": "1044"})
    monkeypatch.chdir(tmp_path)
    assert run("decode", "./7").stdout == "Hello"
    assert run("decode", "7", "./[1").stdout == "Hello,"


def test_the_hook_of_pre_commit(tree):
    """pre-commit calls the entry with the arguments, the repository's or the user's, and then the files."""
    root = Path(__file__).parents[2]
    (hook,) = yaml.safe_load((root / ".pre-commit-hooks.yaml").read_text())
    assert (hook["language"], hook["types"]) == ("python", ["text"])
    documented = re.findall(r"```yaml\n(.*?)```", (root / "docs/command_line.md").read_text(), re.DOTALL)
    by_repository, local = (yaml.safe_load(part)["repos"][0]["hooks"][0] for part in documented)
    assert by_repository["id"] == local["id"] == hook["id"]
    write(tree, {"CLAUDE.md": "one two three " * 1_500})
    tokens = Tokenizer().count((tree / "CLAUDE.md").read_bytes())
    assert 4_000 < tokens < 8_000
    assert re.fullmatch(by_repository["files"], "CLAUDE.md")
    for entry, arguments, code in (
        (hook["entry"], hook["args"], 0),
        (hook["entry"], by_repository["args"], 3),
        (local["entry"], [], 3),
    ):
        command, *words = entry.split()
        result = run(*words, *arguments, "CLAUDE.md", "z.md")
        assert (command, result.exit_code) == ("nemo-fast", code)
        assert ("CLAUDE.md: " in result.stderr) == (code == 3)
