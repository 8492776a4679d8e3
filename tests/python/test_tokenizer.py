"""What `Tokenizer`, `TokenTable` and `StreamDecoder` promise by themselves."""

import array
import copy
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nemo_fast
from nemo_fast import Tokenizer, TokenizerError, TokenTable

VOCAB_SIZE = 131_072
BYTE = 1_000  # id of the byte 0

# Half characters, special tokens and whole words, often next to each other.
token_ids = st.lists(
    st.one_of(st.integers(0, 30), st.integers(BYTE + 0x80, BYTE + 0xFF), st.integers(0, VOCAB_SIZE - 1))
)


@given(st.text())
def test_decoding_gives_the_bytes_back(text):
    ids = nemo_fast.encode(text)
    tokenizer = Tokenizer()
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert tokenizer.decode(ids, errors="strict", special="raise") == text
    assert tokenizer.count(text) == len(ids)
    assert tokenizer.encode(text.encode()) == ids


@pytest.mark.parametrize("greatest", ["\x7f", "\xff", "\uffff", "\U0010ffff"])
@given(st.data())
def test_a_decoded_str_is_in_the_form_of_the_interpreter(greatest, data):
    alphabet = st.characters(max_codepoint=ord(greatest), exclude_categories=["Cs"])
    text = data.draw(st.text(alphabet, max_size=300)) * data.draw(st.integers(1, 20)) + greatest
    decoded = Tokenizer().decode(nemo_fast.encode(text))
    # One that takes more memory than it needs would not be equal to others, nor found in a dict.
    assert decoded == text
    assert hash(decoded) == hash(text)
    assert sys.getsizeof(decoded) == sys.getsizeof(text)
    assert decoded.isascii() == text.isascii()
    assert (decoded + " ").encode() == (text + " ").encode()


@given(token_ids, st.sampled_from(["skip", "keep"]))
def test_a_stream_joins_to_what_decode_gives(ids, special):
    tokenizer = Tokenizer()
    decoder = tokenizer.stream_decoder(special=special)
    assert "".join([*map(decoder.push, ids), decoder.finish()]) == tokenizer.decode(ids, special=special)


def test_a_stream_decoder_holds_half_characters_back(tokenizer):
    decoder = tokenizer.stream_decoder()
    assert [decoder.push(BYTE + byte) for byte in "é😀".encode()] == ["", "é", "", "", "", "😀"]
    assert decoder.push(BYTE + 0xF0) == ""
    assert decoder.finish() == "\ufffd"
    assert decoder.finish() == ""


def test_bos_and_eos_stand_around_the_text(tokenizer):
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    assert tokenizer.encode("Hi", bos=True) == [1, 37133]
    assert tokenizer.encode("Hi", eos=True) == [37133, 2]
    assert tokenizer.encode("", bos=True, eos=True) == [1, 2]


def test_special_policies(tokenizer):
    ids = [1, 3, 37133, 4, 2]
    assert tokenizer.decode(ids) == "Hi"
    assert tokenizer.decode(ids, special="keep") == "<s>[INST]Hi[/INST]</s>"
    assert tokenizer.decode_bytes(ids, special="keep") == b"<s>[INST]Hi[/INST]</s>"
    for refused in (tokenizer.decode, tokenizer.decode_bytes):
        with pytest.raises(TokenizerError, match=r"special token <s> \(id 1\) is not allowed here"):
            refused(ids, special="raise")
    with pytest.raises(TokenizerError, match=r"special token \[INST\] \(id 3\)"):
        tokenizer.stream_decoder(special="raise").push(3)


def test_broken_characters(tokenizer):
    ids = [37133, BYTE + 0xF0, BYTE + 0x9F]
    assert tokenizer.decode(ids) == "Hi\ufffd"
    assert tokenizer.decode_bytes(ids) == b"Hi\xf0\x9f"
    with pytest.raises(TokenizerError, match="not UTF-8 at byte 2"):
        tokenizer.decode(ids, errors="strict")


@pytest.mark.parametrize(
    "broken", [b"\xff", b"abc\xe2\x82", b"\xed\xa0\x80", b"ok \xf4\x90\x80\x80", b"\xc0\xaf"]
)
def test_bytes_must_be_utf8(tokenizer, broken):
    with pytest.raises(UnicodeDecodeError) as truth:
        broken.decode()
    for refused in (tokenizer.encode, tokenizer.count):
        with pytest.raises(TokenizerError, match=f"the text is not UTF-8 at byte {truth.value.start}$"):
            refused(broken)


@pytest.mark.parametrize("value", [None, 1, ["a"], bytearray(b"a")])
def test_texts_are_str_or_bytes(tokenizer, value):
    with pytest.raises(TypeError, match=f"text must be str or bytes, found {type(value).__name__}"):
        tokenizer.encode(value)


@pytest.mark.parametrize(
    "ids",
    [
        (22177, 1044),
        array.array("I", [22177, 1044]),
        array.array("q", [22177, 1044]),
        memoryview(array.array("H", [22177, 1044])),
        [np.int64(22177), np.uint32(1044)],
        *(np.array([22177, 1044], dtype) for dtype in ("i2", "u2", "i4", "u4", "i8", "u8")),
        np.array([22177, 0, 1044, 0], "i8")[::2],
    ],
    ids=repr,
)
def test_ids_are_any_sequence_or_buffer_of_integers(tokenizer, ids):
    assert tokenizer.decode(ids) == "Hello,"


def test_small_buffers_and_ranges_are_ids(tokenizer):
    for ids in (range(100), np.arange(100, dtype="i1"), np.arange(100, dtype="u1")):
        assert tokenizer.decode(ids, special="keep") == tokenizer.decode(list(range(100)), special="keep")
    assert tokenizer.decode([]) == tokenizer.decode(np.array([], "u4")) == ""


@pytest.mark.parametrize("value", [-1, 2**32, 2**64, 2**200])
def test_numbers_that_are_no_token_id(tokenizer, value):
    message = f"token id {value} is outside the range 0 to 4294967295"
    for refused in (lambda: tokenizer.decode([value]), lambda: tokenizer.token_bytes(value)):
        with pytest.raises(TokenizerError, match=message):
            refused()
    with pytest.raises(TokenizerError, match=message):
        tokenizer.stream_decoder().push(value)
    if -(2**63) <= value < 2**63:
        with pytest.raises(TokenizerError, match=message):
            tokenizer.decode(np.array([1, value], "i8"))


def test_ids_outside_the_vocabulary(tokenizer):
    decoder = tokenizer.stream_decoder()
    for refused in (
        lambda: tokenizer.decode([1, VOCAB_SIZE]),
        lambda: tokenizer.decode_bytes([VOCAB_SIZE]),
        lambda: tokenizer.token_bytes(VOCAB_SIZE),
        lambda: decoder.push(VOCAB_SIZE),
    ):
        with pytest.raises(TokenizerError, match="token id 131072 is outside the vocabulary of 131072"):
            refused()


@pytest.mark.parametrize(
    "ids",
    [
        [True],
        [1.0],
        ["1"],
        [None],
        [np.float32(1)],
        [np.bool_(True)],
        1,
        None,
        "12",
        b"12",
        bytearray(b"12"),
        {1, 2},
        {1: 2},
        np.array([1.0]),
        np.array([True]),
        np.array([[1, 2]]),
        np.array(1),
        np.array([1], object),
    ],
    ids=repr,
)
def test_what_is_no_list_of_ids(tokenizer, ids):
    for refused in (tokenizer.decode, tokenizer.decode_bytes):
        with pytest.raises(TypeError, match=r"token ids? must "):
            refused(ids)


def test_options_are_checked(tokenizer):
    with pytest.raises(ValueError, match='errors must be replace or strict, found "ignore"'):
        tokenizer.decode([], errors="ignore")
    for refused in (tokenizer.decode, tokenizer.decode_bytes):
        with pytest.raises(ValueError, match='special must be skip, keep or raise, found "drop"'):
            refused([], special="drop")
    with pytest.raises(ValueError, match="special must be skip, keep or raise"):
        tokenizer.stream_decoder(special="")


def test_tokens_by_id_and_by_bytes(tokenizer):
    for token_id in range(1_000, VOCAB_SIZE):
        token = tokenizer.token_bytes(token_id)
        assert tokenizer.token_id(token) == token_id
    assert tokenizer.token_bytes(3) == b"[INST]"
    assert tokenizer.token_id(b"[INST]") is None
    assert tokenizer.token_id(b"") is None
    assert tokenizer.token_id(b" " * 1_000) is None


def test_a_table_of_any_tokens():
    table = TokenTable([b"<s>", b"a", b"\xc3", b"\xa9"], {0: "[start]"})
    assert len(table) == 4
    assert table.decode([0, 1, 2, 3], special="keep", errors="strict") == "[start]aé"
    assert table.decode_bytes((1, 2)) == b"a\xc3"
    assert table.token_bytes(0) == b"[start]"
    decoder = table.stream_decoder(special="keep")
    assert [decoder.push(i) for i in (2, 0, 2, 3)] == ["", "\ufffd[start]", "", "é"]
    with pytest.raises(TokenizerError, match="token id 4 is outside the vocabulary of 4"):
        table.decode([4])
    with pytest.raises(TokenizerError, match="token id 4 is outside the vocabulary of 4"):
        TokenTable([b"a"] * 4, {4: "x"})
    with pytest.raises(TokenizerError, match="token id -1 is outside the range"):
        TokenTable([b"a"], {-1: "x"})
    with pytest.raises(TypeError):
        TokenTable(["a"], {})


def test_the_token_table_of_the_tokenizer(tokenizer):
    assert len(tokenizer.token_table) == tokenizer.vocab_size == VOCAB_SIZE
    assert tokenizer.token_table.decode([1, 37133], special="keep") == "<s>Hi"


def test_pickling(tokenizer):
    pickled = pickle.dumps(tokenizer)
    assert len(pickled) < 100
    for twin in (pickle.loads(pickled), copy.deepcopy(tokenizer)):  # noqa: S301
        assert twin.encode("Hello") == tokenizer.encode("Hello")
    with pytest.raises(nemo_fast.PromptError) as rejected:
        tokenizer.encode_chat([])
    twin = pickle.loads(pickle.dumps(rejected.value))  # noqa: S301
    assert (type(twin), str(twin)) == (nemo_fast.PromptError, str(rejected.value))
    assert twin.error_type == rejected.value.error_type


def test_threads_share_a_tokenizer(tokenizer):
    texts = [f"Thread {i}: één, zwei, 三, {'x' * i}" for i in range(200)]
    alone = [tokenizer.encode(text) for text in texts]
    with ThreadPoolExecutor(2) as threads:
        for _ in range(5):
            assert list(threads.map(tokenizer.encode, texts)) == alone
        decoder = tokenizer.stream_decoder()
        pieces = list(threads.map(decoder.push, [22177] * 500))
    assert "".join(pieces) == "Hello" * 500


def test_importing_imports_the_library_only():
    code = (
        "import sys; before = set(sys.modules); import nemo_fast; nemo_fast.count('x');"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["__future__", "nemo_fast", "nemo_fast._native"]


def test_public_names_exist():
    assert set(nemo_fast.__all__) <= set(dir(nemo_fast))
    assert repr(Tokenizer()) == "Tokenizer(vocab_size=131072)"


def test_control_strings_mean_what_the_caller_says(tokenizer):
    text = "a [INST]<s>é</s>"
    assert tokenizer.encode(text) == tokenizer.encode(text, special="text")
    assert tokenizer.decode(tokenizer.encode(text), special="raise") == text
    parsed = [*tokenizer.encode("a "), 3, 1, *tokenizer.encode("é"), 2]
    assert tokenizer.encode(text, special="parse") == parsed
    assert tokenizer.encode(text, bos=True, eos=True, special="parse") == [1, *parsed, 2]
    with pytest.raises(TokenizerError, match=r"the text has the control string \[INST\] at byte 2"):
        tokenizer.encode(text, special="forbid")
    assert tokenizer.encode("a [INST", special="forbid") == tokenizer.encode("a [INST")
    with pytest.raises(ValueError, match='special must be text, parse or forbid, found "skip"'):
        tokenizer.encode(text, special="skip")
