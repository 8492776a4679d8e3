"""Progress goes to stderr, with `rich` and without."""

from __future__ import annotations

import sys

import pytest

from nemo_fast.progress import announce, progress_bar


def run(*, progress):
    announce("starting", progress=progress)
    with progress_bar("hashing", 1000, progress=progress) as advance:
        for _ in range(100):
            advance(10)


def test_silent_unless_asked_for(capfd):
    run(progress=False)
    assert capfd.readouterr() == ("", "")


def test_plain_lines_without_rich(capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    run(progress=True)
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "starting"
    assert lines[-1] == "hashing: 1,000 of 1,000 bytes"
    assert len(lines) == 11


def test_a_bar_with_rich(capfd):
    pytest.importorskip("rich")
    run(progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "hashing" in err


def test_an_empty_job(capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with progress_bar("hashing", 0, progress=True) as advance:
        advance(0)
    assert capfd.readouterr().err == ""
