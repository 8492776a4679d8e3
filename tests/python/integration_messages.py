"""Conversations as OpenAI, LangChain and LlamaIndex have them, and mistral-common's count.

The libraries are imported where they are needed: only the long profile has them.
"""

import importlib
import json

from hypothesis import strategies as st
from mistral_common.protocol.instruct.request import ChatCompletionRequest

LONG_ID = "call_VvvODy9mT"
ID = LONG_ID[-9:]
texts = st.sampled_from(["", "a", "two words", " b \n", "Premi", "ère", "[INST]", "x " * 20, "日本語"])


def multiply(a: int, b: int = 2) -> int:
    """Multiply two numbers."""
    return a * b


def call(name="multiply", arguments='{"a": 3, "b": "é"}', id=ID):  # noqa: A002
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def reference_count(reference_chat, messages, tools=None):
    """Return mistral-common's count; `reference_chat` is its tokenizer of requests."""
    request = ChatCompletionRequest.from_openai(messages=messages, tools=tools)
    return len(reference_chat.encode_chat_completion(request).tokens)


def langchain_message(message):
    core = importlib.import_module("langchain_core.messages")
    content = message.get("content") or ""
    if message["role"] == "assistant":
        calls = [
            {
                "name": each["function"]["name"],
                "args": json.loads(each["function"]["arguments"]),
                "id": LONG_ID,
            }
            for each in message.get("tool_calls", [])
        ]
        return core.AIMessage(content, tool_calls=calls)
    if message["role"] == "tool":
        return core.ToolMessage(content, tool_call_id=LONG_ID)
    return {"user": core.HumanMessage, "system": core.SystemMessage}[message["role"]](content)


def llama_index_message(message):
    core = importlib.import_module("llama_index.core.base.llms.types")
    content = message.get("content") or []
    parts = [{"text": content}] if isinstance(content, str) else content
    blocks = [core.TextBlock(text=part["text"]) for part in parts]
    for each in message.get("tool_calls", []):
        function = each["function"]
        blocks.append(
            core.ToolCallBlock(
                tool_call_id=LONG_ID,
                tool_name=function["name"],
                tool_kwargs=json.loads(function["arguments"]),
            )
        )
    extra = {"tool_call_id": LONG_ID} if message["role"] == "tool" else {}
    return core.ChatMessage(role=message["role"], blocks=blocks, additional_kwargs=extra)


@st.composite
def conversations(draw):
    """Conversations that the reference takes: a system message or not, turns, calls and their results."""
    messages = [{"role": "system", "content": draw(texts)}] if draw(st.booleans()) else []
    for kind in draw(st.lists(st.sampled_from(["user", "answered", "called"]), max_size=5)):
        messages.append({"role": "user", "content": draw(texts)})
        if kind == "called":
            count = draw(st.integers(1, 2))
            arguments = json.dumps({"a": draw(texts)}, ensure_ascii=False)
            messages.append({"role": "assistant", "tool_calls": [call(arguments=arguments)] * count})
            messages += [
                {"role": "tool", "tool_call_id": ID, "content": draw(st.sampled_from(["", "12", "{}", "ok"]))}
                for _ in range(count)
            ]
        if kind != "user":
            messages.append({"role": "assistant", "content": draw(texts.filter(str.strip))})
    parts = [{"type": "text", "text": draw(texts)} for _ in range(2)]
    return [*messages, {"role": "user", "content": draw(st.sampled_from([parts, parts[0]["text"]]))}]
