"""semchunk: chunks of a text that end where its structure does, by exact counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nemo_fast
from nemo_fast.extras import missing_library

if TYPE_CHECKING:
    from semchunk import Chunker


def chunkerify(chunk_size: int, **options: Any) -> Chunker:  # noqa: ANN401
    """Return semchunk's chunker, with chunks of at most `chunk_size` tokens.

    It is `semchunk.chunkerify(nemo_fast.count, chunk_size)` without the cache, which holds every text that
    was counted; `memoize=True` asks for it, and the other options are semchunk's too. Chunks that overlap are
    joined from smaller ones: the overlap and what it leaves of the size should each be at least 4.

    Errors: `ValueError` for a size below 4, `ImportError` without the package `semchunk`.

    Example (run in `docs/integrations.md`): ``chunkerify(512)(text, overlap=0.1)``
    """
    if chunk_size < 4:
        # semchunk would cut for ever. A character has up to four bytes, so it costs up to four tokens.
        raise ValueError(f"chunk_size must be at least 4, which a character can cost, found {chunk_size}")
    try:
        import semchunk
    except ImportError as error:
        raise missing_library("semchunk") from error
    # A count that ends at the size would be quicker, but steers semchunk's search to other chunks at times.
    return semchunk.chunkerify(nemo_fast.count, chunk_size, **{"memoize": False, **options})
