"""`encode_with_offsets` against the tokenizers package, and against what the spans are by definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_soup import characters_of, soup

from nemo_fast import Tokenizer, TokenizerError


@given(soup)
def test_bytes_are_a_partition(text):
    tokenizer = Tokenizer()
    ids, spans = tokenizer.encode_with_offsets(text, unit="byte")
    assert (ids.dtype, spans.dtype, spans.shape) == (np.uint32, np.int64, (len(ids), 2))
    assert ids.tolist() == tokenizer.encode(text)
    encoded = tokenizer.decode_bytes(ids)
    assert [encoded[start:end] for start, end in spans] == [tokenizer.token_bytes(token) for token in ids]
    assert [0, *spans[:, 1]] == [*spans[:, 0], len(encoded)]


@given(soup)
def test_characters_are_the_fewest_that_cover_the_token(text):
    tokenizer = Tokenizer()
    ids, spans = tokenizer.encode_with_offsets(text)
    # Of each character the positions before and behind it, as code points and as bytes.
    characters = characters_of(text)
    points = np.cumsum([0, *(len(character) for character in characters)])
    utf8 = np.cumsum([0, *(len(tokenizer.decode_bytes(tokenizer.encode(c))) for c in characters)])
    _, byte_spans = tokenizer.encode_with_offsets(text, unit="byte")
    for span, (start, end) in zip(spans.tolist(), byte_spans, strict=True):
        covering = [i for i in range(len(characters)) if utf8[i] < end and start < utf8[i + 1]]
        assert span == [points[covering[0]], points[covering[-1] + 1]]
    assert len(ids) == len(spans)


# Of characters that Python and the other package know alike.
@given(text=st.text(st.characters(exclude_categories=["Cn", "Co", "Cs"]), max_size=60))
def test_spans_are_those_of_another_tokenizer(hf_reference, text):
    encoding = hf_reference.encode(text)
    ids, spans = Tokenizer().encode_with_offsets(text)
    assert encoding.ids == ids.tolist()
    assert [list(offsets) for offsets in encoding.offsets] == spans.tolist()


def test_two_tokens_of_a_character_share_its_span(tokenizer):
    text = "a\U0001f9acb"
    ids, spans = tokenizer.encode_with_offsets(text)
    assert spans.tolist() == [[0, 1], *[[1, 2]] * (len(ids) - 2), [2, 3]]
    _, in_bytes = tokenizer.encode_with_offsets(text.encode(), unit="char")
    assert in_bytes.tolist() == spans.tolist()
    _, pair = tokenizer.encode_with_offsets("a\ud83e\uddacb")
    assert pair.tolist() == [[0, 1], *[[1, 3]] * (len(ids) - 2), [3, 4]]


def test_no_text_no_spans(tokenizer):
    for unit in ("char", "byte"):
        ids, spans = tokenizer.encode_with_offsets("", unit=unit)
        assert (ids.shape, spans.shape) == ((0,), (0, 2))


def test_arguments_are_checked(tokenizer):
    with pytest.raises(ValueError, match=r'^unit must be char or byte, found "chars"$'):
        tokenizer.encode_with_offsets("a", unit="chars")
    with pytest.raises(TypeError, match="text must be str or bytes, found int"):
        tokenizer.encode_with_offsets(1)
    with pytest.raises(TokenizerError, match=r"the text is not UTF-8 at byte 1$"):
        tokenizer.encode_with_offsets(b"a\xff")
