"""What templates are given: messages, tools and requests read, and what is refused."""

from __future__ import annotations

import json
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_fast import AssistantMessage, PromptError, ToolCall
from nemo_fast.template_messages import read_request, template_messages, template_tools

USER = {"role": "user", "content": "Hi"}


class Dumped:
    """What pydantic's objects look like from outside."""

    def __init__(self, **fields):
        self.fields = fields

    def model_dump(self):
        return self.fields


def call(arguments, **fields):
    return {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": arguments} | fields}


def calling(*calls, content=None):
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def arguments_of(written):
    return template_messages([calling(call(written))])[0]["tool_calls"][0]["function"]["arguments"]


def test_text_parts_become_lines():
    parts = [{"type": "text", "text": "a"}, Dumped(type="text", text="b")]
    for content in (parts, tuple(parts)):
        assert template_messages([{"role": "user", "content": content}]) == [USER | {"content": "a\nb"}]


def test_null_fields_are_left_out_but_content():
    dumped = {"role": "assistant", "content": "a", "refusal": None, "tool_calls": None, "audio": None}
    assert template_messages([dumped]) == [{"role": "assistant", "content": "a"}]
    assert template_messages([dumped | {"tool_calls": []}]) == [{"role": "assistant", "content": "a"}]
    spoken = calling(call("{}"))
    for message in (spoken, {key: spoken[key] for key in ("role", "tool_calls")}):
        assert template_messages([message])[0]["content"] is None
    kept = {"role": "tool", "content": "", "name": "add", "tool_call_id": "call_1"}
    assert template_messages([kept]) == [kept]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_arguments_in_json_are_what_they_say(value):
    written = json.dumps({"value": value})
    assert arguments_of(written) == {"value": value}
    # The caller's message is left as it is.
    message = calling(call(written))
    template_messages([message])
    assert message == calling(call(written))


@pytest.mark.parametrize(
    ("written", "read"),
    [("", {}), (None, {}), ({}, {}), ({"a": 1}, {"a": 1}), ("{", "{"), (" ", " "), ("5", 5), ("[1]", [1])],
)
def test_other_arguments(written, read):
    assert arguments_of(written) == read


def test_objects_and_other_mappings():
    function = Dumped(name="add", arguments='{"a": 1}')
    message = Dumped(role="assistant", content=None, tool_calls=[Dumped(id="call_1", function=function)])
    expected = {"id": "call_1", "function": {"name": "add", "arguments": {"a": 1}}}
    assert template_messages(iter([MappingProxyType(USER), message])) == [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [expected]},
    ]


def test_our_own_answers():
    message = AssistantMessage("So:", [ToolCall("VvvODy9mT", "add", '{"a": 1}')])
    as_message, as_calls = template_messages(
        [message, {"role": "assistant", "content": "So:", "tool_calls": message.tool_calls}]
    )
    assert as_message == as_calls
    assert as_message["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 1}}


def test_tools_keep_all_their_keys_in_order():
    tool = {"function": {"strict": True, "name": "add", "parameters": {"type": "object"}}, "type": "function"}
    assert json.dumps(template_tools([tool])) == json.dumps([tool])
    assert template_tools(iter([Dumped(**tool)])) == [tool]
    assert template_tools(None) is template_tools([]) is None


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("Hi", "message 1 is a str, not a mapping"),
        ({"content": "Hi"}, "message 1 has no `role` that is a string"),
        ({"role": 1, "content": "Hi"}, "message 1 has no `role` that is a string"),
        ({"role": "user"}, "message 1 has no `content` that is a string or a list of text parts"),
        ({"role": "user", "content": None}, "message 1 has no `content`"),
        ({"role": "user", "content": b"Hi"}, "message 1 has no `content`"),
        ({"role": "user", "content": [USER, {}]}, "message 1: part 0 is not text: {'role'"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "message 1: part 0 is not"),
        ({"role": "user", "content": [{"type": "text"}]}, "message 1: part 0 is not text"),
        (calling() | {"tool_calls": "add"}, "message 1 has `tool_calls` that are a str, not a list"),
        (calling(call("{}"), "add"), "message 1: call 1 has no `function` with a `name` that is a string"),
        (calling(call("{}", name=None)), "message 1: call 0 has no `function` with a `name`"),
        (calling(call([1])), "message 1: call 0 has arguments that are a list, not text or a mapping"),
        (calling(call("[" * 100_000)), "message 1: call 0 has arguments that are nested too deep"),
    ],
)
def test_a_bad_message_is_named(message, fault):
    with pytest.raises(PromptError) as caught:
        template_messages([USER, message])
    assert str(caught.value).startswith(fault)
    assert caught.value.error_type == "ValueError"


def test_no_messages():
    with pytest.raises(PromptError, match="there are no messages"):
        template_messages([])
    for messages in ("Hi", USER, None, 1):
        with pytest.raises(TypeError, match="messages must be a list of mappings, found"):
            template_messages(messages)


def test_a_bad_tool_is_named():
    for tool in ("add", {"name": "add"}, {"function": {"name": 1}}):
        with pytest.raises(PromptError, match="tool 1 has no `function` with a `name` that is a string"):
            template_tools([{"function": {"name": "add"}}, tool])
    with pytest.raises(TypeError, match="tools must be a list of mappings, found dict"):
        template_tools({})


def test_requests():
    tools = [{"type": "function", "function": {"name": "add"}}]
    request = {"model": "m", "messages": [USER], "tools": tools, "continue_final_message": True}
    for form in (request, json.dumps(request), json.dumps(request).encode(), Dumped(**request)):
        assert read_request(form) == ([USER], tools, True)
    assert read_request({"messages": [USER], "tools": None}) == ([USER], None, False)


@pytest.mark.parametrize(
    ("request_", "error_type", "fault"),
    [
        ("{", "JSONDecodeError", "the request is no JSON"),
        (b"\xff", "UnicodeDecodeError", "the request is no JSON"),
        ("[" * 100_000, "RecursionError", "the request is no JSON"),
        ("[]", "TypeError", "a request must be a mapping, found a list"),
        ({}, "ValueError", "a request must have messages"),
        ({"messages": "Hi"}, "ValueError", "messages of the request must be a list, found 'Hi'"),
        ({"messages": [], "tools": {}}, "ValueError", "tools of the request must be a list, found {}"),
        (
            {"messages": [], "continue_final_message": "no"},
            "ValueError",
            "continue_final_message must be true or false, found 'no'",
        ),
    ],
)
def test_a_bad_request(request_, error_type, fault):
    with pytest.raises(PromptError) as caught:
        read_request(request_)
    assert str(caught.value).startswith(fault)
    assert caught.value.error_type == error_type


def test_what_can_be_no_request():
    with pytest.raises(TypeError, match="a request must be a mapping or JSON, found int"):
        read_request(5)
