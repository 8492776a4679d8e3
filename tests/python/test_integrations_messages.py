"""Messages of LangChain and LlamaIndex: exact counts and budgets, with the real libraries (long profile)."""

import importlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from integration_messages import (
    ID,
    LONG_ID,
    call,
    conversations,
    langchain_message,
    llama_index_message,
    multiply,
    reference_count,
)

import nemo_fast
from nemo_fast import ContextLengthError, PromptError
from nemo_fast.integrations import langchain, llama_index

pytestmark = pytest.mark.long
PARAGRAPHS = "First words, and then more. A second sentence: is it one?\n\n" * 40
# Options of `trim_messages`; those of "last" alone are refused with "first".
trimming = st.one_of(
    st.fixed_dictionaries({"strategy": st.just("last")}),
    st.fixed_dictionaries({"strategy": st.just("first"), "allow_partial": st.booleans()}),
    st.fixed_dictionaries(
        {"strategy": st.just("last")},
        optional={
            "allow_partial": st.just(True),
            "include_system": st.just(True),
            "start_on": st.just("human"),
        },
    ),
)


@given(messages=conversations(), with_tools=st.booleans())
def test_counts_of_messages(reference_chat, messages, with_tools):
    tools = [multiply] if with_tools else None
    shapes = langchain._openai_tools(tools)
    own = [langchain_message(message) for message in messages]
    assert langchain.get_num_tokens_from_messages(own, tools) == reference_count(
        reference_chat, messages, shapes
    )
    tools = [importlib.import_module("llama_index.core.tools").FunctionTool.from_defaults(multiply)]
    shapes = llama_index._openai_tools(tools)
    own = [llama_index_message(message) for message in messages]
    assert llama_index.count_messages(own, tools) == reference_count(reference_chat, messages, shapes)


@given(conversations(), st.booleans(), st.integers(0, 200), trimming)
def test_trimmed_messages_fit(messages, ends_with_user, budget, options):
    own = [langchain_message(message) for message in messages[: None if ends_with_user else -1]]
    trim = importlib.import_module("langchain_core.messages").trim_messages
    kept = trim(own, max_tokens=budget, token_counter=langchain.token_counter, **options)
    types = [message.type for message in kept]
    # With `include_system` it stays, whatever it costs; and before a result without its call it is no prompt.
    if types not in ([], ["system"]) and types[:2] != ["system", "tool"]:
        assert langchain.token_counter(kept) <= budget
        if types[0] not in ("ai", "tool"):
            assert langchain.get_num_tokens_from_messages(kept) <= budget
    if options == {"strategy": "last"} and len(kept) < len(own):
        assert kept == own[len(own) - len(kept) :]
        assert langchain.token_counter(own[len(own) - len(kept) - 1 :]) > budget


def test_counts_of_parts():
    messages = [
        {"role": "user", "content": "3 x 4?"},
        {"role": "assistant", "tool_calls": [call()] * 2},
        {"role": "tool", "tool_call_id": ID, "content": "12"},
        {"role": "tool", "tool_call_id": ID, "content": "13"},
        {"role": "assistant", "content": "12."},
        {"role": "user", "content": "Thanks"},
    ]
    own = [langchain_message(message) for message in messages]
    whole = nemo_fast.count_chat(messages)
    assert langchain.token_counter(own) == langchain.token_counter(own[::-1]) == whole
    result = nemo_fast.count('{"content": 13, "call_id": "VvvODy9mT"}') + 2
    rest = nemo_fast.count_chat([{"role": "user", "content": ""}, *messages[4:]])
    assert langchain.token_counter(own[4:]) == langchain.token_counter(own[:3:-1]) == rest
    assert langchain.token_counter(own[3:]) == langchain.token_counter(own[:2:-1]) == rest + result
    assert langchain.token_counter([own[4]]) == 3 + nemo_fast.count("12.") + 1
    assert langchain.token_counter([langchain_message({"role": "assistant"})]) == 3 + 1
    assert langchain.token_counter([]) == 0


@given(messages=conversations(), budget=st.integers(0, 200), reserve=st.sampled_from([0, 7]))
def test_fitted_messages(messages, budget, reserve):
    tools = [multiply]
    for module, convert in ((langchain, langchain_message), (llama_index, llama_index_message)):
        own = [convert(message) for message in messages]
        if module is llama_index:
            tools = [importlib.import_module("llama_index.core.tools").FunctionTool.from_defaults(multiply)]
        options = {"tools": module._openai_tools(tools), "reserve": reserve}
        try:
            expected = nemo_fast.fit_chat(messages, budget, **options)
        except ContextLengthError as error:
            with pytest.raises(ContextLengthError, match=f"^{re.escape(str(error))}$"):
                module.fit_messages(own, budget, tools, reserve=reserve)
            continue
        kept = module.fit_messages(iter(own), budget, tools, reserve=reserve)
        left = [index for index in range(len(own)) if index not in expected.dropped]
        assert len(kept) == len(left)
        assert all(kept[place] is own[index] for place, index in enumerate(left))


def test_tools_of_langchain(reference_chat):
    shapes = langchain._openai_tools([multiply])
    question = [{"role": "user", "content": "3 x 4?"}]
    added = reference_count(reference_chat, question, shapes) - reference_count(reference_chat, question)
    assert langchain.count_tools([multiply]) == added


def test_calls_that_langchain_could_not_parse():
    core = importlib.import_module("langchain_core.messages")
    broken = {
        "name": "multiply",
        "args": '{"a": 3',
        "id": LONG_ID,
        "error": None,
        "type": "invalid_tool_call",
    }
    own = [
        core.HumanMessage("x"),
        core.AIMessage("", invalid_tool_calls=[broken]),
        core.ToolMessage("no", tool_call_id=LONG_ID),
    ]
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [call(arguments='{"a": 3')]},
        {"role": "tool", "tool_call_id": ID, "content": "no"},
    ]
    assert langchain.get_num_tokens_from_messages(own) == nemo_fast.count_chat(messages)


def test_langchain_refuses():
    core = importlib.import_module("langchain_core.messages")
    image = core.HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])
    for function in (langchain.get_num_tokens_from_messages, langchain.token_counter):
        with pytest.raises(PromptError, match=r"^images are not supported, only text$"):
            function([image])
    both = core.AIMessage("Text", tool_calls=[{"name": "multiply", "args": {}, "id": LONG_ID}])
    with pytest.raises(PromptError) as refused:
        langchain.token_counter([core.HumanMessage("x"), both])
    assert refused.value.error_type == "InvalidAssistantMessageException"
    blocks = [{"type": "tool_result", "tool_use_id": LONG_ID, "content": "12"}, {"type": "text", "text": "x"}]
    with pytest.raises(ValueError, match=r"^message 0 is 2 messages to the model, must be one$"):
        langchain.fit_messages([core.HumanMessage(blocks)], 100)


@given(text=st.text(max_size=200), size=st.integers(4, 20), overlap=st.integers(0, 3))
def test_the_splitter_of_langchain(text, size, overlap):
    splitter = langchain.text_splitter(size, overlap)
    assert splitter.split_text(text) == nemo_fast.split(text, size, overlap=overlap)
    assert [part.page_content for part in splitter.create_documents([text])] == splitter.split_text(text)


def test_langchain_takes_count_as_it_is():
    splitters = importlib.import_module("langchain_text_splitters")
    text = PARAGRAPHS
    splitter = splitters.RecursiveCharacterTextSplitter(
        chunk_size=50, chunk_overlap=0, length_function=nemo_fast.count
    )
    chunks = splitter.split_text(text)
    assert len(chunks) > 1
    assert max(map(nemo_fast.count, chunks)) <= 50


def test_llama_index_takes_encode_as_it_is():
    core = importlib.import_module("llama_index.core")
    callbacks = importlib.import_module("llama_index.core.callbacks")
    memory = importlib.import_module("llama_index.core.memory")
    parsers = importlib.import_module("llama_index.core.node_parser")
    handler = callbacks.TokenCountingHandler(tokenizer=nemo_fast.encode)
    assert handler._token_counter.get_string_tokens("Hello, how are you?") == 6
    core.Settings.tokenizer = nemo_fast.encode
    assert core.Settings.tokenizer is nemo_fast.encode
    buffer = memory.ChatMemoryBuffer.from_defaults(token_limit=3, tokenizer_fn=nemo_fast.encode)
    for role in ("user", "assistant", "user"):
        buffer.put(llama_index_message({"role": role, "content": "Hi"}))
    assert [message.role.value for message in buffer.get()] == ["user", "assistant", "user"]
    text = PARAGRAPHS
    chunks = parsers.TokenTextSplitter(chunk_size=50, chunk_overlap=0, tokenizer=nemo_fast.encode)
    assert max(map(nemo_fast.count, chunks.split_text(text))) <= 50


def test_llama_index_messages_of_older_clients():
    types = importlib.import_module("openai.types.chat")
    core = importlib.import_module("llama_index.core.base.llms.types")
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call()]}]
    messages.append({"role": "tool", "tool_call_id": ID, "content": "12"})
    older = types.ChatCompletionMessageFunctionToolCall.model_validate(call(id=LONG_ID))
    own = [llama_index_message(message) for message in messages]
    own[1] = core.ChatMessage(role="assistant", additional_kwargs={"tool_calls": [older]})
    own[0].blocks += [core.ThinkingBlock(content="hm"), core.CachePoint(cache_control={"type": "ephemeral"})]
    assert llama_index.count_messages(own) == nemo_fast.count_chat(messages)
    picture = core.ChatMessage(role="user", blocks=[core.ImageBlock(url="https://localhost/picture.png")])
    with pytest.raises(PromptError, match="parts of type 'image' are not supported"):
        llama_index.count_messages([picture])
