"""A model folder's Jinja chat templates: where they lie, and a conversation rendered by one.

A template makes text only: what the control strings in that text mean is decided by the tokenizer, and
nothing here keeps a user's text from forging them. Mistral Nemo's own prompts do not come this way.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nemo_fast._native import TokenizerError
from nemo_fast.extras import missing_extra
from nemo_fast.template_messages import prompt_error, template_messages, template_tools

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Template

    from nemo_fast._native import PromptError
    from nemo_fast._native import _Messages as Messages
    from nemo_fast._native import _Tools as Tools

# Stands at the end of the message to be continued while the template is rendered: all after it is cut off.
# The space behind it is gone if the template trims contents, so that the message's own is to go, too.
_END_OF_MESSAGE = "<nemo-fast: end of the final message>"


class ChatTemplate:
    """A Jinja template of a model folder: `source`, the `name` of its file, and its special tokens' text.

    The template is compiled at first use; a broken one is a `PromptError` that names it.

    >>> template = ChatTemplate("{% for m in messages %}[{{ m.content }}]{% endfor %}", name="example")
    >>> template.render([{"role": "user", "content": "Hi"}])
    '[Hi]'
    """

    def __init__(self, source: str, *, name: str, special_tokens: Mapping[str, str] | None = None) -> None:
        self.source = source
        self.name = name
        self._special_tokens = dict(special_tokens or {})

    def render(
        self, messages: Messages, tools: Tools | None = None, *, continue_final_message: bool = False
    ) -> str:
        """Return the text of the prompt that asks for the assistant's next message.

        `messages` and `tools`: as `template_messages` says. `continue_final_message`: the last message is
        the assistant's and is left open. Tools, or calls, that the template would leave out are an error.
        Errors: `PromptError`; where the template fails, `error_type` is jinja2's or Python's class for it.

        >>> template = ChatTemplate("{{ tools | tojson }}", name="example")
        >>> template.render([{"role": "user", "content": "Hi"}], [{"function": {"name": "ping"}}])
        '[{"function": {"name": "ping"}}]'
        """
        checked, definitions = template_messages(messages), template_tools(tools)
        template, variables = self._compiled
        if definitions and "tools" not in variables:
            raise self._error("it has no place for tools")
        if "tool_calls" not in self.source and any("tool_calls" in message for message in checked):
            raise self._error("it has no place for calls of tools")
        if not continue_final_message:
            return self._render(template, checked, definitions, add_generation_prompt=True)
        final = checked[-1]
        if final["role"] != "assistant":
            raise prompt_error(f"the final message to continue is of role {final['role']!r}, not 'assistant'")
        if final["content"] is None:
            raise prompt_error("the final message to continue has no text")
        final["content"] += _END_OF_MESSAGE + " "
        rendered = self._render(template, checked, definitions, add_generation_prompt=False)
        text, mark, rest = rendered.rpartition(_END_OF_MESSAGE)
        if not mark:
            raise self._error("it leaves the final message out")
        return text if rest.startswith(" ") else text.rstrip()

    def _render(
        self,
        template: Template,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        *,
        add_generation_prompt: bool,
    ) -> str:
        try:
            return template.render(
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._special_tokens,
            )
        # A template's expressions run as Python: a message that it does not expect can show as any error.
        except Exception as error:
            raise self._error(str(error), type(error).__name__) from error

    @cached_property
    def _compiled(self) -> tuple[Template, frozenset[str]]:
        try:
            from nemo_fast.template_environment import compile_template
        except ImportError as error:
            raise missing_extra("jinja2", "hf") from error
        try:
            return compile_template(self.source)
        # Constant expressions are computed while compiling.
        except Exception as error:
            line = f"line {error.lineno}: " if hasattr(error, "lineno") else ""
            raise self._error(f"{line}{error}", type(error).__name__) from error

    def _error(self, fault: str, error_type: str = "TemplateError") -> PromptError:
        return prompt_error(f"chat template {self.name}: {fault}", error_type)


def folder_templates(folder: Path, tokenizer_config: Mapping[str, Any]) -> dict[str, ChatTemplate]:
    """Return the templates of a folder by name: "default", and "tool_use" for conversations with tools.

    Files win over `tokenizer_config.json`, as in Hugging Face's library: `chat_template.jinja`, and
    `additional_chat_templates/tool_use.jinja`. Errors: `TokenizerError` for a file that is not UTF-8.

    >>> from pathlib import Path
    >>> named = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]
    >>> list(folder_templates(Path("nowhere"), {"chat_template": named}))
    ['default', 'tool_use']
    """
    special_tokens = {
        key: text
        for key, value in tokenizer_config.items()
        if key.endswith("_token") and (text := token_text(value)) is not None
    }
    files = {
        "default": folder / "chat_template.jinja",
        "tool_use": folder / "additional_chat_templates" / "tool_use.jinja",
    }
    sources = {name: (_text(file), str(file)) for name, file in files.items() if file.is_file()}
    if not sources:
        found, config = tokenizer_config.get("chat_template"), str(folder / "tokenizer_config.json")
        entries = found if isinstance(found, list) else [{"name": "default", "template": found}]
        named = {entry.get("name"): entry.get("template") for entry in entries if isinstance(entry, dict)}
        sources = {name: (source, config) for name in files if isinstance(source := named.get(name), str)}
    return {
        name: ChatTemplate(source, name=file, special_tokens=special_tokens)
        for name, (source, file) in sources.items()
    }


def token_text(value: object) -> str | None:
    """Return the text of a special token of `tokenizer_config.json`, written as a string or as an object.

    >>> token_text("<s>"), token_text({"content": "<s>", "lstrip": False}), token_text(None)
    ('<s>', '<s>', None)
    """
    text = value.get("content") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{file}: {error}") from error
