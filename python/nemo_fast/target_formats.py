"""The formats that `convert` writes: which tensors stand in the weight file, in which order, and their bytes.

Both hold linear layers as E4M3. How a file is written, and where weights come from, is of no concern here.
"""

from __future__ import annotations

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


class WeightSource(Protocol):
    """What a checkpoint must give, whatever its format."""

    config: dict[str, Any]
    weight_files: tuple[Path, ...]
    # Whether the head is E4M3 already.
    has_fp8_head: bool

    def dense_dtype(self, name: str) -> str:
        """Return the dtype of an embedding, head or norm: "BF16", "F16" or "F32"."""

    def dense(self, name: str) -> bytes | memoryview:
        """Return its little-endian bytes."""

    def linear(self, name: str) -> Fp8Rows:
        """Return a projection's E4M3 rows [out, in] and their scales [out]."""

    def fp8_head(self) -> Fp8Rows:
        """Return the head as E4M3 rows [vocab, hidden] and their scales [vocab]."""


class TargetFormat(Protocol):
    """A format, with the weights of a source."""

    file_name: ClassVar[str]
    # For `config.json`; None for none.
    quantization_config: ClassVar[Mapping[str, Any] | None]
    metadata: ClassVar[Mapping[str, str]]

    def __init__(self, weights: WeightSource, *, lm_head: str) -> None:
        """Choose what is written. Errors: `ValueError`, `CheckpointError` for a head that cannot be."""

    def entries(self) -> list[TensorEntry]:
        """Return the tensors in the order of the file."""

    def contents(self) -> Iterator[bytes | memoryview]:
        """Give their bytes, one tensor at a time."""


class PackedFormat:
    """Our own: panels as the engine multiplies them, so that the mapped file is used in place."""

    file_name: ClassVar[str] = "packed.safetensors"
    quantization_config: ClassVar[Mapping[str, Any] | None] = None
    metadata: ClassVar[Mapping[str, str]] = {"nemo_fast.packed_version": "1", "nemo_fast.layout": "panel16"}

    def __init__(self, weights: WeightSource, *, lm_head: str) -> None:
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
            entries += _panel_entries(name, rows if name.endswith(GATED) else (sum(rows),), columns[0])
        if self._packs_head:
            config = self._weights.config
            entries += _panel_entries("lm_head", (config["vocab_size"],), config["hidden_size"])
        return entries + _dense_entries(self._weights, self._dense)

    def contents(self) -> Iterator[bytes | memoryview]:
        """Give the bytes of the entries."""
        for name, projections in packed_matrices(self._weights.config).items():
            parts = [self._weights.linear(projection) for projection in projections]
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


class CompressedTensorsFormat:
    """What vLLM and transformers read: rows of E4M3 with a scale each."""

    file_name: ClassVar[str] = "model.safetensors"
    # Transformers refuses files that do not say so.
    metadata: ClassVar[Mapping[str, str]] = {"format": "pt"}
    quantization_config: ClassVar[Mapping[str, Any] | None] = {
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
        self._weights = weights

    def entries(self) -> list[TensorEntry]:
        """Return the tensors: dense ones, then each projection and its scales."""
        entries = _dense_entries(self._weights, dense_shapes(self._weights.config))
        for name, (rows, columns) in linear_shapes(self._weights.config).items():
            entries.append(TensorEntry(name, "F8_E4M3", (rows, columns)))
            entries.append(TensorEntry(f"{name}_scale", "F32", (rows, 1)))
        return entries

    def contents(self) -> Iterator[bytes | memoryview]:
        """Give the bytes of the entries."""
        for name in dense_shapes(self._weights.config):
            yield self._weights.dense(name)
        for name in linear_shapes(self._weights.config):
            for array in self._weights.linear(name):
                yield array.data


def _dense_entries(weights: WeightSource, shapes: Mapping[str, tuple[int, ...]]) -> list[TensorEntry]:
    return [TensorEntry(name, weights.dense_dtype(name), shape) for name, shape in shapes.items()]


def _panel_entries(name: str, outputs: tuple[int, ...], columns: int) -> list[TensorEntry]:
    """Return codes and scales of a matrix; the panels of several matrices alternate."""
    panels = sum(-(-rows // _PANEL) for rows in outputs)
    return [
        TensorEntry(f"{name}.codes", "F8_E4M3", (panels, -(-columns // _QUAD), _BLOCK)),
        TensorEntry(f"{name}.scales", "F32", (panels, 1, _PANEL)),
    ]
