"""Jinja chat templates: what they can use, what is refused, and which file they come from."""

from __future__ import annotations

import json
import sys

import pytest
from model_files import CHAT_TEMPLATE

from nemo_fast._native import PromptError
from nemo_fast.chat_template import ChatTemplate

pytest.importorskip("jinja2")

USER = {"role": "user", "content": "Hi"}


def render(source, messages=(USER,), **options):
    return ChatTemplate(source, name="example.jinja").render(messages, **options)


def test_blocks_leave_no_blank_lines():
    assert render("  {% for m in messages %}\n{{ m.content }}\n  {% endfor %}\n") == "Hi\n"


def test_what_templates_use():
    assert render("{{ messages[0] | tojson }}") == '{"role": "user", "content": "Hi"}'
    assert render("{{ ['é<'] | tojson }}") == '["é<"]'
    assert render("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "01"
    assert len(render("{{ strftime_now('%Y') }}")) == 4
    assert render("{{ tools is none }}") == "True"


def test_special_tokens_are_variables(tmp_path):
    config = {
        "bos_token": {"content": "<s>"},
        "eos_token": "</s>",
        "chat_template": "{{ bos_token }}|{{ eos_token }}",
    }
    assert ChatTemplate.from_folder(tmp_path, config).render([USER]) == "<s>|</s>"


def test_which_template_is_taken(tmp_path):
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    assert ChatTemplate.from_folder(tmp_path, {}) is None
    assert ChatTemplate.from_folder(tmp_path, {"chat_template": named[:1]}) is None
    assert ChatTemplate.from_folder(tmp_path, {"chat_template": named}).render([USER]) == "plain"
    (tmp_path / "chat_template.jinja").write_text("file")
    assert ChatTemplate.from_folder(tmp_path, {"chat_template": named}).render([USER]) == "file"


def test_text_parts_become_lines():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert render("{{ messages[0].content }}", [{"role": "user", "content": parts}]) == "a\nb"


@pytest.mark.parametrize("content", ["", "The answer ", "twice twice"])
def test_continuing_the_final_message(content):
    messages = [USER, {"role": "assistant", "content": content}]
    expected = f"<|start|>user\nHi<|end|>\n<|start|>assistant\n{content}"
    assert render(CHAT_TEMPLATE, messages, continue_final_message=True) == expected
    assert messages[-1]["content"] == content


def test_only_the_assistant_is_continued():
    with pytest.raises(PromptError, match="role 'user'"):
        render(CHAT_TEMPLATE, continue_final_message=True)
    with pytest.raises(PromptError, match="leaves the final message out"):
        render("nothing", [{"role": "assistant", "content": "a"}], continue_final_message=True)


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{% for %}",
        "{{ 1 + messages }}",
        "{{ 1 / 0 }}",
        "{{ missing.attribute }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ range(10 ** 9) | list }}",
    ],
)
def test_an_error_names_the_template(source):
    with pytest.raises(PromptError, match=r"example\.jinja"):
        render(source)


def test_the_templates_own_message_is_kept():
    with pytest.raises(PromptError, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    "messages",
    [
        [],
        ["Hi"],
        [{"content": "Hi"}],
        [{"role": "user"}],
        [{"role": 1, "content": "Hi"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
        [{"role": "user", "content": [{"type": "text"}]}],
    ],
    ids=json.dumps,
)
def test_messages_are_checked(messages):
    with pytest.raises(PromptError, match="message"):
        render(CHAT_TEMPLATE, messages)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"nemo-fast\[hf\]"):
        render("Hi")
