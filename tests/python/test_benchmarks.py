"""The benchmarks of texts and chat requests run: on a tiny text, with peers that the tests need anyway."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON = Path(__file__).parents[2] / "benches" / "python"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "mixed.txt").write_text("The quick brown fox. 敏捷的棕色狐狸。\n" * 100, encoding="utf-8")
    command = [sys.executable, PYTHON / "tokenizer_speed.py", "--quick", "--peers", "nemo_fast,tiktoken"]
    command += [
        "--texts",
        "mixed",
        "--rows",
        "encode,count",
        "--corpus",
        folder,
        "--output",
        folder / "found",
    ]
    environment = {"NEMO_FAST_CACHE": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    return folder / "found"


def test_every_row_is_measured(result):
    found = json.loads(result.with_suffix(".json").read_text(encoding="utf-8"))
    assert found["wrong"] == {}
    rows = {(record["row"], record["peer"]) for record in found["records"]}
    for phase in ("cold", "new", "warm", "calls"):
        assert {(f"encode/list/{phase}", peer) for peer in ("nemo_fast", "tiktoken")} <= rows
        assert (f"count/{phase}", "nemo_fast") in rows
    assert all(record["cpu"] > 0 for record in found["records"])


def test_the_report_sets_both_beside_each_other(result):
    lines = result.with_suffix(".md").read_text(encoding="utf-8").splitlines()
    targets = {cells[1].strip(): cells[2:5] for line in lines if len(cells := line.split("|")) == 8}
    for what in ("encode, unseen, fresh process", "encode, again", "count, again"):
        ours, theirs, ratio = targets[what]
        assert "MB/s" in ours
        assert "tiktoken" in theirs
        assert float(ratio.strip(" *")) > 0


def test_the_pathological_texts_stay_the_same(monkeypatch):
    monkeypatch.syspath_prepend(str(PYTHON))
    from pathological import NAMES, family

    assert len(NAMES) == 28
    # Results are compared with those of earlier days.
    assert family("hex_1m").startswith("01d2d8d17a62")
    assert family("a1m", 20_000) == "a" * 50


def test_chat_requests_are_measured(tmp_path):
    (tmp_path / "mixed.txt").write_text("The quick brown fox. 敏捷的棕色狐狸。\n" * 100, encoding="utf-8")
    command = [
        sys.executable,
        PYTHON / "chat_speed.py",
        "--requests",
        "40",
        "--sample",
        "20",
        "--rounds",
        "1",
    ]
    command += ["--corpus", tmp_path, "--output", tmp_path / "found"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    tokens = [record["tokens"] for record in found["records"]]
    assert tokens[:2] == [9, 252]
    assert tokens[-1] == tokens[-2]
    for record in found["records"]:
        assert all(seconds > 0 for seconds in record["seconds"].values())
        # Nobody else fits or grows conversations.
        assert "mistral-common" in record["seconds"] or record["row"].startswith(("fit_chat", "Conversation"))
    report = (tmp_path / "found.md").read_text(encoding="utf-8")
    assert all(f"| {record['row']} |" in report for record in found["records"])
