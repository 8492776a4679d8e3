"""One measurement of one tokenizer in a process of its own: cold is cold, and nobody heats another's caches.

    python benches/python/measure.py MODE PEER [ARGUMENT...]

prints one line of JSON; `tokenizer_speed.py` starts it, pins it to its processors, and says what to measure.
Times are taken twice, as the process's CPU time and as wall time, with Python's garbage collector off.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pathological import NAMES, family
from peer_files import peer_files
from peers import PEERS, REFERENCE, Calls, Peer, flat_ids

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST = "first"
CALL = 200  # characters of a short call
DOCUMENT = 4_000  # characters of a document
WINDOW = 0.4  # seconds in which threads run
LEAST_SECONDS, LEAST_RUNS, MOST_RUNS = 0.15, 3, 9


class Time(NamedTuple):
    """Seconds of the CPU and of the clock."""

    cpu: float
    wall: float


def timed(call: Callable[[], Any]) -> Time:
    """Time one call; what it returns is freed after the clock has stopped."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    del result
    return Time(cpu, wall)


def best(call: Callable[[], Any]) -> Time:
    """Return the best of some runs."""
    times: list[Time] = []
    while len(times) < LEAST_RUNS or (
        len(times) < MOST_RUNS and sum(run.wall for run in times) < LEAST_SECONDS
    ):
        times.append(timed(call))
    return Time(min(run.cpu for run in times), min(run.wall for run in times))


def read(path: str) -> str:
    return Path(path).read_bytes().decode()


def pieces(text: str, characters: int) -> list[str]:
    return [text[start : start + characters] for start in range(0, len(text), characters)]


def each(call: Callable[[str], Any], texts: list[str]) -> None:
    for text in texts:
        call(text)


def record(row: str, measured: Time, texts: list[str]) -> dict[str, Any]:
    size = sum(len(text.encode()) for text in texts)
    return {"row": row, **measured._asdict(), "bytes": size, "calls": len(texts)}


def phases(row: str, call: Callable[[str], Any], text: str) -> list[dict[str, Any]]:
    """Measure a call on a first half, then on the second half, on that again, and on short pieces of it.

    What a tokenizer puts off to its first call belongs to loading, so a word comes before.
    """
    call(FIRST)
    first, second = text[: len(text) // 2], text[len(text) // 2 :]
    short = pieces(second, CALL)
    return [
        record(f"{row}/cold", timed(lambda: call(first)), [first]),
        record(f"{row}/new", timed(lambda: call(second)), [second]),
        record(f"{row}/warm", best(lambda: call(second)), [second]),
        record(f"{row}/calls", best(lambda: each(call, short)), short),
    ]


def measure_encode(calls: Calls, path: str) -> list[dict[str, Any]]:
    """Measure lists of ids, and decoding from a list."""
    text = read(path)
    found = phases("encode/list", calls.encode_list, text)
    if calls.decode_list is not None:
        decode, ids = calls.decode_list, calls.encode_list(text)
        found.append(record("decode/list", best(lambda: decode(ids)), [text]))
    return found


def measure_array(calls: Calls, path: str) -> list[dict[str, Any]]:
    """Measure flat ids, and decoding from an array."""
    text = read(path)
    found = phases("encode/array", calls.encode_array, text) if calls.encode_array is not None else []
    ids = flat_ids(calls.encode_list(text)).copy()
    for row, decode in (("decode/array", calls.decode_array), ("decode/bytes", calls.decode_bytes)):
        if decode is not None:
            found.append(record(row, best(lambda decode=decode: decode(ids)), [text]))
    return found


def measure_count(calls: Calls, path: str) -> list[dict[str, Any]]:
    return phases("count", calls.count, read(path)) if calls.count is not None else []


def measure_batch(calls: Calls, path: str, threads: str) -> list[dict[str, Any]]:
    """Measure documents in one call, first and again; to be compared by wall time."""
    documents = pieces(read(path), DOCUMENT)
    found = []
    for row, call in (("batch/encode", calls.encode_batch), ("batch/count", calls.count_batch)):
        if call is not None:
            call([FIRST, FIRST], int(threads))
            run = lambda call=call: call(documents, int(threads))  # noqa: E731
            found.append(record(f"{row}/cold", timed(run), documents))
            found.append(record(f"{row}/warm", best(run), documents))
    return found


def measure_pathological(calls: Calls, shrink: str) -> list[dict[str, Any]]:
    """Measure the first call on each family; a family that raises has no record."""
    found = []
    rows = [
        ("pathological/encode", calls.encode_array or calls.encode_list),
        ("pathological/count", calls.count),
    ]
    for row, call in rows:
        if call is None:
            continue
        call(FIRST)
        for name in NAMES:
            text = family(name, int(shrink))
            try:
                measured = timed(lambda call=call, text=text: call(text))
            except BaseException:  # noqa: BLE001, S112 - a Rust panic is no Exception
                continue
            found.append(record(row, measured, [text]) | {"text": name})
    return found


def measure_load(peer: Peer) -> list[dict[str, Any]]:
    """Measure constructing the tokenizer, the package being imported, and its first call."""
    import_module(peer.module)
    files, loaded = peer_files(), []
    construct = timed(lambda: loaded.append(peer.load(files)))
    calls = loaded[0]
    first = timed(lambda: (calls.count or calls.encode_list)(FIRST))
    return [record("load/construct", construct, []), record("load/first call", first, [])]


def measure_memory(calls: Callable[[], Calls], paths: list[str]) -> list[dict[str, Any]]:
    """Measure the memory that loading, a first count and 20 MB of counting in texts of 64 Ki characters add.

    Where a peer has no count, ids are built and dropped.
    """
    documents = [piece for path in paths for piece in pieces(read(path), 65_536)]
    size = sum(len(document.encode()) for document in documents)
    before = _memory()
    tokenizer = calls()
    count = tokenizer.count or tokenizer.encode_array or tokenizer.encode_list
    count(FIRST)
    loaded = _memory()
    for _ in range(-(-20_000_000 // size)):
        each(count, documents)
    counted = _memory()
    return [
        {"row": f"memory/{name}/{when}", "bytes": after[name] - before[name]}
        for when, after in (("loaded", loaded), ("counted", counted))
        for name in before
    ]


def _memory() -> dict[str, int]:
    """Return private bytes (written by this process) and those of mapped files."""
    gc.collect()
    fields = {}
    for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, size, *_ = line.split()
        fields[name.rstrip(":")] = int(size) * 1024
    return {"private": fields["Private_Dirty"], "file": fields["Rss"] - fields["Anonymous"]}


def serve_windows(calls: Calls, what: str, path: str) -> None:
    """Answer each line `THREADS PROCESSOR...` with bytes a second over documents, on those processors."""
    if (call := getattr(calls, what)) is None:
        return
    documents = pieces(read(path), DOCUMENT)
    size = sum(len(document.encode()) for document in documents)
    each(call, documents)
    print("ready", flush=True)
    for line in sys.stdin:
        threads, *processors = map(int, line.split())
        os.sched_setaffinity(0, processors)
        start = threading.Barrier(threads)
        rates: list[float] = []
        workers = [
            threading.Thread(target=_window, args=(call, documents, size, start, rates))
            for _ in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(sum(rates), flush=True)


def _window(call, documents: list[str], size: int, start: threading.Barrier, rates: list[float]) -> None:
    start.wait()
    begin = time.perf_counter()
    runs = 0
    while (now := time.perf_counter()) - begin < WINDOW:
        each(call, documents)
        runs += 1
    rates.append(size * runs / (now - begin))


def all_texts(paths: list[str], shrink: int) -> dict[str, str]:
    """Return the texts to compare by name; the pathological ones only if `shrink` is not 0."""
    families = {name: family(name, shrink) for name in NAMES} if shrink else {}
    return {Path(path).stem: read(path) for path in paths} | families


def check(calls: Calls, truth: str, paths: list[str], shrink: str) -> list[dict[str, Any]]:
    """Compare every call with the reference's ids; a text that differs is named with what differs."""
    import numpy as np

    found = []
    texts = all_texts(paths, int(shrink))
    for name, text in texts.items():
        expected = np.load(Path(truth) / f"{name}.npy")
        try:
            wrong = _differences(calls, text, expected)
        except BaseException as error:  # noqa: BLE001 - a Rust panic is no Exception
            wrong = [f"{type(error).__name__}: {error}"]
        found += [{"text": name, "wrong": what} for what in wrong]
    return found


def _differences(calls: Calls, text: str, expected: Any) -> list[str]:
    import numpy as np

    documents = pieces(text, DOCUMENT)
    joined = np.concatenate([flat_ids(calls.encode_list(document)) for document in documents])
    answers = {
        "encode_list": lambda call: np.array_equal(flat_ids(call(text)), expected),
        "encode_array": lambda call: np.array_equal(flat_ids(call(text)), expected),
        "count": lambda call: call(text) == len(expected),
        "decode_list": lambda call: call(expected.tolist()) == text,
        "decode_array": lambda call: call(expected) == text,
        "decode_bytes": lambda call: call(expected) == text.encode(),
        "encode_batch": lambda call: np.array_equal(flat_ids(call(documents, 1)), joined),
        "count_batch": lambda call: int(np.sum(call(documents, 1))) == len(joined),
    }
    return [
        name
        for name, is_right in answers.items()
        if (call := getattr(calls, name)) is not None and not is_right(call)
    ]


def write_truth(folder: str, paths: list[str], shrink: str) -> None:
    """Write the reference's ids of every text, an array a file."""
    import numpy as np

    files = peer_files()
    encode = PEERS[REFERENCE].load(files).encode_list
    texts = all_texts(paths, int(shrink))
    for name, text in texts.items():
        try:
            ids = encode(text)
        except ValueError:
            ids = _one_piece(text)
        np.save(Path(folder) / f"{name}.npy", np.asarray(ids, np.uint32))


def _one_piece(text: str) -> list[int]:
    """Return the ids of blanks alone, which are one piece: the reference's pattern overflows on a million."""
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    assert text.isspace()
    tokenizer = Tekkenizer.from_file(peer_files().tekken)
    ids = tokenizer._model._encode_single_piece(text)  # noqa: SLF001 - tiktoken's call for it
    return [id_ + tokenizer.num_special_tokens for id_ in ids]


def main() -> None:
    mode, name, *arguments = sys.argv[1:]
    peer, files = PEERS[name], peer_files()
    gc.disable()
    if mode == "truth":
        write_truth(arguments[0], arguments[2:], arguments[1])
        found: list[dict[str, Any]] = []
    elif mode == "load":
        found = measure_load(peer)
    elif mode == "memory":
        found = measure_memory(lambda: peer.load(files), arguments)
    else:
        calls = peer.load(files)
        if mode == "threads":
            serve_windows(calls, *arguments)
            return
        if mode == "check":
            found = check(calls, arguments[0], arguments[2:], arguments[1])
        else:
            found = MODES[mode](calls, *arguments)
    print(json.dumps(found))


MODES: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "encode": measure_encode,
    "array": measure_array,
    "count": measure_count,
    "batch": measure_batch,
    "pathological": measure_pathological,
}

if __name__ == "__main__":
    main()
