"""Which tokenizer a model folder gets."""

from __future__ import annotations

import base64
import json

import pytest
from model_files import byte_alphabet, byte_level_vocabulary

from nemo_fast._native import Tokenizer, TokenizerError
from nemo_fast.hf_tokenizer import HfTokenizer
from nemo_fast.model_tokenizer import load_tokenizer

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def ranked_tokens():
    tokenizer = Tokenizer()
    return [tokenizer.token_bytes(index) for index in range(1000, 131_072)]


def tekken(tokens, **config):
    vocabulary = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for rank, token in enumerate(tokens)
    ]
    default = {"version": "v3", "default_vocab_size": 131_072, "default_num_special_tokens": 1000}
    return json.dumps({"config": default | config, "vocab": vocabulary})


def tokenizer_json(tokens):
    alphabet = byte_alphabet()
    names = ["".join(alphabet[byte] for byte in token) for token in tokens]
    return {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "model": {
            "type": "BPE",
            "vocab": {name: 1000 + rank for rank, name in enumerate(names)},
            "merges": [],
        },
    }


def test_without_files(tmp_path):
    assert load_tokenizer(tmp_path, 1000) is None
    assert isinstance(load_tokenizer(tmp_path, 131_072), Tokenizer)
    with pytest.raises(TokenizerError, match="does not have Mistral Nemo's vocabulary"):
        load_tokenizer(tmp_path, 1000, chat_format="tekken")


def test_tekken_wins_over_tokenizer_json(tmp_path, ranked_tokens):
    # The real file has more tokens than are used.
    (tmp_path / "tekken.json").write_text(tekken([*ranked_tokens, b"unused"]))
    (tmp_path / "tokenizer.json").write_text("broken")
    assert isinstance(load_tokenizer(tmp_path, 131_072), Tokenizer)
    with pytest.raises(TokenizerError, match="the model has 1000"):
        load_tokenizer(tmp_path, 1000)


def test_other_tekken_files_are_refused(tmp_path, ranked_tokens):
    file = tmp_path / "tekken.json"
    file.write_text(tekken([*ranked_tokens[:-1], b"another"]))
    with pytest.raises(TokenizerError, match=r"tekken\.json are not Mistral Nemo's"):
        load_tokenizer(tmp_path, 131_072)
    file.write_text(tekken([], version="v7"))
    with pytest.raises(TokenizerError, match="version v7"):
        load_tokenizer(tmp_path, 131_072)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"config": {}, "vocab": []}', "\xff"])
@pytest.mark.parametrize("name", ["tekken.json", "tokenizer.json"])
def test_a_broken_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="latin-1")
    with pytest.raises(TokenizerError, match=name):
        load_tokenizer(tmp_path, 131_072)


def test_nemo_is_recognised_in_tokenizer_json(tmp_path, ranked_tokens):
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(tokenizer_json(ranked_tokens)))
    assert isinstance(load_tokenizer(tmp_path, 131_072), Tokenizer)
    assert isinstance(load_tokenizer(tmp_path, 131_072, chat_format="tekken"), Tokenizer)
    swapped = [ranked_tokens[1], ranked_tokens[0], *ranked_tokens[2:]]
    file.write_text(json.dumps(tokenizer_json(swapped)))
    assert isinstance(load_tokenizer(tmp_path, 131_072), HfTokenizer)


def test_another_vocabulary(tmp_path):
    tokens, _ = byte_level_vocabulary()
    description = tokenizer_json([])
    description["model"]["vocab"] = {token: index for index, token in enumerate(tokens)}
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))
    assert isinstance(load_tokenizer(tmp_path, 1000), HfTokenizer)
    assert isinstance(load_tokenizer(tmp_path, 1000, chat_format="template"), HfTokenizer)


def test_an_unknown_chat_format(tmp_path):
    with pytest.raises(ValueError, match="auto, tekken, template"):
        load_tokenizer(tmp_path, 1000, chat_format="chatml")
