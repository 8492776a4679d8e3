"""Writes a safetensors file tensor by tensor, so that the largest tensor is all the memory it takes.

The format: the header's length (8 bytes, little-endian), the header (JSON: dtype, shape and offsets of each
tensor), then the tensors' bytes without gaps. Shapes and dtypes are known before, so the header comes first.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_fast.staging import staged_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

# The first tensor begins at a multiple of this, by spaces behind the header: a cache line, so that kernels
# can read a mapped tensor where it lies.
DATA_ALIGNMENT = 64
_ITEM_BYTES = {"F8_E4M3": 1, "BF16": 2, "F16": 2, "F32": 4}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor of the file: its name, its safetensors dtype ("F8_E4M3", "BF16", "F16", "F32"), its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def byte_count(self) -> int:
        """The bytes that the tensor takes.

        >>> TensorEntry("model.norm.weight", "BF16", (96,)).byte_count
        192
        """
        return _ITEM_BYTES[self.dtype] * math.prod(self.shape)


def write_safetensors(
    path: Path,
    entries: Sequence[TensorEntry],
    contents: Iterable[bytes | memoryview],
    metadata: Mapping[str, str],
) -> None:
    """Write the tensors, whose little-endian bytes `contents` gives in the order of `entries`.

    The file appears under its name when it is complete. Errors: `ValueError` where the contents do not have
    the bytes that the entries announce.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "model.safetensors")
    ...     write_safetensors(path, [TensorEntry("scale", "F32", (1,))], [bytes(4)], {})
    ...     path.stat().st_size % 8
    4
    """
    with staged_file(path) as file:
        file.write(_header(entries, metadata))
        for entry, content in zip(entries, contents, strict=True):
            # `memoryview` counts bytes, whatever the items of an array are.
            written = memoryview(content).nbytes
            if written != entry.byte_count:
                raise ValueError(
                    f"tensor `{entry.name}`: expected {entry.byte_count} bytes for {entry.dtype} "
                    f"{list(entry.shape)}, found {written}"
                )
            file.write(content)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata that a file was written with; {} for one that is no safetensors file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            return {}
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return {}
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _header(entries: Sequence[TensorEntry], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for entry in entries:
        if entry.name in header:
            raise ValueError(f"tensor `{entry.name}` stands twice")
        header[entry.name] = {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "data_offsets": [offset, offset + entry.byte_count],
        }
        offset += entry.byte_count
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % DATA_ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
