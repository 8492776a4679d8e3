"""Answers with calls of tools: from events to messages and deltas, and a model that makes a call."""

from __future__ import annotations

import json

import pytest
from completion_texts import joined, legal_calls, slow, soup
from hypothesis import example, given
from hypothesis import strategies as st
from model_files import write_model_that_says

from nemo_fast import AssistantMessage, Model, PromptError, Tokenizer
from nemo_fast.chat_answer import TextAnswer, ToolAnswer
from nemo_fast.stream import Event

MARKER, END = 9, 2
TOKENIZER = Tokenizer()
USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}

sections = st.lists(
    st.one_of(soup, st.text(max_size=4), legal_calls().map(lambda section: section[0])),
    min_size=1,
    max_size=3,
)


def ids_of(texts):
    """Return the ids of texts with a marker between each two."""
    ids = TOKENIZER.encode(texts[0])
    for text in texts[1:]:
        ids += [MARKER, *TOKENIZER.encode(text)]
    return ids


def events_of(ids, stop=()):
    """What the engine makes of ids: text, held back while a stop string may come, and cut before one."""
    decoder = TOKENIZER.stream_decoder()
    held = ""
    for position, token_id in enumerate(ids):
        last = position == len(ids) - 1
        held += "" if token_id == END else decoder.push(token_id)
        held += decoder.finish() if last else ""
        if found := [held.index(string) for string in stop if string in held]:
            yield Event(0, token_id, held[: min(found)], "stop")
            return
        if last:
            yield Event(0, token_id, held, "stop" if token_id == END else "length")
            return
        beginnings = (string[:length] for string in stop for length in range(1, len(string)))
        kept = max((len(part) for part in beginnings if held.endswith(part)), default=0)
        yield Event(0, token_id, held[: len(held) - kept], None)
        held = held[len(held) - kept :]


def read(events, seed=0):
    answer = ToolAnswer(TOKENIZER, seed=seed)
    deltas = [delta for event in events for delta in answer.push(event)]
    return answer.message(), joined(deltas)


def said(message):
    return [(call.name, call.arguments) for call in message.tool_calls], message.content or ""


@given(sections, st.booleans(), st.data())
def test_without_stop_strings_the_ids_are_what_counts(texts, ended, data):
    ids = ids_of(texts)
    ids = ids[: data.draw(st.integers(0, len(ids)))] + [END] * ended
    message, stream = read(events_of(ids), seed=7)
    assert message == TOKENIZER.parse_completion(ids, seed=7)
    parser = TOKENIZER.completion_parser(seed=7)
    assert stream == joined([delta for token_id in ids for delta in parser.push(token_id)] + parser.finish())


@given(
    sections, st.lists(st.text(min_size=1, max_size=2) | st.sampled_from([', "', "}]", "é😀"]), max_size=2)
)
@example(["aE", '[{"name": "f", "arguments": {}}]'], ["EX"])
@example(["aE", "Xb"], ["EX"])
@example([" 😀!"], ["😀!"])
def test_stop_strings_cut_the_text_that_is_read(texts, stop):
    events = list(events_of([*ids_of(texts), END], stop))
    text = "".join(event.text for event in events)
    kept = [""]
    left = text
    for position, section in enumerate(texts):
        # A marker counts if it came, and all of the text before it was given out.
        if position and [event.token_id for event in events].count(MARKER) < position:
            break
        kept[position:] = [left[: len(section)]]
        if len(left) < len(section):
            break
        left = left[len(section) :]
    message, stream = read(events)
    assert said(message) == slow(kept)
    assert (stream.content or "") == (message.content or "")
    if len(texts) == 1:
        assert message.content == text


def test_a_marker_that_ends_the_answer_is_no_part_of_it():
    for reason, content in (("stop", "a"), ("length", "a[TOOL_CALLS]")):
        events = [Event(0, TOKENIZER.encode("a")[0], "a", None), Event(0, MARKER, "", reason)]
        assert read(events) == (AssistantMessage(content), AssistantMessage(content))


def test_without_tools_the_text_is_the_content():
    answer = TextAnswer()
    ids = ids_of(["So:", '[{"name": "add", "arguments": {}}]'])
    contents = [delta.content for event in events_of(ids) for delta in answer.push(event)]
    assert answer.message() == AssistantMessage('So:[{"name": "add", "arguments": {}}]')
    assert "".join(contents) == answer.message().content
    assert "" not in contents


def different_ids(text, used=frozenset()):
    """Return ids of a text of which no two are equal, as long as there are some, else None."""
    if not text:
        return []
    for length in range(len(text), 0, -1):
        token_id = TOKENIZER.token_id(text[:length])
        if token_id is not None and token_id not in used:
            rest = different_ids(text[length:], used | {token_id})
            if rest is not None:
                return [token_id, *rest]
    return None


CALL = '[{"name":"add", "arguments":{"a":  1, "é":[]}}]'


@pytest.fixture(scope="module")
def caller(tmp_path_factory):
    ids = [*different_ids(b"So:"), MARKER, *different_ids(CALL.encode()), END]
    with Model.load(write_model_that_says(tmp_path_factory.mktemp("model") / "caller", ids)) as model:
        yield model


def test_a_model_calls_a_tool(caller):
    answer = caller.chat([USER], tools=[TOOL], temperature=0, max_tokens=40, seed=1)
    choice = answer.choices[0]
    assert choice.token_ids == (*different_ids(b"So:"), MARKER, *different_ids(CALL.encode()), END)
    assert choice.finish_reason == "tool_calls"
    assert said(choice.message) == ([("add", '{"a":  1, "é":[]}')], "So:")
    assert answer.usage.prompt_tokens == caller.count_chat([USER], [TOOL])
    assert answer.usage.completion_tokens == len(choice.token_ids)
    fields = json.loads(answer.to_json())
    assert fields == answer.to_dict()
    function = {"name": "add", "arguments": '{"a":  1, "é":[]}'}
    call = {"id": choice.message.tool_calls[0].id, "type": "function", "function": function}
    assert fields["choices"][0]["message"]["tool_calls"] == [call]
    # Back in the conversation, it has either text or calls.
    result = {"role": "tool", "tool_call_id": call["id"], "content": "1"}
    with pytest.raises(PromptError, match="either"):
        caller.count_chat([USER, choice.message, result], [TOOL])
    again = [USER, AssistantMessage(None, choice.message.tool_calls), result]
    assert caller.encode_chat(again) == caller.encode_chat([again[0], again[1].to_dict(), result])
    assert caller.chat(again, tools=[TOOL], temperature=0, max_tokens=40).choices[0].message.tool_calls


def test_a_streamed_call_is_the_same(caller):
    options = {"tools": [TOOL], "temperature": 0, "max_tokens": 40, "seed": 1, "n": 2}
    whole = caller.chat([USER], **options)
    chunks = list(caller.chat([USER], stream=True, **options))
    assert chunks[-1].usage == whole.usage
    # Two choices that say the same make calls with ids of their own.
    assert len({choice.message.tool_calls[0].id for choice in whole.choices}) == 2
    for choice in whole.choices:
        mine = [chunk.choices[0] for chunk in chunks[:-1] if chunk.choices[0].index == choice.index]
        assert mine[0].to_dict()["delta"] == {"role": "assistant", "content": ""}
        assert joined([part.delta for part in mine[1:-1]]) == choice.message
        assert [part.finish_reason for part in mine] == [None] * (len(mine) - 1) + ["tool_calls"]
        assert mine[-1].to_dict()["delta"] == {}
        calls = [delta["tool_calls"] for part in mine if "tool_calls" in (delta := part.to_dict()["delta"])]
        call_id = choice.message.tool_calls[0].id
        start = {"index": 0, "id": call_id, "type": "function", "function": {"name": "add", "arguments": ""}}
        assert calls[0] == [start]
        assert calls[1] == [{"index": 0, "function": {"arguments": '{"'}}]
    assert json.loads(chunks[1].to_json()) == chunks[1].to_dict()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # Cut off by `max_tokens`, in a call and behind it.
        ({"max_tokens": 8}, ([], 'So:[TOOL_CALLS][{"name":"add",', "length")),
        ({"max_tokens": 22}, ([("add", '{"a":  1, "é":[]}')], "So:", "length")),
        # By a stop string, before the call, in it, and between its end and that of the list.
        ({"stop": "o:"}, ([], "S", "stop")),
        ({"stop": "[]"}, ([], 'So:[TOOL_CALLS][{"name":"add", "arguments":{"a":  1, "é":', "stop")),
        ({"stop": "]}}"}, ([], 'So:[TOOL_CALLS][{"name":"add", "arguments":{"a":  1, "é":[', "stop")),
        ({"stop": "}]"}, ([], 'So:[TOOL_CALLS][{"name":"add", "arguments":{"a":  1, "é":[]}', "stop")),
    ],
)
def test_calls_that_are_cut_off(caller, options, expected):
    options = {"tools": [TOOL], "temperature": 0, "max_tokens": 40} | options
    choice = caller.chat([USER], **options).choices[0]
    assert (*said(choice.message), choice.finish_reason) == expected
    chunks = [chunk.choices[0] for chunk in caller.chat([USER], stream=True, **options) if chunk.choices]
    _, content, reason = expected
    assert chunks[-1].finish_reason == reason
    assert (joined([chunk.delta for chunk in chunks[1:-1]]).content or "") == content


def test_without_tools_nothing_is_read(caller):
    choice = caller.chat([USER], temperature=0, max_tokens=40).choices[0]
    assert choice.message == AssistantMessage("So:" + CALL)
    assert choice.finish_reason == "stop"


def test_tools_in_the_conversation_of_a_chat(caller):
    """Ids of other models are cut, in calls and results alike; bad tools are refused."""
    call = {"id": "call_VvvODy9mT", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_VvvODy9mT", "content": "1"},
    ]
    answer = caller.chat(iter(messages), tools=iter([TOOL]), temperature=0, max_tokens=3)
    assert answer.usage.prompt_tokens == caller.count_chat(messages, [TOOL], tool_call_ids="last9")
    with pytest.raises(PromptError):
        caller.chat([USER], tools=[{"type": "function", "function": {"name": "a b"}}])
    with pytest.raises(TypeError, match="unknown sampling parameter 'tool_choice'"):
        caller.chat([USER], tools=[TOOL], tool_choice="auto")
