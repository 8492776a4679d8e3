"""The chat-prompt functions as methods of `Model`: those of its tokenizer, under the same names.

Nothing is encoded or read here. With Mistral Nemo's vocabulary they are `Tokenizer`'s; with a folder's own
vocabulary and template `HfTokenizer`'s, which has those that any template can offer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack, cast

from nemo_fast._native import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

    from nemo_fast._native import AssistantMessage, CompletionParser, Conversation, FittedChat
    from nemo_fast._native import _Messages as Messages
    from nemo_fast._native import _Mode as Mode
    from nemo_fast._native import _Policy as Policy
    from nemo_fast._native import _Request as ChatRequest
    from nemo_fast._native import _ToolCallIds as ToolCallIds
    from nemo_fast._native import _Tools as Tools
    from nemo_fast.hf_tokenizer import HfTokenizer


class RequestOptions(TypedDict, total=False):
    """As `Tokenizer.encode_chat` says; a folder's template has rules of its own and knows neither."""

    mode: Mode
    tool_call_ids: ToolCallIds


class ChatOptions(RequestOptions, total=False):
    """`continue_final_message`: the last message, an assistant's, stays open for the model to go on."""

    continue_final_message: bool


class ModelPrompts:
    """The base of `Model` that makes prompts and reads what the model writes, without running it.

    Each method raises `ValueError` where the model has no tokenizer, or has a chat template and the method,
    or an option, is of Mistral Nemo's format only.

    Example (not run: it needs a folder): ``Model.load("nemo").encode_fim("def f(", "return 1")``
    """

    _tokenizer: Tokenizer | HfTokenizer | None
    _name: str

    def encode_chat(
        self, messages: Messages, tools: Tools | None = None, **options: Unpack[ChatOptions]
    ) -> list[int]:
        """Return the token ids of the prompt for a conversation: `Tokenizer.encode_chat`.

        With a chat template, control strings in messages are parsed: only Mistral Nemo's own format is safe
        against forged control tokens.
        """
        return self._encoder(options).encode_chat(messages, tools, **options)

    def count_chat(
        self, messages: Messages, tools: Tools | None = None, **options: Unpack[ChatOptions]
    ) -> int:
        """Return the number of token ids of `encode_chat`."""
        return self._encoder(options).count_chat(messages, tools, **options)

    def render_chat(
        self, messages: Messages, tools: Tools | None = None, **options: Unpack[ChatOptions]
    ) -> str:
        """Return the prompt of `encode_chat` as a text to read."""
        return self._encoder(options).render_chat(messages, tools, **options)

    def fit_chat(
        self,
        messages: Messages,
        max_tokens: int,
        tools: Tools | None = None,
        *,
        reserve: int = 0,
        policy: Policy = "drop_oldest",
        **options: Unpack[ChatOptions],
    ) -> FittedChat:
        """Return what is left of a conversation when whole turns are dropped: `Tokenizer.fit_chat`."""
        return self._nemo_tokenizer("fit_chat").fit_chat(
            messages, max_tokens, tools, reserve=reserve, policy=policy, **options
        )

    def conversation(
        self,
        messages: Messages = (),
        tools: Tools | None = None,
        *,
        tool_call_ids: ToolCallIds = "strict",
    ) -> Conversation:
        """Return a conversation that is counted as it grows: `Tokenizer.conversation`."""
        return self._nemo_tokenizer("conversation").conversation(messages, tools, tool_call_ids=tool_call_ids)

    def encode_request(self, request: ChatRequest, **options: Unpack[RequestOptions]) -> list[int]:
        """Return the token ids of the prompt for a whole request: `Tokenizer.encode_request`."""
        return self._encoder(options).encode_request(request, **options)

    def count_request(self, request: ChatRequest, **options: Unpack[RequestOptions]) -> int:
        """Return the number of token ids of `encode_request`."""
        return self._encoder(options).count_request(request, **options)

    def encode_fim(self, prompt: str | bytes, suffix: str | bytes | None = None) -> list[int]:
        """Return the token ids of a prompt to fill in a text between two: `Tokenizer.encode_fim`."""
        return self._nemo_tokenizer("encode_fim").encode_fim(prompt, suffix)

    def parse_completion(self, ids: Sequence[int] | Buffer, *, seed: int | None = None) -> AssistantMessage:
        """Return the message that the model has written: `Tokenizer.parse_completion`."""
        return self._nemo_tokenizer("parse_completion").parse_completion(ids, seed=seed)

    def completion_parser(self, *, seed: int | None = None) -> CompletionParser:
        """Return a parser of what the model writes: `Tokenizer.completion_parser`."""
        return self._nemo_tokenizer("completion_parser").completion_parser(seed=seed)

    def _any_tokenizer(self) -> Tokenizer | HfTokenizer:
        if self._tokenizer is None:
            raise ValueError(f"{self._name} has no tokenizer: it can generate from token ids, not chat")
        return self._tokenizer

    def _nemo_tokenizer(self, needed_for: str) -> Tokenizer:
        tokenizer = self._any_tokenizer()
        if isinstance(tokenizer, Tokenizer):
            return tokenizer
        raise ValueError(f"{needed_for} needs Mistral Nemo's chat format, which {self._name} has not")

    def _encoder(self, options: ChatOptions | RequestOptions) -> Tokenizer:
        """Return the tokenizer, which takes these options."""
        for option in ("mode", "tool_call_ids"):
            if option in options:
                return self._nemo_tokenizer(option)
        # What is called on it has the same name and, without those options, the same arguments in both.
        return cast("Tokenizer", self._any_tokenizer())
