"""The files below a folder: what `.gitignore` files say of them is what git says, and hidden files."""

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_fast._native import walk_files

GIT = ("git", "-c", "core.quotePath=false")


def write(folder, files):
    """Write a tree: paths with slashes to texts, or to bytes."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def walked(folder, **options):
    return [path for path, problem in walk_files(folder, **options) if problem is None]


IGNORED = {
    "plain name": ({".gitignore": "out\n"}, ["out/a", "x/out/b", "c"], ["c"]),
    "anchored": ({".gitignore": "/out\n"}, ["out/a", "x/out/b"], ["x/out/b"]),
    "folders only": ({".gitignore": "out/\n"}, ["x/out", "out/a"], ["x/out"]),
    "negation": (
        {".gitignore": "*.log\n!keep.log\n"},
        ["a.log", "keep.log", "x/keep.log"],
        ["keep.log", "x/keep.log"],
    ),
    "nested": ({"x/.gitignore": "*.txt\n"}, ["a.txt", "x/a.txt", "x/y/a.txt"], ["a.txt"]),
    "nested negation": (
        {".gitignore": "*.txt\n", "x/.gitignore": "!a.txt\n"},
        ["a.txt", "x/a.txt", "x/b.txt"],
        ["x/a.txt"],
    ),
    "two stars": ({".gitignore": "x/**/z\n# a comment\n\n"}, ["x/z", "x/y/z", "z"], ["z"]),
    "spaces, classes": ({".gitignore": "a b\n[cd].md\n\\#e\n"}, ["a b", "c.md", "#e", "f.md"], ["f.md"]),
    "last wins": ({".gitignore": "a*\n!ab*\nabc\n"}, ["a", "ab", "abc", "abcd"], ["ab", "abcd"]),
    "not out of an ignored folder": ({".gitignore": "out/\n!out/a\n"}, ["out/a", "b"], ["b"]),
    "hidden": ({}, [".hidden", ".git/config", ".venv/a", "a"], ["a"]),
    "hidden, taken in by a rule": ({".gitignore": "!.a/\n!/.b\n"}, [".a/c", ".b", "x/.b"], [".a/c", ".b"]),
    "byte order mark, carriage returns": ({".gitignore": "\ufeffout\r\n"}, ["out", "a"], ["a"]),
}


@pytest.mark.parametrize(("rules", "names", "kept"), IGNORED.values(), ids=IGNORED)
def test_gitignore(tmp_path, rules, names, kept):
    write(tmp_path, {**rules, **dict.fromkeys(names, "text")})
    assert walked(tmp_path) == kept
    visible = sorted(name for name in names if "/." not in f"/{name}")
    assert sorted(walked(tmp_path, ignored=True)) == visible
    everything = sorted(name for name in (*names, *rules) if not name.startswith(".git/"))
    assert sorted(walked(tmp_path, hidden=True, ignored=True)) == everything


_RULE_PARTS = st.lists(st.sampled_from(["a", "b", "*", "a*", "?", "[ab]", "**"]), min_size=1, max_size=3)
_RULES = st.lists(
    st.builds(
        lambda negation, anchor, parts, folder: negation + anchor + "/".join(parts) + folder,
        st.sampled_from(["", "", "!"]),
        st.sampled_from(["", "/"]),
        _RULE_PARTS,
        st.sampled_from(["", "/"]),
    ),
    max_size=4,
)
_FOLDERS = st.lists(st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def git_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("git") / "repository"
    subprocess.run([*GIT, "init", "--quiet", "--bare", folder], check=True)
    return folder


@given(folders=_FOLDERS, rules=_RULES, nested_rules=_RULES)
def test_gitignore_means_what_git_means(git_folder, folders, rules, nested_rules):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = [f"{'/'.join(['.', *parts])}/{name}" for parts in folders for name in ("c", "abc")]
        write(root, dict.fromkeys(files, "text"))
        write(root, {".gitignore": "\n".join(rules)})
        if (root / "a").is_dir():
            write(root, {"a/.gitignore": "\n".join(nested_rules)})
        ours = walked(root)
        git = [*GIT, f"--git-dir={git_folder}", "--work-tree=.", "ls-files", "-o", "--exclude-standard"]
        listed = subprocess.run(git, check=True, capture_output=True, cwd=folder)
        # A rule such as `!*` takes hidden files in, as in ripgrep; git has no rule for them at all.
        theirs, ours = (
            [name for name in names if not name.endswith(".gitignore")]
            for names in (listed.stdout.decode().splitlines(), ours)
        )
        assert sorted(ours) == sorted(theirs)


def test_rules_of_the_folders_above_and_of_the_repository(tmp_path):
    files = {".gitignore": "*.log\n", ".git/info/exclude": "secret\n"}
    write(tmp_path, {**files, **dict.fromkeys(("x/a.log", "x/secret", "x/b"), "text")})
    assert walked(tmp_path / "x") == ["b"]
    assert walked(tmp_path / "x", ignored=True) == ["a.log", "b", "secret"]


def test_a_folder_that_is_not_there(tmp_path):
    assert walk_files(tmp_path / "nowhere") == [("", "No such file or directory (os error 2)")]
