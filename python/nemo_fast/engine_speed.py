"""How fast a loaded model decodes and reads prompts here, beside what the machine can do at most.

Everything is measured in turns, in one process: a machine's memory can be twice as fast a minute later. The
limits are the engine's own measurement: bytes that all threads together read from memory, and operations of
the processor's products of pairs of bf16.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from nemo_fast.model_layout import EMBEDDING, dense_shapes, linear_shapes

if TYPE_CHECKING:
    from nemo_fast._native import Engine

# Decoding begins behind so many tokens: attention costs next to nothing yet.
_CONTEXT = 8


def measure(
    engine: Engine,
    bytes_per_token: int,
    *,
    prompt_tokens: int = 512,
    new_tokens: int = 32,
    context_tokens: int = 0,
    rounds: int = 3,
) -> dict[str, Any]:
    """Return speeds, the median of some rounds, and their shares of the limits of the same rounds.

    `bytes_per_token`: of weights that are read to decode one, as `Checkpoint.weight_bytes` has it. Prompts
    are ids of no meaning, and nothing ends an answer early. With `context_tokens`, decoding is measured
    behind so many tokens, too, a moment before it is measured behind none. Before the rounds the prompt is
    read once, untimed: buffers get their memory then. Errors: `ContextLengthError` where these or the prompt
    do not fit the context with the new tokens.
    """
    config = engine.config
    # The head is used for the last token only.
    vocabulary, hidden = dense_shapes(config)[EMBEDDING]
    operations = 2 * sum(rows * columns for rows, columns in linear_shapes(config).values())
    operations += 2 * vocabulary * hidden // prompt_tokens
    longest = [(position * 7919 + 1) % vocabulary for position in range(max(prompt_tokens, context_tokens))]
    prompt, context = longest[:prompt_tokens], longest[:context_tokens]
    found: dict[str, list[float]] = {}
    _prefill_speed(engine, prompt)
    for _ in range(rounds):
        behind = _decode_speed(engine, context, 1, new_tokens) if context else None
        one = _decode_speed(engine, prompt[:_CONTEXT], 1, new_tokens)
        read, dots = engine.limits()
        four = _decode_speed(engine, prompt[:_CONTEXT], 4, new_tokens)
        prefill = _prefill_speed(engine, prompt)
        values = {
            "memory_read_bytes_per_second": read,
            "decode_tokens_per_second_batch_1": one,
            "decode_tokens_per_second_batch_4": four,
            "prefill_tokens_per_second": prefill,
            "decode_share_of_memory_read": one * bytes_per_token / read,
        }
        if behind is not None:
            values["decode_tokens_per_second_behind_context"] = behind
            values["decode_share_behind_context"] = behind / one
        if dots is not None:
            values["dot_operations_per_second"] = dots
            values["prefill_share_of_dot_peak"] = prefill * operations / dots
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return {
        "kernels": engine.kernels,
        "threads": engine.threads,
        "bytes_read_per_token": bytes_per_token,
        "operations_per_prompt_token": operations,
        "prompt_tokens": prompt_tokens,
        "new_tokens": new_tokens,
        "context_tokens": context_tokens,
        **{name: statistics.median(values) for name, values in found.items()},
    }


def _decode_speed(engine: Engine, prompt: list[int], choices: int, new_tokens: int) -> float:
    """Return tokens a second of all choices, from where each of them has its first."""
    request = _submit(engine, prompt, choices, new_tokens)
    waiting = set(range(choices))
    start, made = 0.0, 0
    while (event := engine.next_event(request)) is not None:
        if waiting:
            waiting.discard(event[0])
            start = time.perf_counter()
        else:
            made += 1
    return made / (time.perf_counter() - start)


def _prefill_speed(engine: Engine, prompt: list[int]) -> float:
    """Return tokens a second from a prompt to the first new token."""
    start = time.perf_counter()
    request = _submit(engine, prompt, 1, 1)
    engine.next_event(request)
    seconds = time.perf_counter() - start
    # The engine keeps a request until it is asked for the end, or told that nobody will ask.
    engine.cancel(request)
    return len(prompt) / seconds


def _submit(engine: Engine, prompt: list[int], choices: int, new_tokens: int) -> int:
    return engine.submit(
        prompt,
        n=choices,
        max_tokens=new_tokens,
        temperature=0.0,
        top_p=1.0,
        top_k=0,
        min_p=0.0,
        seed=0,
        stop=[],
        stop_token_ids=[],
        ignore_eos=True,
    )
