"""From the events of an answer to a message and its deltas: text, and calls of tools where there are tools.

Calls are read by the tokenizer (docs/tool-calls.md), from the ids of the answer's text and of the marker
between them. The text is the engine's, so that stop strings cut here what they cut elsewhere. Envelopes,
usage and the request are of `model`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from nemo_fast._native import AssistantMessage
from nemo_fast.results import ChoiceDelta

if TYPE_CHECKING:
    from nemo_fast._native import Tokenizer
    from nemo_fast.results import ChatFinishReason, FinishReason
    from nemo_fast.stream import Event


def chat_finish_reason(message: AssistantMessage, reason: FinishReason | None) -> ChatFinishReason | None:
    """Return OpenAI's reason why a message ended: "tool_calls" where the model stopped and has called tools.

    >>> chat_finish_reason(AssistantMessage("Hi"), "stop")
    'stop'
    """
    return "tool_calls" if reason == "stop" and message.tool_calls else reason


class TextAnswer:
    """One choice whose text is its content, whatever it says."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def push(self, event: Event) -> list[ChoiceDelta]:
        """Return what an event adds to the message."""
        self._texts.append(event.text)
        return [ChoiceDelta(content=event.text)] if event.text else []

    def message(self) -> AssistantMessage:
        """Return the message of the events so far."""
        return AssistantMessage("".join(self._texts))


class ToolAnswer:
    """One choice that may call tools; `seed` decides the ids of calls that have none.

    >>> from nemo_fast import Tokenizer
    >>> from nemo_fast.stream import Event
    >>> answer = ToolAnswer(Tokenizer(), seed=0)
    >>> answer.push(Event(0, 9, "", None)), answer.push(Event(0, 1091, "[", None))
    ([], [])
    >>> [delta.content for delta in answer.push(Event(0, 1, "", "stop"))]
    ['[TOOL_CALLS][']
    """

    def __init__(self, tokenizer: Tokenizer, *, seed: int) -> None:
        self._tokenizer = tokenizer
        self._marker = tokenizer.special_tokens["[TOOL_CALLS]"]
        self._parser = tokenizer.completion_parser(seed=seed)
        self._seed = seed
        self._read: list[int] = []
        # A stop string may hold back text while a marker comes. Markers wait, by where they stand in the
        # characters of the whole text, until the text before them is given out.
        self._decoder = tokenizer.stream_decoder()
        self._decoded = self._given = 0
        self._markers: deque[int] = deque()

    def push(self, event: Event) -> list[ChoiceDelta]:
        """Return what an event adds to the message."""
        self._decoded += len(self._decoder.push(event.token_id))
        # One that ends the answer is no part of it.
        if event.token_id == self._marker and event.finish_reason != "stop":
            self._markers.append(self._decoded)
        ids = self._ids(event.text)
        self._read += ids
        deltas = [delta for token_id in ids for delta in self._parser.push(token_id)]
        if event.finish_reason is not None:
            deltas += self._parser.finish()
        return [ChoiceDelta(content=delta.content, tool_calls=delta.tool_calls) for delta in deltas]

    def message(self) -> AssistantMessage:
        """Return the message of the events so far."""
        return self._tokenizer.parse_completion(self._read, seed=self._seed)

    def _ids(self, text: str) -> list[int]:
        """Return the ids of a text that is given out, with the markers that stand in it."""
        ids = []
        end = self._given + len(text)
        while self._markers and self._markers[0] <= end:
            before = self._markers.popleft() - self._given
            ids += [*self._tokenizer.encode(text[:before]), self._marker]
            text = text[before:]
            self._given += before
        self._given = end
        return ids + self._tokenizer.encode(text)
