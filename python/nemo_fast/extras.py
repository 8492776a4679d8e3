"""Says which pip extra a missing optional package belongs to.

The base install needs numpy and click only. A module that uses more imports it where it is used, and turns
the `ImportError` into the one made here.
"""

from __future__ import annotations


def missing_extra(package: str, extra: str) -> ImportError:
    """Return the error for an optional package that is not installed.

    >>> raise missing_extra("gguf", "convert")
    Traceback (most recent call last):
    ImportError: the package `gguf` is not installed: pip install 'nemo-fast[convert]'
    """
    return ImportError(
        f"the package `{package}` is not installed: pip install 'nemo-fast[{extra}]'", name=package
    )


def missing_library(package: str) -> ImportError:
    """Return the error for a library that is integrated with, but not installed; no extra brings it.

    >>> raise missing_library("semchunk")
    Traceback (most recent call last):
    ImportError: the package `semchunk` is not installed: pip install semchunk
    """
    return ImportError(f"the package `{package}` is not installed: pip install {package}", name=package)
