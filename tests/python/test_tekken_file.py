"""`Tokenizer.from_file` against mistral-common on the same file; the refusals are tested in Rust as well."""

import copy
import json
import pickle
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tekken_files import BYTES, LATER_NAMES, PATTERN, PUBLISHED, names_of, special_tokens, tekken, write

import nemo_fast
from nemo_fast import PromptError, Tokenizer, TokenizerError

TEXTS = [
    "",
    "Hello, how are you?",
    "Zwölf Boxkämpfer; 中文字, 日本語のテキスト, 한국어 😀",
    "def f(x):\n    return [INST] <s> [ARGS][/INST]\t\r\n\r\n  ",
    "a" * 300 + " " * 40 + "é" * 50,
]


def assert_same_tokenizer(ours, truth, texts=TEXTS):
    assert ours.vocab_size == truth.n_words
    assert ours.special_tokens == truth._special_tokens_reverse_vocab
    assert (ours.bos_id, ours.eos_id) == (truth.bos_id, truth.eos_id)
    assert ours.tekken_version == truth.version.value
    for text in texts:
        assert_same_ids(ours, truth, text)


def assert_same_ids(ours, truth, text):
    expected = truth.encode(text, bos=True, eos=True)
    assert ours.encode(text, bos=True, eos=True) == expected, repr(text)
    assert ours.count(text) == len(expected) - 2, repr(text)
    assert ours.decode(expected, special="keep") == truth._to_string(expected)
    assert ours.decode(expected, errors="strict") == text


# Published files


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.name)
def test_published_files(path, tokenizer):
    ours = Tokenizer.from_file(path)
    assert_same_tokenizer(ours, Tekkenizer.from_file(path))
    assert ours.special_tokens == tokenizer.special_tokens
    assert pickle.dumps(ours) == pickle.dumps(tokenizer)


@given(text=st.text())
def test_published_files_encode_as_the_embedded_vocabulary(text):
    for tokenizer in (PUBLISHED_TOKENIZER, NEMO_TOKENS_OF["v13"]):
        assert tokenizer.encode(text) == nemo_fast.encode(text)
        assert tokenizer.count(text) == nemo_fast.count(text)


PUBLISHED_TOKENIZER = Tokenizer.from_file(str(PUBLISHED[0]))

# The layouts of later versions, with Nemo's tokens


@pytest.fixture(scope="session")
def nemo_vocab():
    return json.loads(PUBLISHED[0].read_bytes())["vocab"]


def layout(version, nemo_vocab, **keys):
    content = tekken(version, [], names_of(version), **keys)
    content["config"]["default_vocab_size"] = 131_072
    return content | {"vocab": nemo_vocab}


def of_parts(version):
    """Return the tokenizer of a version with Nemo's tokens, without a file of 15 MB."""
    return Tokenizer._from_parts(version, names_of(version), 1_000, None)


NEMO_TOKENS_OF = {version: of_parts(version) for version in LATER_NAMES}


@pytest.mark.parametrize("version", LATER_NAMES)
def test_layouts_of_later_versions(version, nemo_vocab, tmp_path):
    extras = {
        "image": {"image_patch_size": 14, "max_image_size": 1540, "spatial_merge_size": 2},
        "type": "Tekken",
    }
    path = write(tmp_path / "tekken.json", layout(version, nemo_vocab, **extras))
    ours = Tokenizer.from_file(path)
    assert_same_tokenizer(ours, Tekkenizer.from_file(path))
    assert ours.special_tokens == NEMO_TOKENS_OF[version].special_tokens
    for token_id, name in LATER_NAMES[version].items():
        assert ours.encode(f"a{name}b", special="parse") == [*ours.encode("a"), token_id, *ours.encode("b")]
        assert ours.token_bytes(token_id) == name.encode()
    assert len(pickle.dumps(ours)) < 2_000


def test_chat_prompts_stay_those_of_nemo(reference_chat):
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "y"},
    ]
    expected = reference_chat.encode_chat_completion(ChatCompletionRequest(messages=messages)).tokens
    for tokenizer in NEMO_TOKENS_OF.values():
        assert tokenizer.encode_chat(messages) == expected
        assert tokenizer.count_chat(messages) == len(expected)


def test_chat_prompts_with_other_special_tokens(tmp_path):
    messages = [{"role": "user", "content": "Hi"}]
    turned = Tokenizer.from_file(
        write(tmp_path / "turned.json", tekken("v3", BYTES, ["[/INST]", "[INST]", "</s>", "<s>"]))
    )
    assert turned.encode_chat(messages) == [3, 1, 4 + ord("H"), 4 + ord("i"), 0]
    assert turned.render_chat(messages) == "<s>[INST]Hi[/INST]"
    bare = Tokenizer.from_file(write(tmp_path / "bare.json", tekken("v3", BYTES, ["<s>", "</s>", "[INST]"])))
    for refused in (bare.encode_chat, bare.count_chat, bare.render_chat):
        with pytest.raises(PromptError, match=r"the vocabulary has no special token \[/INST\]"):
            refused(messages)


# Small vocabularies of another making


LETTERS = "ab \né中/c"


def merges_to_two(tokens, token):
    """Return whether merging ends at two parts: then the whole can be a token that merging reaches."""
    ranks = {known: rank for rank, known in enumerate(tokens)}
    parts = [token[i : i + 1] for i in range(len(token))]
    while True:
        joined = enumerate(map(bytes.__add__, parts, parts[1:]))
        pairs = [(ranks[both], i) for i, both in joined if both in ranks]
        if not pairs:
            return len(parts) == 2
        _, i = min(pairs)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


@st.composite
def vocabularies(draw):
    """Bytes, and joins of two earlier tokens; in one of two with tokens that merging does not reach."""
    tokens = list(BYTES)
    letters = [bytes([letter]) for letter in LETTERS.encode()]
    is_reached = draw(st.booleans())
    for _ in range(draw(st.integers(0, 25))):
        known = st.sampled_from(letters + tokens[256:])
        token = draw(known) + draw(known) + (b"" if draw(st.booleans()) else draw(known))
        if token not in tokens and (not is_reached or merges_to_two(tokens, token)):
            tokens.append(token)
    return tokens


@settings(max_examples=settings.default.max_examples // 5)
@given(
    tokens=vocabularies(),
    texts=st.lists(st.text(alphabet=LETTERS, max_size=60), min_size=10, max_size=10),
    specials=st.integers(0, 4),
)
def test_small_vocabularies(tmp_path_factory, tokens, texts, specials):
    names = ["[X]", "</s>", "<s>", *"abcd"[:specials]]
    path = write(
        tmp_path_factory.mktemp("small") / "tekken.json", tekken("v11", tokens, names, special_count=8)
    )
    ours, truth = Tokenizer.from_file(path), Tekkenizer.from_file(path)
    assert_same_tokenizer(ours, truth, texts)
    for twin in (pickle.loads(pickle.dumps(ours)), copy.copy(ours)):  # noqa: S301
        assert_same_tokenizer(twin, truth, texts)
    for index, token in enumerate(tokens):
        assert ours.token_id(token) == 8 + index
        assert ours.token_bytes(8 + index) == token


def test_a_token_that_merging_does_not_reach_is_found_as_a_whole_piece(tmp_path):
    content = tekken("v3", [*BYTES, b"abab"], ["<s>", "</s>"])
    tokenizer = Tokenizer.from_file(write(tmp_path / "tekken.json", content))
    assert tokenizer.encode("abab") == [258]
    assert tokenizer.encode(" abab") == [2 + byte for byte in b" abab"]


def test_the_vocabulary_is_cut_and_the_special_tokens_are_filled_up(tmp_path):
    content = tekken("v3", [*BYTES, b"ab", b"cd"], ["<s>", "</s>"], special_count=5)
    content["config"]["default_vocab_size"] -= 1
    path = write(tmp_path / "tekken.json", content)
    tokenizer = Tokenizer.from_file(path)
    assert_same_tokenizer(tokenizer, Tekkenizer.from_file(path))
    assert tokenizer.special_tokens == {
        "<s>": 0,
        "</s>": 1,
        "<SPECIAL_2>": 2,
        "<SPECIAL_3>": 3,
        "<SPECIAL_4>": 4,
    }
    assert tokenizer.encode("abcd") == [261, 5 + ord("c"), 5 + ord("d")]


def test_a_file_up_to_version_7_may_leave_its_special_tokens_out(tmp_path):
    path = write(tmp_path / "tekken.json", tekken("v7", BYTES, None, special_count=30))
    tokenizer = Tokenizer.from_file(path)
    assert_same_tokenizer(tokenizer, Tekkenizer.from_file(path))
    assert tokenizer.special_tokens["[TOOL_CONTENT]"] == 19
    content = tekken("v11", BYTES, None, special_count=30)
    with pytest.raises(TokenizerError, match="no special_tokens, which version v11 needs"):
        Tokenizer.from_file(write(path, content))


# Control strings are the file's


@given(
    names=st.lists(st.text(alphabet="<a>é[", min_size=1, max_size=4), unique=True, max_size=6),
    text=st.text(alphabet="<a>é[b", max_size=30),
)
def test_names_are_found_from_the_left_the_longest_first(names, text):
    tokenizer = Tokenizer._from_parts("v3", ["<s>", "</s>", *names], 2 + len(names), BYTES)
    expected, start, place = [], 0, 0
    ids = tokenizer.special_tokens
    while place < len(text):
        found = max((name for name in ids if text.startswith(name, place)), key=len, default="")
        if found:
            expected += [*tokenizer.encode(text[start:place]), ids[found]]
            start = place + len(found)
        place += len(found) or 1
    expected += tokenizer.encode(text[start:])
    assert tokenizer.encode(text, special="parse") == expected
    if any(name in text for name in ids):
        with pytest.raises(TokenizerError, match="the text has the control string"):
            tokenizer.encode(text, special="forbid")
    else:
        assert tokenizer.encode(text, special="forbid") == expected


# Pickling


def test_a_tokenizer_of_a_file_works_in_another_process(tmp_path):
    path = write(
        tmp_path / "tekken.json", tekken("v3", [*BYTES, b"He", b"ll"], ["<s>", "</s>"], special_count=9)
    )
    ours = Tokenizer.from_file(path)
    pickled = tmp_path / "tokenizer.pickle"
    pickled.write_bytes(pickle.dumps(ours))
    path.unlink()
    code = (
        "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).encode('<s>Hello', special='parse'))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code, pickled], check=True, capture_output=True, text=True
    )
    assert printed.stdout == "[0, 265, 266, 120]\n"
    assert copy.deepcopy(ours) is ours
    assert copy.copy(ours) is ours


def test_a_broken_pickle_is_an_error():
    for parts, message in [
        (("v4", ["<s>", "</s>"], 2, None), "version"),
        (("v3", ["<s>"], 2, None), "no special token is called </s>"),
        (("v3", ["<s>", "</s>"], 2, BYTES[:-1]), "does not fit"),
        (("v3", ["<s>", "</s>"], 2**63, None), "does not fit"),
    ]:
        with pytest.raises(TokenizerError, match=message):
            Tokenizer._from_parts(*parts)


# Bad files


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.json"):
        Tokenizer.from_file(tmp_path / "nothing.json")
    with pytest.raises(OSError, match="directory"):
        Tokenizer.from_file(tmp_path)
    with pytest.raises(TypeError):
        Tokenizer.from_file(3)


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "tekken.json"
    path.write_bytes(b"\x00\x01")
    with pytest.raises(TokenizerError, match="the tekken file is not JSON at byte 0: expected value"):
        Tokenizer.from_file(path)
    path.write_bytes(b"")
    with pytest.raises(TokenizerError, match="the tekken file is not JSON at byte 0: EOF"):
        Tokenizer.from_file(path)
    content = tekken("v3", BYTES, ["<s>", "</s>"])
    content["config"]["pattern"] = "spaces"
    write(path, content)
    with pytest.raises(
        TokenizerError, match="the tekken file has a pattern that is not Mistral Nemo's: spaces"
    ):
        Tokenizer.from_file(path)


def test_whatever_the_reference_refuses_is_refused(tmp_path):
    """Each is a change of a file that both take."""
    names = ["<s>", "</s>", "[INST]"]
    token = tekken("v11", [*BYTES, b"ab"], names)["vocab"][256]

    def changed(*, config=None, vocab=None, special=None):
        content = tekken("v11", [*BYTES, b"ab"], names)
        content["config"] |= config or {}
        content["vocab"] = content["vocab"] if vocab is None else content["vocab"][:256] + vocab
        content["special_tokens"] = content["special_tokens"] if special is None else special
        return content

    path = tmp_path / "tekken.json"
    assert_same_tokenizer(Tokenizer.from_file(write(path, changed())), Tekkenizer.from_file(path))
    for content in [
        changed(config={"version": "v4"}),
        changed(config={"version": None}),
        changed(config={"default_vocab_size": 261}),
        changed(config={"default_num_special_tokens": 2}),
        changed(config={"default_vocab_size": "260"}),
        changed(vocab=[token | {"rank": 257}]),
        changed(vocab=[token | {"rank": 255}]),
        changed(vocab=[token | {"token_bytes": "YQ=="}]),  # "a" again
        changed(vocab=[token | {"token_bytes": "YW"}]),
        changed(vocab=[token | {"more": 1}]),
        changed(vocab=[{"rank": 256, "token_bytes": "YWI="}]),
        changed(special=special_tokens([*names, "[X]"])),
        changed(special=special_tokens(["<s>", "<s>", "</s>"])),
        changed(
            special=special_tokens(["<s>", "</s>", "<SPECIAL_3>"]), config={"default_num_special_tokens": 4}
        ),
    ]:
        write(path, content)
        with pytest.raises((AssertionError, ValueError, TypeError, KeyError)):
            Tekkenizer.from_file(path)
        with pytest.raises(TokenizerError):
            Tokenizer.from_file(path)


def test_the_pattern_is_that_of_every_published_file():
    for path in PUBLISHED:
        assert MistralTokenizer.from_file(path).instruct_tokenizer.tokenizer._model._pat_str == PATTERN
