"""The formats that `convert` writes: which tensors stand in the weight file, in which order, and their bytes.

Both hold linear layers as E4M3. How a file is written, and where weights come from, is of no concern here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from nemo_fast._native import CheckpointError, pack_rows
from nemo_fast.model_layout import GATED, HEAD, dense_shapes, linear_shapes, packed_matrices
from nemo_fast.safetensors_writer import TensorEntry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Fp8Rows = tuple[NDArray[np.uint8], NDArray[np.float32]]

# Rows of a panel, columns of a block, and its bytes: see docs/packed-format.md.
_PANEL, _QUAD, _BLOCK = 16, 4, 64
# Rows and columns that have one scale where scales are of blocks.
_SCALE_BLOCK = 128
_FLOAT8 = {"num_bits": 8, "symmetric": True, "type": "float"}
_BY_CHANNEL = {
    "input_activations": {"dynamic": True, "strategy": "token", **_FLOAT8},
    "targets": ["Linear"],
    "weights": {"dynamic": False, "strategy": "channel", **_FLOAT8},
}
_BY_BLOCK = {
    "input_activations": {"dynamic": True, "group_size": _SCALE_BLOCK, "strategy": "group", **_FLOAT8},
    "targets": ["Linear"],
    "weights": {
        "block_structure": [_SCALE_BLOCK, _SCALE_BLOCK],
        "dynamic": False,
        "strategy": "block",
        **_FLOAT8,
    },
}


class WeightSource(Protocol):
    """What a checkpoint must give, whatever its format."""

    config: dict[str, Any]
    weight_files: tuple[Path, ...]
    # Whether the head is E4M3 already.
    has_fp8_head: bool
    # Whether linear layers have scales of blocks.
    has_block_scales: bool

    def dense_dtype(self, name: str) -> str:
        """Return the dtype of an embedding, head or norm: "BF16", "F16" or "F32"."""

    def dense(self, name: str) -> bytes | memoryview:
        """Return its little-endian bytes."""

    def linear(self, name: str) -> Fp8Rows:
        """Return a projection's E4M3 rows [out, in] and their scales [out] or [out, in / 128]."""

    def scale_groups(self, name: str, /) -> int:
        """Return how many scales a row has, of a projection or of the head that `fp8_head` gives."""

    def fp8_head(self) -> Fp8Rows:
        """Return the head as E4M3 rows [vocab, hidden] and their scales [vocab] or [vocab, hidden / 128]."""


class TargetFormat(Protocol):
    """A format, with the weights of a source."""

    file_name: ClassVar[str]
    metadata: ClassVar[Mapping[str, str]]
    # For `config.json`; None for none.
    quantization_config: Mapping[str, Any] | None

    def __init__(self, weights: WeightSource, *, lm_head: str) -> None:
        """Choose what is written. Errors: `ValueError`, `CheckpointError` for a head that cannot be."""

    def entries(self) -> list[TensorEntry]:
        """Return the tensors in the order of the file."""

    def contents(self) -> Iterator[bytes | memoryview]:
        """Give their bytes, one tensor at a time."""


class PackedFormat:
    """Our own: panels as the engine multiplies them, so that the mapped file is used in place."""

    file_name: ClassVar[str] = "packed.safetensors"
    metadata: ClassVar[Mapping[str, str]] = {"nemo_fast.packed_version": "1", "nemo_fast.layout": "panel16"}

    def __init__(self, weights: WeightSource, *, lm_head: str) -> None:
        self.quantization_config: Mapping[str, Any] | None = None
        self._weights = weights
        self._packs_head = weights.has_fp8_head or lm_head == "fp8"
        self._dense = dense_shapes(weights.config)
        if self._packs_head:
            self._dense.pop(HEAD, None)

    def entries(self) -> list[TensorEntry]:
        """Return the tensors: first those of panels, whose sizes are multiples of 64 bytes, for alignment."""
        shapes, entries = linear_shapes(self._weights.config), []
        for name, projections in packed_matrices(self._weights.config).items():
            rows, columns = zip(*(shapes[projection] for projection in projections), strict=True)
            outputs = rows if name.endswith(GATED) else (sum(rows),)
            entries += _panel_entries(name, outputs, columns[0], self._groups(projections))
        if self._packs_head:
            config = self._weights.config
            outputs, columns = (config["vocab_size"],), config["hidden_size"]
            entries += _panel_entries("lm_head", outputs, columns, self._groups((HEAD,)))
        return entries + _dense_entries(self._weights, self._dense)

    def contents(self) -> Iterator[bytes | memoryview]:
        """Give the bytes of the entries."""
        for name, projections in packed_matrices(self._weights.config).items():
            groups = self._groups(projections)
            parts = [_spread(*self._weights.linear(projection), groups) for projection in projections]
            if name.endswith(GATED):
                (codes, scales), values = parts
            else:
                codes, scales = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
                values = None
            for array in pack_rows(codes, scales, values):
                yield array.data
        if self._packs_head:
            for array in pack_rows(*self._weights.fp8_head()):
                yield array.data
        for name in self._dense:
            yield self._weights.dense(name)

    def _groups(self, projections: tuple[str, ...]) -> int:
        """Return how many scales a row of the matrix of these projections has."""
        return max(self._weights.scale_groups(projection) for projection in projections)


class CompressedTensorsFormat:
    """What vLLM and transformers read: rows of E4M3 with a scale each, or blocks of 128 rows and columns."""

    file_name: ClassVar[str] = "model.safetensors"
    # Transformers refuses files that do not say so.
    metadata: ClassVar[Mapping[str, str]] = {"format": "pt"}

    def __init__(self, weights: WeightSource, *, lm_head: str) -> None:
        if lm_head != "source":
            raise ValueError(
                f"lm_head is {lm_head!r}, but 'compressed-tensors' keeps the head as in the source"
            )
        if weights.has_fp8_head:
            raise CheckpointError(
                "the head of this packed file is E4M3, and 'compressed-tensors' needs a wide one: "
                "convert the source of the packed file instead"
            )
        self.quantization_config: Mapping[str, Any] | None = {
            "config_groups": {"group_0": _BY_BLOCK if weights.has_block_scales else _BY_CHANNEL},
            "format": "float-quantized",
            "ignore": ["lm_head"],
            "quant_method": "compressed-tensors",
            "quantization_status": "compressed",
        }
        self._weights = weights

    def entries(self) -> list[TensorEntry]:
        """Return the tensors: dense ones, then each projection and its scales."""
        entries = _dense_entries(self._weights, dense_shapes(self._weights.config))
        for name, (rows, columns) in linear_shapes(self._weights.config).items():
            blocks = (math.ceil(rows / _SCALE_BLOCK), math.ceil(columns / _SCALE_BLOCK))
            scales = blocks if self._weights.has_block_scales else (rows, 1)
            entries.append(TensorEntry(name, "F8_E4M3", (rows, columns)))
            entries.append(TensorEntry(f"{name}_scale", "F32", scales))
        return entries

    def contents(self) -> Iterator[bytes | memoryview]:
        """Give the bytes of the entries."""
        for name in dense_shapes(self._weights.config):
            yield self._weights.dense(name)
        for name, (_, columns) in linear_shapes(self._weights.config).items():
            codes, scales = self._weights.linear(name)
            if self._weights.has_block_scales:
                scales = _block_scales(name, scales, math.ceil(columns / _SCALE_BLOCK))
            yield codes.data
            yield scales.data


def _dense_entries(weights: WeightSource, shapes: Mapping[str, tuple[int, ...]]) -> list[TensorEntry]:
    return [TensorEntry(name, weights.dense_dtype(name), shape) for name, shape in shapes.items()]


def _block_scales(name: str, scales: NDArray[np.float32], groups: int) -> NDArray[np.float32]:
    """Return one scale a block [out / 128, in / 128], of scales that are there for each row."""
    by_row = np.broadcast_to(scales.reshape(len(scales), -1), (len(scales), groups))
    blocks = np.ascontiguousarray(by_row[::_SCALE_BLOCK])
    if not np.array_equal(np.repeat(blocks, _SCALE_BLOCK, axis=0)[: len(scales)], by_row):
        raise CheckpointError(
            f"tensor `{name}` has a scale a row and other tensors one a block of {_SCALE_BLOCK} rows: "
            "compressed-tensors has no place for both"
        )
    return blocks


def _spread(codes: NDArray[np.uint8], scales: NDArray[np.float32], groups: int) -> Fp8Rows:
    """Return rows with so many scales each: a scale of a whole row is repeated."""
    if groups > 1 and scales.ndim == 1:
        scales = np.repeat(scales[:, np.newaxis], groups, axis=1)
    return codes, scales


def _panel_entries(name: str, outputs: tuple[int, ...], columns: int, groups: int) -> list[TensorEntry]:
    """Return codes and scales of a matrix; the panels of several matrices alternate."""
    panels = sum(-(-rows // _PANEL) for rows in outputs)
    return [
        TensorEntry(f"{name}.codes", "F8_E4M3", (panels, -(-columns // _QUAD), _BLOCK)),
        TensorEntry(f"{name}.scales", "F32", (panels, groups, _PANEL)),
    ]
