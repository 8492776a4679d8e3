"""`compat.tekkenizer` against mistral-common's `Tekkenizer`, method by method."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tekken_files import BYTES, PUBLISHED, names_of, tekken, write

from nemo_fast.compat import tekkenizer

OURS = tekkenizer()
THEIRS = Tekkenizer.from_file(PUBLISHED[0])

token_ids = st.lists(
    st.one_of(st.integers(0, 30), st.integers(1_080, 1_255), st.integers(0, 131_071)), max_size=20
)
policies = st.sampled_from([*SpecialTokenPolicy, "ignore", "keep", "raise", "RAISE", None, 3])


def result(tekken, method, *arguments):
    """Return what a call gives, or the class of its error."""
    try:
        return getattr(tekken, method)(*arguments)
    except Exception as error:  # noqa: BLE001
        return type(error)


def assert_same(method, *arguments):
    ours, theirs = (result(tekken, method, *arguments) for tekken in (OURS, THEIRS))
    assert ours == theirs
    return ours


@given(text=st.text(), bos=st.booleans(), eos=st.booleans())
def test_encode(text, bos, eos):
    assert_same("encode", text, bos, eos)


@given(ids=token_ids)
def test_decode(ids):
    assert_same("decode", ids)


@given(ids=token_ids, policy=policies)
def test_decode_with_a_policy(ids, policy):
    assert_same("decode", ids, policy)


@given(token=st.one_of(st.integers(0, 131_080), st.integers(0, 1_300)), policy=policies)
def test_single_tokens(token, policy):
    assert_same("id_to_piece", token)
    assert_same("id_to_byte_piece", token)
    assert_same("id_to_byte_piece", token, policy)
    assert_same("is_byte", token)
    assert_same("is_special", token)
    assert_same("is_special", np.int64(token))


@pytest.mark.parametrize("name", ["<s>", "[INST]", "<SPECIAL_999>", "<SPECIAL_1000>", "Hello", ""])
def test_names(name):
    assert_same("get_special_token", name)
    assert_same("is_special", name)


@pytest.mark.parametrize("value", [None, 1.0, b"<s>", -1, True])
def test_what_is_special(value):
    assert_same("is_special", value)


def test_what_is_no_token():
    assert assert_same("decode", [131_072]) is KeyError
    assert result(OURS, "decode", [-1]) is KeyError
    assert result(OURS, "id_to_byte_piece", -1) is KeyError


def test_the_vocabulary():
    for name in (
        "n_words",
        "num_special_tokens",
        "special_ids",
        "bos_id",
        "eos_id",
        "pad_id",
        "unk_id",
        "version",
    ):
        assert getattr(OURS, name) == getattr(THEIRS, name), name
    assert OURS.vocab() == THEIRS.vocab()
    assert repr(OURS) == "Tekkenizer(n_words=131072, version='v3')"


def test_files(tmp_path):
    path = write(tmp_path / "tekken.json", tekken("v11", [*BYTES, b"ab"], names_of("v11", 40)))
    ours, theirs = type(OURS).from_file(path), Tekkenizer.from_file(path)
    assert ours.version == theirs.version
    assert ours.vocab() == theirs.vocab()
    assert ours.encode("abab[ARGS]", True, True) == theirs.encode("abab[ARGS]", True, True)
    assert ours.get_special_token("[ARGS]") == theirs.get_special_token("[ARGS]") == 32
    bare = type(OURS).from_file(write(path, tekken("v11", BYTES, ["<s>", "</s>"])))
    with pytest.raises(ValueError, match="Unknown control token <pad>"):
        _ = bare.pad_id


def test_pickling():
    OURS.vocab()
    pickled = pickle.dumps(OURS)
    assert len(pickled) < 150
    assert pickle.loads(pickled).encode("Hi", True, False) == [1, 37133]  # noqa: S301
