"""LangChain: exact counts of messages, conversations that fit, and a splitter of texts.

Every function takes as messages what LangChain's own take: `BaseMessage`s, dicts, pairs of role and text.
They become OpenAI's by `convert_to_openai_messages`, with the calls that LangChain could not parse as they
are written, as its clients send them. Splitters take `nemo_fast.count` as their `length_function`.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any

import nemo_fast
from nemo_fast.extras import missing_library
from nemo_fast.integrations.openai_shape import count_prompt, fit_prompt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_core.messages import BaseMessage, MessageLikeRepresentation
    from langchain_text_splitters import TextSplitter

    from nemo_fast._native import _Policy as Policy


def get_num_tokens_from_messages(
    messages: Iterable[MessageLikeRepresentation], tools: Sequence[Any] | None = None
) -> int:
    """Return the number of token ids of the prompt for messages, as a chat model's method of this name does.

    `tools`: what `bind_tools` takes. Errors: `nemo_fast.PromptError` for what is no prompt, `ImportError`
    without the package `langchain-core`.

    Example (run in `docs/integrations.md`): ``get_num_tokens_from_messages([HumanMessage("Hi")])`` is 4.
    """
    return count_prompt(_flat(_conversions(_messages(messages))), _openai_tools(tools))


def count_tools(tools: Sequence[Any]) -> int:
    """Return the number of token ids that tools add to a prompt, whatever its messages.

    To trim for a request with tools, take it from `max_tokens`. Errors: as `get_num_tokens_from_messages`.

    Example (run in `docs/integrations.md`): ``count_tools([multiply])``
    """
    message = [{"role": "user", "content": ""}]
    return count_prompt(message, _openai_tools(tools)) - count_prompt(message)


def token_counter(messages: Iterable[MessageLikeRepresentation]) -> int:
    """Count messages for LangChain's `trim_messages(token_counter=…)`, and for what calls it.

    `trim_messages` counts parts of a conversation, and with its strategy "last" it hands them over newest
    first without saying so. So this is the count in the order that makes a prompt; where both do, the
    larger one. What a cut leaves without its rest (results without their calls, an answer without text)
    counts what it adds. What is kept fits `max_tokens`. `get_num_tokens_from_messages` counts in the order
    that is given.

    Errors: `nemo_fast.PromptError` for what is no prompt in either order, `ImportError` without the package
    `langchain-core`.

    Example (run in `docs/integrations.md`): ``trim_messages(talk, max_tokens=9, token_counter=…)``
    """
    conversions = _conversions(_messages(messages))
    if not conversions:
        return 0
    counts = []
    refusals = []
    for order in (conversions, conversions[::-1]):
        try:
            counts.append(_count_part(_flat(order)))
        except nemo_fast.PromptError as refusal:
            refusals.append(refusal)
    if not counts:
        raise refusals[0]
    return max(counts)


def fit_messages(
    messages: Iterable[MessageLikeRepresentation],
    max_tokens: int,
    tools: Sequence[Any] | None = None,
    *,
    reserve: int = 0,
    policy: Policy = "drop_oldest",
) -> list[BaseMessage]:
    """Return the messages that are left when whole turns are dropped until they fit: `nemo_fast.fit_chat`.

    Unlike `trim_messages` it keeps every system message, the last user message with all that follows, and
    calls together with their results. `reserve` is what the answer may take.

    Errors: `nemo_fast.ContextLengthError` if even that does not fit, `nemo_fast.PromptError` for what is no
    prompt, `ValueError` for a message that holds several of OpenAI's, `ImportError` without the package
    `langchain-core`.

    Example (run in `docs/integrations.md`): ``fit_messages(messages, 8000, [multiply], reserve=500)``
    """
    own = _messages(messages)
    conversions = _conversions(own)
    for index, conversion in enumerate(conversions):
        if len(conversion) != 1:
            raise ValueError(f"message {index} is {len(conversion)} messages to the model, must be one")
    return fit_prompt(
        own, _flat(conversions), max_tokens, _openai_tools(tools), reserve=reserve, policy=policy
    )


def text_splitter(chunk_size: int, chunk_overlap: int = 0) -> TextSplitter:
    """Return a LangChain `TextSplitter` whose chunks are those of `nemo_fast.split`; both numbers are tokens.

    Chunks are as long as fits and never end inside a character. Errors: `ValueError` for sizes that leave
    nothing, `ImportError` without the package `langchain-text-splitters`.

    Example (run in `docs/integrations.md`): ``text_splitter(3).split_text("Hello, how are you?")``
    """
    try:
        from langchain_text_splitters import TextSplitter
    except ImportError as error:
        raise missing_library("langchain-text-splitters") from error

    class NemoTextSplitter(TextSplitter):  # type: ignore[misc]  # mypy does not read the package
        def split_text(self, text: str) -> list[str]:
            return nemo_fast.split(text, chunk_size, overlap=chunk_overlap)

    return NemoTextSplitter(chunk_size, chunk_overlap, nemo_fast.count)


def _messages(messages: Iterable[MessageLikeRepresentation]) -> list[BaseMessage]:
    try:
        from langchain_core.messages import convert_to_messages
    except ImportError as error:
        raise missing_library("langchain-core") from error
    converted: list[BaseMessage] = convert_to_messages(messages)
    return converted


def _conversions(messages: list[BaseMessage]) -> list[list[dict[str, Any]]]:
    """Return what each message becomes: one of OpenAI's, or more where it holds results."""
    from langchain_core.messages import convert_to_openai_messages

    conversions = []
    for message in messages:
        # Several texts stay several: the prompt joins them in its own way.
        text_format = "string" if isinstance(message.content, str) else "block"
        conversion = convert_to_openai_messages([message], text_format=text_format)
        for call in getattr(message, "invalid_tool_calls", ()):
            function = {"name": call["name"], "arguments": call["args"]}
            calls = conversion[0].setdefault("tool_calls", [])
            calls.append({"type": "function", "id": call["id"], "function": function})
        conversions.append(conversion)
    return conversions


def _flat(conversions: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [message for conversion in conversions for message in conversion]


def _openai_tools(tools: Sequence[Any] | None) -> list[dict[str, Any]] | None:
    if not tools:
        return None
    try:
        from langchain_core.utils.function_calling import convert_to_openai_tool
    except ImportError as error:
        raise missing_library("langchain-core") from error
    return [convert_to_openai_tool(tool) for tool in tools]


def _count_part(messages: list[dict[str, Any]]) -> int:
    """Count what a cut may leave: answers without text; in front an answer, or results without their calls.

    Each is completed to what a prompt can have, and what that adds is taken off again. It is always the same,
    because a block costs the same whatever stands around it.
    """

    def is_empty(message: dict[str, Any]) -> bool:
        return message["role"] == "assistant" and not (message["content"] or message.get("tool_calls"))

    # "a" is one token.
    completed = [{**message, "content": "a"} if is_empty(message) else message for message in messages]
    added = sum(map(is_empty, messages))
    # The prompt has it in front of an answer; a single answer is refused without.
    start: list[dict[str, Any]] = [{"role": "user", "content": ""}]
    results = len(list(takewhile(lambda message: message["role"] == "tool", messages)))
    if results > 0:
        call = {"id": "000000000", "type": "function", "function": {"name": "call", "arguments": "{}"}}
        called = [*start, {"role": "assistant", "tool_calls": [call] * results}]
        completed = called + completed
        added += count_prompt(called) - count_prompt(start)
    elif messages[0]["role"] == "assistant":
        completed = start + completed
    return count_prompt(completed) - added
