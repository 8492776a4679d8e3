"""What goes wrong while a checkpoint is converted is an error, and nothing is left of the target."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from model_files import TINY, write_gguf

from nemo_fast import CheckpointError, convert


def test_a_full_disk_leaves_nothing(tmp_path):
    """A limit on the size of files stands for it: the write in the middle fails in the same way."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))\n"
        "import nemo_fast\n"
        "try:\n"
        "    nemo_fast.convert(sys.argv[1], sys.argv[2])\n"
        "except OSError as error:\n"
        "    print('refused', error.errno, error.filename == sys.argv[2])\n"
    )
    source = shutil.copytree(TINY, tmp_path / "source")
    command = (sys.executable, "-c", code, str(source), str(tmp_path / "target"))
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "refused 27 True\n"), result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_source_that_changes_meanwhile(tmp_path, monkeypatch):
    from nemo_fast.conversion import FolderSource

    source = shutil.copytree(TINY, tmp_path / "source")
    shard = source / "model-00001-of-00002.safetensors"
    linear = FolderSource.linear

    def touched(self, name):
        os.utime(shard, ns=(0, 0))
        return linear(self, name)

    monkeypatch.setattr(FolderSource, "linear", touched)
    with pytest.raises(CheckpointError, match="source changed while it was converted: convert it again"):
        convert(source, tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.skipif(sys.platform == "win32", reason="there a mapped file cannot be cut")
@pytest.mark.parametrize("size", [0, 5_000, 400_000])
def test_a_source_that_is_cut_meanwhile(tmp_path, monkeypatch, size):
    """After its header was read: what is no longer there must not be touched."""
    from nemo_fast.conversion import FolderSource

    source = shutil.copytree(TINY, tmp_path / "source")
    linear = FolderSource.linear

    def cut(self, name):
        for shard in source.glob("*.safetensors"):
            os.truncate(shard, size)
        return linear(self, name)

    monkeypatch.setattr(FolderSource, "linear", cut)
    with pytest.raises(
        OSError, match=r"model-0000\d-of-00002.safetensors: the file has become shorter since"
    ):
        convert(source, tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("size", [0, 5_000, 400_000])
def test_a_gguf_file_that_is_cut_meanwhile(tmp_path, monkeypatch, size):
    pytest.importorskip("gguf")
    from nemo_fast.gguf_source import GgufSource

    source = write_gguf(tmp_path / "model.gguf", TINY)
    linear = GgufSource.linear

    def cut(self, name):
        os.truncate(source, size)
        return linear(self, name)

    monkeypatch.setattr(GgufSource, "linear", cut)
    with pytest.raises(OSError, match=r"model\.gguf: the file has become shorter since it was opened"):
        convert(source, tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


@pytest.mark.parametrize("size", [0, 7, 100, 20_000])
def test_a_source_that_is_cut(tmp_path, size):
    source = shutil.copytree(TINY, tmp_path / "source")
    os.truncate(source / "model-00002-of-00002.safetensors", size)
    with pytest.raises((CheckpointError, OSError)):
        convert(source, tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
