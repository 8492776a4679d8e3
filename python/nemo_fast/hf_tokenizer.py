"""The tokenizer of a folder with a vocabulary of its own: Hugging Face's `tokenizer.json`.

Small models of the same architecture come with one, SmolLM2 for example. Texts are encoded by the
`tokenizers` package (extra `hf`), chats by the folder's Jinja template; decoding is ours, so that a stream
and a whole text agree. Only Mistral Nemo's own prompt format is safe against forged control tokens: a
template's text is one string, and control strings in a message are parsed like those of the template.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nemo_fast._native import TokenizerError, TokenTable
from nemo_fast.chat_template import folder_templates, token_text
from nemo_fast.extras import missing_extra
from nemo_fast.hf_vocabulary import added_tokens, read_json_object, token_bytes
from nemo_fast.template_messages import prompt_error, read_request, template_tools

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    import tokenizers
    from typing_extensions import Buffer

    from nemo_fast._native import StreamDecoder
    from nemo_fast._native import _Messages as Messages
    from nemo_fast._native import _Request as ChatRequest
    from nemo_fast._native import _Tools as Tools


class HfTokenizer:
    """Encodes and decodes with the `tokenizer.json` of a model folder; immutable, safe from any thread.

    `vocab_size`: the model's, where it differs from the tokenizer's. Ids without a token decode to nothing.
    Errors: `FileNotFoundError` without a `tokenizer.json`, `TokenizerError` for one that does not fit,
    `ImportError` without the extra `hf`.

    Example (not run: it needs a folder): ``HfTokenizer("smollm2-135m").encode("Hello")``
    """

    def __init__(self, folder: str | PathLike[str], *, vocab_size: int | None = None) -> None:
        folder = Path(folder)
        file = folder / "tokenizer.json"
        description = read_json_object(file)
        table = token_bytes(description, vocab_size)
        added = added_tokens(description)
        self._special_tokens = {content: index for index, (content, special) in added.items() if special}
        self.token_table = TokenTable(
            table, {index: content for content, index in self._special_tokens.items() if index < len(table)}
        )
        # Two objects, because how control strings are read is a property of the object, and threads share it.
        self._plain = _load(file)
        self._plain.encode_special_tokens = True
        self._parsing = _load(file)
        config_file = folder / "tokenizer_config.json"
        config = read_json_object(config_file) if config_file.is_file() else {}
        self._bos_id = self._configured_id(config, "bos_token")
        self._eos_id = self._configured_id(config, "eos_token")
        self._adds_bos = self._configured_to_add_bos(config)
        self._templates = folder_templates(folder, config)
        self._folder = folder

    @property
    def vocab_size(self) -> int:
        """The number of ids: the model's, where it was given."""
        return len(self.token_table)

    @property
    def bos_id(self) -> int | None:
        """The id of the token that begins a text, None if the folder names none."""
        return self._bos_id

    @property
    def eos_id(self) -> int | None:
        """The id of the token that ends a text, None if the folder names none."""
        return self._eos_id

    @property
    def adds_bos(self) -> bool:
        """Whether this model expects a text to begin with the BOS token; SmolLM2, for one, does not."""
        return self._adds_bos

    @property
    def special_tokens(self) -> dict[str, int]:
        """The special tokens' texts and ids."""
        return dict(self._special_tokens)

    def encode(
        self,
        text: str,
        *,
        bos: bool = False,
        eos: bool = False,
        special: Literal["text", "parse", "forbid"] = "text",
    ) -> list[int]:
        """Return the ids of a text; special tokens written in it mean what `Tokenizer.encode` says.

        Errors: `ValueError` for `bos` or `eos` where the folder names no such token.
        """
        if special not in ("text", "parse", "forbid"):
            raise ValueError(f"special must be text, parse or forbid, found {special!r}")
        if special == "forbid" and (found := [name for name in self._special_tokens if name in text]):
            raise TokenizerError(f"the text has the control string {min(found, key=text.index)}")
        tokenizer = self._parsing if special == "parse" else self._plain
        ids = list(tokenizer.encode(_characters(text), add_special_tokens=False).ids)
        if bos:
            ids.insert(0, _required(self._bos_id, "bos"))
        if eos:
            ids.append(_required(self._eos_id, "eos"))
        return ids

    def count(self, text: str) -> int:
        """Return the number of ids of a text: `len(encode(text))`."""
        return len(self._plain.encode(_characters(text), add_special_tokens=False).ids)

    def decode(
        self,
        ids: Sequence[int] | Buffer,
        *,
        errors: Literal["replace", "strict"] = "replace",
        special: Literal["skip", "keep", "raise"] = "skip",
    ) -> str:
        """Return the text of ids; `errors` and `special` as in `Tokenizer.decode`.

        A SentencePiece vocabulary's text begins with the space that encoding put in front of it.
        """
        return self.token_table.decode(ids, errors=errors, special=special)

    def decode_bytes(
        self, ids: Sequence[int] | Buffer, *, special: Literal["skip", "keep", "raise"] = "skip"
    ) -> bytes:
        """Return the bytes of ids."""
        return self.token_table.decode_bytes(ids, special=special)

    def stream_decoder(self, *, special: Literal["skip", "keep", "raise"] = "skip") -> StreamDecoder:
        """Return a decoder that takes ids one by one; the joined texts are those of `decode`."""
        return self.token_table.stream_decoder(special=special)

    def encode_chat(
        self, messages: Messages, tools: Tools | None = None, *, continue_final_message: bool = False
    ) -> list[int]:
        """Return the ids of the prompt that asks for the assistant's next message.

        `messages`: in OpenAI's shape, with calls of tools and their results, or objects with `model_dump`.
        `tools`: definitions, which the template gets as they are; a folder's template `tool_use` is taken
        where there are any. With `continue_final_message` the last message, an assistant's, stays open.

        Not safe against forged control tokens: control strings in the messages are parsed. Errors:
        `PromptError` that names the message, or the template's file; `error_type` is the class of its error.
        """
        text = self.render_chat(messages, tools, continue_final_message=continue_final_message)
        return list(self._parsing.encode(_characters(text), add_special_tokens=False).ids)

    def count_chat(
        self, messages: Messages, tools: Tools | None = None, *, continue_final_message: bool = False
    ) -> int:
        """Return the number of ids of a chat: `len(encode_chat(messages, tools))`."""
        return len(self.encode_chat(messages, tools, continue_final_message=continue_final_message))

    def render_chat(
        self, messages: Messages, tools: Tools | None = None, *, continue_final_message: bool = False
    ) -> str:
        """Return the text that the folder's template makes of a chat: what `encode_chat` encodes."""
        definitions = template_tools(tools)
        template = (definitions and self._templates.get("tool_use")) or self._templates.get("default")
        if not template:
            without = " for conversations without tools" if self._templates else ""
            raise prompt_error(f"{self._folder} has no chat template{without}")
        return template.render(messages, definitions, continue_final_message=continue_final_message)

    def encode_request(self, request: ChatRequest) -> list[int]:
        """Return the ids of the prompt for a whole request in OpenAI's shape: a mapping, or its JSON.

        Its `messages`, `tools` and `continue_final_message` count; other fields are not looked at.
        """
        messages, tools, continues = read_request(request)
        return self.encode_chat(messages, tools, continue_final_message=continues)

    def count_request(self, request: ChatRequest) -> int:
        """Return the number of ids of a request's prompt: `len(encode_request(request))`."""
        return len(self.encode_request(request))

    def _configured_to_add_bos(self, config: Mapping[str, Any]) -> bool:
        """Read `add_bos_token`; where it is missing, ask what the file's own post-processor adds."""
        configured = config.get("add_bos_token")
        if isinstance(configured, bool):
            return configured and self._bos_id is not None
        return self._bos_id is not None and self._bos_id in self._parsing.encode("").ids

    def _configured_id(self, config: Mapping[str, Any], key: str) -> int | None:
        text = token_text(config.get(key))
        return None if text is None else self._parsing.token_to_id(text)


def _characters(text: str) -> str:
    """Make one character of a pair of surrogates, and U+FFFD of a lone one, as `Tokenizer` does."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _required(token_id: int | None, name: str) -> int:
    if token_id is None:
        raise ValueError(f"{name}=True, but the tokenizer has no {name} token")
    return token_id


def _load(file: Path) -> tokenizers.Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise missing_extra("tokenizers", "hf") from error
    try:
        tokenizer = Tokenizer.from_file(str(file))
    # The package raises no class of its own.
    except Exception as error:
        raise TokenizerError(f"{file}: {error}") from error
    # A file may carry its trainer's settings; a prompt is never cut or filled up.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
