"""Whole requests against mistral-common's prompts, accepted and rejected."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistral_common.exceptions import MistralCommonException
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from request_strategies import requests, schemas

import nemo_fast
from nemo_fast import PromptError

KNOWN = ("messages", "tools", "continue_final_message")


@pytest.fixture(scope="module")
def references():
    path = MistralTokenizer._data_path() / "tekken_240718.json"
    return {mode.value: MistralTokenizer.from_file(path, mode=mode) for mode in ValidationMode}


def reference_result(references, request, mode):
    """Return ids and text, or the class of the error and, if it is the reference's own, its message."""
    others = {key: value for key, value in request.items() if key not in KNOWN}
    try:
        parsed = ChatCompletionRequest.from_openai(
            **{key: request[key] for key in KNOWN if key in request}, **others
        )
        ids = references[mode].encode_chat_completion(parsed).tokens
    except MistralCommonException as error:
        return type(error).__name__, str(error)
    except Exception as error:  # noqa: BLE001
        return type(error).__name__, None
    return ids, references[mode].decode(ids, SpecialTokenPolicy.KEEP)


def own_result(request, mode):
    try:
        ids = nemo_fast.encode_request(request, mode=mode)
    except PromptError as error:
        with pytest.raises(PromptError, match=re.escape(str(error))):
            nemo_fast.count_request(request, mode=mode)
        return error.error_type, str(error)
    assert nemo_fast.count_request(request, mode=mode) == len(ids)
    return ids, None


def assert_alike(references, request, mode):
    """Compare with the reference; return whether it took the request."""
    expected, text = reference_result(references, request, mode)
    own, message = own_result(request, mode)
    assert own == expected, message
    accepted = isinstance(expected, list)
    if not accepted and text is not None and expected != "InvalidToolSchemaException":
        assert message == text
    return accepted


@given(drawn=requests())
def test_random_requests(references, drawn):
    assert_alike(references, *drawn)


@given(parameters=schemas, as_format=st.booleans())
def test_random_schemas(references, parameters, as_format):
    request = {"messages": [{"role": "user", "content": "x"}]}
    if as_format:
        named = {"name": "x", "schema": parameters}
        request["response_format"] = {"type": "json_schema", "json_schema": named}
    else:
        request["tools"] = [{"function": {"name": "ping", "parameters": parameters}}]
    assert_alike(references, request, "test")
