"""Texts that a model may write for calls of tools, right and wrong, and a slow reading of them.

And what a client does with the deltas of a message.
"""

import json
import re

from hypothesis import strategies as st

from nemo_fast import AssistantMessage, ToolCall

WHITE = re.compile(r"[ \t\n\r]*")


def slow_value(text, at):
    """Return the value at a position and where it ends; ValueError if there is none."""
    value, end = json.JSONDecoder().raw_decode(text, at)
    return value, end


def slow_call(text, at):
    """Return name, arguments, id and end of the call at a position; ValueError if there is none."""
    found = {}
    mark = "{"
    while True:
        if text[at : at + 1] != mark:
            raise ValueError(mark)
        at = WHITE.match(text, at + 1).end()
        if text[at : at + 1] != '"':
            raise ValueError("key")
        key, at = slow_value(text, at)
        at = WHITE.match(text, at).end()
        if text[at : at + 1] != ":" or (key in found and key in ("name", "arguments", "id")):
            raise ValueError(":")
        start = WHITE.match(text, at + 1).end()
        value, at = slow_value(text, start)
        found[key] = value
        if key == "name" and not (isinstance(value, str) and value):
            raise ValueError("name")
        if key == "arguments":
            arguments = text[start:at]
            if isinstance(value, str):
                try:
                    json.loads(value)
                    arguments = value
                except ValueError:
                    pass
        at = WHITE.match(text, at).end()
        if text[at : at + 1] == "}":
            return re.sub("[\ud800-\udfff]", "\ufffd", found["name"]), arguments, found.get("id"), at + 1
        mark = ","


def slow_section(text):
    """Return the calls behind a marker, and the content."""
    calls, kept = [], 0
    at = WHITE.match(text).end()
    is_list = text[at : at + 1] == "["
    at = WHITE.match(text, at + is_list).end()
    while True:
        try:
            *call, kept_to = slow_call(text, at)
        except (ValueError, KeyError, UnboundLocalError):
            break
        calls.append(call)
        kept = kept_to
        if not is_list:
            return calls, text[kept:]
        at = WHITE.match(text, kept).end()
        if text[at : at + 1] == "]":
            return calls, text[at + 1 :]
        if text[at : at + 1] != ",":
            break
        at = WHITE.match(text, at + 1).end()
    left = text[kept:]
    return calls, "" if calls and not WHITE.sub("", left) else "[TOOL_CALLS]" + left


def slow(texts):
    """Return names and arguments, and the content, of a text and the texts behind markers."""
    calls, content = [], texts[0]
    for text in texts[1:]:
        of_section, left = slow_section(text)
        calls += [(name, arguments) for name, arguments, _ in of_section]
        content += left
    return calls, content


def joined(deltas):
    """Join deltas as a client does: by the index of the call."""
    content, calls = "", []
    for delta in deltas:
        assert (delta.content is None) == (len(delta.tool_calls) == 1)
        content += delta.content or ""
        for call in delta.tool_calls:
            if call.id is None:
                assert (call.index, call.name, call.type) == (len(calls) - 1, None, None)
                assert call.arguments
                calls[-1][2] += call.arguments
            else:
                assert (call.index, call.type, call.arguments) == (len(calls), "function", "")
                calls.append([call.id, call.name, ""])
    return AssistantMessage(content if content or not calls else None, [ToolCall(*call) for call in calls])


# Values as a model may write them, nested and full of what could be taken for structure.
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
strings = st.one_of(st.text(max_size=8), st.sampled_from(['"', "\\", '"}]', "[TOOL_CALLS]", "}{", "é😀"]))
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), strings)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=6,
)
layouts = st.sampled_from([{}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}])


@st.composite
def legal_calls(draw):
    """A text of calls, and what they are: names, arguments as written, ids."""
    calls, texts = [], []
    for _ in range(draw(st.integers(1, 3))):
        name, layout = draw(names), draw(layouts)
        arguments = json.dumps(draw(st.dictionaries(strings, values, max_size=3)), **layout)
        written = arguments
        if draw(st.booleans()):
            written = json.dumps(arguments, **layout)
        fields = [f'"name": {json.dumps(name, **layout)}', f'"arguments" : {written}']
        own_id = draw(st.one_of(st.none(), st.from_regex(r"\A[0-9A-Za-z]{9}\Z", fullmatch=True)))
        if own_id is not None:
            fields.append(f'"id": "{own_id}"')
        texts.append("{" + ", ".join(draw(st.permutations(fields))) + "}")
        calls.append((name, arguments, own_id))
    text = "[" + ", ".join(texts) + "]" if len(texts) > 1 or draw(st.booleans()) else texts[0]
    return text, calls


FRAGMENTS = [
    *("[", "]", "{", "}", ",", ":", " ", "\n", '"', "\\", "x", "é", "\x01"),
    *(
        '{"name": "f", "arguments": {"a": [1, "}"]}}',
        '"name": "f"',
        '"arguments": ',
        '"id": "VvvODy9mT"',
        '"x": 1',
    ),
    *(
        "{}",
        '""',
        '"\\u00e9"',
        '"\\ud800"',
        '"{}"',
        '"[1"',
        "null",
        "NaN",
        "-Infinity",
        "1e5",
        "01",
        "[1, [2]]",
    ),
]
soup = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)
# Most of a call, so that most of the ways in which the rest can go wrong are met.
calls = st.lists(
    st.sampled_from(['"name": "f"', '"arguments": {"a": {}}', '"id": "VvvODy9mT"', '"x": []']), max_size=4
)
broken_calls = calls.map(lambda fields: "{" + ", ".join(fields) + "}")
broken_lists = st.lists(st.one_of(broken_calls, broken_calls, soup), max_size=3).map(
    lambda texts: f"[{', '.join(texts)}]"
)
