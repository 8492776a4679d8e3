"""Jinja chat templates: what they can use, what is refused, and which file they come from."""

from __future__ import annotations

import sys
import time

import pytest
from model_files import CHAT_TEMPLATE
from template_shapes import CHATML, HERMES, LLAMA, MISTRAL

from nemo_fast import PromptError, TokenizerError
from nemo_fast.chat_template import ChatTemplate, folder_templates

pytest.importorskip("jinja2")

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "add", "description": "", "parameters": {}}}


def call(arguments='{"a": 1, "b": "é"}', call_id="VvvODy9mT"):
    return {"id": call_id, "type": "function", "function": {"name": "add", "arguments": arguments}}


def calling(*calls, content=None):
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def result(content):
    return {"role": "tool", "tool_call_id": "VvvODy9mT", "content": content}


def render(source, messages=(USER,), tools=None, **options):
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    return ChatTemplate(source, name="example.jinja", special_tokens=tokens).render(
        messages, tools, **options
    )


def test_blocks_leave_no_blank_lines():
    assert render("  {% for m in messages %}\n{{ m.content }}\n  {% endfor %}\n") == "Hi\n"


def test_what_templates_use():
    assert render("{{ messages[0] | tojson }}") == '{"role": "user", "content": "Hi"}'
    assert render("{{ ['é<'] | tojson }}") == '["é<"]'
    assert render("{{ {'b': 1, 'a': []} | tojson(indent=1, sort_keys=true) }}") == '{\n "a": [],\n "b": 1\n}'
    assert render("{{ ['é'] | tojson(ensure_ascii=true, separators=(',', ':')) }}") == '["\\u00e9"]'
    assert render("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "01"
    assert render("{% for i in [1, 2] %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}") == "2"
    assert render("{{ strftime_now('%Y') }}") == time.strftime("%Y")
    assert render("{{ tools is none }} {{ documents is none }} {{ date is defined }}") == "True True False"


def test_a_generation_block_is_its_text():
    assert render("a{% generation %}b{% set c = 1 %}{% endgeneration %}{{ c is defined }}") == "abFalse"
    said = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n"
    messages = [USER, {"role": "assistant", "content": "Yes"}]
    assert render(CHATML, messages) == said + "<|im_start|>assistant\n"
    continued = render(CHATML, messages, continue_final_message=True)
    assert continued == said.removesuffix("<|im_end|>\n")


def test_calls_between_tags():
    results = [result("22"), result("23")]
    messages = [{"role": "system", "content": "Be brief."}, USER, calling(call(), call("")), *results, USER]
    assert render(HERMES, messages, [TOOL]) == (
        "<|im_start|>system\nBe brief.\n<tools>\n"
        '{"type": "function", "function": {"name": "add", "description": "", "parameters": {}}}'
        "\n</tools><|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "é"}}\n</tool_call>'
        '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n22\n</tool_response>\n<tool_response>\n23\n</tool_response><|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    said = render(HERMES, [USER, calling(call("{}"), content="So:"), result("1")])
    assert "<|im_start|>assistant\nSo:\n<tool_call>" in said


def test_arguments_as_pairs():
    messages = [{"role": "system", "content": " Be brief. "}, USER, calling(call()), result("22 ms")]
    definition = (
        '{\n "type": "function",\n "function": {\n  "name": "add",\n  "description": "",\n'
        '  "parameters": {}\n }\n}'
    )
    assert render(LLAMA, messages, [TOOL]) == (
        f"<s><|system|>Be brief.<|eot|><|user|>{definition}Hi<|eot|>"
        '<|assistant|>add(a=1, b="é")<|eot|><|ipython|>"22 ms"<|eot|><|assistant|>'
    )
    assert (
        render(LLAMA) == f"<s><|system|>Today is {time.strftime('%Y')}<|eot|><|user|>Hi<|eot|><|assistant|>"
    )
    # A message that an object of OpenAI's client dumps, with a null for what it has not.
    dumped = {"role": "assistant", "content": "Yes", "refusal": None, "tool_calls": None}
    assert "<|assistant|>Yes<|eot|>" in render(LLAMA, [USER, dumped, USER])
    with pytest.raises(PromptError, match="one call at a time"):
        render(LLAMA, [USER, calling(call(), call()), USER])


def test_definitions_before_the_last_message():
    messages = [
        USER,
        calling(call()),
        result("22"),
        {"role": "assistant", "content": "22."},
        USER | {"content": "b"},
    ]
    assert render(MISTRAL, messages, [TOOL]) == (
        "<s>[INST]Hi[/INST]"
        '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1, "b": "é"}, "id": "VvvODy9mT"}]</s>'
        '[TOOL_RESULTS]{"content": 22, "call_id": "VvvODy9mT"}[/TOOL_RESULTS]22.</s>'
        '[AVAILABLE_TOOLS][{"type":"function","function":{"name":"add","description":"",'
        '"parameters":{}}}][/AVAILABLE_TOOLS][INST]b[/INST]'
    )
    assert render(MISTRAL, [USER], []) == "<s>[INST]Hi[/INST]"
    with pytest.raises(PromptError, match="roles must alternate: user"):
        render(MISTRAL, [USER, USER])
    with pytest.raises(PromptError, match="ids have nine characters"):
        render(MISTRAL, [USER, calling(call(call_id="1"))])


def test_nothing_is_left_out_silently():
    with pytest.raises(PromptError, match=r"chat template example\.jinja: it has no place for tools"):
        render(CHAT_TEMPLATE, [USER], [TOOL])
    for content in (None, "So:"):
        with pytest.raises(PromptError, match="it has no place for calls of tools"):
            render(CHAT_TEMPLATE, [USER, calling(call(), content=content)])
    assert render(CHAT_TEMPLATE, [USER], []) == render(CHAT_TEMPLATE)


def test_special_tokens_are_variables(tmp_path):
    config = {
        "bos_token": {"content": "<s>"},
        "eos_token": "</s>",
        "chat_template": "{{ bos_token }}|{{ eos_token }}",
    }
    assert folder_templates(tmp_path, config)["default"].render([USER]) == "<s>|</s>"


def test_which_templates_a_folder_has(tmp_path):
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}, {"name": "rag"}, 5]

    def found(config):
        return {name: template.source for name, template in folder_templates(tmp_path, config).items()}

    assert found({}) == found({"chat_template": None}) == found({"chat_template": []}) == {}
    assert found({"chat_template": "d"}) == {"default": "d"}
    assert found({"chat_template": named}) == {"default": "d", "tool_use": "t"}
    assert found({"chat_template": named[:1]}) == {"tool_use": "t"}
    (tmp_path / "chat_template.jinja").write_text("file é", encoding="utf-8")
    assert found({"chat_template": named}) == {"default": "file é"}
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    assert found({"chat_template": named}) == {"default": "file é", "tool_use": "tools"}
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(TokenizerError, match=r"chat_template\.jinja: 'utf-8' codec"):
        found({})


@pytest.mark.parametrize("content", ["", "The answer ", "twice twice", "a\n"])
def test_continuing_the_final_message(content):
    messages = [USER, {"role": "assistant", "content": content}]
    expected = f"<|start|>user\nHi<|end|>\n<|start|>assistant\n{content}"
    assert render(CHAT_TEMPLATE, messages, continue_final_message=True) == expected
    assert messages[-1]["content"] == content
    # A template that trims gives what it would give of the closed message.
    trimming = CHAT_TEMPLATE.replace("message['content']", "message['content'] | trim")
    trimmed = f"<|start|>user\nHi<|end|>\n<|start|>assistant\n{content.strip()}"
    assert render(trimming, messages, continue_final_message=True) == trimmed.rstrip()


def test_only_the_text_of_the_assistant_is_continued():
    with pytest.raises(PromptError, match="role 'user'"):
        render(CHAT_TEMPLATE, continue_final_message=True)
    with pytest.raises(PromptError, match="the final message to continue has no text"):
        render(HERMES, [USER, calling(call())], continue_final_message=True)
    with pytest.raises(PromptError, match="leaves the final message out"):
        render("nothing", [{"role": "assistant", "content": "a"}], continue_final_message=True)


@pytest.mark.parametrize(
    ("source", "error_type"),
    [
        ("{{ raise_exception('roles must alternate') }}", "TemplateError"),
        ("\n{% for %}", "TemplateSyntaxError"),
        ("{{ 1 + messages }}", "TypeError"),
        ("{{ messages[0].content + none }}", "TypeError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ missing.attribute }}", "UndefinedError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ messages[0].update(role='system') }}", "SecurityError"),
        ("{{ range(10 ** 9) | list }}", "OverflowError"),
        ("{% include 'passwd' %}", "TypeError"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "RecursionError"),
        ("{{ messages[0] | tojson(indent={}) }}", "TypeError"),
        ("{{ nested | length }}{{ missing | tojson }}", "TypeError"),
    ],
)
def test_an_error_names_the_template(source, error_type):
    with pytest.raises(PromptError, match=r"^chat template example\.jinja: ") as caught:
        render(source)
    assert caught.value.error_type == error_type


def test_an_error_says_what_is_wrong():
    with pytest.raises(PromptError, match=r"^chat template example\.jinja: roles must alternate$"):
        render("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(PromptError, match=r"^chat template example\.jinja: line 2: "):
        render("\n{% for %}")


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "nemo_fast.template_environment", raising=False)
    with pytest.raises(ImportError, match=r"nemo-fast\[hf\]"):
        render("Hi")
