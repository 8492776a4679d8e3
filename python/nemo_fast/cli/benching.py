"""`bench`: the speed of a model on this machine, beside the machine's own limits."""

from __future__ import annotations

import json
from typing import Any

import click

from nemo_fast.cli.models import MODEL, model_folder
from nemo_fast.cli.options import JSON, loading_options


@click.command()
@MODEL
@click.option("--prompt-tokens", type=click.IntRange(min=16), default=512, show_default=True)
@click.option("--new-tokens", type=click.IntRange(min=4), default=32, show_default=True)
@click.option(
    "--context-tokens",
    type=click.IntRange(min=0),
    default=0,
    help="Measure decoding behind so many tokens, too.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@loading_options
@JSON
def bench(
    model: str,
    *,
    prompt_tokens: int,
    new_tokens: int,
    context_tokens: int,
    rounds: int,
    loading: dict[str, Any],
    as_json: bool,
) -> None:
    """Measure decoding, prompts and the limits of memory and processor in turns; print the medians.

    Decoding reads all weights for each token, so that its limit is the speed of memory. The peak that prompts
    are compared with is that of bf16 products, also with `--prefill int8`, which may be beyond it. Needs
    1 GiB beside the model.

    Example: nemo-fast bench smollm2-135m
    """
    from nemo_fast._native import Checkpoint, Engine
    from nemo_fast.engine_speed import measure
    from nemo_fast.progress import loading_bar

    checkpoint = Checkpoint(model_folder(model), lm_head=loading.pop("lm_head"))
    with loading_bar(checkpoint.file_bytes, progress=True) as report:
        engine = Engine(checkpoint, progress=report, **loading)
    found = measure(
        engine,
        checkpoint.weight_bytes["per_token"],
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        context_tokens=context_tokens,
        rounds=rounds,
    )
    found["kv_cache_bytes_per_token"] = checkpoint.kv_cache_bytes_per_token(loading["kv_cache"])
    found["prefill"] = loading["prefill"]
    engine.close()
    if as_json:
        click.echo(json.dumps(found))
        return
    width = max(map(len, found))
    for name, value in found.items():
        click.echo(f"{name.replace('_', ' '):{width}}  {_shown(name, value)}")


def _shown(name: str, value: object) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if "share" in name:
        return f"{100 * value:.1f} %"
    if name.endswith("bytes_per_second"):
        return f"{value / 1e9:.1f} GB/s"
    return f"{value / 1e9:.0f} GFLOP/s" if "operations" in name else f"{value:.1f}"
