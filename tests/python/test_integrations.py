"""The integrations without the libraries, and litellm and semchunk with them.

What is marked `long` needs the packages of `requirements/integrations.txt`.
"""

import importlib
import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from integration_messages import ID, LONG_ID, call, multiply, reference_count

import nemo_fast
from nemo_fast.integrations import langchain, litellm, llama_index, semchunk

LIBRARIES = ["langchain_core", "langchain_text_splitters", "litellm", "llama_index", "semchunk"]
LOCKED = Path(__file__).parents[2] / "requirements" / "integrations.txt"
PIECES = ["\n\n", "\n", ". ", " ", "word", "→", "😀"]


# Without the libraries


def test_importing_imports_no_library():
    script = (
        "import sys; from nemo_fast.integrations import langchain, litellm, llama_index, semchunk;"
        f"print([name for name in {LIBRARIES} if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"


@pytest.mark.parametrize(
    ("package", "function"),
    [
        ("langchain-core", lambda: langchain.get_num_tokens_from_messages([])),
        ("langchain-core", lambda: langchain.token_counter([])),
        ("langchain-core", lambda: langchain.count_tools([multiply])),
        ("langchain-core", lambda: langchain.fit_messages([], 10)),
        ("langchain-text-splitters", lambda: langchain.text_splitter(10)),
        ("llama-index-core", lambda: llama_index.count_messages([None])),
        ("llama-index-core", lambda: llama_index.fit_messages([None], 10)),
        ("semchunk", lambda: semchunk.chunkerify(10)),
    ],
)
def test_a_missing_library(monkeypatch, package, function):
    for name in [*LIBRARIES, *sys.modules]:
        if name.partition(".")[0] in LIBRARIES:
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as missing:
        function()
    assert str(missing.value) == f"the package `{package}` is not installed: pip install {package}"


def test_litellm_counts_requests_and_texts(reference_chat):
    messages = [
        {"role": "user", "content": "3 x 4?"},
        {"role": "assistant", "content": None, "tool_calls": [call()]},
        {"role": "tool", "tool_call_id": ID, "content": "12"},
    ]
    tools = [{"type": "function", "function": {"name": "multiply", "parameters": {"type": "object"}}}]
    expected = reference_count(reference_chat, messages, tools)
    assert litellm.token_counter("mistral/open-mistral-nemo", messages=messages, tools=tools) == expected
    long = json.loads(json.dumps(messages).replace(ID, LONG_ID))
    assert litellm.token_counter(messages=long, tools=tools) == expected
    assert litellm.token_counter(text="Hello, how are you?") == 6
    assert litellm.token_counter(text=["Premi", "ère"]) == nemo_fast.count("Première")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give a text or messages"),
        ({"text": "a", "messages": []}, "give a text or messages, not both"),
        ({"text": "a", "tools": [{}]}, "tools belong to messages, not to a text"),
    ],
)
def test_litellm_refuses(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        litellm.token_counter(**arguments)


def test_the_tokenizer_for_litellm():
    shape = litellm.custom_tokenizer()["tokenizer"]
    (encoded,) = shape.encode_batch_fast(["Hi <s>"])
    assert encoded == encoded.ids == nemo_fast.encode("Hi <s>")
    assert (shape.decode([1, 37133]), shape.decode([1, 37133], skip_special_tokens=False)) == ("Hi", "<s>Hi")


@pytest.mark.parametrize("size", [-1, 0, 3])
def test_chunks_that_some_character_does_not_fit(size):
    message = f"^chunk_size must be at least 4, which a character can cost, found {size}$"
    with pytest.raises(ValueError, match=message):
        semchunk.chunkerify(size)


# With the libraries


@pytest.fixture(autouse=True)
def offline_litellm(monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")


@pytest.mark.long
def test_the_installed_versions_are_the_locked_ones():
    locked = dict(re.findall(r"^([\w-]+)==([\w.]+)", LOCKED.read_text(encoding="utf-8"), re.MULTILINE))
    packages = [name.replace("_", "-") for name in LIBRARIES if name != "llama_index"]
    for package in [*packages, "llama-index-core"]:
        print(package, version(package))
        assert version(package) == locked[package]


@pytest.mark.long
@given(text=st.text(max_size=50))
def test_litellm_takes_the_tokenizer(text):
    library = importlib.import_module("litellm")
    tokenizer = litellm.custom_tokenizer()
    assert library.token_counter("x", custom_tokenizer=tokenizer, text=text) == nemo_fast.count(text)
    ids = library.encode("x", text, custom_tokenizer=tokenizer)
    assert ids == nemo_fast.encode(text)
    assert library.decode("x", [1, *ids], custom_tokenizer=tokenizer) == nemo_fast.decode(ids)


@pytest.mark.long
def test_messages_of_litellm(reference_chat):
    library = importlib.import_module("litellm")
    tools = [{"type": "function", "function": {"name": "multiply", "parameters": {"type": "object"}}}]
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [call()]},
        {"role": "tool", "tool_call_id": ID, "content": "12"},
    ]
    own = [messages[0], library.Message(content=None, tool_calls=[call(id=LONG_ID)]), messages[2]]
    assert litellm.token_counter("any", messages=own, tools=tools) == reference_count(
        reference_chat, messages, tools
    )


@pytest.mark.long
@given(
    text=st.lists(st.one_of(st.sampled_from(["\n\n", "\n", ". ", " ", "word", "→", "😀"]), st.text())).map(
        "".join
    ),
    size_and_overlap=st.tuples(st.integers(4, 30), st.none()) | st.tuples(st.integers(8, 30), st.just(4)),
)
def test_chunks_of_semchunk(text, size_and_overlap):
    size, overlap = size_and_overlap
    chunks, offsets = semchunk.chunkerify(size)(text, offsets=True, overlap=overlap)
    assert [text[start:stop] for start, stop in offsets] == chunks
    if overlap is None:
        assert all(nemo_fast.count(chunk) <= size for chunk in chunks)
        assert "".join("".join(chunks).split()) == "".join(text.split())
    original = importlib.import_module("semchunk").chunkerify(nemo_fast.count, size)
    assert chunks == original(text, overlap=overlap)
