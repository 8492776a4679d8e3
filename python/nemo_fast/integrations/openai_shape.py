"""Counts and fits what every library's messages become: OpenAI's, with the same options for all.

A prompt may have any last role (mode "agnostic"), because libraries count conversations at any moment. Ids of
tool calls are cut to their last nine characters, because other models' are longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import nemo_fast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemo_fast._native import _Messages as Messages
    from nemo_fast._native import _Policy as Policy
    from nemo_fast._native import _Tools as Tools

Message = TypeVar("Message")


def count_prompt(messages: Messages, tools: Tools | None = None) -> int:
    """Return the number of token ids of the prompt: `nemo_fast.count_chat`.

    >>> count_prompt([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}])
    6
    """
    return nemo_fast.count_chat(messages, tools, mode="agnostic", tool_call_ids="last9")


def fit_prompt(
    own: Sequence[Message],
    messages: Sequence[dict[str, Any]],
    max_tokens: int,
    tools: Tools | None,
    *,
    reserve: int,
    policy: Policy,
) -> list[Message]:
    """Return those of a library's messages that `nemo_fast.fit_chat` leaves; `messages`: what each became.

    >>> messages = [{"role": "user", "content": text} for text in ["Hello", "Hi"]]
    >>> fit_prompt(["first", "second"], messages, 4, None, reserve=0, policy="drop_oldest")
    ['second']
    """
    fitted = nemo_fast.fit_chat(
        messages,
        max_tokens,
        tools,
        reserve=reserve,
        policy=policy,
        mode="agnostic",
        tool_call_ids="last9",
    )
    dropped = set(fitted.dropped)
    return [message for index, message in enumerate(own) if index not in dropped]
