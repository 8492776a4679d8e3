"""Converts a checkpoint, tensor by tensor, into a folder with E4M3 weights.

Sources: a GGUF file, or any folder that loads. Target: a compressed-tensors FP8 folder, its linear layers
E4M3 with a scale a row, or a scale a block where the source has that; all other tensors as in the source
(BF16 for GGUF).
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nemo_fast._native import Checkpoint, CheckpointError, __version__
from nemo_fast.gguf_source import GgufSource
from nemo_fast.gguf_tokenizer import write_tokenizer
from nemo_fast.model_layout import dense_shapes, linear_shapes
from nemo_fast.progress import announce, progress_bar
from nemo_fast.safetensors_writer import TensorEntry, write_safetensors
from nemo_fast.staging import refuse_existing, staged_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from os import PathLike

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
# Rows and columns that have one scale where scales are of blocks.
_BLOCK = 128
_FLOAT8 = {"num_bits": 8, "symmetric": True, "type": "float"}
_BY_CHANNEL = {
    "input_activations": {"dynamic": True, "strategy": "token", **_FLOAT8},
    "targets": ["Linear"],
    "weights": {"dynamic": False, "strategy": "channel", **_FLOAT8},
}
_BY_BLOCK = {
    "input_activations": {"dynamic": True, "group_size": _BLOCK, "strategy": "group", **_FLOAT8},
    "targets": ["Linear"],
    "weights": {"block_structure": [_BLOCK, _BLOCK], "dynamic": False, "strategy": "block", **_FLOAT8},
}


class WeightSource(Protocol):
    """What a checkpoint must give, whatever its format."""

    config: dict[str, Any]
    weight_files: tuple[Path, ...]
    # Whether linear layers have scales of blocks.
    has_block_scales: bool

    def dense_dtype(self, name: str) -> str:
        """Return the dtype of an embedding, head or norm: "BF16", "F16" or "F32"."""

    def dense(self, name: str) -> bytes | memoryview:
        """Return its little-endian bytes."""

    def linear(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return a projection's E4M3 rows [out, in] and their scales [out] or [out, in / 128]."""


class FolderSource:
    """A folder that loads, as a source of weights."""

    def __init__(self, path: Path) -> None:
        self._checkpoint = Checkpoint(path)
        self.config: dict[str, Any] = dict(self._checkpoint.config)
        self.weight_files = tuple(self._checkpoint.files)
        self.has_block_scales = self._checkpoint.has_block_scales

    def dense_dtype(self, name: str) -> str:
        """Return the dtype of an embedding, head or norm."""
        return self._checkpoint.dense_dtype(name)

    def dense(self, name: str) -> bytes:
        """Return its little-endian bytes."""
        return self._checkpoint.dense(name)[2]

    def linear(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return a projection's E4M3 rows [out, in] and their scales [out] or [out, in / 128]."""
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
        (folder / "config.json").write_text(json.dumps(_config(weights), indent=2) + "\n", encoding="utf-8")
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


def _config(weights: WeightSource) -> dict[str, Any]:
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
        "rope_scaling",
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
        **{name: weights.config[name] for name in names},
        "quantization_config": {
            "config_groups": {"group_0": _BY_BLOCK if weights.has_block_scales else _BY_CHANNEL},
            "format": "float-quantized",
            "ignore": ["lm_head"],
            "quant_method": "compressed-tensors",
            "quantization_status": "compressed",
        },
    }


def _entries(weights: WeightSource) -> list[TensorEntry]:
    entries = [
        TensorEntry(name, weights.dense_dtype(name), shape)
        for name, shape in dense_shapes(weights.config).items()
    ]
    for name, (rows, columns) in linear_shapes(weights.config).items():
        blocks = (math.ceil(rows / _BLOCK), math.ceil(columns / _BLOCK))
        entries.append(TensorEntry(name, "F8_E4M3", (rows, columns)))
        entries.append(TensorEntry(f"{name}_scale", "F32", blocks if weights.has_block_scales else (rows, 1)))
    return entries


def _contents(weights: WeightSource, advance: Callable[[int], None]) -> Iterator[bytes | memoryview]:
    """Give the tensors' bytes in the order of `_entries`."""
    for name in dense_shapes(weights.config):
        content = weights.dense(name)
        yield content
        advance(memoryview(content).nbytes)
    for name, (_, columns) in linear_shapes(weights.config).items():
        rows, scales = weights.linear(name)
        if weights.has_block_scales:
            scales = _block_scales(name, scales, math.ceil(columns / _BLOCK))
        yield rows.data
        yield scales.data
        advance(rows.nbytes + scales.nbytes)


def _block_scales(name: str, scales: NDArray[np.float32], groups: int) -> NDArray[np.float32]:
    """Return one scale a block [out / 128, in / 128], of scales that are there for each row."""
    by_row = np.broadcast_to(scales.reshape(len(scales), -1), (len(scales), groups))
    blocks = np.ascontiguousarray(by_row[::_BLOCK])
    if not np.array_equal(np.repeat(blocks, _BLOCK, axis=0)[: len(scales)], by_row):
        raise CheckpointError(
            f"tensor `{name}` has a scale a row and other tensors one a block of {_BLOCK} rows: "
            "compressed-tensors has no place for both"
        )
    return blocks


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
