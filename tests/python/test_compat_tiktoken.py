"""`compat.tiktoken_encoding` against tiktoken's own `Encoding` of the same tokens, method by method."""

import functools
import pickle
import random

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tekken_files import BYTES, PUBLISHED, tekken, write

import nemo_fast
from nemo_fast.compat import tiktoken_encoding

OURS = tiktoken_encoding()
NAMES = ["<s>", "</s>", "[INST]", "[/INST]", "<SPECIAL_20>", "<SPECIAL_200>"]


@functools.cache
def original():
    """Return tiktoken's object: every token by its id, special tokens included."""
    return of_tekkenizer(Tekkenizer.from_file(PUBLISHED[0]))


def of_tekkenizer(truth):
    offset = truth.num_special_tokens
    return tiktoken.Encoding(
        "tekken",
        pat_str=truth._model._pat_str,
        mergeable_ranks={token: rank + offset for token, rank in truth._tekken_token2id_nospecial.items()},
        special_tokens=truth._special_tokens_reverse_vocab,
    )


def result(encoding, method, *arguments, **options):
    """Return what a call gives, or the class of its error."""
    try:
        return getattr(encoding, method)(*arguments, **options)
    except Exception as error:  # noqa: BLE001
        return type(error)


def assert_same(method, *arguments, **options):
    ours, theirs = (result(encoding, method, *arguments, **options) for encoding in (OURS, original()))
    assert ours == theirs
    assert type(ours) is type(theirs)
    return ours


# Names of special tokens, whole and broken, among other text; lone surrogates and pairs.
texts = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from([*NAMES, "<", "[INST", "SPECIAL_20>", " \n", "  ", "\ud83d", "\ude00"]),
    ),
    max_size=8,
).map("".join)
plain_texts = st.text(max_size=30)
name_sets = st.one_of(st.just("all"), st.sets(st.sampled_from([*NAMES, "no such name"])))
token_ids = st.lists(
    st.one_of(st.integers(0, 30), st.integers(1_080, 1_255), st.integers(0, 131_071)), max_size=20
)


# Encoding


@given(text=texts)
def test_encode_ordinary(text):
    assert_same("encode_ordinary", text)


@given(text=texts, allowed=name_sets, disallowed=name_sets)
def test_encode(text, allowed, disallowed):
    assert_same("encode", text, allowed_special=allowed, disallowed_special=disallowed)


@given(text=texts, allowed=name_sets)
def test_encode_where_only_one_set_is_given(text, allowed):
    assert_same("encode", text)
    assert_same("encode", text, allowed_special=allowed)
    assert_same("encode", text, disallowed_special=())
    assert_same("encode", text, allowed_special=allowed, disallowed_special=())
    assert_same("encode", text, disallowed_special=["Hello", "<"])


@given(text=plain_texts)
def test_encode_to_numpy(text):
    ours = OURS.encode_to_numpy(text, disallowed_special=())
    theirs = original().encode_to_numpy(text, disallowed_special=())
    assert ours.dtype == theirs.dtype
    assert ours.tolist() == theirs.tolist()
    assert result(OURS, "encode_to_numpy", text + "<s>") is ValueError


@settings(max_examples=settings.default.max_examples // 4)
@given(batch=st.lists(texts, max_size=5), allowed=name_sets)
def test_batches(batch, allowed):
    assert_same("encode_ordinary_batch", batch, num_threads=2)
    assert_same("encode_batch", batch, allowed_special=allowed, num_threads=2)
    assert_same("encode_batch", batch, disallowed_special=(), num_threads=2)


def test_what_a_disallowed_name_says():
    with pytest.raises(ValueError, match="disallowed special token '<s>'") as ours:
        OURS.encode("a <s> [INST]")
    with pytest.raises(ValueError, match="disallowed special token '<s>'") as theirs:
        original().encode("a <s> [INST]")
    assert str(ours.value).splitlines()[0] == str(theirs.value).splitlines()[0]
    for option in (
        "`allowed_special={'<s>', ...}`",
        "`disallowed_special=()`",
        "(enc.special_tokens_set - {'<s>'})",
    ):
        assert option in str(ours.value)
        assert option in str(theirs.value)
    with pytest.raises(ValueError, match="disallowed special token 'llo'"):
        OURS.encode("Hello", disallowed_special=["llo"])


def test_bytes_that_are_not_utf8_are_not_taken_for_names():
    assert OURS.encode("a é".encode()) == OURS.encode("a é")
    with pytest.raises(nemo_fast.TokenizerError, match="not UTF-8 at byte 1"):
        OURS.encode_ordinary(b"a\xff")


@given(text=texts.filter(lambda text: not any("\ud800" <= character < "\ue000" for character in text)))
@settings(max_examples=settings.default.max_examples // 4)
def test_encode_with_unstable(text):
    assert_same_unstable(OURS, original(), text, disallowed_special=())
    assert_same_unstable(OURS, original(), text, allowed_special={"<s>", "[INST]"}, disallowed_special=())


def assert_same_unstable(ours, theirs, text, **options):
    stable, completions = ours.encode_with_unstable(text, **options)
    expected_stable, expected = theirs.encode_with_unstable(text, **options)
    assert stable == expected_stable
    assert sorted(completions) == sorted(expected)
    assert text.encode().startswith(ours.decode_bytes(stable))
    for completion in completions:
        assert ours.decode_bytes(stable + completion).startswith(text.encode())


@given(text=st.text(alphabet="ab \n\t\x1c\u2003é", max_size=6))
@settings(max_examples=settings.default.max_examples // 4)
def test_encode_with_unstable_on_white_space(text):
    assert_same_unstable(OURS, original(), text)


def test_encode_with_unstable_refuses_names():
    assert result(OURS, "encode_with_unstable", "a<s>") is ValueError
    assert OURS.encode_with_unstable("a<s>", allowed_special="all") == ([*OURS.encode("a"), 1], [])


@given(token=st.integers(0, 131_071), other=st.one_of(st.binary(max_size=4), st.text(max_size=4)))
def test_single_tokens(token, other):
    name = assert_same("decode_single_token_bytes", token)
    assert assert_same("encode_single_token", name) == token
    assert_same("encode_single_token", other)
    assert_same("is_special_token", token)


# Decoding


@given(ids=token_ids, errors=st.sampled_from(["replace", "strict", "ignore", "backslashreplace"]))
def test_decode(ids, errors):
    assert_same("decode_bytes", ids)
    assert_same("decode", ids)
    assert_same("decode", ids, errors=errors)
    assert_same("decode_tokens_bytes", ids)
    assert_same("decode_with_offsets", ids)


@settings(max_examples=settings.default.max_examples // 4)
@given(batch=st.lists(token_ids, max_size=5))
def test_decode_batches(batch):
    assert_same("decode_batch", batch, num_threads=2)
    assert_same("decode_bytes_batch", batch, num_threads=2)


@given(text=st.text(), allowed=st.booleans())
def test_offsets_are_characters(text, allowed):
    ids = OURS.encode(text, allowed_special="all" if allowed else set(), disallowed_special=())
    decoded, offsets = OURS.decode_with_offsets(ids)
    assert (decoded, offsets) == original().decode_with_offsets(ids)
    assert decoded == text
    assert len(offsets) == len(ids)
    assert offsets == sorted(offsets)


@pytest.mark.parametrize("method", ["decode", "decode_bytes", "decode_tokens_bytes", "decode_with_offsets"])
def test_what_is_no_token_is_a_key_error(method):
    for wrong in (131_072, 2**40, -1):
        assert result(OURS, method, [wrong]) is KeyError
    assert result(original(), method, [131_072]) is KeyError
    assert_same(method, ["1"])


# Round trips, as in tiktoken's own tests


@given(text=st.text())
def test_round_trips(text):
    assert OURS.decode(OURS.encode(text, disallowed_special=())) == text
    assert OURS.decode(OURS.encode(text, allowed_special="all")) == text


@pytest.mark.parametrize("character", ["^", "0", "a", "'s", " ", "\n", "é", "中"])
def test_catastrophically_repetitive_text(character):
    repeated = character * 10_000
    for text in (repeated, " " + repeated, repeated + "\n"):
        assert OURS.decode(OURS.encode(text)) == text
        if character not in " \n":
            assert_same("encode", text)


def test_long_single_pretokens():
    generator = random.Random(14)
    for letters in ("ab", "etaoin", "0^"):
        text = "".join(generator.choices(letters, k=3_000))
        assert_same("encode", text)


# The vocabulary


def test_the_vocabulary():
    for name in ("n_vocab", "max_token_value", "special_tokens_set", "name"):
        assert getattr(OURS, name) == getattr(original(), name)
    assert OURS.token_byte_values() == original().token_byte_values()
    assert repr(OURS) == repr(original())
    assert OURS.eot_token == 2
    for token in (-1, 0, 999, 1_000, True):
        assert_same("is_special_token", token)
    with pytest.raises(TypeError, match="a token id must be an integer, found str"):
        OURS.is_special_token("<s>")


def test_every_token_by_itself():
    for token in range(OURS.n_vocab):
        assert OURS.encode_single_token(OURS.decode_single_token_bytes(token)) == token


def test_public_methods_are_all_there():
    public = {name for name in dir(tiktoken.Encoding) if not name.startswith("_")}
    assert public - set(dir(OURS)) == set()


def test_the_longest_of_two_names_is_found():
    """Which one tiktoken finds is a matter of chance."""
    ours = tiktoken_encoding(nemo_fast.Tokenizer._from_parts("v3", ["<s>", "</s>", "[X", "[X]"], 4, BYTES))
    assert ours.encode("[X]", allowed_special="all") == [3]
    assert ours.encode("[X]", allowed_special={"[X", "[X]"}) == [3]
    assert ours.encode("[X]", allowed_special={"[X"}, disallowed_special=()) == [2, 4 + ord("]")]
    with pytest.raises(ValueError, match=r"disallowed special token '\[X\]'"):
        ours.encode("[X]")


def test_pickling():
    OURS.encode_with_unstable("fills what is cached")
    pickled = pickle.dumps(tiktoken_encoding(name="mine"))
    assert len(pickled) < 150
    twin = pickle.loads(pickled)  # noqa: S301
    assert (twin.name, twin.encode("Hello")) == ("mine", OURS.encode("Hello"))


def test_the_tokenizer_of_a_file(tmp_path):
    tokens = [*BYTES, b"ab", b"abc", b" a"]
    path = write(tmp_path / "tekken.json", tekken("v3", tokens, ["<s>", "</s>", "[X]"]))
    ours = tiktoken_encoding(nemo_fast.Tokenizer.from_file(path), name="small")
    theirs = of_tekkenizer(Tekkenizer.from_file(path))
    text = "abcab a[X]"
    assert ours.encode(text, allowed_special="all") == theirs.encode(text, allowed_special="all")
    assert ours.token_byte_values() == theirs.token_byte_values()
    assert_same_unstable(ours, theirs, text, disallowed_special=())
    assert repr(ours) == "<Encoding 'small'>"
