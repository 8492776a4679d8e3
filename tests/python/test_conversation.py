"""`Conversation` against `count_chat` of the messages that it holds at each moment."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_parts import ID, conversation, error_type, tool
from request_strategies import contents, requests, texts
from test_fit import backwards, budgets, long_conversations, policies, refusal_of

import nemo_fast
from nemo_fast import ContextLengthError, Conversation, PromptError

ALONE = "Conversation must start with a user message or system message"


def counted(messages, tools, tool_call_ids="strict"):
    """Return the count and the refusal of the messages, one of them None."""
    try:
        return nemo_fast.count_chat(messages, tools, mode="agnostic", tool_call_ids=tool_call_ids), None
    except PromptError as error:
        return None, (error.error_type, str(error))


def counted_alone(message, tools, tool_call_ids):
    """Do the same for a message of the model or of a tool, with which others may begin."""
    user = {"role": "user", "content": ""}
    if message["role"] == "assistant":  # the template puts an empty one of the user in front
        return counted([user, message], tools, tool_call_ids)
    count, refusal = counted([message, user], tools, tool_call_ids)
    return None if count is None else count - 2, refusal


def assert_grows_as_counted(messages, tools=None, tool_call_ids="strict"):
    """Append the messages that are allowed, one after the other, and take them back again."""
    try:
        grown = Conversation(tools=tools, tool_call_ids=tool_call_ids)
    except PromptError:
        assert counted([{"role": "user", "content": ""}], tools)[1] is not None
        return
    kept, counts = [], [grown.token_count]
    for message in messages:
        count, refusal = counted([*kept, message], tools, tool_call_ids)
        if refusal is not None and refusal[1] == ALONE and not kept:
            count, refusal = counted_alone(message, tools, tool_call_ids)
        assert refusal_of(grown.append, message) == refusal
        if refusal is None:
            kept.append(message)
            counts.append(count)
        assert (grown.token_count, len(grown)) == (counts[-1], len(kept))
    assert all(one is other for one, other in zip(grown.messages, kept, strict=True))
    while kept:
        assert grown.pop() is kept.pop()
        counts.pop()
        assert grown.token_count == counts[-1]


@given(requests(), st.sampled_from(["strict", "last9"]))
def test_random_messages(drawn, tool_call_ids):
    request, _mode = drawn
    tools = request.get("tools")
    assert_grows_as_counted(request["messages"], tools if isinstance(tools, list) else None, tool_call_ids)


@given(long_conversations())
def test_long_conversations(messages):
    assert_grows_as_counted(messages, [tool({})])


runs = st.lists(
    st.one_of(contents, texts, st.sampled_from(["  ", "Premi", "ère", "1", " a", "!!", "\n"])), max_size=6
)


@given(runs, runs, runs)
def test_runs_of_one_role(systems, users, answers):
    """The system's text meets the user's at any place, and texts of one role are joined."""
    assert_grows_as_counted(
        [
            *({"role": "system", "content": content} for content in systems),
            *({"role": "user", "content": content} for content in users),
            *({"role": "system", "content": content} for content in systems),
            {"role": "user", "content": "Hi"},
            *({"role": "assistant", "content": content} for content in answers),
            *({"role": "user", "content": content} for content in users),
        ]
    )


@given(st.lists(st.one_of(st.none(), long_conversations().map(lambda messages: messages[:3])), max_size=12))
def test_appends_and_pops_in_any_order(changes):
    grown, kept = Conversation(), []
    for messages in changes:
        if messages is None:
            if kept:
                assert grown.pop() is kept.pop()
        else:
            kept += [message for message in messages if refusal_of(grown.append, message) is None]
        assert grown.token_count == Conversation(kept).token_count
        assert grown.messages == kept


def test_without_messages():
    assert Conversation().token_count == nemo_fast.count_chat([{"role": "user", "content": ""}])
    with pytest.raises(IndexError, match="without messages"):
        Conversation().pop()
    assert error_type(Conversation().fit, 10) == "InvalidMessageStructureException"


def test_a_refused_message_changes_nothing():
    grown = Conversation(conversation()[:2])
    count = grown.token_count
    assert error_type(grown.append, {"role": "system", "content": "x"}) == "InvalidMessageStructureException"
    assert (
        error_type(grown.append, {"role": "assistant", "content": "x"}) == "InvalidMessageStructureException"
    )
    assert error_type(grown.append, {"role": "tool", "content": "x"}) == "KeyError"
    assert error_type(grown.append, "x") == "AttributeError"
    assert (len(grown), grown.token_count) == (2, count)
    grown.append(conversation()[2])
    assert grown.token_count == nemo_fast.count_chat(conversation())


def test_what_must_be_last():
    call = {"type": "function", "function": {"name": "ping", "arguments": "{}"}}
    grown = Conversation([{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]}])
    assert grown.token_count == nemo_fast.count_chat(grown.messages, mode="agnostic")
    result = {"role": "tool", "tool_call_id": ID, "content": "ok"}
    assert error_type(grown.append, result) == "InvalidFunctionCallException"


def test_bad_arguments():
    assert error_type(Conversation, tools=[tool({"type": "objekt"})]) == "InvalidToolSchemaException"
    assert error_type(Conversation, [{"role": "bot", "content": ""}]) == "ValueError"
    with pytest.raises(TypeError, match="messages must be a list of mappings, found str"):
        Conversation("Hi")
    with pytest.raises(TypeError, match="tools must be a list of mappings, found int"):
        Conversation(tools=3)
    with pytest.raises(ValueError, match="tool_call_ids must be strict or last9"):
        Conversation(tool_call_ids="any")


@given(long_conversations(), budgets, st.sampled_from([0, 7]), policies)
def test_fit_is_that_of_fit_chat(messages, max_tokens, reserve, policy):
    tools = [tool({})]
    grown = Conversation(messages, iter(tools))
    options = {"reserve": reserve, "policy": policy}
    try:
        expected = nemo_fast.fit_chat(messages, max_tokens, tools, **options)
    except ContextLengthError as error:
        with pytest.raises(ContextLengthError, match=str(error)):
            grown.fit(max_tokens, **options)
    else:
        fitted = grown.fit(max_tokens, **options)
        assert (fitted.messages, fitted.token_count, fitted.dropped) == (
            expected.messages,
            expected.token_count,
            expected.dropped,
        )
    assert grown.messages == messages
    assert grown.token_count == nemo_fast.count_chat(messages, tools)


def test_fit_after_an_answer():
    messages = [{"role": role, "content": "Hello"} for role in ["user", "assistant"] * 3]
    grown = Conversation(messages)
    fitted = grown.fit(10, policy=backwards)
    assert fitted.dropped == [0, 1, 2, 3]
    assert fitted.token_count == Conversation(fitted.messages).token_count <= 10
    assert error_type(grown.fit, 10, mode="test") == "InvalidMessageStructureException"


def test_a_policy_may_use_the_conversation():
    grown = Conversation({"role": "user", "content": "Hello"} for _ in range(3))

    def policy(turns):
        grown.append({"role": "user", "content": "more"})
        return range(len(turns))

    assert grown.fit(4, policy=policy).dropped == [0, 1]
    assert len(grown) == 4


def test_other_vocabularies_have_conversations(tokenizer):
    assert tokenizer.conversation(conversation()).token_count == nemo_fast.count_chat(conversation())


def test_threads_share_a_conversation():
    grown = Conversation()

    def append():
        for _ in range(200):
            grown.append({"role": "user", "content": "Hello, how are you?"})

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(grown) == 800
    assert grown.token_count == nemo_fast.count_chat(grown.messages)
