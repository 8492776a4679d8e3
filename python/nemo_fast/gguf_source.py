"""Reads a GGUF file (extra `convert`) and gives its tensors under Hugging Face's names.

Only the architecture `llama`: metadata and tensors that are not known here are refused by name rather than
passed over, and so is a type of tensor that the `gguf` package cannot dequantize. The tokenizer in the file
is read elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemo_fast._native import CheckpointError, quantize_rows
from nemo_fast.extras import missing_extra
from nemo_fast.model_layout import EMBEDDING, FINAL_NORM, HEAD, dense_shapes, linear_shapes

if TYPE_CHECKING:
    from pathlib import Path

    from gguf import GGUFReader, ReaderTensor
    from numpy.typing import NDArray

_PREFIX = "llama."
_READ_KEYS = {
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.factor",
    "rope.scaling.type",
    "vocab_size",
}
# Whole numbers above zero, the same for all layers.
_COUNT_KEYS = (
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "block_count",
    "embedding_length",
    "feed_forward_length",
)
# Values under which a key changes nothing. A key that is neither here nor above is refused.
_WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.scale": (0.0,),
    "attention.sliding_window": (0,),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "logit_scale": (0.0, 1.0),
    "tensor_data_layout": ("Meta AI original pth",),
    "use_parallel_residual": (False,),
}
# What the frequencies of rotary positions are divided by, in files of Llama 3.1 and later.
_ROPE_DIVISORS = "rope_freqs.weight"
# Of all models of the kind "llama3" that were published; a file has only the divisors that follow from them.
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
_GGUF_NAMES = {EMBEDDING: "token_embd.weight", FINAL_NORM: "output_norm.weight", HEAD: "output.weight"}
_GGUF_LAYER_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
# Rows of an embedding that are dequantized at a time: 32 MiB of float32 for rows of 8,192 numbers.
_ROWS_AT_ONCE = 1024


class GgufSource:
    """The weights of a GGUF file: `config` with Hugging Face's names, `dense` and `linear` tensors.

    A tensor is read and dequantized when it is asked for. Errors: `CheckpointError` that names what does not
    fit, `OSError` for a file that is cut short meanwhile, `FileNotFoundError`, `ImportError` without the
    extra `convert`.

    Example (not run: it needs a file): ``GgufSource(Path("model.gguf")).config["hidden_size"]``
    """

    has_fp8_head = False
    has_block_scales = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.weight_files: tuple[Path, ...] = (path,)
        self._reader, self.metadata = _read(path)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        self.config = self._read_config()
        self._check_tensors()

    def dense_dtype(self, name: str) -> str:  # noqa: ARG002 - the other source asks its file
        """Return the dtype that `dense` gives: always "BF16"."""
        return "BF16"

    def dense(self, name: str) -> memoryview:
        """Return the bytes of an embedding, head or norm, rounded to the nearest BF16."""
        tensor = self._tensors[_gguf_name(name)]
        blocks = [
            _to_bfloat16(self._dequantize(self._stored(tensor, start, start + _ROWS_AT_ONCE), tensor))
            for start in range(0, _row_count(tensor), _ROWS_AT_ONCE)
        ]
        return np.concatenate(blocks).data

    def linear(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return a projection's E4M3 rows, uint8 [out, in], and its scales, float32 [out]."""
        return quantize_rows(self.dequantized(name))

    def scale_groups(self, _name: str) -> int:
        """Return how many scales a row has."""
        return 1

    def fp8_head(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the head as E4M3 rows and scales: what `dense` gives, a part of it at a time."""
        name = EMBEDDING if self.config["tie_word_embeddings"] else HEAD
        halves = np.frombuffer(self.dense(name), np.uint16).reshape(self.config["vocab_size"], -1)
        parts = []
        for start in range(0, len(halves), _ROWS_AT_ONCE):
            numbers = (halves[start : start + _ROWS_AT_ONCE].astype(np.uint32) << 16).view(np.float32)
            parts.append(quantize_rows(numbers))
        codes, scales = zip(*parts, strict=True)
        return np.concatenate(codes), np.concatenate(scales)

    def dequantized(self, name: str) -> NDArray[np.float32]:
        """Return a projection, float32 [out, in], query and key rows in rotate-half order."""
        tensor = self._tensors[_gguf_name(name)]
        rows = self._stored(tensor)
        if name.endswith(".q_proj.weight"):
            rows = _rotate_half_order(rows, self.config["num_attention_heads"])
        elif name.endswith(".k_proj.weight"):
            rows = _rotate_half_order(rows, self.config["num_key_value_heads"])
        return self._dequantize(rows, tensor)

    def _stored(self, tensor: ReaderTensor, first: int = 0, end: int | None = None) -> NDArray[Any]:
        """Return some rows of a tensor as they are stored, [rows, width].

        They are read: where a mapped file is cut short, touching it would end the process.
        """
        width, dtype = tensor.data.shape[-1], tensor.data.dtype
        rows = min(end or _row_count(tensor), _row_count(tensor)) - first
        start = int(tensor.data_offset) + first * width * dtype.itemsize
        numbers = np.fromfile(self.path, dtype, rows * width, offset=start)
        if len(numbers) < rows * width:
            raise OSError(f"{self.path}: the file has become shorter since it was opened")
        return numbers.reshape(rows, width)

    def _dequantize(self, rows: NDArray[Any], tensor: ReaderTensor) -> NDArray[np.float32]:
        from gguf.quants import dequantize

        try:
            # A scale that is no number is an error below, with the tensor's name.
            with np.errstate(invalid="ignore", over="ignore"):
                numbers = dequantize(rows, tensor.tensor_type)
        except NotImplementedError as error:
            kind = tensor.tensor_type.name
            raise CheckpointError(f"tensor `{tensor.name}`: type {kind} is not supported") from error
        if not np.isfinite(numbers).all():
            raise CheckpointError(f"tensor `{tensor.name}` holds numbers that are not finite")
        return np.require(numbers, np.float32, ["C", "A"])

    def _read_config(self) -> dict[str, Any]:
        architecture = self.metadata.get("general.architecture")
        if architecture != "llama":
            raise CheckpointError(f"{self.path}: architecture {architecture!r}: only 'llama' is supported")
        if self.metadata.get("split.count", 1) > 1:
            raise CheckpointError(f"{self.path}: `split.count` > 1, the model is cut into several files")
        values = {
            key.removeprefix(_PREFIX): value
            for key, value in self.metadata.items()
            if key.startswith(_PREFIX)
        }
        for key in sorted(values.keys() - _READ_KEYS):
            if values[key] not in _WITHOUT_EFFECT.get(key, ()):
                raise CheckpointError(f"{self.path}: `{_PREFIX}{key}` = {values[key]!r} is not supported")
        for key in _COUNT_KEYS:
            count = values.get(key, 1)
            if not isinstance(count, int) or count < 1:
                raise CheckpointError(f"{self.path}: `{_PREFIX}{key}` = {count!r} is not supported")
        try:
            heads, hidden = values["attention.head_count"], values["embedding_length"]
            # Nemo's heads are narrower than hidden / heads; only files that say nothing mean the quotient.
            rope_dimensions = values.get("rope.dimension_count")
            head_dim = values.get("attention.key_length") or rope_dimensions or hidden // heads
            config = {
                "bos_token_id": self.metadata.get("tokenizer.ggml.bos_token_id"),
                "eos_token_id": self._end_ids(),
                "head_dim": head_dim,
                "hidden_size": hidden,
                "intermediate_size": values["feed_forward_length"],
                "max_position_embeddings": values["context_length"],
                "num_attention_heads": heads,
                "num_hidden_layers": values["block_count"],
                "num_key_value_heads": values.get("attention.head_count_kv", heads),
                # The file holds a float32: its shortest decimal form is the number that was meant.
                "rms_norm_eps": float(str(np.float32(values["attention.layer_norm_rms_epsilon"]))),
                "rope_theta": float(str(np.float32(values.get("rope.freq_base", 10_000.0)))),
                "tie_word_embeddings": "output.weight" not in self._tensors,
            }
        except KeyError as error:
            raise CheckpointError(
                f"{self.path}: the metadata `{_PREFIX}{error.args[0]}` is missing"
            ) from error
        for key in ("attention.value_length", "rope.dimension_count"):
            if values.get(key, head_dim) != head_dim:
                raise CheckpointError(
                    f"{self.path}: `{_PREFIX}{key}`: expected {head_dim}, found {values[key]}"
                )
        embedding = self._tensors.get("token_embd.weight")
        if embedding is None:
            raise CheckpointError(f"{self.path}: tensor `token_embd.weight` is missing")
        config["rope_scaling"] = self._rope_scaling(values, config)
        # The metadata's vocabulary size is optional; the embedding has a row for each id in any case.
        return config | {"vocab_size": int(embedding.shape[-1])}

    def _rope_scaling(self, values: dict[str, Any], config: dict[str, Any]) -> dict[str, Any] | None:
        """Return Hugging Face's `rope_scaling`, from the metadata (linear) or a tensor (llama3)."""
        kind = values.get("rope.scaling.type", "linear")
        factor = float(str(np.float32(values.get("rope.scaling.factor", 0.0))))
        if kind not in ("none", "linear") or not 0.0 <= factor < np.inf or 0.0 < factor < 1.0:
            raise CheckpointError(
                f"{self.path}: `{_PREFIX}rope.scaling.type` = {kind!r} with "
                f"`{_PREFIX}rope.scaling.factor` = {factor} is not supported"
            )
        is_linear = kind == "linear" and factor > 1.0
        tensor = self._tensors.get(_ROPE_DIVISORS)
        if tensor is None:
            return {"rope_type": "linear", "factor": factor} if is_linear else None
        divisors = self._dequantize(self._stored(tensor), tensor)[0]
        scaling = {"rope_type": "llama3", "factor": float(divisors.max(initial=1.0)), **_LLAMA3}
        expected = _llama3_divisors(scaling, config["rope_theta"], config["head_dim"])
        if is_linear or divisors.shape != expected.shape or not np.allclose(divisors, expected, rtol=1e-4):
            raise CheckpointError(
                f"{self.path}: tensor `{_ROPE_DIVISORS}`: only the rotary scaling of Llama 3.1 is supported"
            )
        return scaling

    def _end_ids(self) -> int | list[int] | None:
        """Return the ids that end a text: that of a turn's end, where the file names one, is another."""
        keys = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
        ids = list(dict.fromkeys(self.metadata[key] for key in keys if key in self.metadata))
        return ids if len(ids) > 1 else (ids[0] if ids else None)

    def _check_tensors(self) -> None:
        layers = self.config["num_hidden_layers"]
        if layers > len(self._tensors):
            raise CheckpointError(f"{self.path}: {layers} layers, but only {len(self._tensors)} tensors")
        shapes: dict[str, tuple[int, ...]] = {**dense_shapes(self.config), **linear_shapes(self.config)}
        expected = {_gguf_name(name): shape for name, shape in shapes.items()}
        for name in sorted(expected.keys() - self._tensors.keys()):
            raise CheckpointError(f"{self.path}: tensor `{name}` is missing")
        for name in sorted(self._tensors.keys() - expected.keys() - {_ROPE_DIVISORS}):
            raise CheckpointError(f"{self.path}: tensor `{name}` is not supported")
        for name, shape in expected.items():
            # GGUF writes dimensions from the innermost to the outermost.
            found = tuple(int(size) for size in reversed(self._tensors[name].shape))
            if found != shape:
                raise CheckpointError(
                    f"{self.path}: tensor `{name}`: expected {list(shape)}, found {list(found)}"
                )
            # A type that cannot be read shows in the first row, before any other tensor is converted.
            tensor = self._tensors[name]
            self._dequantize(self._stored(tensor, 0, 1), tensor)


def _read(path: Path) -> tuple[GGUFReader, dict[str, Any]]:
    """Return the reader, which maps the tensors, and the metadata."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise missing_extra("gguf", "convert") from error
    try:
        reader = GGUFReader(path)
        # The reader lists its own header fields among the file's.
        fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
        return reader, {key: field.contents() for key, field in fields.items()}
    # A file that is cut short, or is something else, shows as any of these in the reader.
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise CheckpointError(f"{path} is not a whole GGUF file: {error}") from error


def _llama3_divisors(scaling: dict[str, Any], theta: float, head_dim: int) -> NDArray[np.float64]:
    """Return what Llama 3's scaling divides each frequency by: see `rust/model/rope.rs`."""
    frequencies = theta ** (-np.arange(0, head_dim, 2) / head_dim)
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * np.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    share = np.clip((turns - low) / (high - low), 0, 1)
    divisors: NDArray[np.float64] = 1 / ((1 - share) / scaling["factor"] + share)
    return divisors


def _gguf_name(name: str) -> str:
    if name in _GGUF_NAMES:
        return _GGUF_NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{_GGUF_LAYER_NAMES[rest.removesuffix('.weight')]}.weight"


def _row_count(tensor: ReaderTensor) -> int:
    return int(tensor.data.size // tensor.data.shape[-1])


def _rotate_half_order(rows: NDArray[Any], head_count: int) -> NDArray[Any]:
    """Undo GGUF's order of the rows of q and k.

    There the two numbers of a rotary pair are neighbours (0, 1), (2, 3) …; in Hugging Face's order the first
    numbers of all pairs stand in a head's first half, the second ones in its second half.
    """
    pairs = rows.reshape(head_count, -1, 2, rows.shape[-1])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def _to_bfloat16(numbers: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round to the nearest BF16, ties to even; the numbers are finite."""
    bits = numbers.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
