"""Messages and tools that the tests of prompts are made of."""

import pytest

import nemo_fast
from nemo_fast import PromptError

ID = "VvvODy9mT"
USER = {"role": "user", "content": "Hello, how are you?"}
USER_IDS = [1, 3, 22177, 1044, 2606, 1584, 1636, 1063, 4]


def conversation(arguments="{}", result="ok"):
    """A user's message, a call and its result."""
    call = {"id": ID, "type": "function", "function": {"name": "ping", "arguments": arguments}}
    return [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": ID, "content": result},
    ]


def tool(parameters, name="ping"):
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def error_type(function, *arguments, **options):
    """Return the class of mistral-common's exception that a call is refused with."""
    with pytest.raises(PromptError) as rejected:
        function(*arguments, **options)
    assert isinstance(rejected.value, nemo_fast.NemoFastError)
    return rejected.value.error_type
