"""`pull`, `convert`, `info`: model folders, without running a model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from nemo_fast.cli.models import MODEL, model_folder
from nemo_fast.cli.options import JSON, KV_CACHE, LM_HEAD

if TYPE_CHECKING:
    from collections.abc import Mapping

_QUIET = click.option("--quiet", is_flag=True, help="Do not show on stderr how far it is.")


@click.command()
@click.argument("name")
@click.argument("target", required=False, type=click.Path(path_type=Path))
@_QUIET
@JSON
def pull(name: str, target: Path | None, quiet: bool, as_json: bool) -> None:
    """Fetch a model, into the cache or the folder TARGET, and print its folder.

    NAME is smollm2-135m or a Hugging Face repository id.

    Example: nemo-fast pull smollm2-135m
    """
    from nemo_fast.download import pull as pull_model

    _print_folder(pull_model(name, target, progress=not quiet), as_json=as_json)


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "target_format",
    type=click.Choice(["packed", "compressed-tensors"]),
    default="packed",
    show_default=True,
    help="The format to write: what loads at once, or what vLLM and transformers read.",
)
@click.option(
    "--lm-head",
    type=click.Choice(["source", "fp8"]),
    default="source",
    show_default=True,
    help="The head: as in the source, or E4M3 (packed only).",
)
@_QUIET
@JSON
def convert(  # noqa: PLR0917 - click passes them by name
    source: Path, target: Path, target_format: str, lm_head: str, quiet: bool, as_json: bool
) -> None:
    """Convert SOURCE, a GGUF file or a checkpoint folder, into the new folder TARGET with E4M3 weights.

    Example: nemo-fast convert Mistral-Nemo-Instruct-2407 nemo-fp8
    """
    from nemo_fast.conversion import convert as convert_checkpoint

    folder = convert_checkpoint(source, target, format=target_format, lm_head=lm_head, progress=not quiet)
    _print_folder(folder, as_json=as_json)


@click.command()
@MODEL
@click.option("--context-length", type=click.IntRange(min=1), help="Positions to plan memory for.")
@KV_CACHE
@LM_HEAD
@JSON
def info(
    model: str,
    *,
    context_length: int | None,
    kv_cache: Literal["bf16", "fp8"],
    lm_head: Literal["source", "fp8"],
    as_json: bool,
) -> None:
    """Show a checkpoint's format and sizes, and the memory that running it takes.

    The weights of a packed file are pages of the system's cache; what of the weights a process holds for
    itself is shown as private.

    Example: nemo-fast info smollm2-135m --context-length 8192
    """
    from nemo_fast._native import Checkpoint
    from nemo_fast.conversion import SOURCE, SOURCE_HASH
    from nemo_fast.safetensors_writer import read_metadata

    folder = model_folder(model)
    checkpoint = Checkpoint(folder, lm_head=lm_head)
    facts: dict[str, Any] = {"path": str(folder), "format": checkpoint_format(folder, checkpoint.layout)}
    if checkpoint.layout == "packed":
        metadata = read_metadata(checkpoint.files[0])
        facts |= {
            name: metadata.get(key, "unknown")
            for name, key in (("source", SOURCE), ("source_sha256", SOURCE_HASH))
        }
    facts |= _shape(checkpoint.config)
    weights = checkpoint.weight_bytes
    longest = min(131_072, checkpoint.config["max_position_embeddings"])
    context = context_length or longest
    if context > longest:  # as `Model.load` says it
        raise ValueError(f"context_length must be between 1 and {longest}, found {context}")
    token_bytes = checkpoint.kv_cache_bytes_per_token(kv_cache)
    # The cache is taken in pages of 64 positions.
    cache_bytes = token_bytes * 64 * math.ceil(context / 64)
    facts |= {
        "file_bytes": checkpoint.file_bytes,
        "weights_bytes": weights["total"],
        "private_weights_bytes": weights["private"],
        "lm_head": "fp8" if checkpoint.has_fp8_head else "source",
        "context_length": context,
        "kv_cache": kv_cache,
        "kv_cache_bytes_per_token": token_bytes,
        "kv_cache_bytes": cache_bytes,
        "weights_and_cache_bytes": weights["total"] + cache_bytes,
    }
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' '):{width}}  {_shown(name, value)}")


def _shape(config: Mapping[str, Any]) -> dict[str, int]:
    """Return how many parameters a model has, and the numbers of its config that people ask for."""
    from nemo_fast.model_layout import dense_shapes, linear_shapes

    shapes = (*linear_shapes(config).values(), *dense_shapes(config).values())
    names = (
        "num_hidden_layers",
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "max_position_embeddings",
    )
    return {"parameters": sum(map(math.prod, shapes)), **{name: config[name] for name in names}}


def checkpoint_format(folder: Path, layout: str) -> str:
    """Name a folder's layout and its quantization, as far as a config announces one."""
    if layout == "packed":
        return "packed (panel16), E4M3"
    config_file = folder / "config.json"
    if layout == "huggingface":
        quantization = json.loads(config_file.read_bytes()).get("quantization_config") or {}
        return f"Hugging Face, {quantization.get('quant_method', 'not quantized')}"
    quantization = json.loads((folder / "params.json").read_bytes()).get("quantization") or {}
    return f"Mistral, {quantization.get('qformat_weight', 'not quantized')}"


def _shown(name: str, value: object) -> str:
    if not isinstance(value, int):
        return str(value)
    if "_bytes" not in name:
        return f"{value:,}"
    return (
        f"{value:,} ({value / 2**30:.2f} GiB)" if value >= 2**27 else f"{value:,} ({value / 2**20:.2f} MiB)"
    )


def _print_folder(folder: Path, *, as_json: bool) -> None:
    click.echo(json.dumps({"path": str(folder)}, ensure_ascii=False) if as_json else str(folder))
