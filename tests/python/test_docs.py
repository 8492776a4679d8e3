"""What the documents show is run: Python examples, command lines, docstrings; and their links lead somewhere.

In Markdown, `python` blocks are doctests and `console` blocks are command lines behind `$ ` with their
output. The Python examples of a file run in order and share their names; all run in the repository root. A
block under the comment `<!-- long -->` needs a download and runs in the long profile only.
"""

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nemo_fast

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(path for part in ("benches", "docs", "tests") for path in (ROOT / part).rglob("*.md")),
    ]
)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
# `__main__` is the command itself.
MODULES = [
    module.name
    for module in pkgutil.walk_packages(nemo_fast.__path__, "nemo_fast.")
    if not module.name.endswith("__main__")
]

BLOCK = re.compile(r"^(<!-- long -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
# A path in the repository, written as code.
PATH = re.compile(r"`((?:\.ci|benches|docs|python|requirements|rust|tests)/[\w./-]*)`")


def blocks(name, language, *, long=False):
    """Return the blocks of a language in order; `long`: also those that need a download."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [body for mark, found, body in BLOCK.findall(text) if found == language and (long or not mark)]


def prose(name):
    return BLOCK.sub("", (ROOT / name).read_text(encoding="utf-8"))


def run_examples(source, name, names):
    """Run a doctest; the report of what differs becomes the message."""
    test = doctest.DocTestParser().get_doctest(source, names, name, name, 0)
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    failed, _ = runner.run(test, out=report.append, clear_globs=False)
    assert not failed, "".join(report)
    names.update(test.globs)
    return len(test.examples)


def run_commands(body):
    """Run the command lines of a block; stdout and stderr together must be what stands under each."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for part in body.removeprefix("$ ").split("\n$ "):
        command, _, expected = part.partition("\n")
        result = subprocess.run(
            ["/bin/bash", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            env=os.environ | {"PATH": path},
        )
        assert result.stdout.decode().rstrip("\n") == expected.rstrip("\n"), command


def run_document(name, *, long):
    python, console = blocks(name, "python", long=long), blocks(name, "console", long=long)
    names = {}
    for body in python:
        assert run_examples(body, name, names) > 0, "a `python` block without >>>"
    for body in console:
        assert body.startswith("$ "), "a `console` block that starts with no command"
        run_commands(body)
    return len(python) + len(console)


@pytest.fixture(autouse=True)
def in_repository_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    run_document(name, long=False)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_examples_with_a_real_model(name):
    run_document(name, long=True)


def test_the_readme_has_examples_of_each_kind():
    assert len(blocks("README.md", "python")) >= 3
    assert len(blocks("README.md", "console")) >= 1
    assert len(blocks("README.md", "console", long=True)) > len(blocks("README.md", "console"))


@pytest.mark.parametrize("name", ["nemo_fast", *MODULES])
def test_docstrings(name):
    module = importlib.import_module(name)
    # The docstrings of the native classes say `nemo_fast.Tokenizer()`, as a user does.
    tests = doctest.DocTestFinder().find(module, extraglobs={"nemo_fast": nemo_fast})
    report = []
    runner = doctest.DocTestRunner()
    failed = sum(runner.run(test, out=report.append).failed for test in tests)
    assert not failed, "".join(report)


def test_docstrings_of_the_native_module_are_found():
    native = importlib.import_module("nemo_fast._native")
    found = {test.name for test in doctest.DocTestFinder().find(native) if test.examples}
    assert {"nemo_fast._native.Tokenizer.encode", "nemo_fast._native.build_info"} <= found


def anchors(path):
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(path.relative_to(ROOT)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links(name):
    for target in LINK.findall(prose(name)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.resolve()), target


@pytest.mark.parametrize("name", NAMES)
def test_paths_written_as_code(name):
    for path in PATH.findall(prose(name)):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (">>> 1 + 1\n3\n", r"Got:\s+2"),
        (">>> nothing_of_this_name\n", "NameError"),
        (">>> 1\n", r"Got:\s+1"),
    ],
)
def test_a_wrong_example_fails(source, message):
    with pytest.raises(AssertionError, match=message):
        run_examples(source, "example", {})


def test_a_wrong_command_line_fails():
    run_commands("$ echo a; echo b\na\nb\n$ echo c\nc\n")
    with pytest.raises(AssertionError, match="echo"):
        run_commands("$ echo a\nb\n")
