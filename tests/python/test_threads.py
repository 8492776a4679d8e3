"""Many threads, forked and spawned processes: the answers are those of one thread."""

import multiprocessing
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tekken_files import BYTES, names_of, tekken, write
from test_tokenizer_equivalence import class_soup

import nemo_fast
from nemo_fast import Tokenizer

THREADS = 8


@pytest.fixture(scope="module")
def texts():
    """Short texts, on which calls keep the GIL, and texts of tens of kilobytes, on which they release it."""
    generator = random.Random(8)
    short = [class_soup(generator) for _ in range(300)]
    return [*short, *("".join(generator.sample(short, 200)) * times for times in (1, 2, 4, 8))]


@pytest.fixture(scope="module")
def tokenizers(tokenizer, tmp_path_factory):
    """The embedded one, and one with other ids for the same texts."""
    pairs = [left + right for left in (b"a", b" ", b"\r", b"z") for right in (b"a", b"z", b"\n")]
    path = tmp_path_factory.mktemp("threads") / "tekken.json"
    write(path, tekken("v3", [*BYTES, *pairs], names_of("v7", 20)))
    return [tokenizer, Tokenizer.from_file(path)]


def answers(tokenizer, text):
    """What each method says of a text."""
    ids = tokenizer.encode(text)
    stream = tokenizer.stream_decoder()
    return {
        "encode": ids,
        "array": tokenizer.encode_array(text).tolist(),
        "batch": tokenizer.encode_batch([text, text[:100], text]).tolist(),
        "counts": tokenizer.count_batch([text] * 3, threads=2).tolist(),
        "offsets": tokenizer.encode_with_offsets(text)[1].tolist(),
        "truncate": tokenizer.truncate(text, 50),
        "count": tokenizer.count(text),
        "bytes": tokenizer.count(text.encode()),
        "parse": tokenizer.encode(f"<s>{text}", special="parse"),
        "decode": tokenizer.decode(ids),
        "stream": "".join([*map(stream.push, ids), stream.finish()]),
    }


def all_answers(tokenizers, texts):
    return [answers(tokenizer, text) for tokenizer in tokenizers for text in texts]


def shuffled(number, tokenizers, texts):
    """Ask in an order of this thread's own; return the answers in the order of `all_answers`."""
    asked = [(tokenizer, text) for tokenizer in tokenizers for text in texts]
    order = list(range(len(asked)))
    random.Random(number).shuffle(order)
    found = {place: answers(*asked[place]) for place in order}
    return [found[place] for place in range(len(asked))]


def test_threads_share_tokenizers(tokenizers, texts):
    expected = all_answers(tokenizers, texts)
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(shuffled, number, tokenizers, texts) for number in range(THREADS)]
        assert all(future.result() == expected for future in futures)


def test_threads_with_tokenizers_of_their_own(tokenizers, texts):
    """Made, pickled and dropped while others work: more of them than a thread remembers."""
    texts = texts[:40]
    expected = all_answers(tokenizers, texts)
    parts = [tokenizer.__reduce__() for tokenizer in tokenizers]

    def work(number):
        for _ in range(6):
            own = [make(*arguments) for make, arguments in parts]
            assert shuffled(number, own, texts) == expected

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))


def test_threads_that_start_and_end(tokenizer, texts):
    """What a thread remembers goes with it."""
    expected = [tokenizer.encode(text) for text in texts]
    found = {}

    def work(number):
        found[number] = [tokenizer.encode(text) for text in texts]

    for _ in range(5):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [found.pop(number) == expected for number in range(THREADS)] == [True] * THREADS


@pytest.fixture
def busy(tokenizers, texts):
    """Threads that encode as long as a test runs."""
    stop = threading.Event()

    def work(number):
        while not stop.is_set():
            shuffled(number, tokenizers, texts)

    with ThreadPoolExecutor(THREADS - 1) as pool:
        futures = [pool.submit(work, number) for number in range(THREADS - 1)]
        yield
        stop.set()
        for future in futures:
            future.result()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("busy")
def test_fork_while_threads_run(tokenizers, texts):
    """A child has its own copy of what the forking thread remembers, and none of the other threads."""
    texts = texts[:60]
    expected = all_answers(tokenizers, texts)
    for _ in range(10):
        child = os.fork()
        if child == 0:
            # No pytest in the child: it says by its exit code how it went, and lives ten seconds at most.
            import signal

            signal.alarm(10)
            os._exit(0 if all_answers(tokenizers, texts) == expected else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def counts(tokenizer, texts):
    """Run in a child: a passed tokenizer, and the one that the child's own import has."""
    return [tokenizer.count(text) for text in texts], [nemo_fast.count(text) for text in texts]


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_tokenizers_in_children(tokenizers, texts, method):
    texts = texts[::10]
    arguments = [(tokenizer, texts) for tokenizer in tokenizers]
    expected = [counts(*argument) for argument in arguments]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap_async(counts, arguments).get(timeout=60) == expected
