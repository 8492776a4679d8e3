"""`TokenCounter` and `TokenIndex` against counts of the texts themselves."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_soup import soup

from nemo_fast import Tokenizer, TokenizerError

count = Tokenizer().count


@given(st.lists(st.tuples(soup, st.booleans()), max_size=8))
def test_a_counter_counts_the_concatenation(appended):
    counter = Tokenizer().counter()
    text = ""
    for part, is_read in appended:
        counter.append(part)
        text += part
        if is_read:
            assert counter.count == count(text)
    assert counter.count == count(text)


@given(soup)
def test_a_counter_counts_character_by_character(text):
    counter = Tokenizer().counter()
    for n, code_point in enumerate(text, 1):
        counter.append(code_point)
        assert counter.count == count(text[:n])


def test_a_counter_takes_bytes_and_str(tokenizer):
    counter = tokenizer.counter()
    assert repr(counter) == "TokenCounter(count=0)"
    for part in ("Premi", "è".encode(), "re", "", b"", "\ud83d"):
        counter.append(part)
    assert counter.count == count("Première\ud83d")
    counter.append(b"x")
    assert counter.count == count("Première\ud83dx")
    with pytest.raises(TokenizerError, match=r"the text is not UTF-8 at byte 0$"):
        counter.append(b"\xff")
    with pytest.raises(TypeError, match="text must be str or bytes, found int"):
        counter.append(5)
    assert counter.count == count("Première\ud83dx")


@pytest.mark.parametrize("unit", ["a", "A", "\u4e2d", "=", " ", "\n", "\u0301", "+\u0301\n/", "Ab", "a b "])
def test_a_counter_of_a_long_text(tokenizer, unit):
    counter = tokenizer.counter()
    for _ in range(100):
        counter.append(unit * 20)
        assert counter.count > 0
    assert counter.count == count(unit * 2_000)


def test_threads_share_a_counter(tokenizer):
    counter = tokenizer.counter()
    with ThreadPoolExecutor(4) as threads:
        for _ in threads.map(counter.append, ["one two three\n"] * 2_000):
            assert counter.count > 0
    assert counter.count == count("one two three\n" * 2_000)


@given(st.lists(soup, max_size=40).map("".join), st.data())
def test_an_index_counts_every_part(text, data):
    index = Tokenizer().index(text)
    assert len(index) == len(text)
    for _ in range(5):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, len(text)))
        assert index.count(start, stop) == count(text[start:stop])
    assert repr(index) == f"TokenIndex(len={len(text)}, count={count(text)})"


def test_an_index_of_bytes_has_positions_of_characters(tokenizer):
    text = "Crème brûlée, 1 000 fois. " * 100
    index = tokenizer.index(text.encode())
    assert len(index) == len(text)
    for start, stop in [(0, len(text)), (3, 1_700), (1_000, 1_000), (2, 11)]:
        assert index.count(start, stop) == count(text[start:stop])


@pytest.mark.parametrize(("start", "stop"), [(0, 6), (3, 2), (6, 6), (0, 10**30)])
def test_parts_that_an_index_does_not_have(tokenizer, start, stop):
    found = f"{start} and {min(stop, 2**64 - 1)}"
    with pytest.raises(ValueError, match=f"^start and stop must be in order and at most 5, found {found}$"):
        tokenizer.index("Hello").count(start, stop)


def test_positions_are_integers(tokenizer):
    index = tokenizer.index("Hello")
    with pytest.raises(ValueError, match=r"^start must be at least 0, found -1$"):
        index.count(-1, 2)
    with pytest.raises(TypeError, match=r"^stop must be an integer, found float$"):
        index.count(0, 2.0)
    with pytest.raises(TypeError, match="text must be str or bytes, found NoneType"):
        tokenizer.index(None)
    with pytest.raises(TokenizerError, match=r"the text is not UTF-8 at byte 1$"):
        tokenizer.index(b"a\xff")
