"""A running request as an iterator of its parts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from nemo_fast._native import Engine
    from nemo_fast.results import FinishReason

Chunk = TypeVar("Chunk")


class Event(NamedTuple):
    """What one token brought to one choice."""

    choice: int
    token_id: int
    text: str
    finish_reason: FinishReason | None


class Request:
    """A submitted request: its events, until all of its choices have ended.

    It ends early, and frees its memory in the engine, when it is cancelled.
    """

    def __init__(self, engine: Engine, number: int) -> None:
        self._engine = engine
        self._number = number

    def __iter__(self) -> Iterator[Event]:
        while (event := self._engine.next_event(self._number)) is not None:
            yield Event(*event)

    def cancel(self) -> None:
        """End the request; an ended one is left alone."""
        self._engine.cancel(self._number)


class Stream(Generic[Chunk]):
    """The chunks of an answer as they are made: an iterator, and a context manager that ends the answer.

    Dropping it, `close()`, or an exception in the loop over it ends the answer too.
    """

    def __init__(self, request: Request, chunks: Iterator[Chunk]) -> None:
        self._request = request
        self._chunks = chunks
        # A generator cannot be asked from two threads at once; each chunk goes to one of them.
        self._turn = threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Chunk:
        with self._turn:
            try:
                return next(self._chunks)
            except BaseException:
                # The end, an error, or Ctrl-C: nothing more will be asked of the request.
                self._request.cancel()
                raise

    def close(self) -> None:
        """End the answer here."""
        self._chunks = iter(())
        self._request.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._request.cancel()
