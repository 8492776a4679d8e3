"""The chat-prompt methods of `Model`: its tokenizer's, of a folder's template too, or a clear refusal."""

from __future__ import annotations

import inspect

import pytest
from model_files import byte_level_vocabulary, write_byte_level_tokenizer, write_random_model
from template_shapes import HERMES

from nemo_fast import Model, PromptError, Tokenizer
from nemo_fast.hf_tokenizer import HfTokenizer
from nemo_fast.model_prompts import ModelPrompts

USER = {"role": "user", "content": "Hi"}
LATER = [USER, {"role": "assistant", "content": "Hello"}, USER | {"content": "Bye"}]
OPEN = [USER, {"role": "assistant", "content": "So"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
REQUEST = {"model": "m", "messages": [USER], "tools": [TOOL]}
CALLS = {
    "encode_chat": ([LATER, [TOOL]], {"mode": "serving", "tool_call_ids": "last9"}),
    "count_chat": ([OPEN], {"continue_final_message": True}),
    "render_chat": ([LATER, [TOOL]], {"mode": "agnostic"}),
    "fit_chat": ([LATER, 40, [TOOL]], {"reserve": 2, "policy": "keep_ends", "mode": "test"}),
    "conversation": ([LATER, [TOOL]], {"tool_call_ids": "last9"}),
    "encode_request": ([REQUEST], {"mode": "serving"}),
    "count_request": ([REQUEST], {"tool_call_ids": "last9"}),
    "encode_fim": (["def f(", "return"], {}),
    "parse_completion": ([[9, *Tokenizer().encode('{"name": "f", "arguments": {}}')]], {"seed": 1}),
    "completion_parser": ([], {"seed": 1}),
}
OF_TEMPLATES = ["encode_chat", "count_chat", "render_chat", "encode_request", "count_request"]


@pytest.fixture(scope="module")
def with_template(tmp_path_factory):
    pytest.importorskip("tokenizers")
    pytest.importorskip("jinja2")
    folder = tmp_path_factory.mktemp("model") / "byte-level"
    write_random_model(folder, vocab_size=len(byte_level_vocabulary()[0]))
    write_byte_level_tokenizer(folder, HERMES)
    with Model.load(folder) as model:
        yield model


def test_all_methods_are_tried():
    assert set(CALLS) == {name for name in vars(ModelPrompts) if not name.startswith("_")}
    assert all(callable(getattr(Tokenizer, name)) for name in CALLS)
    assert set(OF_TEMPLATES) == {name for name in CALLS if hasattr(HfTokenizer, name)}


@pytest.mark.parametrize("name", CALLS)
def test_they_are_those_of_the_tokenizer(nemo, name):
    positional, options = CALLS[name]
    found = getattr(nemo, name)(*positional, **options)
    expected = getattr(Tokenizer(), name)(*positional, **options)
    if name == "fit_chat":
        found, expected = vars_of(found), vars_of(expected)
    if name == "conversation":
        found, expected = ((made.messages, made.token_count) for made in (found, expected))
    if name == "completion_parser":
        ids = CALLS["parse_completion"][0][0]
        found, expected = ([parser.push(token) for token in ids] for parser in (found, expected))
        assert any(found)
    assert found == expected


def vars_of(fitted):
    return fitted.messages, fitted.token_count, fitted.dropped


def test_the_errors_are_those_of_the_tokenizer(nemo):
    with pytest.raises(PromptError) as caught:
        nemo.encode_chat(OPEN)
    assert caught.value.error_type == "InvalidMessageStructureException"
    with pytest.raises(TypeError, match="add_generation_prompt"):
        nemo.encode_chat([USER], add_generation_prompt=True)


@pytest.mark.parametrize("name", CALLS)
def test_without_a_tokenizer(tiny, name):
    positional, options = CALLS[name]
    with pytest.raises(ValueError, match="tiny-nemo-fp8-channel has no tokenizer"):
        getattr(tiny, name)(*positional, **options)


@pytest.mark.parametrize("name", OF_TEMPLATES)
def test_with_a_template(with_template, name):
    positional, options = CALLS[name]
    tokenizer = with_template.tokenizer
    assert isinstance(tokenizer, HfTokenizer)
    kept = {key: value for key, value in options.items() if key == "continue_final_message"}
    expected = getattr(tokenizer, name)(*positional, **kept)
    assert getattr(with_template, name)(*positional, **kept) == expected
    for option, value in {"mode": "test", "tool_call_ids": "strict"}.items():
        with pytest.raises(ValueError, match=f"^{option} needs Mistral Nemo's chat format, which"):
            getattr(with_template, name)(*positional, **{option: value})


@pytest.mark.parametrize("name", [name for name in CALLS if name not in OF_TEMPLATES])
def test_what_a_template_does_not_offer(with_template, name):
    positional, options = CALLS[name]
    with pytest.raises(
        ValueError, match=f"^{name} needs Mistral Nemo's chat format, which byte-level has not"
    ):
        getattr(with_template, name)(*positional, **options)


def test_a_chat_with_tools_and_a_template(with_template):
    """The template gets the tools; what the model writes is content, whatever it looks like."""
    options = {"tools": [TOOL], "max_tokens": 20, "seed": 3}
    answer = with_template.chat([USER], **options)
    assert answer.usage.prompt_tokens == with_template.count_chat([USER], [TOOL])
    message = answer.choices[0].message
    prompt = with_template.encode_chat([USER], [TOOL])
    assert message.content == with_template.generate(prompt, max_tokens=20, seed=3).text
    assert message.tool_calls == ()
    chunks = list(with_template.chat([USER], stream=True, **options))
    contents = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(contents) == message.content
    with pytest.raises(PromptError, match="message 0 is a str"):
        with_template.chat(["Hi"])


@pytest.mark.parametrize("name", CALLS)
def test_the_arguments_have_the_same_names(name):
    own = inspect.signature(getattr(Model, name)).parameters
    theirs = inspect.signature(getattr(Tokenizer, name)).parameters
    named = [key for key in own if key != "options"]
    assert named == [key for key in theirs if key in named]
