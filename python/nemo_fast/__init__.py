"""Mistral Nemo 12B in process: exact tokenizer, chat prompts and an fp8 engine.

Importing the package imports the native library and nothing else, so that counting one text takes little more
than Python's own start.
"""

from __future__ import annotations

from nemo_fast._native import (
    AssistantMessage,
    CheckpointError,
    CompletionParser,
    ContextLengthError,
    Conversation,
    DeviceError,
    FittedChat,
    GenerationError,
    MessageDelta,
    NemoFastError,
    PromptError,
    RequestCounts,
    StreamDecoder,
    TokenBatch,
    TokenCounter,
    TokenIndex,
    Tokenizer,
    TokenizerError,
    TokenTable,
    ToolCall,
    ToolCallDelta,
    __version__,
    build_info,
)

# Type checkers know the name. `typing` itself would take several times as long to import as the library.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import AnyStr, Literal

    from typing_extensions import Buffer

    # What these functions take is what the methods take, and named there.
    from nemo_fast._native import _Messages as Messages
    from nemo_fast._native import _Mode as Mode
    from nemo_fast._native import _Policy as Policy
    from nemo_fast._native import _Request as ChatRequest
    from nemo_fast._native import _ToolCallIds as ToolCallIds
    from nemo_fast._native import _Tools as Tools
    from nemo_fast.conversion import convert
    from nemo_fast.download import pull
    from nemo_fast.model import Model
    from nemo_fast.results import (
        ChatCompletion,
        ChatCompletionChunk,
        Completion,
        CompletionChunk,
        Usage,
    )

__all__ = [
    "AssistantMessage",
    "ChatCompletion",
    "ChatCompletionChunk",
    "CheckpointError",
    "Completion",
    "CompletionChunk",
    "CompletionParser",
    "ContextLengthError",
    "Conversation",
    "DeviceError",
    "FittedChat",
    "GenerationError",
    "MessageDelta",
    "Model",
    "NemoFastError",
    "PromptError",
    "RequestCounts",
    "StreamDecoder",
    "TokenBatch",
    "TokenCounter",
    "TokenIndex",
    "TokenTable",
    "Tokenizer",
    "TokenizerError",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "__version__",
    "build_info",
    "completion_parser",
    "convert",
    "count",
    "count_chat",
    "count_request",
    "decode",
    "encode",
    "encode_chat",
    "encode_fim",
    "encode_request",
    "fit_chat",
    "parse_completion",
    "pull",
    "render_chat",
    "split",
    "truncate",
]

# Names that need more than the tokenizer are imported when they are first used.
_HOMES = {
    "ChatCompletion": "results",
    "ChatCompletionChunk": "results",
    "Completion": "results",
    "CompletionChunk": "results",
    "Model": "model",
    "Usage": "results",
    "convert": "conversion",
    "pull": "download",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(f"nemo_fast.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'nemo_fast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(globals() | dict.fromkeys(__all__))


# Its tables lie in the library: there is nothing to build.
_TOKENIZER = Tokenizer()


def encode(
    text: str | bytes,
    *,
    bos: bool = False,
    eos: bool = False,
    special: Literal["text", "parse", "forbid"] = "text",
) -> list[int]:
    """Return the token ids of a text: `Tokenizer.encode`.

    >>> encode("Hello, how are you?")
    [22177, 1044, 2606, 1584, 1636, 1063]
    """
    return _TOKENIZER.encode(text, bos=bos, eos=eos, special=special)


def count(text: str | bytes) -> int:
    """Return the number of token ids of a text, without building them: `Tokenizer.count`.

    >>> count("Hello, how are you?")
    6
    """
    return _TOKENIZER.count(text)


def decode(
    ids: Sequence[int] | Buffer,
    *,
    errors: Literal["replace", "strict"] = "replace",
    special: Literal["skip", "keep", "raise"] = "skip",
) -> str:
    """Return the text of token ids: `Tokenizer.decode`.

    >>> decode([22177, 1044, 2606, 1584, 1636, 1063])
    'Hello, how are you?'
    """
    return _TOKENIZER.decode(ids, errors=errors, special=special)


def truncate(text: AnyStr, max_tokens: int, *, side: Literal["right", "left", "middle"] = "right") -> AnyStr:
    """Return what is left of a text when one side is cut to at most `max_tokens`: `Tokenizer.truncate`.

    >>> truncate("Hello, how are you?", 3)
    'Hello, how'
    """
    return _TOKENIZER.truncate(text, max_tokens, side=side)


def split(text: AnyStr, max_tokens: int, *, overlap: int = 0) -> list[AnyStr]:
    """Return the parts of a text, each the longest with at most `max_tokens`: `Tokenizer.split`.

    >>> split("Hello, how are you?", 3)
    ['Hello, how', ' are you?']
    """
    return _TOKENIZER.split(text, max_tokens, overlap=overlap)


def encode_chat(
    messages: Messages,
    tools: Tools | None = None,
    *,
    mode: Mode = "test",
    tool_call_ids: ToolCallIds = "strict",
    continue_final_message: bool = False,
) -> list[int]:
    """Return the token ids of the prompt for a conversation: `Tokenizer.encode_chat`.

    >>> encode_chat([{"role": "user", "content": "Hello, how are you?"}])
    [1, 3, 22177, 1044, 2606, 1584, 1636, 1063, 4]
    """
    return _TOKENIZER.encode_chat(
        messages,
        tools,
        mode=mode,
        tool_call_ids=tool_call_ids,
        continue_final_message=continue_final_message,
    )


def count_chat(
    messages: Messages,
    tools: Tools | None = None,
    *,
    mode: Mode = "test",
    tool_call_ids: ToolCallIds = "strict",
    continue_final_message: bool = False,
) -> int:
    """Return the number of token ids of a prompt, without building them: `Tokenizer.count_chat`.

    >>> count_chat([{"role": "user", "content": "Hello, how are you?"}])
    9
    """
    return _TOKENIZER.count_chat(
        messages,
        tools,
        mode=mode,
        tool_call_ids=tool_call_ids,
        continue_final_message=continue_final_message,
    )


def render_chat(
    messages: Messages,
    tools: Tools | None = None,
    *,
    mode: Mode = "test",
    tool_call_ids: ToolCallIds = "strict",
    continue_final_message: bool = False,
) -> str:
    """Return the prompt as a text to read: `Tokenizer.render_chat`.

    >>> render_chat([{"role": "user", "content": "Hi"}])
    '<s>[INST]Hi[/INST]'
    """
    return _TOKENIZER.render_chat(
        messages,
        tools,
        mode=mode,
        tool_call_ids=tool_call_ids,
        continue_final_message=continue_final_message,
    )


def fit_chat(
    messages: Messages,
    max_tokens: int,
    tools: Tools | None = None,
    *,
    reserve: int = 0,
    policy: Policy = "drop_oldest",
    mode: Mode = "test",
    tool_call_ids: ToolCallIds = "strict",
    continue_final_message: bool = False,
) -> FittedChat:
    """Return what is left of a conversation when whole turns are dropped until it fits: `Tokenizer.fit_chat`.

    >>> fit_chat([{"role": "user", "content": text} for text in ["Hello", "Hi"]], 4)
    FittedChat(messages=1, token_count=4, dropped=[0])
    """
    return _TOKENIZER.fit_chat(
        messages,
        max_tokens,
        tools,
        reserve=reserve,
        policy=policy,
        mode=mode,
        tool_call_ids=tool_call_ids,
        continue_final_message=continue_final_message,
    )


def encode_request(
    request: ChatRequest, *, mode: Mode = "test", tool_call_ids: ToolCallIds = "strict"
) -> list[int]:
    """Return the token ids of the prompt for a whole request, a mapping or JSON: `Tokenizer.encode_request`.

    >>> encode_request('{"messages": [{"role": "user", "content": "Hi"}]}')
    [1, 3, 37133, 4]
    """
    return _TOKENIZER.encode_request(request, mode=mode, tool_call_ids=tool_call_ids)


def count_request(request: ChatRequest, *, mode: Mode = "test", tool_call_ids: ToolCallIds = "strict") -> int:
    """Return the number of token ids of a request's prompt: `Tokenizer.count_request`.

    >>> count_request({"messages": [{"role": "user", "content": "Hi"}], "temperature": 0.3})
    4
    """
    return _TOKENIZER.count_request(request, mode=mode, tool_call_ids=tool_call_ids)


def encode_fim(prompt: str | bytes, suffix: str | bytes | None = None) -> list[int]:
    """Return the token ids of a prompt to fill in what stands between two texts: `Tokenizer.encode_fim`.

    >>> encode_fim("def f(", "return 1")
    [1, 16, 3004, 1032, 1049, 14, 3149, 1284, 1040]
    """
    return _TOKENIZER.encode_fim(prompt, suffix)


def parse_completion(ids: Sequence[int] | Buffer, *, seed: int | None = None) -> AssistantMessage:
    """Return the message that the model has written: `Tokenizer.parse_completion`.

    >>> parse_completion([9, *encode('[{"name": "now", "arguments": {}, "id": "VvvODy9mT"}]'), 2]).tool_calls
    (ToolCall(id='VvvODy9mT', name='now', arguments='{}'),)
    """
    return _TOKENIZER.parse_completion(ids, seed=seed)


def completion_parser(*, seed: int | None = None) -> CompletionParser:
    """Return a parser of what the model writes, for one id at a time: `Tokenizer.completion_parser`.

    >>> parser = completion_parser()
    >>> [delta.content for id in encode("Hello, you") for delta in parser.push(id)]
    ['Hello', ',', ' you']
    """
    return _TOKENIZER.completion_parser(seed=seed)
