"""What a model answers: frozen dataclasses with the fields of OpenAI's API.

`to_json()` gives the bytes that a server sends. Which fields are filled is decided in `model`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Literal

from nemo_fast._native import AssistantMessage, ToolCallDelta

FinishReason = Literal["stop", "length"]
ChatFinishReason = Literal["stop", "length", "tool_calls"]


class _Result:
    """The two ways out of a result."""

    def to_dict(self) -> dict[str, Any]:
        """Return nested dicts and lists under OpenAI's field names."""
        names = (field.name for field in fields(self))  # type: ignore[arg-type]  # a dataclass, as all here
        return {name: _plain(getattr(self, name)) for name in names}

    def to_json(self) -> bytes:
        """Return the JSON that a server sends, UTF-8."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":")).encode()


def _plain(value: object) -> object:
    if isinstance(value, _Result | AssistantMessage | ToolCallDelta):
        return value.to_dict()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class Usage(_Result):
    """Tokens: the prompt's once, generated ones summed over choices, end tokens and stop strings included."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class CompletionChoice(_Result):
    """One continuation of the prompt. `token_ids` include the end token and the tokens of a stop string."""

    index: int
    text: str
    finish_reason: FinishReason | None
    token_ids: tuple[int, ...]
    logprobs: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope(_Result):
    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion(_Envelope):
    """The answer of `Model.generate`."""

    choices: tuple[CompletionChoice, ...]
    usage: Usage

    @property
    def text(self) -> str:
        """The text of choice 0."""
        return self.choices[0].text

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The token ids of choice 0, end token included."""
        return self.choices[0].token_ids

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why choice 0 ended: "stop" (an end token or a stop string) or "length"."""
        return self.choices[0].finish_reason

    @property
    def logprobs(self) -> None:
        """Not computed."""
        return self.choices[0].logprobs


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionChunk(_Envelope):
    """A part of one choice of `Model.stream`; the last chunk has no choices and the usage."""

    choices: tuple[CompletionChoice, ...]
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """The new text, of whichever choice the chunk is of."""
        return "".join(choice.text for choice in self.choices)


@dataclass(frozen=True, slots=True)
class ChatChoice(_Result):
    """One answer. `token_ids` include the end token and the tokens of a stop string."""

    index: int
    message: AssistantMessage
    finish_reason: ChatFinishReason | None
    token_ids: tuple[int, ...]
    logprobs: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCompletion(_Envelope):
    """The answer of `Model.chat`."""

    choices: tuple[ChatChoice, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class ChoiceDelta(_Result):
    """What a chunk adds to a message: text to append, or the start or more arguments of a call."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: tuple[ToolCallDelta, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return what is new only: OpenAI leaves the rest out."""
        return {name: value for name, value in _Result.to_dict(self).items() if value not in (None, [])}


@dataclass(frozen=True, slots=True)
class ChatChunkChoice(_Result):
    """A part of one answer."""

    index: int
    delta: ChoiceDelta
    finish_reason: ChatFinishReason | None = None
    logprobs: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCompletionChunk(_Envelope):
    """A part of one answer of `Model.chat(stream=True)`; the last chunk has no choices and the usage."""

    choices: tuple[ChatChunkChoice, ...]
    usage: Usage | None = None
