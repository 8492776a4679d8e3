"""LlamaIndex: exact counts of chat messages, and conversations that fit.

Where LlamaIndex takes a `tokenizer` or `tokenizer_fn` (`Settings`, `TokenCountingHandler`, memories,
splitters) it wants a function from a text to a list, and `nemo_fast.encode` is one. What it makes of messages
with it is an estimate; the functions here are exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemo_fast.extras import missing_library
from nemo_fast.integrations.openai_shape import count_prompt, fit_prompt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import BaseTool

    from nemo_fast._native import _Policy as Policy


def count_messages(messages: Iterable[ChatMessage], tools: Sequence[BaseTool] | None = None) -> int:
    """Return the number of token ids of the prompt for chat messages and tools.

    Errors: `nemo_fast.PromptError` for what is no prompt, images for example; `ImportError` without the
    package `llama-index-core`.

    Example (run in `docs/integrations.md`): ``count_messages([ChatMessage("Hi")])`` is 4.
    """
    return count_prompt([_openai_message(message) for message in messages], _openai_tools(tools))


def fit_messages(
    messages: Iterable[ChatMessage],
    max_tokens: int,
    tools: Sequence[BaseTool] | None = None,
    *,
    reserve: int = 0,
    policy: Policy = "drop_oldest",
) -> list[ChatMessage]:
    """Return the messages that are left when whole turns are dropped until they fit: `nemo_fast.fit_chat`.

    `reserve` is what the answer may take. Errors: `nemo_fast.ContextLengthError` if system messages, tools
    and the last turn do not fit, and those of `count_messages`.

    Example (run in `docs/integrations.md`): ``fit_messages(memory.get_all(), 8000, tools, reserve=500)``
    """
    own = list(messages)
    return fit_prompt(
        own,
        [_openai_message(message) for message in own],
        max_tokens,
        _openai_tools(tools),
        reserve=reserve,
        policy=policy,
    )


def _openai_message(message: ChatMessage) -> dict[str, Any]:
    """Return the message as LlamaIndex sends it to OpenAI's API, without thoughts and cache points."""
    try:
        from llama_index.core.base.llms.types import CachePoint, TextBlock, ThinkingBlock, ToolCallBlock
    except ImportError as error:
        raise missing_library("llama-index-core") from error
    content: list[dict[str, str]] = []
    # Older clients keep calls as OpenAI's objects here, in which case there are no blocks of them.
    calls = list(message.additional_kwargs.get("tool_calls") or ())
    for block in message.blocks:
        if isinstance(block, ToolCallBlock):
            function = {"name": block.tool_name, "arguments": block.tool_kwargs}
            calls.append({"id": block.tool_call_id, "type": "function", "function": function})
        elif isinstance(block, TextBlock):
            content.append({"type": "text", "text": block.text})
        elif not isinstance(block, CachePoint | ThinkingBlock):
            content.append({"type": block.block_type})  # the prompt's rules refuse it by this name
    converted: dict[str, Any] = {"role": message.role.value, "content": content}
    if calls:
        converted["tool_calls"] = calls
    if "tool_call_id" in message.additional_kwargs:
        converted["tool_call_id"] = message.additional_kwargs["tool_call_id"]
    return converted


def _openai_tools(tools: Sequence[BaseTool] | None) -> list[dict[str, Any]] | None:
    return [tool.metadata.to_openai_tool() for tool in tools] if tools else None
