"""A model in this process: loading a folder, and its answers.

The work is done by `_native.Engine`, which knows token ids only. This module turns prompts into ids with the
folder's tokenizer, and events into results; what an answer's text says is read by `chat_answer`.
"""

from __future__ import annotations

import hashlib
import json
import operator
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from nemo_fast._native import Checkpoint, Engine, Tokenizer, __version__
from nemo_fast.chat_answer import TextAnswer, ToolAnswer, chat_finish_reason
from nemo_fast.model_prompts import ModelPrompts
from nemo_fast.model_tokenizer import load_tokenizer
from nemo_fast.progress import loading_bar
from nemo_fast.results import (
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatFinishReason,
    ChoiceDelta,
    Completion,
    CompletionChoice,
    CompletionChunk,
    Usage,
)
from nemo_fast.sampling import MOST, SamplingOptions, engine_arguments, whole_number
from nemo_fast.stream import Event, Request, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from os import PathLike
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from nemo_fast._native import _Messages as Messages
    from nemo_fast._native import _Tools as Tools
    from nemo_fast.hf_tokenizer import HfTokenizer

    Ids = Sequence[int] | NDArray[np.integer[Any]]
    Answer = TextAnswer | ToolAnswer


class Model(ModelPrompts):
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
        kv_cache: Literal["bf16", "fp8"] = "bf16",
        lm_head: Literal["source", "fp8"] = "source",
        threads: int | None = None,
        prefill: Literal["bf16", "int8"] = "bf16",
        chat_format: str = "auto",
        progress: bool = False,
    ) -> Model:
        """Load a folder: a packed one (see `convert`), Hugging Face's layout, or Mistral's own.

        Linear layers are held as E4M3, quantized here where the source is wider; the embedding stays as it
        is, and so does the head, unless `lm_head` is "fp8". A packed folder is used in place: it loads at
        once, and its memory is the system's cache. `device`: "auto" or "cpu". `context_length`: positions
        that a prompt with its answer can have; by default the config's, at most 131,072. `kv_cache`: "bf16",
        or "fp8" (E4M3 with a scale for each position and head), which takes half the memory, less exactly.
        `threads`: by default what this process may use. `prefill`: how prompts are multiplied: "bf16", or
        "int8" (eight-bit integers, for prompts only), faster on processors with AVX-512 VNNI, less exactly.
        `chat_format`: "auto", "tekken" or "template". `progress`: a bar on stderr.

        >>> folder = "tests/golden/tiny-nemo-fp8-channel"
        >>> with Model.load(folder, context_length=64, prefill="int8") as model:
        ...     model.logits([1, 5, 9]).shape
        (3, 1000)

        Embedding and head, and all of a packed file, are read from the mapped files while the model is in
        use: replace such a file by renaming another over it (this model keeps the old one), never write into
        it or cut it short, which would change answers or end the process.

        Raises `CheckpointError` (what is wrong with which tensor or key), `TokenizerError`, `DeviceError`,
        `ValueError`, or an `OSError` for files that cannot be read.
        """
        folder = Path(path)
        checkpoint = Checkpoint(folder, lm_head=lm_head)
        # The config decides which tokenizer fits, and the engine needs that tokenizer's table of bytes.
        tokenizer = load_tokenizer(folder, checkpoint.config["vocab_size"], chat_format)
        with loading_bar(checkpoint.file_bytes, progress=progress) as report:
            engine = Engine(
                checkpoint,
                device=device,
                context_length=whole_number("context_length", context_length, none=None, least=1),
                kv_cache=kv_cache,
                prefill=prefill,
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
        answers = _collect(self._submit(ids, engine_arguments(sampling)))
        choices = tuple(
            CompletionChoice(
                index, "".join(event.text for event in events), events[-1].finish_reason, _token_ids(events)
            )
            for index, events in enumerate(answers)
        )
        usage = _usage(len(ids), sum(map(len, answers)))
        return Completion(**self._envelope("cmpl-", "text_completion"), choices=choices, usage=usage)

    def stream(self, prompt: str | Ids, **sampling: Unpack[SamplingOptions]) -> Stream[CompletionChunk]:
        """Continue a prompt as `generate` does, and give the text as it is made.

        A chunk is of one choice; each choice ends with a chunk that has its finish reason; the last chunk has
        no choices and the usage. All arguments are checked before this returns.
        """
        ids = self._prompt_ids(prompt)
        request = self._submit(ids, engine_arguments(sampling))
        return Stream(request, self._completion_chunks(request, len(ids)))

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        tools: Tools | None = None,
        stream: Literal[False] = False,
        **sampling: Unpack[SamplingOptions],
    ) -> ChatCompletion: ...

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        tools: Tools | None = None,
        stream: Literal[True],
        **sampling: Unpack[SamplingOptions],
    ) -> Stream[ChatCompletionChunk]: ...

    def chat(
        self,
        messages: Messages,
        *,
        tools: Tools | None = None,
        stream: bool = False,
        **sampling: Unpack[SamplingOptions],
    ) -> ChatCompletion | Stream[ChatCompletionChunk]:
        """Answer a conversation of OpenAI-shaped messages: `{"role": "user", "content": "…"}`.

        `tools`: definitions of functions that the model may call. Its calls are the message's `tool_calls`;
        where it stopped after them, the finish reason is "tool_calls". Longer ids of calls in the
        conversation are cut to their last nine characters. With a folder's chat template, calls of the answer
        are content, as they were written, and control strings in messages are parsed: only Mistral Nemo's own
        format is safe against forged control tokens.

        With `stream=True` the answer comes as chunks with OpenAI's deltas: the role first, then text and
        calls, then the finish reason; the last chunk has the usage. Raises as `generate` does, and
        `PromptError` for messages that the chat format does not allow.
        """
        tokenizer = self._any_tokenizer()
        arguments = engine_arguments(sampling)
        caller = None
        if isinstance(tokenizer, Tokenizer):
            ids = tokenizer.encode_chat(messages, tools, tool_call_ids="last9")
            caller = None if tools is None else tokenizer
        else:
            ids = tokenizer.encode_chat(messages, tools)

        def new_answer(choice: int) -> Answer:
            return ToolAnswer(caller, seed=arguments["seed"] + choice) if caller else TextAnswer()

        request = self._submit(ids, arguments)
        if stream:
            return Stream(request, self._chat_chunks(request, len(ids), new_answer))
        answers = _collect(request)
        choices = tuple(
            _chat_choice(index, events, new_answer(index)) for index, events in enumerate(answers)
        )
        usage = _usage(len(ids), sum(map(len, answers)))
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

    def _submit(self, ids: Ids, arguments: dict[str, Any]) -> Request:
        return Request(self._engine, self._engine.submit(ids, **arguments))

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

    def _chat_chunks(
        self, request: Request, prompt_tokens: int, new_answer: Callable[[int], Answer]
    ) -> Iterator[ChatCompletionChunk]:
        envelope = self._envelope("chatcmpl-", "chat.completion.chunk")
        made = 0
        answers: dict[int, Answer] = {}

        def chunk(
            choice: int, delta: ChoiceDelta, reason: ChatFinishReason | None = None
        ) -> ChatCompletionChunk:
            return ChatCompletionChunk(**envelope, choices=(ChatChunkChoice(choice, delta, reason),))

        for event in request:
            made += 1
            if event.choice not in answers:
                answers[event.choice] = new_answer(event.choice)
                yield chunk(event.choice, ChoiceDelta(role="assistant", content=""))
            answer = answers[event.choice]
            for delta in answer.push(event):
                yield chunk(event.choice, delta)
            if event.finish_reason is not None:
                reason = chat_finish_reason(answer.message(), event.finish_reason)
                yield chunk(event.choice, ChoiceDelta(), reason)
        yield ChatCompletionChunk(**envelope, choices=(), usage=_usage(prompt_tokens, made))

    def _envelope(self, prefix: str, kind: str) -> dict[str, Any]:
        return {
            "id": prefix + uuid.uuid4().hex,
            "object": kind,
            "created": int(time.time()),
            "model": self._name,
            "system_fingerprint": self._fingerprint,
        }


def _collect(request: Request) -> list[list[Event]]:
    """Wait for the whole answer, and return the events of each choice."""
    events: dict[int, list[Event]] = {}
    try:
        for event in request:
            events.setdefault(event.choice, []).append(event)
    finally:
        request.cancel()
    return [events[choice] for choice in sorted(events)]


def _chat_choice(index: int, events: list[Event], answer: Answer) -> ChatChoice:
    for event in events:
        answer.push(event)
    message = answer.message()
    reason = chat_finish_reason(message, events[-1].finish_reason)
    return ChatChoice(index, message, reason, _token_ids(events))


def _token_ids(events: list[Event]) -> tuple[int, ...]:
    return tuple(event.token_id for event in events)


def _usage(prompt_tokens: int, completion_tokens: int) -> Usage:
    return Usage(prompt_tokens, completion_tokens, prompt_tokens + completion_tokens)
