"""A model in this process: loading a folder, and its answers.

The work is done by `_native.Engine`, which knows token ids only. This module turns prompts into ids with the
folder's tokenizer, and events into results.
"""

from __future__ import annotations

import hashlib
import json
import operator
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from nemo_fast._native import AssistantMessage, Checkpoint, Engine, __version__
from nemo_fast.model_tokenizer import load_tokenizer
from nemo_fast.progress import progress_bar
from nemo_fast.results import (
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChoiceDelta,
    Completion,
    CompletionChoice,
    CompletionChunk,
    FinishReason,
    Usage,
)
from nemo_fast.sampling import MOST, SamplingOptions, engine_arguments, whole_number
from nemo_fast.stream import Event, Request, Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from os import PathLike
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from nemo_fast._native import Tokenizer
    from nemo_fast.hf_tokenizer import HfTokenizer

    Ids = Sequence[int] | NDArray[np.integer[Any]]
    Messages = Iterable[Mapping[str, Any]]


class Model:
    """A loaded model. Made by `Model.load`; safe from any thread; a context manager that frees the weights.

    >>> with Model.load("tests/golden/tiny-nemo-fp8-channel", context_length=128) as model:
    ...     model.generate([1, 5, 9], max_tokens=4, temperature=0).token_ids
    (935, 426, 187, 642)
    """

    def __init__(self, engine: Engine, tokenizer: Tokenizer | HfTokenizer | None, name: str) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._name = name
        described = json.dumps([__version__, name, engine.config], sort_keys=True)
        self._fingerprint = "fp_" + hashlib.sha256(described.encode()).hexdigest()[:12]

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        device: str = "auto",
        context_length: int | None = None,
        threads: int | None = None,
        chat_format: str = "auto",
        progress: bool = False,
    ) -> Model:
        """Load a folder: Hugging Face's layout (bf16, f16, f32, compressed-tensors FP8) or Mistral's own.

        Linear layers are held as E4M3, quantized here where the source is wider; embedding and head stay as
        they are. `device`: "auto" or "cpu". `context_length`: positions that a prompt with its answer can
        have; by default the config's, at most 131,072. `threads`: by default what this process may use.
        `chat_format`: "auto", "tekken" or "template". `progress`: a bar on stderr.

        Embedding and head are read from the mapped files while the model is in use: replace such a file by
        renaming another over it, never cut it short, which would end the process.

        Raises `CheckpointError` (what is wrong with which tensor or key), `TokenizerError`, `DeviceError`,
        `ValueError`, or an `OSError` for files that cannot be read.
        """
        folder = Path(path)
        checkpoint = Checkpoint(folder)
        # The config decides which tokenizer fits, and the engine needs that tokenizer's table of bytes.
        tokenizer = load_tokenizer(folder, checkpoint.config["vocab_size"], chat_format)
        with progress_bar("loading", checkpoint.file_bytes, progress=progress) as advance:
            shown = 0

            def report(layers: int, of_layers: int) -> None:
                nonlocal shown
                reached = checkpoint.file_bytes * layers // of_layers
                advance(reached - shown)
                shown = reached

            engine = Engine(
                checkpoint,
                device=device,
                context_length=whole_number("context_length", context_length, none=None, least=1),
                threads=whole_number("threads", threads, none=None, least=1),
                tokens=None if tokenizer is None else tokenizer.token_table,
                progress=report,
            )
        return cls(engine, tokenizer, folder.resolve().name)

    @property
    def config(self) -> dict[str, Any]:
        """The model's shape under the names of Hugging Face's `config.json`."""
        return self._engine.config

    @property
    def tokenizer(self) -> Tokenizer | HfTokenizer | None:
        """The folder's tokenizer; None where it has none, and only ids go in and out."""
        return self._tokenizer

    @property
    def device(self) -> str:
        """Where the model runs."""
        return "cpu"

    @property
    def context_length(self) -> int:
        """Positions that a prompt with its answer can have."""
        return self._engine.context_length

    def stats(self) -> dict[str, int]:
        """Return numbers of the moment: requests waiting and running, pages of the KV cache, threads."""
        return {**self._engine.stats(), "threads": self._engine.threads}

    def close(self) -> None:
        """Free the weights; every later call raises `GenerationError`."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Model({self._name!r}, device={self.device!r}, context_length={self.context_length})"

    # Answers

    def generate(self, prompt: str | Ids, **sampling: Unpack[SamplingOptions]) -> Completion:
        """Continue a prompt: a text, or token ids as given.

        BOS is put before a text where the tokenizer expects one; control strings in it are text.
        Raises `ContextLengthError` where prompt and `max_tokens` do not fit the context, `TokenizerError` for
        an id outside the vocabulary, `ValueError` for an empty prompt or a parameter outside its range.
        """
        ids = self._prompt_ids(prompt)
        texts, tokens, reasons = self._collect(self._submit(ids, sampling))
        choices = tuple(map(CompletionChoice, range(len(texts)), texts, reasons, tokens))
        usage = _usage(len(ids), sum(map(len, tokens)))
        return Completion(**self._envelope("cmpl-", "text_completion"), choices=choices, usage=usage)

    def stream(self, prompt: str | Ids, **sampling: Unpack[SamplingOptions]) -> Stream[CompletionChunk]:
        """Continue a prompt as `generate` does, and give the text as it is made.

        A chunk is of one choice; each choice ends with a chunk that has its finish reason; the last chunk has
        no choices and the usage. All arguments are checked before this returns.
        """
        ids = self._prompt_ids(prompt)
        request = self._submit(ids, sampling)
        return Stream(request, self._completion_chunks(request, len(ids)))

    @overload
    def chat(
        self, messages: Messages, *, stream: Literal[False] = False, **sampling: Unpack[SamplingOptions]
    ) -> ChatCompletion: ...

    @overload
    def chat(
        self, messages: Messages, *, stream: Literal[True], **sampling: Unpack[SamplingOptions]
    ) -> Stream[ChatCompletionChunk]: ...

    def chat(
        self, messages: Messages, *, stream: bool = False, **sampling: Unpack[SamplingOptions]
    ) -> ChatCompletion | Stream[ChatCompletionChunk]:
        """Answer a conversation of OpenAI-shaped messages: `{"role": "user", "content": "…"}`.

        With `stream=True` the answer comes as chunks with OpenAI's deltas: the role first, then text, then
        the finish reason; the last chunk has the usage. Raises as `generate` does, and `PromptError` for
        messages that the chat format does not allow.
        """
        if self._tokenizer is None:
            raise ValueError(f"{self._name} has no tokenizer: it can generate from token ids, not chat")
        ids = self._tokenizer.encode_chat(list(messages))
        request = self._submit(ids, sampling)
        if stream:
            return Stream(request, self._chat_chunks(request, len(ids)))
        texts, tokens, reasons = self._collect(request)
        answers = [AssistantMessage(text) for text in texts]
        choices = tuple(map(ChatChoice, range(len(texts)), answers, reasons, tokens))
        usage = _usage(len(ids), sum(map(len, tokens)))
        return ChatCompletion(**self._envelope("chatcmpl-", "chat.completion"), choices=choices, usage=usage)

    def logits(self, ids: Ids, *, positions: Sequence[int] | None = None) -> NDArray[np.float32]:
        """Return the logits, float32 [n, vocab], that follow each of `positions` of `ids` (all, if None).

        Teacher forcing: row i is what the model says after `ids[: positions[i] + 1]`.
        """
        if positions is not None:
            positions = [operator.index(position) for position in positions]
            if outside := [position for position in positions if not 0 <= position <= MOST]:
                raise ValueError(f"positions must be from 0 up, found {outside[0]}")
        return self._engine.logits(ids, positions=positions)

    def _prompt_ids(self, prompt: str | Ids) -> Ids:
        if not isinstance(prompt, str):
            return prompt
        if self._tokenizer is None:
            raise ValueError(f"{self._name} has no tokenizer: the prompt must be token ids")
        if not prompt:
            raise ValueError("the prompt is empty: there is nothing to continue")
        # A folder's own tokenizer says whether its model expects the token: SmolLM2's does not.
        return self._tokenizer.encode(prompt, bos=getattr(self._tokenizer, "adds_bos", True))

    def _submit(self, ids: Ids, sampling: SamplingOptions) -> Request:
        return Request(self._engine, self._engine.submit(ids, **engine_arguments(sampling)))

    def _collect(
        self, request: Request
    ) -> tuple[list[str], list[tuple[int, ...]], list[FinishReason | None]]:
        """Wait for the whole answer: text, token ids and finish reason of each choice."""
        events: dict[int, list[Event]] = {}
        try:
            for event in request:
                events.setdefault(event.choice, []).append(event)
        finally:
            request.cancel()
        ordered = [events[choice] for choice in sorted(events)]
        texts = ["".join(event.text for event in choice) for choice in ordered]
        tokens = [tuple(event.token_id for event in choice) for choice in ordered]
        return texts, tokens, [choice[-1].finish_reason for choice in ordered]

    def _completion_chunks(self, request: Request, prompt_tokens: int) -> Iterator[CompletionChunk]:
        envelope = self._envelope("cmpl-", "text_completion")
        made = 0
        # Ids whose text is still held back travel with the next text of their choice; without a tokenizer
        # there is nothing to wait for.
        held: dict[int, list[int]] = {}
        for event in request:
            made += 1
            ids = held.setdefault(event.choice, [])
            ids.append(event.token_id)
            if event.text or event.finish_reason is not None or self._tokenizer is None:
                choice = CompletionChoice(event.choice, event.text, event.finish_reason, tuple(ids))
                yield CompletionChunk(**envelope, choices=(choice,))
                ids.clear()
        yield CompletionChunk(**envelope, choices=(), usage=_usage(prompt_tokens, made))

    def _chat_chunks(self, request: Request, prompt_tokens: int) -> Iterator[ChatCompletionChunk]:
        envelope = self._envelope("chatcmpl-", "chat.completion.chunk")
        made = 0
        begun: set[int] = set()

        def chunk(choice: int, delta: ChoiceDelta, reason: FinishReason | None = None) -> ChatCompletionChunk:
            return ChatCompletionChunk(**envelope, choices=(ChatChunkChoice(choice, delta, reason),))

        for event in request:
            made += 1
            if event.choice not in begun:
                begun.add(event.choice)
                yield chunk(event.choice, ChoiceDelta(role="assistant", content=""))
            if event.text:
                yield chunk(event.choice, ChoiceDelta(content=event.text))
            if event.finish_reason is not None:
                yield chunk(event.choice, ChoiceDelta(), event.finish_reason)
        yield ChatCompletionChunk(**envelope, choices=(), usage=_usage(prompt_tokens, made))

    def _envelope(self, prefix: str, kind: str) -> dict[str, Any]:
        return {
            "id": prefix + uuid.uuid4().hex,
            "object": kind,
            "created": int(time.time()),
            "model": self._name,
            "system_fingerprint": self._fingerprint,
        }


def _usage(prompt_tokens: int, completion_tokens: int) -> Usage:
    return Usage(prompt_tokens, completion_tokens, prompt_tokens + completion_tokens)
