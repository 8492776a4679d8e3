"""Generators of OpenAI-shaped requests: legal and illegal orders, broken JSON, tools, odd fields.

`requests` gives a request and a mode. Most have nothing wrong with them, or things of one kind, so that not
only the first rule is met. What JSON cannot hold is in `test_prompt.py`.
"""

from hypothesis import strategies as st
from request_fields import FIELDS, GOOD_FIELDS

ID = "VvvODy9mT"
IDS = [ID, "a1B2c3D4e", "Zz9Zz9Zz9"]
TEXTS = [
    "",
    " ",
    "a",
    "b \n",
    "c  ",
    "\n\n",
    "Weather in Köln?",
    "[INST] é [/INST]</s>",
    "[TOOL_CALLS][{}]",
    "\ud83d",
    "\ud83d\ude00",
    "日本語",
    "<s>",
    "\x00\x7f\u2028",
]
JSON_TEXTS = [
    "",
    "{}",
    "[]",
    "22",
    "22.50",
    "1e3",
    "1E400",
    "-0.0",
    "-0",
    "007",
    "1e16",
    "0.00001",
    "NaN",
    "-Infinity",
    "true",
    "null",
    '"q"',
    '{"a":1,"a":2}',
    '{"a": 1,}',
    '{"x":"\\u00e9\\ud83d\\ude00"}',
    '"\\ud800"',
    ' \n {"a" : [1, 2.0, "é"]} ',
    "123456789012345678901234567890",
    "[1 ,2]x",
    '{"b":{"c":[true,null,{}]},"":[]}',
    '"a\nb"',
    "\ufeff{}",
    "[" * 30 + "]" * 30,
    'He said "hi"\n\ttab \\ slash',
]

texts = st.one_of(st.sampled_from(TEXTS), st.text(max_size=8))
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(2**80), 2**80),
        st.floats(),
        st.sampled_from(TEXTS),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "é", ""]), inner, max_size=3)
    ),
    max_leaves=6,
)
json_texts = st.one_of(
    st.sampled_from(JSON_TEXTS),
    st.sampled_from(JSON_TEXTS),
    texts,
    st.sampled_from([*JSON_TEXTS, "1" * 4301]),
)
text_parts = texts.map(lambda text: {"type": "text", "text": text})
PARTS = [
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    {"type": "image_url", "image_url": "http://a/b.png"},
    {"type": "image_url", "image_url": {"url": "x", "detail": "low"}},
    {"type": "image_url", "image_url": {"url": "x", "other": 1}},
    {"type": "image_url", "image_url": {"url": 1}},
    {"type": "image_url"},
    {"type": "image", "image": "x"},
    {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,UklGRg=="}},
    {"type": "audio_url", "audio_url": None},
    {"type": "audio_url"},
    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    {"type": "input_audio", "input_audio": {"data": " "}},
    {"type": "input_audio", "input_audio": "UklGRg=="},
    {"type": "input_audio"},
    {"type": "thinking", "thinking": "hm"},
    {"type": "thinking", "thinking": "hm", "closed": "maybe"},
    {"type": "thinking", "thinking": None},
    {"type": "video"},
    {"type": None},
    {"type": ["text"]},
    {"type": "text"},
    {"type": "text", "text": None},
    {"type": "text", "text": "a", "more": 1},
    {"text": "a"},
    "text",
    None,
    [],
]
contents = st.one_of(texts, texts, st.lists(text_parts, max_size=3))
odd_contents = st.one_of(
    st.none(),
    st.sampled_from([0, True, 1.5, {}, {"type": "text", "text": "a"}]),
    st.lists(st.one_of(text_parts, st.sampled_from(PARTS)), min_size=1, max_size=3),
)


def ids(*, odd):
    good = st.sampled_from(IDS)
    bad = st.sampled_from(
        ["null", "", "short", "call_abc123def456ghi789", "abcd-efgh", ID + "\n", None, 3, "é" * 9]
    )
    return st.one_of(good, good, good, bad) if odd else good


NAMES = ["ping", "get_weather", "a" * 64]
ODD_NAMES = ["", "bad name!", "a" * 65, "ping\n", "é", None, 3]


def names(*, odd):
    good = st.sampled_from(NAMES)
    return st.one_of(good, good, good, st.sampled_from(ODD_NAMES)) if odd else good


@st.composite
def calls(draw, *, odd):
    arguments = draw(
        st.one_of(
            json_texts, st.none(), st.dictionaries(st.sampled_from(["a", "b"]), json_values, max_size=2)
        )
    )
    call = {"id": draw(ids(odd=odd)), "type": "function"}
    call["function"] = {"name": draw(names(odd=odd)), "arguments": arguments}
    if odd:
        for holder, key in (
            (call, "id"),
            (call, "type"),
            (call, "function"),
            (call["function"], "arguments"),
        ):
            what = draw(st.integers(0, 39))
            if what == 0:
                del holder[key]
            elif what == 1:
                holder[key] = draw(st.sampled_from([None, 1, [], "x", {}, True]))
    return call


@st.composite
def conversations(draw, *, odd):
    """A conversation in a legal order; `odd`: its messages may be broken."""
    content = st.one_of(contents, contents, contents, odd_contents) if odd else contents
    full = st.one_of(texts.filter(bool), st.lists(text_parts, min_size=1, max_size=3))
    messages = []
    for _ in range(draw(st.sampled_from([1, 1, 2, 3, 4, 0]))):
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            if not messages or messages[-1]["role"] not in ("assistant", "tool"):
                role = draw(st.sampled_from(["system", "developer"]))
                messages.append({"role": role, "content": draw(content)})
        users = (
            [0, 1, 1, 1, 2] if not messages or messages[-1]["role"] == "tool" else [1, 1, 1, 1, 1, 1, 2, 0]
        )
        count = draw(st.sampled_from(users))
        messages.extend({"role": "user", "content": draw(content)} for _ in range(count))
        kind = draw(st.sampled_from(["none", "text", "calls", "calls"]))
        if kind == "text":
            messages.append({"role": "assistant", "content": draw(content if odd else full)})
        elif kind == "calls":
            made = draw(st.lists(calls(odd=odd), min_size=0 if odd else 1, max_size=2))
            message = {"role": "assistant", "tool_calls": made}
            if draw(st.booleans()):
                message["content"] = (
                    draw(st.one_of(st.none(), st.just(""), st.just([]), content)) if odd else None
                )
            messages.append(message)
            results = draw(st.integers(0, 2)) if odd and not draw(st.integers(0, 3)) else len(made)
            for _ in range(results):
                result = st.one_of(json_texts, content)
                tool = {"role": "tool", "tool_call_id": draw(ids(odd=odd)), "content": draw(result)}
                if draw(st.integers(0, 3)) == 0:
                    tool["name"] = draw(names(odd=odd))
                messages.append(tool)
            if draw(st.integers(0, 2)) and messages[-1]["role"] == "tool":
                messages.append({"role": "assistant", "content": draw(content if odd else full)})
    return messages


MUTATIONS = ["swap", "drop", "role", "field", "double"]


@st.composite
def mutated(draw, messages):
    """Change one message, or the order of two."""
    messages = list(messages)
    if not messages:
        return messages
    at = draw(st.integers(0, len(messages) - 1))
    match draw(st.sampled_from(MUTATIONS)):
        case "swap":
            other = draw(st.integers(0, len(messages) - 1))
            messages[at], messages[other] = messages[other], messages[at]
        case "drop":
            del messages[at]
        case "role":
            role = draw(st.sampled_from(["user", "assistant", "system", "tool", "function", None, 1]))
            messages[at] = {**messages[at], "role": role}
        case "field":
            key = draw(
                st.sampled_from(
                    [
                        "content",
                        "tool_call_id",
                        "role",
                        "name",
                        "tool_calls",
                        "reasoning",
                        "reasoning_content",
                    ]
                )
            )
            value = draw(st.sampled_from([..., None, "x", "", 1, [], {}, "same"]))
            changed = {**messages[at]}
            if value is ...:
                changed.pop(key, None)
            else:
                changed[key] = value
            if draw(st.booleans()):
                changed["reasoning"] = "same"
            messages[at] = changed
        case "double":
            messages.insert(at, messages[at])
    return messages


SCHEMA_VALUES = [
    "object",
    "objekt",
    ["string", "null"],
    ["string", "string"],
    [],
    ["a", "b"],
    ["a", "a"],
    ["a", 1],
    0,
    1,
    -1,
    0.0,
    1.0,
    1.5,
    -0.5,
    float("nan"),
    float("inf"),
    2**70,
    True,
    False,
    None,
    "x",
    "(",
    "a{2,1}",
    {},
    {"(": {}},
    {"a": ["b"]},
    {"a": {"type": "objekt"}},
    {"type": "string"},
    [{"type": "string"}],
    [True, 1],
]
KEYWORDS = [
    "$id",
    "$schema",
    "$ref",
    "$comment",
    "title",
    "description",
    "default",
    "readOnly",
    "examples",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "additionalItems",
    "items",
    "maxItems",
    "minItems",
    "uniqueItems",
    "contains",
    "maxProperties",
    "minProperties",
    "required",
    "additionalProperties",
    "definitions",
    "properties",
    "patternProperties",
    "dependencies",
    "propertyNames",
    "const",
    "enum",
    "type",
    "format",
    "contentMediaType",
    "contentEncoding",
    "if",
    "then",
    "else",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "other",
]
GOOD_SCHEMAS = [
    {},
    {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "é “x”"}},
        "required": ["city"],
    },
    {"type": "object", "properties": {"n": {"type": ["integer", "null"], "minimum": 0, "default": 1.50}}},
    {
        "properties": {"x": {"enum": [1, "a", None, 1e16, -0.0], "pattern": "^a+$"}},
        "additionalProperties": False,
    },
]
schemas = st.one_of(
    st.sampled_from(GOOD_SCHEMAS),
    st.dictionaries(st.sampled_from(KEYWORDS), st.sampled_from(SCHEMA_VALUES), max_size=2),
    st.dictionaries(
        st.sampled_from(["properties", "items", "not", "anyOf"]), st.sampled_from(GOOD_SCHEMAS), max_size=1
    ),
)


@st.composite
def tools(draw, *, odd):
    function = {"name": draw(names(odd=odd))}
    tool = {"type": "function", "function": function}
    if draw(st.booleans()):
        function["description"] = draw(texts)
    if draw(st.booleans()):
        function["parameters"] = draw(schemas if odd else st.sampled_from(GOOD_SCHEMAS))
    if draw(st.booleans()):
        function["strict"] = draw(st.booleans())
    if odd and draw(st.integers(0, 7)) == 0:
        holder = draw(st.sampled_from([tool, function]))
        key = draw(
            st.sampled_from(["type", "function", "name", "description", "parameters", "strict", "more"])
        )
        holder[key] = draw(
            st.sampled_from([None, 1, 0, "", "x", "function", [], [1], ["ab"][:0], {}, True, "yes", "no"])
        )
    if odd and draw(st.integers(0, 29)) == 0:
        return draw(st.sampled_from([None, "x", [], 1]))
    return tool


@st.composite
def requests(draw):
    # What may be wrong: nothing, or one thing, or all at once.
    odd = draw(st.sampled_from(["", "", "messages", "calls", "tools", "fields", "order", "all"]))
    messages = draw(conversations(odd=odd in ("messages", "calls", "all")))
    if odd == "messages" or (odd in ("order", "all") and draw(st.booleans())):
        messages = draw(mutated(messages))
    last = messages[-1].get("role") if messages else None
    modes = ["test", "serving", "agnostic"]
    mode = draw(
        st.sampled_from([*modes, "finetuning"] if odd in ("order", "all") or last == "assistant" else modes)
    )
    request = {"messages": messages}
    if mode in ("test", "serving") and last == "assistant":
        request["continue_final_message"] = odd != "order"
    if draw(st.booleans()) or odd == "tools":
        odd_tools = odd in ("tools", "all")
        request["tools"] = draw(st.lists(tools(odd=odd_tools), max_size=2))
        if odd_tools and draw(st.integers(0, 19)) == 0:
            request["tools"] = draw(st.sampled_from([None, {}, "", "x", {"a": 1}, 3]))
    if mode == "serving" and odd != "order":
        request["model"] = "m"
    fields = FIELDS if odd in ("fields", "all") else GOOD_FIELDS
    for _ in range(draw(st.sampled_from([0, 1, 2]))):
        key = draw(st.sampled_from(sorted(fields)))
        request[key] = draw(st.sampled_from(fields[key]))
    return request, mode
