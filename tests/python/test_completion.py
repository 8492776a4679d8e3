"""`parse_completion` and `completion_parser` against a slow reading of the same text with Python's `json`."""

import copy
import json
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from completion_texts import broken_calls, broken_lists, joined, legal_calls, slow, soup
from hypothesis import example, given
from hypothesis import strategies as st

import nemo_fast
from nemo_fast import AssistantMessage, Tokenizer, TokenizerError

MARKER, END = 9, 2
TOKENIZER = Tokenizer()
encode = TOKENIZER.encode


def byte_ids(text):
    """Return a token for each byte: the worst cut of a text."""
    return [TOKENIZER.token_id(bytes([byte])) for byte in text.encode()]


def whole(*parts, seed=0):
    """Parse ids and texts, joined."""
    ids = [token for part in parts for token in (encode(part) if isinstance(part, str) else part)]
    return TOKENIZER.parse_completion(ids, seed=seed)


def streamed(ids, seed=0):
    parser = TOKENIZER.completion_parser(seed=seed)
    return [delta for token in ids for delta in parser.push(token)] + parser.finish()


def check_ids(message):
    ids = [call.id for call in message.tool_calls]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[0-9A-Za-z]{9}", call_id) for call_id in ids)


def check_law(ids, seed=0):
    """The message and the joined deltas: equal but for calls that broke, and ids that came late."""
    message, stream = TOKENIZER.parse_completion(ids, seed=seed), joined(streamed(ids, seed))
    check_ids(message)
    check_ids(stream)
    assert (message.content or "") == (stream.content or "")
    rest = iter([(call.name, call.arguments) for call in stream.tool_calls])
    assert all((call.name, call.arguments) in rest for call in message.tool_calls)
    return message, stream


@given(legal_calls(), st.text(max_size=5), st.text(max_size=5), st.sampled_from([encode, byte_ids]))
def test_legal_calls_come_back_as_they_were_put_in(section, before, behind, to_ids):
    text, calls = section
    ids = [*to_ids(before), MARKER, *to_ids(text), *to_ids(behind), END]
    message, stream = check_law(ids)
    assert [(call.name, call.arguments) for call in message.tool_calls] == [call[:2] for call in calls]
    assert [(call.name, call.arguments) for call in stream.tool_calls] == [call[:2] for call in calls]
    assert message.content == (before + behind or None)
    taken = set()
    for call, (_, _, own_id) in zip(message.tool_calls, calls, strict=True):
        assert (call.id == own_id) == (own_id is not None and own_id not in taken)
        taken.add(own_id)


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


@given(st.lists(st.integers(0, 131_071).filter(lambda token: token not in (MARKER, END))))
def test_ids_without_a_marker_are_decoded(ids):
    message = TOKENIZER.parse_completion(ids)
    assert message == AssistantMessage(TOKENIZER.decode(ids))
    assert "".join(delta.content for delta in streamed(ids)) == message.content


def test_deltas_come_as_soon_as_they_are_certain():
    parser = TOKENIZER.completion_parser(seed=1)

    def push(text):
        return [delta.to_dict() for token in encode(text) for delta in parser.push(token)]

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
    pushed = [[delta.content for delta in parser.push(token)] for token in byte_ids("é😀")]
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
    ids = [token for part in encode(text) for token in (3, part, 20)]
    assert whole([1, MARKER], ids).tool_calls == whole([MARKER], text).tool_calls


def test_a_vocabulary_without_the_marker_has_no_calls():
    names = [*(f"<{n}>" for n in range(20)), "<s>", "</s>", "<unk>"]
    tokenizer = Tokenizer._from_parts("v7", names, 100, [bytes([byte]) for byte in range(256)])
    assert tokenizer.parse_completion([9]) == AssistantMessage("")


def test_bad_arguments():
    parser = TOKENIZER.completion_parser()
    for parse in (parser.push, lambda token: TOKENIZER.parse_completion([END, token])):
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
    assert eval(repr(message), vars(nemo_fast)) == message  # noqa: S307
    assert message != whole("b")
    assert message != "a"
    assert pickle.loads(pickle.dumps(message)) == copy.deepcopy(message) == message  # noqa: S301
    assert {message, copy.copy(message)} == {message}
    assert json.loads(message.to_json()) == message.to_dict()
    assert message.to_json().startswith(
        b'{"content":"a","role":"assistant","refusal":null,"tool_calls":[{"id":"'
    )
    with pytest.raises(AttributeError):
        message.content = "b"
    assert message.model_dump() == message.to_dict()
    delta = streamed(encode("a"))[0]
    assert repr(delta) == "MessageDelta(content='a', tool_calls=())"
    ids = [MARKER, *encode('{"name": "f", "arguments": {}}')]
    start, arguments, *_ = streamed(ids, seed=0)
    assert repr(start.tool_calls[0]).startswith("ToolCallDelta(index=0, id='")
    assert repr(start.tool_calls[0]).endswith("', name='f', arguments='')")
    assert start != arguments
    assert {start, *streamed(ids, seed=0)} == set(streamed(ids, seed=0))


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
