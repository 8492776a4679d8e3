"""`fit_chat` against a slow twin that counts every candidate as a whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from request_strategies import requests

import nemo_fast
from nemo_fast import ContextLengthError, PromptError

SYSTEM = ("system", "developer")
CALL = {"id": "VvvODy9mT", "type": "function", "function": {"name": "ping", "arguments": "{}"}}
texts = st.sampled_from(["", "a", "two words", " b \n", "Premi", "ère", "[INST]", "x " * 20])


@st.composite
def long_conversations(draw):
    """Many turns, system messages between them, user messages in a row, calls."""
    messages = [{"role": "assistant", "content": "Hi."}] if draw(st.booleans()) else []
    for kind in draw(st.lists(st.sampled_from(["user", "user", "answered", "called", "system"]), max_size=9)):
        if kind == "system":
            if not messages or messages[-1]["role"] in ("user", *SYSTEM):
                messages.append({"role": draw(st.sampled_from(SYSTEM)), "content": draw(texts)})
            continue
        messages.append({"role": "user", "content": draw(texts)})
        if draw(st.integers(0, 4)) == 0:
            messages.append({"role": "system", "content": draw(texts)})
        if kind == "called":
            messages.append({"role": "assistant", "tool_calls": [CALL]})
            messages.append({"role": "tool", "tool_call_id": CALL["id"], "content": draw(texts)})
        if kind != "user":
            messages.append({"role": "assistant", "content": draw(texts) or "ok"})
    return [*messages, {"role": "user", "content": draw(texts)}]


def turns_of(messages):
    turns = []
    for index, message in enumerate(messages):
        if message["role"] in SYSTEM:
            continue
        if message["role"] == "user" or not turns:
            turns.append([])
        turns[-1].append(index)
    return turns[:-1]


def backwards(turns):
    return list(reversed(range(len(turns))))


def order_of(policy, turns):
    positions = list(range(len(turns)))
    if policy == "drop_oldest":
        return positions
    return positions[1:] + positions[:1] if policy == "keep_ends" else list(policy(turns))


def twin(messages, max_tokens, reserve, policy, **options):
    """Return the result of the first candidate that fits, or the count of the last."""
    turns = turns_of(messages)
    order = order_of(policy, turns)
    for n in range(len(order) + 1):
        dropped = sorted(index for turn in order[:n] for index in turns[turn])
        kept = [message for index, message in enumerate(messages) if index not in dropped]
        try:
            tokens = nemo_fast.count_chat(kept, **options)
        except PromptError:
            if n in (0, len(order)):
                raise
            continue
        if tokens + reserve <= max_tokens:
            return kept, tokens, dropped
    return tokens


def assert_alike(messages, max_tokens, reserve, policy, **options):
    """Compare with the twin."""
    expected = twin(messages, max_tokens, reserve, policy, **options)
    if isinstance(expected, int):
        with pytest.raises(ContextLengthError) as own:
            nemo_fast.fit_chat(messages, max_tokens, reserve=reserve, policy=policy, **options)
        assert (own.value.prompt_tokens, own.value.context_length) == (expected, max_tokens)
        return
    fitted = nemo_fast.fit_chat(messages, max_tokens, reserve=reserve, policy=policy, **options)
    assert (fitted.messages, fitted.token_count, fitted.dropped) == expected
    assert all(any(kept is message for message in messages) for kept in fitted.messages)


def refusal_of(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except PromptError as error:
        return error.error_type, str(error)
    return None


policies = st.sampled_from(["drop_oldest", "keep_ends", backwards])
budgets = st.integers(0, 120)


@given(long_conversations(), budgets, st.sampled_from([0, 0, 7]), policies, st.data())
def test_long_conversations(messages, max_tokens, reserve, policy, data):
    if data.draw(st.booleans()):
        order = data.draw(st.permutations(range(len(turns_of(messages)))))
        assert_alike(messages, max_tokens, reserve, lambda _turns: order)
    assert_alike(messages, max_tokens, reserve, policy)


@given(requests(), budgets, policies)
def test_random_requests(drawn, max_tokens, policy):
    request, mode = drawn
    options = {"mode": mode, "continue_final_message": request.get("continue_final_message") is True}
    if isinstance(request.get("tools"), list):
        options["tools"] = request["tools"]
    assert_alike_or_refused_alike(request["messages"], max_tokens, policy, options)


def assert_alike_or_refused_alike(messages, max_tokens, policy, options):
    refusal = refusal_of(nemo_fast.count_chat, messages, **options)
    if refusal is None:
        assert_alike(messages, max_tokens, 0, policy, **options)
    else:
        assert refusal_of(nemo_fast.fit_chat, messages, max_tokens, policy=policy, **options) == refusal


def test_an_iterator_of_messages():
    messages = [{"role": "user", "content": text} for text in ["Hello", "Hi"]]
    assert nemo_fast.fit_chat(iter(messages), 4).messages == messages[1:]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_tokens": -1}, ValueError),
        ({"reserve": -1}, ValueError),
        ({"max_tokens": "1"}, TypeError),
        ({"policy": "newest"}, ValueError),
        ({"policy": 3}, TypeError),
        ({"policy": lambda _turns: []}, ValueError),
        ({"policy": lambda _turns: [0, 0]}, ValueError),
        ({"policy": lambda _turns: [0, 2]}, ValueError),
        ({"policy": lambda _turns: 1 // 0}, ZeroDivisionError),
        ({"reserve": 2**70}, ContextLengthError),
    ],
)
def test_bad_arguments(arguments, error):
    messages = [{"role": "user", "content": "Hi"}] * 3
    with pytest.raises(error):
        nemo_fast.fit_chat(messages, **{"max_tokens": 4, **arguments})


@given(requests(), budgets, st.sampled_from([0, 5]), st.sampled_from(["drop_oldest", "keep_ends"]))
def test_whole_requests(drawn, max_tokens, reserve, policy):
    """A request is refused as `count_request` refuses it, else fitted as its conversation is."""
    request, mode = drawn
    options = {"reserve": reserve, "policy": policy, "mode": mode}
    refusal = refusal_of(nemo_fast.count_request, request, mode=mode)
    if refusal is not None:
        assert refusal_of(nemo_fast.Tokenizer().fit_request, request, max_tokens, **options) == refusal
        return
    assert nemo_fast.Tokenizer().fit_request(request, 10**6, **options).dropped == []
    options["tools"] = request.get("tools") or None
    # Requests may spell it as a string.
    options["continue_final_message"] = request.get("continue_final_message") in (True, "true")

    def fitted(function, *arguments, **given_options):
        try:
            found = function(*arguments, **given_options)
        except ContextLengthError as error:
            return error.prompt_tokens, error.context_length
        assert all(any(kept is message for message in request["messages"]) for kept in found.messages)
        return found.messages, found.token_count, found.dropped

    expected = fitted(nemo_fast.fit_chat, request["messages"], max_tokens, **options)
    del options["tools"], options["continue_final_message"]
    assert fitted(nemo_fast.Tokenizer().fit_request, request, max_tokens, **options) == expected


def test_a_request_that_cannot_be_fitted():
    tokenizer = nemo_fast.Tokenizer()
    for value in ('{"messages": []}', None, [1]):
        with pytest.raises(TypeError, match="a request must be a mapping, found"):
            tokenizer.fit_request(value, 9)
    once = {"messages": iter([{"role": "user", "content": "Hi"}])}
    with pytest.raises(TypeError, match="the messages of a request must be a list, found an iterator"):
        tokenizer.fit_request(once, 9)
