"""Values inside tool calls, results and schemas: what becomes JSON, what does not, what is large."""

import json
from enum import IntEnum

import pytest
from prompt_parts import USER, USER_IDS, conversation, error_type, tool

import nemo_fast


class Answer(IntEnum):
    """An `int` with a name."""

    YES = 10**30


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ({}, "{}"),
        (None, "{}"),
        ("", "{}"),
        ("[1 ,2]", "[1, 2]"),
        ("{x", '"{x"'),
        ({"n": 10**40}, f'{{"n": {10**40}}}'),
        ({"n": Answer.YES}, f'{{"n": {10**30}}}'),
        (
            {"n": [1.5, 1e16, float("nan"), -float("inf"), True, None, (1,)]},
            '{"n": [1.5, 1e+16, NaN, -Infinity, true, null, [1]]}',
        ),
        ({None: 1, True: 2, 3: 4, 1.5: 6}, '{"null": 1, "true": 2, "3": 4, "1.5": 6}'),
        ({1: "a", "2": "b", "1": "c"}, '{"1": "c", "2": "b"}'),
        ({"a": {1: [], "1": {}}}, '{"a": {"1": {}}}'),
        ({"é": "\ud800"}, '{"é": "\ufffd"}'),
    ],
)
def test_arguments(reference_chat, arguments, written):
    from mistral_common.protocol.instruct.request import ChatCompletionRequest

    messages = conversation(arguments)
    ids = reference_chat.encode_chat_completion(ChatCompletionRequest.from_openai(messages)).tokens
    assert nemo_fast.encode_chat(messages) == ids
    assert f'"arguments": {written}, "id"' in nemo_fast.render_chat(messages)


def cyclic():
    value = {}
    value["a"] = [value]
    return value


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def nested_lists(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"a": object()}, "TypeError"),
        ({"a": {1, 2}}, "TypeError"),
        ({"a": b"x"}, "TypeError"),
        ({(1, 2): 3}, "TypeError"),
        ({b"a": 3}, "TypeError"),
        (cyclic(), "ValidationError"),
        ({"a": 10**5_000}, "ValidationError"),
        (nested(100_000), "RecursionError"),
        ({"a": nested_lists(100_000)}, "RecursionError"),
        ("[" * 100_000, "RecursionError"),
        ("[" + "1" * 4_301 + "]", "ValueError"),
        ([1], "ValidationError"),
        (3, "ValidationError"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else type(value).__name__,
)
def test_arguments_that_are_no_json(reference_chat, arguments, expected):
    from mistral_common.protocol.instruct.request import ChatCompletionRequest

    messages = conversation(arguments)
    with pytest.raises(Exception) as refused:  # noqa: PT011
        reference_chat.encode_chat_completion(ChatCompletionRequest.from_openai(messages))
    assert type(refused.value).__name__ == expected
    for function in (nemo_fast.encode_chat, nemo_fast.count_chat, nemo_fast.render_chat):
        assert error_type(function, messages) == expected


@pytest.mark.parametrize("result", ["[" * 100_000 + "]" * 100_000, "[" * 100_000])
def test_results_that_are_nested_too_deep(result):
    assert error_type(nemo_fast.encode_chat, conversation(result=result)) == "RecursionError"
    assert (
        error_type(nemo_fast.count_request, json.dumps({"messages": conversation(result=result)}))
        == "RecursionError"
    )


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ([], "ValidationError"),
        ({1: 2}, "ValidationError"),
        ({"type": "objekt"}, "InvalidToolSchemaException"),
        ({"pattern": "("}, "InvalidToolSchemaException"),
        ({"x": object()}, "TypeError"),
        ({"x": cyclic()}, "ValueError"),
        (nested(100_000), "RecursionError"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_schemas_that_are_none(parameters, expected):
    assert error_type(nemo_fast.encode_chat, [USER], [tool(parameters)]) == expected
    assert error_type(nemo_fast.count_request, {"messages": [USER], "tools": [tool(parameters)]}) == expected


def test_a_large_schema():
    properties = {f"field_{i}": {"type": "string", "description": "d" * 90} for i in range(80_000)}
    tools = [tool({"type": "object", "properties": properties})]
    text = nemo_fast.render_chat([USER], tools)
    assert len(text) > 10_000_000
    written = text.removeprefix("<s>[AVAILABLE_TOOLS]").partition("[/AVAILABLE_TOOLS]")[0]
    assert json.loads(written)[0]["function"]["parameters"] == tools[0]["function"]["parameters"]
    assert nemo_fast.count_chat([USER], tools) == nemo_fast.count(written) + 2 + len(USER_IDS)


def test_deep_values_on_a_small_stack():
    """Nothing recurses over what a caller gives: half a megabyte is enough for the deepest values."""
    import threading

    counts = []

    def work():
        counts.append(nemo_fast.count_chat([USER], [tool({"not": nested(985)})]))
        schema = {}
        for _ in range(985):
            schema = {"not": schema}
        counts.append(nemo_fast.count_chat([USER], [tool(schema)]))
        counts.append(nemo_fast.count_chat(conversation({"a": nested_lists(980)})))
        counts.append(error_type(nemo_fast.count_chat, conversation(nested(100_000))))

    size = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
    assert len(counts) == 4
    assert counts[-1] == "RecursionError"
