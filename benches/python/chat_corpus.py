"""Chat requests to measure with: some of given sizes, and a file of many, one a line, no text twice.

The many have the shapes of the golden requests (calls, results, tools, roles in every order) and, in place
of their texts, pieces of real text. The same seed and texts give the same file.
"""

from __future__ import annotations

import copy
import json
import random
from typing import TYPE_CHECKING, Any

import machine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Request = dict[str, Any]
SEED = 20_261_128
# Characters of a text: most have some hundred, a few some thousand.
MEDIAN_LENGTH, SPREAD, MOST_LENGTH = 400, 0.9, 20_000


def small() -> Request:
    """Return a request of 9 tokens."""
    return {"messages": [{"role": "user", "content": "Hello, how are you?"}]}


def with_tools() -> Request:
    """Return a request of 252 tokens with two tools, two calls and their results."""
    return golden_request("tool_parallel")


def conversation(messages: int, texts: Sequence[str]) -> Request:
    """Return a request of so many messages, a system's and then the user's and assistant's in turns."""
    draw = random.Random(SEED)  # noqa: S311
    system = {"role": "system", "content": "Answer briefly."}
    roles = ["user", "assistant"] * messages
    turns = [
        {"role": role, "content": piece(texts, draw).strip() or "Yes."} for role in roles[: messages - 1]
    ]
    if turns[-1]["role"] == "assistant":
        turns[-1]["role"] = "user"
    return {"messages": [system, *turns]}


def golden_request(name: str) -> Request:
    """Return a golden request by its name."""
    return next(case["request"] for case in golden() if case["name"] == name)


def golden() -> list[dict[str, Any]]:
    path = machine.ROOT / "tests" / "golden" / "chat.json"
    cases: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["chat"]
    return cases


def piece(texts: Sequence[str], draw: random.Random) -> str:
    """Return a piece of one of the texts."""
    text = draw.choice(texts)
    length = min(int(draw.lognormvariate(0, SPREAD) * MEDIAN_LENGTH) + 1, MOST_LENGTH)
    start = draw.randrange(max(1, len(text) - length))
    return text[start : start + length]


def write_requests(path: Path, count: int, texts: Sequence[str], seed: int = SEED) -> None:
    """Write so many requests, a line each, all of which are accepted in mode "test"."""
    draw = random.Random(seed)  # noqa: S311
    shapes = [case["request"] for case in golden() if case["ok"] and case["mode"] == "test"]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            request = copy.deepcopy(draw.choice(shapes))
            for message in request["messages"]:
                # Tools have results and calls have no text.
                is_spoken = message["role"] in ("user", "assistant") and not message.get("tool_calls")
                if is_spoken and isinstance(message.get("content"), str):
                    message["content"] = f"{number}. {piece(texts, draw)}"
            line = json.dumps(request, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
            file.write(f"{line}\n")
