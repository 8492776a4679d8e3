"""Where pulled models are kept: the user's cache folder, by each system's convention."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for files that can be fetched again; it need not exist yet.

    The environment variable `NEMO_FAST_CACHE` names it; else it is `nemo-fast` in the user's cache folder:
    `$XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows.

    >>> os.environ["NEMO_FAST_CACHE"] = "models"
    >>> cache_folder().name
    'models'
    >>> del os.environ["NEMO_FAST_CACHE"]
    """
    if named := os.environ.get("NEMO_FAST_CACHE"):
        return Path(named).expanduser()
    return _user_cache_folder() / "nemo-fast"


def _user_cache_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    named = os.environ.get("XDG_CACHE_HOME", "")
    # The convention: a relative path is invalid and is ignored.
    return Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
