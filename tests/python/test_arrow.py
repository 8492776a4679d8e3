"""`count_arrow` and `encode_arrow`: arrays of texts, against `count` and `encode` of each value."""

import gc

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nemo_fast
from nemo_fast import TokenizerError

TYPES = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.uint64(), pa.large_string()),
]

values = st.lists(st.none() | st.text(max_size=30))


class Broken:
    """An array whose buffers become what is given after pyarrow has looked at zeros."""

    def __init__(self, kind, length, contents):
        buffers = [content and bytearray(len(content)) for content in contents]
        self.array = pa.Array.from_buffers(kind, length, [b and pa.py_buffer(b) for b in buffers])
        for buffer, content in zip(buffers, contents, strict=True):
            if buffer:
                buffer[:] = content

    def __arrow_c_array__(self, requested_schema=None):
        return self.array.__arrow_c_array__(requested_schema)


class Capsules:
    """An object whose methods give what they are told to."""

    def __init__(self, capsules):
        self.capsules = capsules

    def __arrow_c_array__(self, requested_schema=None):
        del requested_schema
        return self.capsules


def check(array, expected):
    """Counts and ids of an array are those of its values, nulls included."""
    tokenizer = nemo_fast.Tokenizer()
    counts = tokenizer.count_arrow(array)
    ids = tokenizer.encode_arrow(array)
    assert len(counts) == len(ids) == len(expected)
    for column, one, kind in (
        (counts, tokenizer.count, pa.int64()),
        (ids, tokenizer.encode, pa.list_(pa.field("item", pa.uint32()))),
    ):
        result = pa.array(column)
        result.validate(full=True)
        assert result.type == kind
        assert result.to_pylist() == [None if value is None else one(value) for value in expected]
        assert result.null_count == expected.count(None)
        chunks = pa.chunked_array(column)
        chunks.validate(full=True)
        assert chunks.to_pylist() == result.to_pylist()


@given(values, st.sampled_from(TYPES), st.integers(0, 20), st.integers(0, 20))
def test_an_array_has_the_results_of_its_values(texts, kind, start, length):
    array = pa.array(texts, pa.string()).cast(kind).slice(start, length)
    check(array, texts[start : start + length])


@given(st.lists(values, max_size=4), st.sampled_from(TYPES), st.integers(0, 10))
def test_chunks_stay_chunks(parts, kind, start):
    chunks = pa.chunked_array([pa.array(part, pa.string()).cast(kind) for part in parts], kind).slice(start)
    check(chunks, chunks.to_pylist())
    result = pa.chunked_array(nemo_fast.Tokenizer().count_arrow(chunks))
    assert [len(chunk) for chunk in result.chunks] == [len(chunk) for chunk in chunks.chunks]


@given(values, values)
def test_polars_series(first, second):
    series = pl.Series(first, dtype=pl.String).append(pl.Series(second, dtype=pl.String))
    check(series, first + second)
    check(series.cast(pl.Categorical), first + second)
    tokenizer = nemo_fast.Tokenizer()
    assert pl.Series(tokenizer.count_arrow(series)).to_list() == [
        None if text is None else tokenizer.count(text) for text in first + second
    ]


def test_results_outlive_everything_they_came_from(tokenizer):
    column = tokenizer.encode_arrow(pa.array(["Hello, how are you?"] * 1_000))
    result, inner = pa.array(column), pa.array(column).values
    del column
    gc.collect()
    assert result.to_pylist() == [[22177, 1044, 2606, 1584, 1636, 1063]] * 1_000
    assert len(inner) == 6_000


def test_capsules_may_be_left_or_used_once(tokenizer):
    column = tokenizer.encode_arrow(pa.array(["a", None]))
    for _ in range(3):
        column.__arrow_c_array__()
        column.__arrow_c_stream__(None)
        column.__arrow_c_schema__()
    assert pa.DataType._import_from_c_capsule(column.__arrow_c_schema__()) == pa.list_(pa.uint32())
    capsules = pa.array(["a"]).__arrow_c_array__()
    assert len(tokenizer.count_arrow(Capsules(capsules))) == 1
    with pytest.raises(ValueError, match="broken Arrow data: the array or its schema is already released"):
        tokenizer.count_arrow(Capsules(capsules))


def test_a_column_says_what_it_is(tokenizer):
    array = pa.chunked_array([["a", None], ["b"]])
    assert repr(tokenizer.count_arrow(array)) == "ArrowColumn(type=int64, len=3, null_count=1, chunks=2)"
    assert (
        repr(tokenizer.encode_arrow(array)) == "ArrowColumn(type=list<uint32>, len=3, null_count=1, chunks=2)"
    )


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (pa.array([b"a"]), "binary"),
        (pa.array([b"a"], pa.large_binary()), "large_binary"),
        (pa.array([b"a"], pa.binary_view()), "binary_view"),
        (pa.array([b"a"]).dictionary_encode(), "binary"),
        (pa.array([1]), "int64"),
        (pa.array([None]), "null"),
        (pa.array([["a"]]), "list"),
        (pa.record_batch({"text": ["a"]}), r"struct \(of a table or record batch, take a column\)"),
        (pa.table({"text": ["a"]}), r"struct \(of a table or record batch, take a column\)"),
        (pa.chunked_array([], pa.int8()), "int8"),
        (pa.array([0], pa.date32()), "the format tdD"),
    ],
    ids=str,
)
def test_arrays_of_other_types(tokenizer, array, found):
    for refused in (tokenizer.count_arrow, tokenizer.encode_arrow):
        with pytest.raises(TypeError, match=f"^an Arrow array of texts is needed, found {found}$"):
            refused(array)


@pytest.mark.parametrize("value", ["text", ["a"], None])
def test_objects_without_the_methods(tokenizer, value):
    with pytest.raises(
        TypeError, match=f"__arrow_c_array__ or __arrow_c_stream__ is needed, found {type(value).__name__}$"
    ):
        tokenizer.count_arrow(value)


@pytest.mark.parametrize("capsules", [None, (), (1, 2), pa.array([]).__arrow_c_array__()[::-1]], ids=repr)
def test_methods_that_give_no_capsules(tokenizer, capsules):
    with pytest.raises(TypeError, match="no Arrow capsule, found"):
        tokenizer.count_arrow(Capsules(capsules))


def int32s(*numbers):
    return b"".join(number.to_bytes(4, "little", signed=True) for number in numbers)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (Broken(pa.string(), 2, [None, int32s(0, 5, 2), b"abcde"]), "offset 2 is 2, after 5"),
        (Broken(pa.string(), 1, [None, int32s(-1, 1), b"a"]), "offset 0 is -1, after 0"),
        (
            Broken(pa.string_view(), 1, [None, int32s(13, 0, 0, 1), b"thirteen bytes"[:13]]),
            "view 0 is 13 bytes at 1 of buffer 0",
        ),
        (Broken(pa.string_view(), 1, [None, int32s(13, 0, 7, 0)]), "view 0 is 13 bytes at 0 of buffer 7"),
        (
            Broken(pa.string_view(), 1, [None, int32s(-1, 0, 0, 0)]),
            "view 0 is 4294967295 bytes at 0 of buffer 0",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_break_the_rules(tokenizer, array, message):
    for refused in (tokenizer.count_arrow, tokenizer.encode_arrow):
        with pytest.raises(ValueError, match=f"^broken Arrow data: {message}$"):
            refused(array)


@pytest.mark.parametrize("key", [-1, 1])
def test_keys_outside_the_dictionary(tokenizer, key):
    keys = pa.array([0, key], pa.int8())
    array = pa.DictionaryArray.from_arrays(keys, pa.array(["a"]), safe=False)
    with pytest.raises(ValueError, match=r"^broken Arrow data: key \d+ in a dictionary of 1$"):
        tokenizer.count_arrow(array)


def test_values_must_be_utf8(tokenizer):
    data = [int32s(0, 1, 4), b"a\xe2\x82x"]
    with pytest.raises(TokenizerError, match=r"^value 1 of the Arrow array is not UTF-8 at byte 0$"):
        tokenizer.count_arrow(Broken(pa.string(), 2, [None, *data]))
    # Under a null there may be anything.
    assert pa.array(tokenizer.count_arrow(Broken(pa.string(), 2, [b"\x01", *data]))).to_pylist() == [1, None]
