"""A model folder's Jinja chat template, rendered in a sandbox.

The variables, filters and extensions are those that Hugging Face's templates rely on. It makes text only:
what the control strings in that text mean is decided by the tokenizer, and nothing here keeps a user's text
from forging them. Mistral Nemo's own prompts do not come this way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from nemo_fast._native import PromptError
from nemo_fast.extras import missing_extra

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Template

# Stands at the end of the message to be continued while the template is rendered: all after it is cut off.
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

    @classmethod
    def from_folder(cls, folder: Path, tokenizer_config: Mapping[str, Any]) -> ChatTemplate | None:
        """Return the template of `chat_template.jinja` or of `tokenizer_config.json`, None if there is none.

        The file of its own wins, as in Hugging Face's library; of several named ones, `default` is taken.
        """
        special_tokens = {
            key: text
            for key, value in tokenizer_config.items()
            if key.endswith("_token") and (text := token_text(value)) is not None
        }
        file = folder / "chat_template.jinja"
        if file.is_file():
            return cls(file.read_text(encoding="utf-8"), name=str(file), special_tokens=special_tokens)
        found = tokenizer_config.get("chat_template")
        if isinstance(found, list):
            named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
            found = named.get("default")
        if not isinstance(found, str):
            return None
        return cls(found, name=str(folder / "tokenizer_config.json"), special_tokens=special_tokens)

    def render(self, messages: Iterable[Mapping[str, Any]], *, continue_final_message: bool = False) -> str:
        """Return the text of the prompt that asks for the assistant's next message.

        `messages`: dicts with `role` (str) and `content` (str, or a list of text parts, which become lines).
        `continue_final_message`: the last message is the assistant's and is left open. Errors: `PromptError`.
        """
        checked = [_checked(message, index) for index, message in enumerate(messages)]
        if not checked:
            raise PromptError("there are no messages")
        if not continue_final_message:
            return self._render(checked, add_generation_prompt=True)
        final = checked[-1]
        if final["role"] != "assistant":
            raise PromptError(f"the final message to continue is of role {final['role']!r}, not 'assistant'")
        final["content"] += _END_OF_MESSAGE
        text, mark, _ = self._render(checked, add_generation_prompt=False).rpartition(_END_OF_MESSAGE)
        if not mark:
            raise PromptError(f"chat template {self.name}: it leaves the final message out")
        return text

    def _render(self, messages: list[dict[str, Any]], *, add_generation_prompt: bool) -> str:
        template = self._template
        from jinja2 import TemplateError

        try:
            return template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._special_tokens,
            )
        # A template's expressions run as Python, so a message that it does not expect shows as any of these.
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise PromptError(f"chat template {self.name}: {error}") from error

    @cached_property
    def _template(self) -> Template:
        try:
            from jinja2 import TemplateError
            from jinja2.ext import loopcontrols
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError as error:
            raise missing_extra("jinja2", "hf") from error
        # The text is a prompt, not a page: escaping for HTML would change it.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], autoescape=False
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        try:
            return environment.from_string(self.source)
        except TemplateError as error:
            raise PromptError(f"chat template {self.name}: {error}") from error


def token_text(value: object) -> str | None:
    """Return the text of a special token of `tokenizer_config.json`, written as a string or as an object.

    >>> token_text("<s>"), token_text({"content": "<s>", "lstrip": False}), token_text(None)
    ('<s>', '<s>', None)
    """
    text = value.get("content") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else None


def _checked(message: object, index: int) -> dict[str, Any]:
    """Return a copy of the message whose content is one string."""
    if not isinstance(message, Mapping):
        raise PromptError(f"message {index} is a {type(message).__name__}, not a dict")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str):
        raise PromptError(f"message {index} has no `role` that is a string")
    if isinstance(content, list):
        content = "\n".join(_part_text(part) for part in content)
    if not isinstance(content, str):
        raise PromptError(f"message {index} has no `content` that is a string or a list of text parts")
    return {**message, "content": content}


def _part_text(part: object) -> str:
    """Return the text of a content part, which must be a text part."""
    text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise PromptError(f"a message has a part that is not text: {part!r:.60}")
    return text


def _raise_exception(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
