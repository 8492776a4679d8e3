"""The records of a run of `tokenizer_speed.py` by row, peer and text, for the report and the plots."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from peers import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LISTS_AND_ARRAYS = ("encode/list", "encode/array")
PHASES = {"cold": "unseen, fresh process", "new": "unseen, after other text", "warm": "again"}


def geometric_mean(numbers: Iterable[float]) -> float:
    logarithms = [math.log(number) for number in numbers]
    return math.exp(sum(logarithms) / len(logarithms))


def in_phase(rows: Iterable[str], phase: str) -> list[str]:
    return [f"{row}/{phase}" for row in rows]


class Speeds:
    """The numbers of one result; None stands for what a peer cannot do or what was not measured."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.texts = list(result["texts"])
        self.records = {
            (record["row"], record["peer"], record["text"]): record for record in result["records"]
        }
        measured = {peer for _, peer, _ in self.records}
        self.peers = [name for name in result["versions"] if name in measured]
        self.wrong = {peer: {record["text"] for record in found} for peer, found in result["wrong"].items()}

    def rate(self, row: str, peer: str, text: str) -> float | None:
        """Return MB/s: of CPU time, for batches of wall time."""
        record = self.records.get((row, peer, text))
        clock = "wall" if row.startswith("batch") else "cpu"
        return record["bytes"] / record[clock] / 1e6 if record else None

    def best_rate(self, rows: Iterable[str], peer: str, texts: Iterable[str] | None = None) -> float | None:
        """Return the geometric mean over texts, of the row in which the peer is fastest."""
        names = self.texts if texts is None else list(texts)
        found = [[self.rate(row, peer, text) for text in names] for row in rows]
        return max((geometric_mean(rates) for rates in found if rates and all(rates)), default=None)

    def call_time(self, row: str, peer: str, text: str) -> float | None:
        """Return microseconds a call on 200 characters."""
        record = self.records.get((f"{row}/calls", peer, text))
        return record["cpu"] / record["calls"] * 1e6 if record else None

    def best_call_time(self, rows: Iterable[str], peer: str) -> float | None:
        """Return the geometric mean over texts, of the row in which the peer is fastest."""
        found = [[self.call_time(row, peer, text) for text in self.texts] for row in rows]
        return min((geometric_mean(times) for times in found if all(times)), default=None)

    def gain(self, row: str, peer: str, kind: str) -> float | None:
        """Return how many times one thread's speed two `threads` or `processes` reach."""
        found = [record for (name, who, _), record in self.records.items() if (name, who) == (row, peer)]
        return geometric_mean(record[kind] / record["one"] for record in found) if found else None

    def families(self, row: str, peer: str) -> dict[str, float]:
        """Return MB/s by pathological family; 0 where the peer fails, nothing if it has no such row."""
        names = dict.fromkeys(text for found, _, text in self.records if found == row)
        wrong = self.wrong.get(peer, set())
        rates = {name: 0.0 if name in wrong else self.rate(row, peer, name) or 0.0 for name in names}
        return rates if any(rates.values()) else {}

    def worst_family(self, rows: Iterable[str], peer: str) -> float | None:
        """Return the lowest rate of the row whose lowest rate is highest."""
        return max((min(rates.values()) for row in rows if (rates := self.families(row, peer))), default=None)

    def best_peer(self, value: Callable[[str], float | None]) -> tuple[str, float] | None:
        """Return the peer with the largest value, and the value."""
        found = [
            (number, peer) for peer in self.peers if peer != OURS and (number := value(peer)) is not None
        ]
        return max(found)[::-1] if found else None
