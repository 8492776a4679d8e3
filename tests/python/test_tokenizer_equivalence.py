"""The ids of `Tokenizer` against mistral-common's, on everything that tells their patterns apart."""

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

CODE_POINTS = [point for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]

# A few characters of each class of the pattern, in one to four bytes.
# U+A7CE and U+323B0 are letters of Unicode 17 only.
CLASSES = [
    "AZÀΩДǅᾈ𝐀Ჾ",  # upper and title case
    "azßωдⅎ𝐚ꭰ",  # lower case
    "ªʰ中あאक한ๆ𠀀ー",  # letters without case
    "\u0301\u0903\u20dd\ufe0f\U000e0101",  # marks
    "09²½Ⅻ٣𝟘",  # numbers
    " \t\v\f\x85\xa0\u2003\u2028\u3000",  # white space
    "\r\n",
    "/",  # the only punctuation that may follow a newline in its pretoken
    "'/_-.,!<[\"`~+€😀\x00\x1c\x7f\u200b\u200d\ufeff\ufffd\ue000\ua7ce\U000323b0\U0010ffff",  # others
]


def assert_equal_ids(tokenizer, reference, texts):
    for text in texts:
        expected = reference.encode(text, bos=False, eos=False)
        assert tokenizer.encode(text) == expected, repr(text)
        assert tokenizer.count(text) == len(expected), repr(text)


def class_soup(generator):
    classes = generator.choices(CLASSES, k=generator.randint(1, 24))
    return "".join(generator.choice(members) * generator.choice([1, 1, 1, 2, 5]) for members in classes)


def code_point_texts(points):
    for point in points:
        yield chr(point)
        yield f"a{chr(point)}B"


def test_golden_texts(tokenizer, golden):
    assert len(golden["encode"]) == 21
    for case in golden["encode"]:
        assert tokenizer.encode(case["text"]) == case["tokens"]
        assert [tokenizer.token_bytes(i).hex() for i in case["tokens"]] == case["bytes_hex"]


def test_vocabulary(tokenizer, reference):
    assert tokenizer.vocab_size == reference.n_words
    assert tokenizer.special_tokens == reference._special_tokens_reverse_vocab
    for token_id in range(1_000, tokenizer.vocab_size):
        assert tokenizer.token_bytes(token_id) == reference.id_to_byte_piece(token_id)


def test_every_97th_code_point(tokenizer, reference):
    assert_equal_ids(tokenizer, reference, code_point_texts(CODE_POINTS[::97]))


@pytest.mark.long
def test_every_code_point(tokenizer, reference):
    assert_equal_ids(tokenizer, reference, code_point_texts(CODE_POINTS))


def test_class_soup(tokenizer, reference):
    generator = random.Random(240718)
    assert_equal_ids(tokenizer, reference, (class_soup(generator) for _ in range(5_000)))


@pytest.mark.long
def test_more_class_soup(tokenizer, reference):
    generator = random.Random(131072)
    assert_equal_ids(tokenizer, reference, (class_soup(generator) for _ in range(100_000)))


def test_random_code_points(tokenizer, reference):
    generator = random.Random(16)
    texts = ("".join(map(chr, generator.choices(CODE_POINTS[:0x3000], k=30))) for _ in range(2_000))
    assert_equal_ids(tokenizer, reference, texts)


def test_long_words(tokenizer, reference):
    """Merging of long pretokens, with many pairs of equal rank at once."""
    generator = random.Random(8)
    for letters in ["ab", "aé", "etaoin", "中文字", "=-", "abcdefghijklmnopqrstuvwxyz"]:
        words = ["".join(generator.choices(letters, k=generator.randint(200, 2_000))) for _ in range(10)]
        assert_equal_ids(tokenizer, reference, words)


@given(
    text=st.text(
        alphabet=st.one_of(st.sampled_from("\ud800\udbff\udc00\udfff\ud83d\ude00a \ufeff"), st.characters())
    )
)
def test_surrogates(tokenizer, reference, text):
    assert tokenizer.encode(text) == reference.encode(text, bos=False, eos=False)


def test_lone_surrogates_and_pairs(tokenizer):
    assert tokenizer.encode("a\ud83d\ude00b") == tokenizer.encode("a😀b")
    assert tokenizer.encode("\ude00\ud83d") == tokenizer.encode("\ufffd\ufffd")
    assert tokenizer.count("\ud83d") == tokenizer.count("\ufffd")


@pytest.mark.parametrize("character", [" ", "a", "A", "=", "\n", "中", "\u0301"])
def test_a_million_characters(tokenizer, reference, character):
    """One pretoken, on which the reference's pattern gives up; its merging alone does not."""
    text = character * 1_000_000
    expected = reference._model._core_bpe.encode_single_piece(text.encode())
    assert [i - 1_000 for i in tokenizer.encode(text)] == expected
    assert tokenizer.count(text) == len(expected)


@given(ids=st.lists(st.one_of(st.integers(0, 30), st.integers(1_080, 1_255), st.integers(0, 131_071))))
def test_decoding(tokenizer, reference, ids):
    assert tokenizer.decode(ids) == reference.decode(ids)
    assert tokenizer.decode(ids, special="keep") == reference._to_string(ids)
