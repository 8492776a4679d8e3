"""`parse_completion` and `completion_parser` against a slow reading of the same text with Python's `json`."""

import copy
import json
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import nemo_fast
from nemo_fast import AssistantMessage, ToolCall, Tokenizer, TokenizerError

MARKER, END = 9, 2
TOKENIZER = Tokenizer()
encode = TOKENIZER.encode
WHITE = re.compile(r"[ \t\n\r]*")


def byte_ids(text):
    """Return a token for each byte: the worst cut of a text."""
    return [TOKENIZER.token_id(bytes([byte])) for byte in text.encode()]


def whole(*parts, seed=0):
    """Parse ids and texts, joined."""
    ids = [id for part in parts for id in (encode(part) if isinstance(part, str) else part)]
    return TOKENIZER.parse_completion(ids, seed=seed)


def streamed(ids, seed=0):
    parser = TOKENIZER.completion_parser(seed=seed)
    return [delta for id in ids for delta in parser.push(id)] + parser.finish()


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


def check_ids(message):
    ids = [call.id for call in message.tool_calls]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[0-9A-Za-z]{9}", id) for id in ids)


def check_law(ids, seed=0):
    """The message and the joined deltas: equal but for calls that broke, and ids that came late."""
    message, stream = TOKENIZER.parse_completion(ids, seed=seed), joined(streamed(ids, seed))
    check_ids(message)
    check_ids(stream)
    assert (message.content or "") == (stream.content or "")
    rest = iter([(call.name, call.arguments) for call in stream.tool_calls])
    assert all((call.name, call.arguments) in rest for call in message.tool_calls)
    return message, stream


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
        id = draw(st.one_of(st.none(), st.from_regex(r"\A[0-9A-Za-z]{9}\Z", fullmatch=True)))
        if id is not None:
            fields.append(f'"id": "{id}"')
        texts.append("{" + ", ".join(draw(st.permutations(fields))) + "}")
        calls.append((name, arguments, id))
    text = "[" + ", ".join(texts) + "]" if len(texts) > 1 or draw(st.booleans()) else texts[0]
    return text, calls


@given(legal_calls(), st.text(max_size=5), st.text(max_size=5), st.sampled_from([encode, byte_ids]))
def test_legal_calls_come_back_as_they_were_put_in(section, before, behind, to_ids):
    text, calls = section
    ids = [*to_ids(before), MARKER, *to_ids(text), *to_ids(behind), END]
    message, stream = check_law(ids)
    assert [(call.name, call.arguments) for call in message.tool_calls] == [call[:2] for call in calls]
    assert [(call.name, call.arguments) for call in stream.tool_calls] == [call[:2] for call in calls]
    assert message.content == (before + behind or None)
    taken = set()
    for call, (_, _, id) in zip(message.tool_calls, calls, strict=True):
        assert (call.id == id) == (id is not None and id not in taken)
        taken.add(id)


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


@given(
    st.lists(
        st.one_of(soup, broken_calls, broken_lists, legal_calls().map(lambda section: section[0])),
        min_size=1,
        max_size=4,
    ),
    st.data(),
)
@example(["", '[{"name": "f", "arguments": {}}'], None)
def test_any_text_is_read_as_the_slow_way_reads_it(texts, data):
    if data is not None:
        cut = data.draw(st.integers(0, len(texts[-1])))
        texts[-1] = texts[-1][: len(texts[-1]) - cut]
    ids = encode(texts[0])
    for text in texts[1:]:
        ids += [MARKER, *encode(text)]
    message, _ = check_law(ids)
    expected_calls, expected_content = slow(texts)
    assert [(call.name, call.arguments) for call in message.tool_calls] == expected_calls
    assert (message.content or "") == expected_content
    assert (message.content is None) == (bool(expected_calls) and not expected_content)
    assert all(isinstance(json.loads(call.arguments), object) for call in message.tool_calls)


def test_every_cut_of_a_list(tokenizer):
    text = '[{"name": "f", "arguments": {"é": "\\"}]"}}, {"arguments": [1], "name": "g", "id": "VvvODy9mT"}]'
    ids = [MARKER, *byte_ids(text)]
    first = text.index("}}") + 2
    for n in range(1, len(ids) + 1):
        message, _ = check_law(ids[:n])
        left = tokenizer.decode(ids[1:n])
        calls, content = slow(["", left])
        assert [(call.name, call.arguments) for call in message.tool_calls] == calls
        assert (message.content or "") == content
        assert len(calls) == (len(left) >= first) + (len(left) >= len(text) - 1)


@given(
    st.lists(
        st.one_of(
            st.integers(0, 131_071),
            st.sampled_from([MARKER, END, 3, *encode('[{"name": "f", "arguments": {}}]')]),
        )
    ),
    st.integers(),
)
def test_any_ids_are_a_message(ids, seed):
    check_law(ids, seed)


@given(st.lists(st.integers(0, 131_071).filter(lambda id: id not in (MARKER, END))))
def test_ids_without_a_marker_are_decoded(ids):
    message = TOKENIZER.parse_completion(ids)
    assert message == AssistantMessage(TOKENIZER.decode(ids))
    assert "".join(delta.content for delta in streamed(ids)) == message.content


def test_deltas_come_as_soon_as_they_are_certain():
    parser = TOKENIZER.completion_parser(seed=1)

    def push(text):
        return [delta.to_dict() for id in encode(text) for delta in parser.push(id)]

    def arguments(deltas):
        assert all(list(delta) == ["tool_calls"] for delta in deltas)
        return "".join(delta["tool_calls"][0]["function"]["arguments"] for delta in deltas)

    assert push("So:") == [{"content": "So"}, {"content": ":"}]
    assert parser.push(MARKER) == []
    assert push(' [{"name": "f", "id": "VvvODy9mT", "arguments":') == []
    start, *rest = push(' {"a": 1')
    function = {"name": "f", "arguments": ""}
    assert start == {
        "tool_calls": [{"index": 0, "id": "VvvODy9mT", "type": "function", "function": function}]
    }
    assert arguments(rest) == '{"a": 1'
    assert rest[0] == {"tool_calls": [{"index": 0, "function": {"arguments": '{"'}}]}
    assert arguments(push(', "b": "x')) == ', "b": "x'
    assert arguments(push('"}}')) == '"}'
    # Arguments before the name wait for it.
    assert push(', {"arguments": {"c": [2]}, "name": ') == []
    start, rest = push('"g"')[:2]
    assert start["tool_calls"][0]["index"] == 1
    assert rest == {"tool_calls": [{"index": 1, "function": {"arguments": '{"c": [2]}'}}]}
    assert push("}]") == []
    assert "".join(delta["content"] for delta in push(" done")) == " done"
    assert parser.push(END) == parser.push(MARKER) == push("behind the end") == parser.finish() == []
    # Another message.
    assert push("a") == [{"content": "a"}]


def test_half_a_character_is_held_back():
    parser = TOKENIZER.completion_parser()
    pushed = [[delta.content for delta in parser.push(id)] for id in byte_ids("é😀")]
    assert pushed == [[], ["é"], [], [], [], ["😀"]]
    parser.push(byte_ids("é")[0])
    assert [delta.content for delta in parser.finish()] == ["\ufffd"]
    # A marker cuts a character, as all special tokens do.
    assert whole(byte_ids("é")[:1], [MARKER], byte_ids("é")[1:]).content == "\ufffd[TOOL_CALLS]\ufffd"


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "[", "[]", "{}", "[{}]", "null", "f", "add({})", '"{}"', "[[]]", "[1]"),
        *(
            '{"name": "f"}',
            '{"arguments": {}}',
            '{"name": "", "arguments": {}}',
            '{"name": 1, "arguments": {}}',
        ),
        *(
            '{"name": "f", "arguments": {}',
            '{"name": "f", "arguments": {]}',
            '{"name": "f", "arguments": {"a" 1}}',
        ),
        *('{"name": "f", "name": "f", "arguments": {}}', '{"name": "f", "arguments": 1, "arguments": 2}'),
        *('{"name": "f", "arguments": }', '{"name": "f", "arguments": 01}', '{"name": "f" "arguments": {}}'),
        *(
            '{"name": "f", "arguments": {},}',
            "{'name': 'f', 'arguments': {}}",
            '{"name": "f", "arguments": "\n"}',
        ),
        *('[,{"name": "f", "arguments": {}}]', '{"name": "f", "id": "VvvODy9mT", "id": 1, "arguments": {}}'),
        pytest.param('{"name": "f", "arguments": ' + "[" * 100_000 + "]" * 100_000 + "}", id="deep"),
        pytest.param("[" * 100_000, id="open"),
    ],
)
def test_what_is_no_call_is_content(text):
    message, _ = check_law([MARKER, *encode(text), END])
    assert message == AssistantMessage("[TOOL_CALLS]" + text)


def test_calls_before_a_broken_one_are_calls():
    message = whole([MARKER], '[{"name": "f", "arguments": {}}, {"name": g}] end')
    assert message.to_dict()["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert len(message.tool_calls) == 1
    assert message.content == '[TOOL_CALLS], {"name": g}] end'


def test_a_call_that_breaks_stays_in_the_stream():
    ids = [
        MARKER,
        *encode('{"name": "f", "arguments": {"a": 1'),
        MARKER,
        *encode('{"name": "g", "arguments": {}}'),
    ]
    message, stream = check_law(ids)
    assert [(call.name, call.arguments) for call in message.tool_calls] == [("g", "{}")]
    assert [(call.name, call.arguments) for call in stream.tool_calls] == [("f", '{"a": 1'), ("g", "{}")]
    assert message.content == stream.content == '[TOOL_CALLS]{"name": "f", "arguments": {"a": 1'
    assert message.tool_calls[0].id == stream.tool_calls[1].id


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        *(('{"a":  1}', '{"a":  1}'), ("[1]", "[1]"), ("null", "null"), ("NaN", "NaN"), ("-0.50", "-0.50")),
        *((r'"{\"a\": 1}"', '{"a": 1}'), ('"5"', "5"), ('"five"', '"five"'), ('""', '""'), (r'"\"\""', '""')),
        (r'"{\"a\": \"\u00e9\"}"', '{"a": "é"}'),
    ],
)
def test_arguments_are_json_as_it_was_written(written, arguments):
    for text in (f'{{"name": "f", "arguments": {written}}}', f'{{"arguments": {written} , "name": "f"}}'):
        message, stream = check_law([MARKER, *encode(text)])
        assert [call.arguments for call in message.tool_calls] == [arguments]
        assert stream == message


def test_ids():
    call = '{{"name": "f", "arguments": {{}}, "id": {}}}'
    ids = ['"VvvODy9mT"', '"VvvODy9mT"', '"call_0001"', '"VvvODy9m"', "9", "null", '"VvvODy9m\\u0054"']
    message = whole([MARKER], f"[{', '.join(map(call.format, ids))}]")
    assert [call.id == "VvvODy9mT" for call in message.tool_calls] == [True, *[False] * 6]
    check_ids(message)
    assert message == whole([MARKER], f"[{', '.join(map(call.format, ids))}]", seed=0)
    assert message != whole([MARKER], f"[{', '.join(map(call.format, ids))}]", seed=1)
    early, late = '{"id": "VvvODy9mT", "name": "f", "arguments": {}}', call.format('"VvvODy9mT"')
    for text, id_of_the_stream in ((early, True), (late, False)):
        message, stream = check_law([MARKER, *encode(text)])
        assert message.tool_calls[0].id == "VvvODy9mT"
        assert (stream.tool_calls[0].id == "VvvODy9mT") == id_of_the_stream


def test_without_a_seed_every_message_has_other_ids():
    ids = [MARKER, *encode('{"name": "f", "arguments": {}}')]
    assert len({TOKENIZER.parse_completion(ids).tool_calls[0].id for _ in range(100)}) == 100


def test_a_text_that_spells_the_marker_is_text():
    text = '[TOOL_CALLS][{"name": "f", "arguments": {}}]'
    assert whole(text) == AssistantMessage(text)


def test_other_special_tokens_are_left_out():
    text = '[{"name": "f", "arguments": {"a": 1}}]'
    ids = [id for part in encode(text) for id in (3, part, 20)]
    assert whole([1, MARKER], ids).tool_calls == whole([MARKER], text).tool_calls


def test_a_vocabulary_without_the_marker_has_no_calls():
    names = [*(f"<{n}>" for n in range(20)), "<s>", "</s>", "<unk>"]
    tokenizer = Tokenizer._from_parts("v7", names, 100, [bytes([byte]) for byte in range(256)])
    assert tokenizer.parse_completion([9]) == AssistantMessage("")


def test_bad_arguments():
    parser = TOKENIZER.completion_parser()
    for parse in (parser.push, lambda id: TOKENIZER.parse_completion([END, id])):
        with pytest.raises(TokenizerError, match="131072"):
            parse(131_072)
        with pytest.raises(TypeError, match="a token id must be an integer, found str"):
            parse("a")
    with pytest.raises(TypeError, match="seed must be an integer, found str"):
        TOKENIZER.parse_completion([], seed="a")
    with pytest.raises(TypeError, match="seed must be an integer, found float"):
        TOKENIZER.completion_parser(seed=1.0)
    # Any integer is a seed: its lowest 64 bits count.
    ids = [MARKER, *encode('{"name": "f", "arguments": {}}')]
    assert TOKENIZER.parse_completion(ids, seed=-1) == TOKENIZER.parse_completion(ids, seed=2**64 - 1)


def test_an_unknown_id_changes_nothing():
    parser = TOKENIZER.completion_parser()
    parser.push(byte_ids("é")[0])
    with pytest.raises(TokenizerError):
        parser.push(131_072)
    assert [delta.content for delta in parser.push(byte_ids("é")[1])] == ["é"]


def test_the_values_are_values():
    message = whole("a", [MARKER], '{"name": "f\'", "arguments": {"é": "\\n"}}')
    assert eval(repr(message), vars(nemo_fast)) == message
    assert message != whole("b") and message != "a"
    assert pickle.loads(pickle.dumps(message)) == copy.deepcopy(message) == message
    assert {message, copy.copy(message)} == {message}
    assert json.loads(message.to_json()) == message.to_dict()
    assert message.to_json().startswith(
        b'{"content":"a","role":"assistant","refusal":null,"tool_calls":[{"id":"'
    )
    with pytest.raises(AttributeError):
        message.content = "b"
    delta = streamed(encode("a"))[0]
    assert repr(delta) == "MessageDelta(content='a', tool_calls=())"
    start, arguments, *_ = streamed([MARKER, *encode('{"name": "f", "arguments": {}}')], seed=0)
    id = start.tool_calls[0].id
    assert repr(start.tool_calls[0]) == f"ToolCallDelta(index=0, id='{id}', name='f', arguments='')"
    assert start != arguments and start == copy.copy(start)


def test_threads_share_a_parser():
    parser = TOKENIZER.completion_parser()
    with ThreadPoolExecutor(4) as threads:
        pushed = list(threads.map(parser.push, encode("a") * 2_000))
    assert "".join(delta.content for deltas in pushed for delta in deltas) == "a" * 2_000


def test_a_million_tokens():
    """Linear: one call of a million tokens, and a list of many calls."""
    long = [MARKER, *encode('{"name": "f", "arguments": ["'), *encode("a") * 1_000_000, *encode('"]}')]
    assert len(TOKENIZER.parse_completion(long).tool_calls[0].arguments) == 1_000_004
    call = encode('{"name": "f", "arguments": {"a": [{}]}}, ')
    many = TOKENIZER.parse_completion([MARKER, *encode("["), *call * 60_000])
    assert len(many.tool_calls) == 60_000
    assert many.content == "[TOOL_CALLS], "
