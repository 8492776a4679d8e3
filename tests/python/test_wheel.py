"""The wheel, installed where nothing else is: what it holds, what it needs, and counting without a network.

The environment of these tests gets numpy and click in the versions that are here, which pip has in its cache;
if it does not, it asks the package index.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import PathDistribution, version
from pathlib import Path

import pytest

import nemo_fast

ROOT = Path(__file__).parents[2]
# Where the module has been built, `maturin build` compiles nothing; else it takes minutes.
pytestmark = pytest.mark.timeout(900)

DEVICES = "import socket; print(*(name for _, name in socket.if_nameindex()))"
COUNT = """
import sys
before = set(sys.modules)
import nemo_fast
print(nemo_fast.count("Hello"), *sorted(set(sys.modules) - before))
"""


def run(*command):
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    options = ["--release", "--locked", "--interpreter", sys.executable, "--out", folder]
    run(sys.executable, "-m", "maturin", "build", *options)
    [path] = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The folder of the commands of an environment that has the wheel and what pip installs with it."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder)
    versions = [f"{name}=={version(name)}" for name in ("numpy", "click")]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(versions), encoding="utf-8")
    pip(folder / "bin", "install", "--quiet", "--constraint", constraints, wheel)
    return folder / "bin"


def pip(commands, *arguments):
    return run(sys.executable, "-m", "pip", "--python", commands / "python", *arguments)


@pytest.fixture(scope="module")
def without_network():
    """What to put before a command that is to run in an empty network namespace."""
    unshare = ["unshare", "--map-root-user", "--net"]
    try:
        done = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if done.returncode:
        pytest.skip(f"no network namespace can be made here: {done.stderr.strip()}")
    return unshare


def test_what_the_wheel_holds(wheel):
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        metadata = f"nemo_fast-{nemo_fast.__version__}.dist-info"
        for name in ("LICENSE", "NOTICE"):
            assert archive.read(f"{metadata}/licenses/{name}") == (ROOT / name).read_bytes()
    assert {name.split("/")[0] for name in sizes} == {"nemo_fast", metadata}
    sources = [path for pattern in ("*.py", "*.pyi", "py.typed") for path in (ROOT / "python").rglob(pattern)]
    [library] = [name for name in sizes if name.endswith(".so")]
    files = {library, *(str(path.relative_to(ROOT / "python")) for path in sources)}
    assert {name for name in sizes if name.startswith("nemo_fast/")} == files
    assert sizes[library] <= 20_000_000


def test_it_needs_numpy_and_click_only(environment):
    installed = {entry["name"] for entry in json.loads(pip(environment, "list", "--format", "json"))}
    assert installed == {"nemo-fast", "numpy", "click"}
    pip(environment, "check")
    [metadata] = environment.parent.glob("lib/*/site-packages/nemo_fast-*.dist-info")
    needed = [line for line in PathDistribution(metadata).requires or () if "extra ==" not in line]
    assert sorted(needed) == ["click>=8.1", "numpy>=2.0"]


def test_counting_needs_no_network(environment, without_network):
    python = [environment / "python", "-I", "-c"]
    assert run(*without_network, *python, DEVICES) == "lo\n"
    expected = nemo_fast.count((ROOT / "README.md").read_bytes())
    found = json.loads(run(*without_network, environment / "nemo-fast", "count", "--json", "README.md"))
    assert found["total"] == expected
    assert run(*without_network, *python, COUNT).startswith("1 ")


def test_counting_imports_the_library_only(environment):
    found = run(environment / "python", "-I", "-c", COUNT)
    assert found.split() == ["1", "__future__", "nemo_fast", "nemo_fast._native"]
