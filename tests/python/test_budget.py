"""`count_up_to`, `fits`, `truncate` and `split` against brute force over every prefix and suffix."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tekken_files import BYTES, names_of, tekken, write
from text_soup import characters_of, soup

import nemo_fast
from nemo_fast import Tokenizer, TokenizerError

count = Tokenizer().count
limits = st.integers(0, 24)


def prefixes(text):
    """All prefixes of whole characters, the longest first."""
    characters = characters_of(text)
    return ["".join(characters[:n]) for n in range(len(characters), -1, -1)]


def suffixes(text):
    """All suffixes of whole characters, the longest first."""
    characters = characters_of(text)
    return ["".join(characters[n:]) for n in range(len(characters) + 1)]


@given(soup, limits)
def test_a_count_up_to_a_limit_is_the_count_or_none(text, limit):
    expected = count(text) if count(text) <= limit else None
    tokenizer = Tokenizer()
    assert tokenizer.count_up_to(text, limit) == expected
    assert tokenizer.fits(text, limit) == (expected is not None)


@given(soup, limits)
def test_right_leaves_the_longest_prefix_that_fits(text, limit):
    expected = next(prefix for prefix in prefixes(text) if count(prefix) <= limit)
    assert nemo_fast.truncate(text, limit) == expected


@given(soup, limits)
def test_left_leaves_the_longest_suffix_that_fits(text, limit):
    expected = next(suffix for suffix in suffixes(text) if count(suffix) <= limit)
    assert nemo_fast.truncate(text, limit, side="left") == expected


@given(soup, limits)
def test_middle_joins_the_longest_prefix_of_half_and_the_longest_suffix_that_fits(text, limit):
    expected = text
    if count(text) > limit:
        prefix = nemo_fast.truncate(text, (limit + 1) // 2)
        rest = limit - count(prefix)
        behind = suffixes(text[len(prefix) :])
        expected = next(
            prefix + suffix for suffix in behind if count(suffix) <= rest and count(prefix + suffix) <= limit
        )
    assert nemo_fast.truncate(text, limit, side="middle") == expected


@given(soup, st.integers(1, 12), st.integers(0, 11))
def test_parts_are_the_longest_that_fit(text, limit, overlap):
    overlap = min(overlap, limit - 1)
    assume(all(count(character) <= limit for character in characters_of(text)))
    parts = nemo_fast.split(text, limit, overlap=overlap)
    done, before = 0, ""
    for part in parts:
        shared, rest = next(
            (suffix, text[done - len(suffix) :])
            for suffix in suffixes(before)
            if count(suffix) <= overlap
            and len(nemo_fast.truncate(text[done - len(suffix) :], limit)) > len(suffix)
        )
        assert part == nemo_fast.truncate(rest, limit)
        done += len(part) - len(shared)
        before = part
    assert done == len(text)


@given(soup.filter(str.isprintable), limits)
def test_bytes_give_bytes(text, limit):
    encoded = text.encode()
    assert nemo_fast.truncate(encoded, limit) == nemo_fast.truncate(text, limit).encode()
    for side in ("left", "middle"):
        cut = nemo_fast.truncate(encoded, limit, side=side)
        assert cut == nemo_fast.truncate(text, limit, side=side).encode()
    if limit > 4:
        assert nemo_fast.split(encoded, limit) == [part.encode() for part in nemo_fast.split(text, limit)]


@pytest.fixture(scope="module")
def odd_tokenizer(tmp_path_factory):
    """A vocabulary with a token that merging does not reach, longer than those of the fast tables."""
    tokens = [*BYTES, b"ab", b"abab", b" a", b"x" * 100]
    content = tekken("v7", tokens, names_of("v7"))
    return Tokenizer.from_file(write(tmp_path_factory.mktemp("odd") / "tekken.json", content))


odd_texts = st.lists(st.sampled_from(["ab", "abab", " a", "x" * 99, "x" * 100, "\n", "1", "é"]), max_size=8)


@given(text=odd_texts.map("".join), limit=st.integers(0, 300))
def test_a_vocabulary_of_a_file(odd_tokenizer, text, limit):
    fits = [n for n in range(len(text) + 1) if odd_tokenizer.count(text[:n]) <= limit]
    assert odd_tokenizer.truncate(text, limit) == text[: fits[-1]]
    fits = [n for n in range(len(text) + 1) if odd_tokenizer.count(text[n:]) <= limit]
    assert odd_tokenizer.truncate(text, limit, side="left") == text[fits[0] :]
    counter = odd_tokenizer.counter()
    for character in text[:20]:
        counter.append(character)
    assert counter.count == odd_tokenizer.count(text[:20])
    assert odd_tokenizer.index(text).count(0, len(text)) == odd_tokenizer.count(text)


def test_a_longer_prefix_may_cost_less(tokenizer):
    text = "Première"
    assert [count(text[:n]) for n in range(1, 9)] == [1, 1, 1, 1, 2, 3, 4, 1]
    assert tokenizer.truncate(text, 1) == text
    assert tokenizer.truncate(text + "s" * 9, 3) != text[:5]


def test_a_pair_of_surrogates_is_one_character(tokenizer):
    pair = "\ud83d\ude00"
    assert tokenizer.truncate(f"a{pair}", count(f"a{pair}") - 1) == "a"
    assert tokenizer.truncate(f"{pair}b", count(f"{pair}b") - 1, side="left") == "b"
    assert tokenizer.split(pair * 3, count(pair)) == [pair] * 3
    # Where the cut of a long text is made before it is read, no half is left over.
    text = "a" + pair * 1_000
    assert tokenizer.truncate(text, 5)[-1] == "\ude00"
    assert tokenizer.truncate(text, 5, side="left")[0] == "\ud83d"
    # Halves of two pairs that come together are a character of their own.
    for limit in range(8):
        assert count(tokenizer.truncate("\ud83d" + "xyz " * 9 + "\ude00", limit, side="middle")) <= limit


def test_nothing_and_everything(tokenizer):
    for side in ("right", "left", "middle"):
        assert tokenizer.truncate("", 0, side=side) == ""
        assert tokenizer.truncate("Hello", 0, side=side) == ""
        assert tokenizer.truncate("Hello", 10**30, side=side) == "Hello"
        assert tokenizer.truncate(b"Hello", 1, side=side) == b"Hello"
    assert tokenizer.split("", 0) == tokenizer.split(b"", 5) == []
    assert tokenizer.split("Hello", 10**30) == ["Hello"]
    assert tokenizer.count_up_to("", 0) == 0
    assert tokenizer.count_up_to("Hello", 10**30) == 1


@pytest.mark.parametrize("unit", ["a", "A", "\u4e2d", "=", " ", "\n", "\u0301", "+\u0301\n/", "1", "a b "])
def test_long_texts_are_cut(tokenizer, unit):
    text = unit * (200_000 // len(unit))
    for limit in (10, 1_000):
        assert tokenizer.count_up_to(text, limit) is None
        prefix = tokenizer.truncate(text, limit)
        suffix = tokenizer.truncate(text, limit, side="left")
        middle = tokenizer.truncate(text, limit, side="middle")
        assert limit - 4 <= count(prefix) <= limit
        assert count(prefix + text[len(prefix)]) > limit
        assert text.endswith(suffix)
        assert limit - 4 <= count(suffix) <= limit
        assert count(middle) <= limit
    parts = tokenizer.split(text, 1_000)
    assert "".join(parts) == text
    assert all(tokenizer.fits(part, 1_000) for part in parts)


@pytest.mark.parametrize("value", [1.0, "1", None, [1]])
def test_limits_are_integers(tokenizer, value):
    found = type(value).__name__
    for name, refused in {
        "limit": tokenizer.count_up_to,
        "max_tokens": tokenizer.truncate,
    }.items():
        with pytest.raises(TypeError, match=f"^{name} must be an integer, found {found}$"):
            refused("a", value)
    for refused in (tokenizer.fits, tokenizer.split):
        with pytest.raises(TypeError, match=f"must be an integer, found {found}$"):
            refused("a", value)


@pytest.mark.parametrize("value", [-1, -(2**70)])
def test_limits_are_not_negative(tokenizer, value):
    for refused in (tokenizer.count_up_to, tokenizer.fits, tokenizer.truncate, tokenizer.split):
        with pytest.raises(ValueError, match=f"must be at least 0, found {value}$"):
            refused("a", value)
    with pytest.raises(ValueError, match=f"^overlap must be at least 0, found {value}$"):
        tokenizer.split("a", 5, overlap=value)


def test_what_cannot_be_cut_is_named(tokenizer):
    with pytest.raises(ValueError, match=r"^overlap must be below max_tokens \(5\), found 5$"):
        tokenizer.split("a", 5, overlap=5)
    with pytest.raises(ValueError, match=r'^side must be right, left or middle, found "both"$'):
        tokenizer.truncate("a", 5, side="both")
    costly = "\U0001f9ac"
    assert count(costly) == 4
    message = f"^the character '{costly}' at position 5 costs 4 tokens, more than max_tokens \\(3\\)$"
    with pytest.raises(ValueError, match=message):
        tokenizer.split(f"\u00e9t\u00e9\ud83d\n{costly}", 3)
    with pytest.raises(ValueError, match=r"at position 7 costs 4 tokens, more than max_tokens \(3\)$"):
        tokenizer.split(f"\u00e9t\u00e9a\n{costly}".encode(), 3)


@pytest.mark.parametrize("value", [None, 1, ["a"], bytearray(b"a")])
def test_texts_are_str_or_bytes(tokenizer, value):
    for refused in (tokenizer.count_up_to, tokenizer.fits, tokenizer.truncate, tokenizer.split):
        with pytest.raises(TypeError, match=f"text must be str or bytes, found {type(value).__name__}"):
            refused(value, 5)


def test_bytes_must_be_utf8(tokenizer):
    for refused in (tokenizer.count_up_to, tokenizer.fits, tokenizer.truncate, tokenizer.split):
        with pytest.raises(TokenizerError, match=r"the text is not UTF-8 at byte 3$"):
            refused(b"abc\xff", 5)
