"""Every kind of `str`, arrays, batches, files and threads: all give what `encode` gives of one text."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_fast import TokenBatch, Tokenizer, TokenizerError

LINE = "Größe 12: один 中文。𝐀😀\n\tx = y / 2\r\n"

# A `str` holds its characters in 1, 2 or 4 bytes, after the largest of them.
ALPHABETS = ["ab 1\n.", "ab 1\né\xff", "ab 1\nяД中\ud83d\ude00", "a 1\n中😀\ud83d\ude00"]
texts_of_each_kind = st.one_of([st.text(alphabet=alphabet, max_size=40) for alphabet in ALPHABETS])


def utf8(text):
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


@given(texts_of_each_kind, st.sampled_from([1, 400]), st.sampled_from([1, 30]))
def test_every_kind_of_str_is_its_utf8(text, times, runs):
    text = (text * runs + "\n") * times
    tokenizer = Tokenizer()
    ids = tokenizer.encode(utf8(text))
    assert tokenizer.encode(text) == ids
    assert tokenizer.count(text) == len(ids)
    array = tokenizer.encode_array(text, bos=True, eos=True)
    assert array.dtype == np.uint32
    assert array.tolist() == [1, *ids, 2]


@given(st.lists(texts_of_each_kind), st.sampled_from([None, 1, 2, 5]), st.booleans())
def test_a_batch_is_its_texts(texts, threads, bos):
    tokenizer = Tokenizer()
    expected = [tokenizer.encode(text, bos=bos) for text in texts]
    batch = tokenizer.encode_batch(iter(texts), threads=threads, bos=bos)
    assert batch.tolist() == expected
    assert [view.tolist() for view in batch] == expected
    assert [batch[i - len(texts)].tolist() for i in range(len(texts))] == expected
    assert len(batch) == len(texts)
    assert pickle.loads(pickle.dumps(batch)).tolist() == expected  # noqa: S301
    counts = tokenizer.count_batch(texts, threads=threads)
    assert counts.dtype == batch.offsets.dtype == np.int64
    assert counts.tolist() == [tokenizer.count(text) for text in texts]


def test_views_of_a_batch(tokenizer):
    batch = tokenizer.encode_batch(["Hello", "Hi"])
    assert np.shares_memory(batch[1], batch.ids)
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"text {index} is outside a batch of 2"):
            batch[index]
    with pytest.raises(ValueError, match="offsets must ascend from 0 to the number of ids, 2"):
        TokenBatch(np.array([1, 2], "u4"), np.array([0, 3]))


@pytest.mark.parametrize("threads", [1, 2, 7, None])
def test_large_texts_on_any_number_of_threads(tokenizer, threads):
    large = LINE * 40_000
    ids = tokenizer.encode(LINE) * 40_000
    assert tokenizer.encode(large) == ids
    assert tokenizer.count(large) == len(ids)
    batch = tokenizer.encode_batch(["a", large, large.encode(), ""], threads=threads)
    assert batch.offsets.tolist() == np.cumsum([0, 1, len(ids), len(ids), 0]).tolist()
    assert (batch.ids[1 : len(ids) + 1] == ids).all()
    assert tokenizer.count_batch([large] * 3, threads=threads).tolist() == [len(ids)] * 3


@pytest.mark.parametrize("method", ["encode_batch", "count_batch"])
def test_what_a_batch_refuses(tokenizer, method):
    refused = getattr(tokenizer, method)
    for threads in (0, -1):
        with pytest.raises(ValueError, match=f"threads must be at least 1, found {threads}"):
            refused([], threads=threads)
    with pytest.raises(TypeError, match="text 1: text must be str or bytes, found int"):
        refused(["a", 1])
    with pytest.raises(TypeError, match="texts must be an iterable of str or bytes, found one str"):
        refused("abc")
    with pytest.raises(TypeError):
        refused(None)
    with pytest.raises(TokenizerError, match="text 2: the text is not UTF-8 at byte 1"):
        refused(["a", b"b", b"c\xff"])


def test_a_control_string_in_a_batch(tokenizer):
    assert tokenizer.encode_batch(["a", "<s>b"], special="parse").tolist()[1][0] == 1
    with pytest.raises(TokenizerError, match="text 1: the text has the control string <s> at byte 1"):
        tokenizer.encode_batch(["a", "b<s>"], special="forbid")


def test_files(tokenizer, tmp_path):
    path = tmp_path / "text"
    content = b"\xef\xbb\xbf" + (LINE * 20_000).encode()
    path.write_bytes(content)
    assert tokenizer.count_file(path) == tokenizer.count_file(str(path)) == tokenizer.count(content)
    broken = bytearray(content)
    place = broken.rindex(b"\t")
    broken[place] = 0xFF
    path.write_bytes(broken)
    with pytest.raises(TokenizerError, match=f"the text is not UTF-8 at byte {place}$"):
        tokenizer.count_file(path)
    path.write_bytes(b"")
    assert tokenizer.count_file(path) == 0
    with pytest.raises(FileNotFoundError, match="missing"):
        tokenizer.count_file(tmp_path / "missing")
    with pytest.raises(OSError, match=str(tmp_path)):
        tokenizer.count_file(tmp_path)


def test_a_pipe_is_read_to_its_end(tokenizer, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as threads:
        counted = threads.submit(tokenizer.count_file, pipe)
        pipe.write_text("Hello, how are you?")
        assert counted.result() == 6


def test_threads_in_a_forked_process(tokenizer):
    texts = [LINE * 100] * 100
    counts = tokenizer.count_batch(texts).tolist()
    process = os.fork()
    if process == 0:
        os._exit(tokenizer.count_batch(texts).tolist() != counts)
    assert os.waitpid(process, 0)[1] == 0


def test_eight_threads_share_a_tokenizer(tokenizer):
    texts = [f"{i}: {LINE * (i % 40)}" for i in range(100)]
    expected = [tokenizer.encode(text) for text in texts]

    def work(_):
        assert tokenizer.encode_batch(texts).tolist() == expected
        assert tokenizer.count_batch(texts, threads=2).tolist() == [len(ids) for ids in expected]
        for text, ids in zip(texts, expected, strict=True):
            assert tokenizer.encode(text) == tokenizer.encode_array(text).tolist() == ids
            assert tokenizer.decode_bytes(ids) == text.encode()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(16)))


@given(st.lists(st.text(max_size=40), max_size=8))
def test_a_decoded_batch_is_what_decode_gives_of_each(texts):
    batch = Tokenizer().encode_batch(texts, bos=True)
    for rows in (batch, batch.tolist(), list(batch), iter(batch)):
        assert Tokenizer().decode_batch(rows, special="keep") == [
            Tokenizer().decode(row, special="keep") for row in batch
        ]


def test_what_cannot_be_decoded_is_named_by_its_index():
    with pytest.raises(TypeError, match=r"^element 1: a token id must be an integer, found str$"):
        Tokenizer().decode_batch([[1], ["a"]])
    with pytest.raises(TokenizerError, match=r"^text 1: token id 131072 is outside the vocabulary"):
        Tokenizer().decode_batch([[1], [131072]])
    with pytest.raises(TokenizerError, match=r"^element 0: token id -1 is outside the range"):
        Tokenizer().decode_batch([[-1]])
