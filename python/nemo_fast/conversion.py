"""Converts a checkpoint, tensor by tensor, into a folder with E4M3 weights.

Sources: a GGUF file, or any folder that loads. Targets: the formats of `target_formats`, linear layers E4M3
with a scale a row, or a scale a block where the source has that; all other tensors as in the source (BF16 for
GGUF).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_fast._native import Checkpoint, CheckpointError, __version__
from nemo_fast.gguf_source import GgufSource
from nemo_fast.gguf_tokenizer import write_tokenizer
from nemo_fast.model_layout import EMBEDDING, HEAD
from nemo_fast.progress import announce, progress_bar
from nemo_fast.safetensors_writer import write_safetensors
from nemo_fast.staging import refuse_existing, staged_folder
from nemo_fast.target_formats import CompressedTensorsFormat, PackedFormat, TargetFormat, WeightSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
# The metadata keys under which a converted file names its source and the SHA-256 of that.
SOURCE = "nemo_fast.source"
SOURCE_HASH = "nemo_fast.source_sha256"
_HASHED_AT_ONCE = 1 << 24
_FORMATS: dict[str, type[TargetFormat]] = {
    "packed": PackedFormat,
    "compressed-tensors": CompressedTensorsFormat,
}


class FolderSource:
    """A folder that loads, as a source of weights."""

    def __init__(self, path: Path) -> None:
        self._checkpoint = Checkpoint(path)
        self.config: dict[str, Any] = dict(self._checkpoint.config)
        self.weight_files = tuple(self._checkpoint.files)
        self.has_fp8_head = self._checkpoint.has_fp8_head
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

    def scale_groups(self, name: str) -> int:
        """Return how many scales a row of a projection or of the head has."""
        return self._checkpoint.scale_groups(self._head if name == HEAD else name)

    def fp8_head(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the head as E4M3 rows [vocab, hidden] and their scales [vocab] or [vocab, hidden / 128]."""
        return self._checkpoint.linear(self._head)

    @property
    def _head(self) -> str:
        is_embedding = self.config["tie_word_embeddings"] and not self.has_fp8_head
        return EMBEDDING if is_embedding else HEAD


def convert(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    format: str = "packed",  # noqa: A002 - the word that users of converters know
    lm_head: str = "source",
    progress: bool = False,
) -> Path:
    """Convert a GGUF file or a checkpoint folder, and return the new folder's path.

    `format`: "packed" is this engine's own, used in place from the mapped file, so that it loads at once;
    "compressed-tensors" is what vLLM and transformers read. `lm_head`: "source" leaves the head as it is,
    "fp8" makes it E4M3 (packed only). `progress`: show on stderr how far it is.

    The target appears when it is complete; an interrupted conversion leaves nothing. One matrix is in memory
    at a time. The weight file's metadata names the source, its SHA-256 (of all weight files, in the order of
    their names) and our version. A GGUF tokenizer that cannot be converted is a `UserWarning`: the model then
    generates from ids.

    Errors: `FileExistsError` for an existing target, `OSError` for a full disk or a source that is cut short
    meanwhile (of a folder, elsewhere than on Linux, that ends the process), `CheckpointError` for a
    source that cannot be read or has changed meanwhile, `ValueError` for another format or head,
    `ImportError` for a GGUF file without the extra `convert`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     target = convert("tests/golden/tiny-nemo-bf16", f"{place}/packed")
    ...     sorted(path.name for path in target.iterdir())
    ['config.json', 'packed.safetensors']
    """
    if format not in _FORMATS:
        raise ValueError(f"format is {format!r}, but only {' and '.join(map(repr, _FORMATS))} can be written")
    if lm_head not in ("source", "fp8"):
        raise ValueError(f"lm_head is {lm_head!r}, expected 'source' or 'fp8'")
    source, target = Path(source), Path(target)
    refuse_existing(target)
    weights = open_source(source)
    written = _FORMATS[format](weights, lm_head=lm_head)
    before = _states(weights.weight_files)
    fingerprint = _sha256(weights.weight_files, progress=progress)
    with staged_folder(target) as folder:
        config = _config(weights.config, written.quantization_config)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        missing = _write_tokenizer_files(source, weights, folder)
        entries = written.entries()
        metadata = {
            **written.metadata,
            SOURCE: source.name,
            SOURCE_HASH: fingerprint,
            "nemo_fast.version": __version__,
        }
        total = sum(entry.byte_count for entry in entries)
        with progress_bar("converting", total, progress=progress) as advance:
            contents = _counted(written.contents(), advance)
            write_safetensors(folder / written.file_name, entries, contents, metadata)
        if _states(weights.weight_files) != before:
            raise CheckpointError(f"{source} changed while it was converted: convert it again")
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


def _config(config: Mapping[str, Any], quantization: Mapping[str, Any] | None) -> dict[str, Any]:
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
        **{name: config[name] for name in names},
        **({"quantization_config": quantization} if quantization else {}),
    }


def _counted(
    contents: Iterable[bytes | memoryview], advance: Callable[[int], None]
) -> Iterator[bytes | memoryview]:
    """Give the same, and tell of each when it was taken."""
    for content in contents:
        yield content
        advance(memoryview(content).nbytes)


def _states(files: Sequence[Path]) -> list[tuple[int, int, int]]:
    """Return what changes when a file does."""
    states = [path.stat() for path in files]
    return [(state.st_ino, state.st_size, state.st_mtime_ns) for state in states]


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
