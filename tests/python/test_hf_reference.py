"""The ids against a second reference: the `tokenizers` package on a `tokenizer.json` of the same vocabulary.

Without added tokens it encodes every text as mistral-common does, control strings included. What declaring
them would change is stated here too, because most published `tokenizer.json` files do it.
"""

import copy
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_tokenizer_equivalence import CLASSES, CODE_POINTS, class_soup

tokenizers = pytest.importorskip("tokenizers")

# Names of special tokens, and what only looks like them or cuts them.
CONTROL = ["<s>", "</s>", "[INST]", "[/INST]", "<unk>", "[TOOL_CALLS]", "<SPECIAL_20>"]
NEAR = [
    "<SPECIAL_020>",
    "[INST",
    "INST]",
    "<",
    "s>",
    "[",
    "]",
    " ",
    "\n",
    "a",
    "B",
    "é",
    "中",
    "1",
    ".",
    "  ",
]
TEXTS = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="".join(CLASSES), max_size=80),
    st.lists(st.sampled_from([*CONTROL, *NEAR]), max_size=12).map("".join),
)


@pytest.fixture(scope="module")
def hf_with_added_tokens(hf_content, tokenizer):
    """The same with every special token declared, by its name and id."""
    content = copy.copy(hf_content)
    names = tokenizer.special_tokens
    spelled = {spelling: id_ for spelling, id_ in content["model"]["vocab"].items() if id_ >= len(names)}
    content["model"] = content["model"] | {"vocab": names | spelled}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content["added_tokens"] = [{"id": id_, "content": name, **flags} for name, id_ in names.items()]
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def test_it_is_the_whole_vocabulary(hf_reference, tokenizer):
    assert hf_reference.get_vocab_size() == tokenizer.vocab_size
    assert hf_reference.encode("Hello, how are you?").ids == [22177, 1044, 2606, 1584, 1636, 1063]


@given(text=TEXTS)
def test_same_ids(tokenizer, hf_reference, text):
    assert tokenizer.encode(text) == hf_reference.encode(text).ids
    assert tokenizer.count(text) == len(hf_reference.encode(text).ids)


def test_same_ids_of_golden_texts(tokenizer, hf_reference, golden):
    for case in golden["encode"]:
        assert hf_reference.encode(case["text"]).ids == case["tokens"] == tokenizer.encode(case["text"])


def test_same_ids_of_class_soup(tokenizer, hf_reference):
    generator = random.Random(230)
    for _ in range(5_000):
        text = class_soup(generator)
        assert tokenizer.encode(text) == hf_reference.encode(text).ids, repr(text)


@pytest.mark.long
def test_same_ids_of_every_code_point(tokenizer, hf_reference):
    for point in CODE_POINTS:
        text = f"a{chr(point)}B"
        assert tokenizer.encode(text) == hf_reference.encode(text).ids, repr(text)


def test_what_added_tokens_change(tokenizer, reference, hf_reference, hf_with_added_tokens):
    """Declared, `<s>` in a text becomes the token that starts a prompt: a user's text can forge it."""
    for text, declared in [
        ("<s>", [1]),
        ("[INST]", [3]),
        ("</s>\n", [2, 1010]),
        ("a <s>b", [1097, 1032, 1, 1098]),
    ]:
        assert hf_with_added_tokens.encode(text).ids == declared
        assert tokenizer.encode(text, special="parse") == declared
        # Here, in mistral-common and without the declaration, it is text.
        ids = tokenizer.encode(text)
        assert ids == reference.encode(text, bos=False, eos=False) == hf_reference.encode(text).ids
        assert min(ids) >= 1_000


@given(text=TEXTS)
def test_added_tokens_are_what_parse_finds(tokenizer, hf_reference, hf_with_added_tokens, text):
    declared = hf_with_added_tokens.encode(text).ids
    assert tokenizer.encode(text, special="parse") == declared
    if not any(name in text for name in tokenizer.special_tokens):
        assert declared == hf_reference.encode(text).ids
