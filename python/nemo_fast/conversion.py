"""Converts a checkpoint, tensor by tensor, into a folder with E4M3 weights.

Sources: a GGUF file, or any folder that loads. Target: a compressed-tensors FP8 folder, its linear layers
E4M3 with a scale a row, all other tensors as in the source (BF16 for GGUF).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nemo_fast._native import Checkpoint, CheckpointError, __version__
from nemo_fast.gguf_source import GgufSource
from nemo_fast.gguf_tokenizer import write_tokenizer
from nemo_fast.model_layout import dense_shapes, linear_shapes
from nemo_fast.progress import announce, progress_bar
from nemo_fast.safetensors_writer import TensorEntry, write_safetensors
from nemo_fast.staging import refuse_existing, staged_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from os import PathLike

    import numpy as np
    from numpy.typing import NDArray

TOKENIZER_FILES = (
    "tekken.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
# The metadata key under which a converted file names the SHA-256 of its source.
SOURCE_HASH = "nemo_fast.source_sha256"
_HASHED_AT_ONCE = 1 << 24
_QUANTIZATION = {
    "config_groups": {
        "group_0": {
            "input_activations": {
                "dynamic": True,
                "num_bits": 8,
                "strategy": "token",
                "symmetric": True,
                "type": "float",
            },
            "targets": ["Linear"],
            "weights": {
                "dynamic": False,
                "num_bits": 8,
                "strategy": "channel",
                "symmetric": True,
                "type": "float",
            },
        }
    },
    "format": "float-quantized",
    "ignore": ["lm_head"],
    "quant_method": "compressed-tensors",
    "quantization_status": "compressed",
}


class WeightSource(Protocol):
    """What a checkpoint must give, whatever its format."""

    config: dict[str, Any]
    weight_files: tuple[Path, ...]

    def dense_dtype(self, name: str) -> str:
        """Return the dtype of an embedding, head or norm: "BF16", "F16" or "F32"."""

    def dense(self, name: str) -> bytes | memoryview:
        """Return its little-endian bytes."""

    def linear(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return a projection's E4M3 rows [out, in] and their scales [out]."""


class FolderSource:
    """A folder that loads, as a source of weights."""

    def __init__(self, path: Path) -> None:
        self._checkpoint = Checkpoint(path)
        self.config: dict[str, Any] = dict(self._checkpoint.config)
        self.weight_files = tuple(self._checkpoint.files)

    def dense_dtype(self, name: str) -> str:
        """Return the dtype of an embedding, head or norm."""
        return self._checkpoint.dense_dtype(name)

    def dense(self, name: str) -> bytes:
        """Return its little-endian bytes."""
        return self._checkpoint.dense(name)[2]

    def linear(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return a projection's E4M3 rows [out, in] and their scales [out]."""
        return self._checkpoint.linear(name)


def convert(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    format: str = "compressed-tensors",  # noqa: A002 - the word that users of converters know
    progress: bool = False,
) -> Path:
    """Convert a GGUF file or a checkpoint folder, and return the new folder's path.

    The target appears when it is complete; an interrupted conversion leaves nothing. A GGUF tokenizer that
    cannot be converted is a `UserWarning`: the model then generates from ids. The weight file's metadata
    names the source, its SHA-256 (of all weight files, in the order of their names) and our version.

    `progress`: show on stderr how far it is. Errors: `FileExistsError` for an existing target,
    `CheckpointError` for a source that cannot be read, `ValueError` for another format, `ImportError` for a
    GGUF file without the extra `convert`.

    Example (not run: it needs a file): ``convert("model.gguf", "model-fp8")``
    """
    if format != "compressed-tensors":
        raise ValueError(f"format is {format!r}, but only 'compressed-tensors' can be written")
    source, target = Path(source), Path(target)
    refuse_existing(target)
    weights = open_source(source)
    fingerprint = _sha256(weights.weight_files, progress=progress)
    with staged_folder(target) as folder:
        (folder / "config.json").write_text(
            json.dumps(_config(weights.config), indent=2) + "\n", encoding="utf-8"
        )
        missing = _write_tokenizer_files(source, weights, folder)
        entries = _entries(weights)
        metadata = {
            "format": "pt",  # transformers refuses files that do not say so
            "nemo_fast.source": source.name,
            SOURCE_HASH: fingerprint,
            "nemo_fast.version": __version__,
        }
        total = sum(entry.byte_count for entry in entries)
        with progress_bar("converting", total, progress=progress) as advance:
            contents = _contents(weights, advance)
            write_safetensors(folder / "model.safetensors", entries, contents, metadata)
    if missing:
        warnings.warn(f"{target} has no tokenizer: {missing}", stacklevel=2)
    announce(f"{target}: {total:,} bytes", progress=progress)
    return target


def open_source(path: Path) -> WeightSource:
    """Open a GGUF file or a checkpoint folder. Errors: `CheckpointError`, `FileNotFoundError`."""
    if path.is_dir():
        return FolderSource(path)
    # Looking at the first bytes gives a missing file its usual error, and needs no file name extension.
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise CheckpointError(f"{path} is neither a GGUF file nor a folder with a checkpoint")
    return GgufSource(path)


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config.json`: every source has this architecture, so its names are the same for all."""
    names = (
        "bos_token_id",
        "eos_token_id",
        "head_dim",
        "hidden_size",
        "intermediate_size",
        "max_position_embeddings",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "rms_norm_eps",
        "rope_theta",
        "tie_word_embeddings",
        "vocab_size",
    )
    return {
        "architectures": ["MistralForCausalLM"],
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "model_type": "mistral",
        "sliding_window": None,
        "torch_dtype": "bfloat16",
        **{name: config[name] for name in names},
        "quantization_config": _QUANTIZATION,
    }


def _entries(weights: WeightSource) -> list[TensorEntry]:
    entries = [
        TensorEntry(name, weights.dense_dtype(name), shape)
        for name, shape in dense_shapes(weights.config).items()
    ]
    for name, (rows, columns) in linear_shapes(weights.config).items():
        entries.append(TensorEntry(name, "F8_E4M3", (rows, columns)))
        entries.append(TensorEntry(f"{name}_scale", "F32", (rows, 1)))
    return entries


def _contents(weights: WeightSource, advance: Callable[[int], None]) -> Iterator[bytes | memoryview]:
    """Give the tensors' bytes in the order of `_entries`."""
    for name in dense_shapes(weights.config):
        content = weights.dense(name)
        yield content
        advance(memoryview(content).nbytes)
    for name in linear_shapes(weights.config):
        rows, scales = weights.linear(name)
        yield rows.data
        yield scales.data
        advance(rows.nbytes + scales.nbytes)


def _write_tokenizer_files(source: Path, weights: WeightSource, folder: Path) -> str | None:
    """Copy or make the tokenizer's files; return why there are none, or None if all is well."""
    if isinstance(weights, GgufSource):
        return write_tokenizer(weights.metadata, weights.config["vocab_size"], folder)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    return None


def _sha256(files: Sequence[Path], *, progress: bool) -> str:
    digest = hashlib.sha256()
    total = sum(file.stat().st_size for file in files)
    with progress_bar("hashing the source", total, progress=progress) as advance:
        for path in files:
            with path.open("rb") as file:
                while block := file.read(_HASHED_AT_ONCE):
                    digest.update(block)
                    advance(len(block))
    return digest.hexdigest()
