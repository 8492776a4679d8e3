"""Messages, tools and requests in OpenAI's shape as chat templates expect them.

Templates are written for what Hugging Face's `apply_chat_template` hands them: dicts, contents that are
strings, arguments of calls that are mappings. This module checks that much. Who may speak when, and what a
prompt looks like, is said by the template.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nemo_fast._native import PromptError

if TYPE_CHECKING:
    from nemo_fast._native import _Messages as Messages
    from nemo_fast._native import _Request as ChatRequest
    from nemo_fast._native import _Tools as Tools


def prompt_error(message: str, error_type: str = "ValueError") -> PromptError:
    """Return a `PromptError` with its `error_type`: the class that Hugging Face's library, or jinja2, raises.

    >>> prompt_error("there are no messages").error_type
    'ValueError'
    """
    error = PromptError(message)
    error.error_type = error_type
    return error


def template_messages(messages: Messages) -> list[dict[str, Any]]:
    """Return messages (mappings, or objects with `model_dump`) as dicts that a template can read.

    Text parts are joined to lines. Null fields are left out, and so are empty `tool_calls`; only `content`
    stays, as None where an assistant's message has calls and no text. The arguments of a call, JSON in
    OpenAI's shape, are read; what is no JSON stays a string, and nothing is an empty mapping, as in Mistral
    Nemo's own prompts. Errors: `PromptError` that names the message by its index, `TypeError` for no list.

    >>> call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    >>> template_messages([{"role": "assistant", "content": None, "tool_calls": [call]}])[0]["tool_calls"]
    [{'id': '1', 'type': 'function', 'function': {'name': 'add', 'arguments': {'a': 1}}}]
    """
    read = [
        _message(message, f"message {index}") for index, message in enumerate(_list(messages, "messages"))
    ]
    if not read:
        raise prompt_error("there are no messages")
    return read


def template_tools(tools: Tools | None) -> list[dict[str, Any]] | None:
    """Return definitions of tools as dicts, all their keys in the given order; None if there are none.

    Errors: `PromptError` that names the tool by its index, `TypeError` for what is no list of them.

    >>> template_tools([{"type": "function", "function": {"name": "ping"}}])
    [{'type': 'function', 'function': {'name': 'ping'}}]
    """
    if tools is None:
        return None
    return [_function("tool", index, tool) for index, tool in enumerate(_list(tools, "tools"))] or None


def read_request(request: ChatRequest) -> tuple[Messages, Tools | None, bool]:
    """Return messages, tools and `continue_final_message` of a request: a mapping, or its JSON.

    Its other fields are not looked at. Errors: `PromptError` for what is no request, `TypeError` for another
    kind of object.

    >>> read_request('{"messages": [{"role": "user", "content": "Hi"}], "temperature": 0}')
    ([{'role': 'user', 'content': 'Hi'}], None, False)
    """
    if isinstance(request, str | bytes):
        try:
            request = json.loads(request)
        except (ValueError, RecursionError) as error:
            raise prompt_error(f"the request is no JSON: {error}", type(error).__name__) from error
        if not isinstance(request, dict):
            raise prompt_error(f"a request must be a mapping, found a {type(request).__name__}", "TypeError")
    fields = _mapping(request)
    if fields is None:
        raise TypeError(f"a request must be a mapping or JSON, found {type(request).__name__}")
    if fields.get("messages") is None:
        raise prompt_error("a request must have messages")
    for name in ("messages", "tools"):
        if not isinstance(fields.get(name), list | tuple | None):
            raise prompt_error(f"{name} of the request must be a list, found {fields[name]!r:.60}")
    continues = fields.get("continue_final_message") or False
    if not isinstance(continues, bool):
        raise prompt_error(f"continue_final_message must be true or false, found {continues!r:.60}")
    return fields["messages"], fields.get("tools"), continues


def _message(message: object, name: str) -> dict[str, Any]:
    fields = _mapping(message)
    if fields is None:
        raise prompt_error(f"{name} is a {type(message).__name__}, not a mapping")
    read = {key: value for key, value in fields.items() if value is not None}
    if not isinstance(read.get("role"), str):
        raise prompt_error(f"{name} has no `role` that is a string")
    if calls := read.pop("tool_calls", None):
        if not isinstance(calls, list | tuple):
            raise prompt_error(f"{name} has `tool_calls` that are a {type(calls).__name__}, not a list")
        read["tool_calls"] = [_call(name, index, call) for index, call in enumerate(calls)]
    content = read.get("content")
    if isinstance(content, list | tuple):
        content = "\n".join(_part_text(part, f"{name}: part {index}") for index, part in enumerate(content))
    has_calls = read["role"] == "assistant" and "tool_calls" in read
    if not isinstance(content, str) and not (content is None and has_calls):
        raise prompt_error(f"{name} has no `content` that is a string or a list of text parts")
    return {**read, "content": content}


def _function(kind: str, index: int, value: object) -> dict[str, Any]:
    """Return a tool's definition, or a call of one: a dict whose `function` is a dict with a name."""
    fields = _mapping(value)
    function = None if fields is None else _mapping(fields.get("function"))
    if fields is None or function is None or not isinstance(function.get("name"), str):
        raise prompt_error(f"{kind} {index} has no `function` with a `name` that is a string")
    return {**fields, "function": dict(function)}


def _call(message: str, index: int, value: object) -> dict[str, Any]:
    """Return a call whose arguments are read."""
    call = _function(f"{message}: call", index, value)
    arguments = call["function"].get("arguments")
    if isinstance(arguments, str) and arguments:
        try:
            arguments = json.loads(arguments)
        except RecursionError as error:
            raise prompt_error(f"{message}: call {index} has arguments that are nested too deep") from error
        except ValueError:
            pass
    elif arguments in (None, ""):
        arguments = {}
    elif not isinstance(arguments, Mapping):
        found = type(arguments).__name__
        raise prompt_error(f"{message}: call {index} has arguments that are a {found}, not text or a mapping")
    call["function"]["arguments"] = arguments
    return call


def _part_text(part: object, name: str) -> str:
    fields = _mapping(part) or {}
    text = fields.get("text")
    if fields.get("type") != "text" or not isinstance(text, str):
        raise prompt_error(f"{name} is not text: {part!r:.60}")
    return text


def _list(values: object, name: str) -> list[object]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list of mappings, found {type(values).__name__}")
    return list(values)


def _mapping(value: object) -> Mapping[str, Any] | None:
    """Return a mapping itself, what the `model_dump` of an object gives, or None."""
    if not isinstance(value, Mapping) and callable(dump := getattr(value, "model_dump", None)):
        value = dump()
    return value if isinstance(value, Mapping) else None
