"""Other engines beside ours: llama.cpp and ik_llama.cpp, built here from the sources that PyPI has.

    python benches/python/engine_peers.py      builds both into the cache folder: half an hour on two cores

The sources are those inside the packages llama-cpp-python and ik-llama-cpp-python, and the programs their own
`llama-bench` and `llama-batched-bench`. Builds need a C++ compiler, and cmake and ninja from PyPI. An engine
that is not built is left out of a result, which says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemo_fast.cache import cache_folder

BUILT = cache_folder() / "benches" / "engines"
CMAKE = (
    *("-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON"),
    *("-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_SERVER=OFF"),
)

# A script that writes a source file with the facts of the build, and a file with none.
BUILD_FACTS = "common/cmake/build-info-gen-cpp.cmake"
NO_FACTS = "int LLAMA_BUILD_NUMBER = 0;\n" + "".join(
    f'char const *{name} = "unknown";\n' for name in ("LLAMA_COMMIT", "LLAMA_COMPILER", "LLAMA_BUILD_TARGET")
)


@dataclass(frozen=True)
class Peer:
    """An engine: the package that has its source, and how it is run."""

    name: str
    package: str
    version: str
    source: str
    options: tuple[str, ...] = ()
    programs: tuple[str, ...] = ("llama-bench",)
    no_warmup: tuple[str, ...] = ("--no-warmup",)

    @property
    def folder(self) -> Path:
        """Return where its programs are built."""
        return BUILT / f"{self.package}-{self.version}"

    @property
    def is_built(self) -> bool:
        """Whether its programs are there."""
        return all((self.folder / "bin" / program).exists() for program in self.programs)

    @property
    def title(self) -> str:
        """Return name, version and flags, as a result shows them."""
        return " ".join([self.name, f"({self.package} {self.version}, GGML_NATIVE)", *self.options])

    def speeds(self, file: Path, threads: int, *, prompt: int, new: int) -> dict[str, float]:
        """Return tokens a second of a prompt and of new tokens, each the mean of two repeats."""
        sizes = ["-p", str(prompt), "-n", str(new), "-r", "2", "-o", "json"]
        command = [*self._command("llama-bench", file, threads), *sizes, *self.options]
        rows: list[dict[str, Any]] = json.loads(_run(command))
        found = {"prefill" if row["n_prompt"] else "decode": float(row["avg_ts"]) for row in rows}
        if set(found) != {"prefill", "decode"}:
            raise ValueError(f"{self.name} measured {sorted(found)}")
        return found

    def behind(self, file: Path, threads: int, *, context: int, new: int) -> tuple[float, float]:
        """Return tokens a second of new tokens behind nothing and behind a context."""
        sizes = ["-p", "0", "-n", str(new), "-d", f"0,{context}", "-r", "2", "-o", "json"]
        rows: list[dict[str, Any]] = json.loads(_run([*self._command("llama-bench", file, threads), *sizes]))
        speeds = {row["n_depth"]: float(row["avg_ts"]) for row in rows}
        return speeds[0], speeds[context]

    def several(self, file: Path, threads: int, *, sequences: int, new: int) -> float:
        """Return tokens a second of several sequences that decode side by side."""
        command = self._command("llama-batched-bench", file, threads)
        command += ["-c", "1024", "-npp", "8", "-ntg", str(new), "-npl", str(sequences)]
        lines = _run([*command, "--output-format", "jsonl"]).splitlines()
        (row,) = (json.loads(line) for line in lines if line.startswith("{"))
        return float(row["speed_tg"])

    def start(self, file: Path, threads: int) -> list[str]:
        """Return the command that loads a model, computes one token and ends."""
        command = self._command("llama-bench", file, threads)
        return [*command, "-p", "1", "-n", "0", "-r", "1", *self.no_warmup, *self.options]

    def _command(self, program: str, file: Path, threads: int) -> list[str]:
        return [str(self.folder / "bin" / program), "-m", str(file), "-t", str(threads)]


LLAMA = Peer(
    "llama.cpp",
    "llama-cpp-python",
    "0.3.36",
    "vendor/llama.cpp",
    programs=("llama-bench", "llama-batched-bench", "llama-perplexity"),
)
IK = Peer(
    "ik_llama.cpp",
    "ik-llama-cpp-python",
    "0.1.5",
    "vendor/ik_llama.cpp",
    options=("-rtr", "1"),
    no_warmup=("-w", "0"),
)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def build(peer: Peer) -> None:
    """Fetch the source of a peer and build its programs, if they are not there."""
    if peer.is_built:
        return
    peer.folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "install", "-q", "cmake", "ninja"], check=True)  # noqa: S603
    # Of this package only: what pip builds it with need not be built, too.
    fetch = ["download", "-q", "--no-deps", "--no-binary", peer.package, "--dest", str(peer.folder)]
    subprocess.run([*pip, *fetch, f"{peer.package}=={peer.version}"], check=True)  # noqa: S603
    (archive,) = peer.folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(peer.folder, filter="data")
    (source,) = peer.folder.glob(f"*/{peer.source}")
    if not (source / BUILD_FACTS).exists():  # left out of the package of ik_llama.cpp
        (source / BUILD_FACTS).parent.mkdir(exist_ok=True)
        (source / BUILD_FACTS).write_text(f"file(WRITE common/build-info.cpp [[{NO_FACTS}]])\n", "utf-8")
    tools = Path(sys.executable).parent
    ninja = str(tools / "ninja")
    cmake = [str(tools / "cmake"), "-S", str(source), "-B", str(peer.folder), *CMAKE]
    subprocess.run([*cmake, f"-DCMAKE_MAKE_PROGRAM={ninja}"], check=True)  # noqa: S603
    subprocess.run([ninja, "-C", str(peer.folder), *peer.programs], check=True)  # noqa: S603


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    for peer in (LLAMA, IK):
        build(peer)
        print(f"{peer.title}: {peer.folder}")


if __name__ == "__main__":
    main()
