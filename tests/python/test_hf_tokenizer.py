"""`HfTokenizer` against the `tokenizers` package, and what its vocabulary and folder may be."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_files import CHAT_TEMPLATE, GOLDEN, byte_level_vocabulary, write_byte_level_tokenizer
from template_shapes import HERMES

from nemo_fast._native import PromptError, TokenizerError
from nemo_fast.chat_template import ChatTemplate
from nemo_fast.hf_tokenizer import HfTokenizer
from nemo_fast.hf_vocabulary import token_bytes

tokenizers = pytest.importorskip("tokenizers")

TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from(["<|start|>", "<|end|>", "hello", " world", "é", "<|", "\r\n"]), max_size=8
).map("".join)


@pytest.fixture(scope="module")
def byte_level_folder(tmp_path_factory):
    return write_byte_level_tokenizer(tmp_path_factory.mktemp("byte-level"), CHAT_TEMPLATE)


@pytest.fixture(scope="module")
def sentencepiece_folder(tmp_path_factory):
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"helo", "▁h", "▁he"]
    merges = [("▁", "h"), ("▁h", "e")]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    model = tokenizers.models.BPE(vocabulary, merges, byte_fallback=True)
    model.unk_token, model.fuse_unk = "<unk>", True
    tokenizer = tokenizers.Tokenizer(model)
    normalizers, decoders = tokenizers.normalizers, tokenizers.decoders
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    folder = tmp_path_factory.mktemp("sentencepiece")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def byte_level(byte_level_folder):
    return HfTokenizer(byte_level_folder)


def test_properties(byte_level):
    assert byte_level.vocab_size == len(byte_level.token_table) == len(byte_level_vocabulary()[0])
    assert (byte_level.bos_id, byte_level.eos_id) == (1, 2)
    assert byte_level.special_tokens == {"<|pad|>": 0, "<|start|>": 1, "<|end|>": 2}


def test_whether_a_text_begins_with_bos(byte_level_folder, byte_level, tmp_path):
    assert byte_level.adds_bos is False
    for configured in (True, False):
        config = {"bos_token": "<|start|>", "add_bos_token": configured}
        (tmp_path / "tokenizer.json").write_bytes((byte_level_folder / "tokenizer.json").read_bytes())
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        assert HfTokenizer(tmp_path).adds_bos is configured
    # Without the key, the file's post-processor says it.
    tokenizer = tokenizers.Tokenizer.from_file(str(byte_level_folder / "tokenizer.json"))
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        "<|start|> $A", None, [("<|start|>", 1)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<|start|>"}))
    assert HfTokenizer(tmp_path).adds_bos is True


@given(TEXTS)
def test_control_strings_in_a_text_are_text(byte_level, text):
    ids = byte_level.encode(text)
    assert not {0, 1, 2} & set(ids)
    assert byte_level.count(text) == len(ids)
    assert byte_level.decode(ids) == text
    assert byte_level.encode(text, bos=True, eos=True) == [1, *ids, 2]


def test_control_strings_mean_what_the_caller_says(byte_level):
    assert byte_level.encode("h<|end|>", special="parse") == [*byte_level.encode("h"), 2]
    with pytest.raises(TokenizerError, match=r"the text has the control string <\|end\|>"):
        byte_level.encode("h<|end|><|start|>", special="forbid")
    assert byte_level.encode("hello", special="forbid") == byte_level.encode("hello")
    with pytest.raises(ValueError, match="special must be text, parse or forbid, found 'keep'"):
        byte_level.encode("h", special="keep")


def test_surrogates_are_characters_or_replaced(byte_level):
    assert byte_level.encode("h\ud83d\ude00\ud800") == byte_level.encode("h😀\ufffd")
    assert byte_level.count("\ud800") == byte_level.count("\ufffd")
    messages = [{"role": "user", "content": "\ud800"}]
    assert byte_level.encode_chat(messages) == byte_level.encode_chat([{"role": "user", "content": "\ufffd"}])


@given(TEXTS)
def test_same_ids_as_the_reference(byte_level_folder, byte_level, text):
    reference = tokenizers.Tokenizer.from_file(str(byte_level_folder / "tokenizer.json"))
    reference.no_truncation()
    reference.no_padding()
    rendered = byte_level.render_chat([{"role": "user", "content": text}])
    assert byte_level.encode_chat([{"role": "user", "content": text}]) == reference.encode(rendered).ids
    reference.encode_special_tokens = True
    assert byte_level.encode(text) == reference.encode(text).ids


@given(st.lists(st.integers(3, 260), max_size=30))
def test_a_stream_joins_to_the_decoded_text(byte_level, ids):
    stream = byte_level.stream_decoder()
    parts = [stream.push(index) for index in ids]
    assert "".join([*parts, stream.finish()]) == byte_level.decode(ids)
    assert byte_level.decode_bytes(ids).decode(errors="replace") == byte_level.decode(ids)


@given(st.lists(st.integers(0, 262), max_size=30))
def test_decodes_as_the_reference_does(byte_level_folder, byte_level, ids):
    reference = tokenizers.Tokenizer.from_file(str(byte_level_folder / "tokenizer.json"))
    assert byte_level.decode([index for index in ids if index > 2]) == reference.decode(ids)


@given(st.text(alphabet="helo é日", max_size=20))
def test_sentencepiece_keeps_the_space_that_encoding_puts_in_front(sentencepiece_folder, text):
    tokenizer = HfTokenizer(sentencepiece_folder)
    reference = tokenizers.Tokenizer.from_file(str(sentencepiece_folder / "tokenizer.json"))
    ids = tokenizer.encode(text)
    assert ids == reference.encode(text, add_special_tokens=False).ids
    if ids:
        assert tokenizer.decode(ids) == f" {text}" == f" {reference.decode(ids)}"


def test_chat(byte_level):
    messages = [{"role": "user", "content": "hello"}]
    ids = byte_level.encode_chat(messages)
    assert byte_level.decode(ids, special="keep") == "<|start|>user\nhello<|end|>\n<|start|>assistant\n"
    assert [index for index in ids if index < 3] == [1, 2, 1]
    assert byte_level.count_chat(messages) == len(ids)


def test_chat_with_tools(tmp_path):
    """The template `tool_use` is taken where there are tools, and the text that it makes is encoded."""
    tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "<|end|>"},
    ]
    both = [{"name": "default", "template": CHAT_TEMPLATE}, {"name": "tool_use", "template": HERMES}]
    tokenizer = HfTokenizer(write_byte_level_tokenizer(tmp_path, both))
    text = tokenizer.render_chat(iter(messages), iter([tool]))
    assert text == ChatTemplate(HERMES, name="").render(messages, [tool])
    ids = tokenizer.encode_chat(messages, [tool])
    assert ids == tokenizer.encode(text, special="parse")
    assert tokenizer.count_chat(messages, [tool]) == len(ids)
    # What is written in a result becomes a control token: no template is safe against that.
    assert ids.count(2) == 1
    plain = messages[:1]
    assert tokenizer.render_chat(plain, []) == ChatTemplate(CHAT_TEMPLATE, name="").render(plain)
    with pytest.raises(PromptError, match=r"tokenizer_config\.json: it has no place for calls of tools"):
        tokenizer.encode_chat(messages)
    tokenizer = HfTokenizer(write_byte_level_tokenizer(tmp_path, both[1:]))
    assert tokenizer.encode_chat(messages, [tool]) == ids
    with pytest.raises(PromptError, match="has no chat template for conversations without tools"):
        tokenizer.encode_chat(plain)


def test_requests(byte_level, tmp_path):
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "w"}]
    request = {"model": "m", "messages": messages, "continue_final_message": True, "temperature": 9}
    ids = byte_level.encode_chat(messages, continue_final_message=True)
    for form in (request, json.dumps(request), json.dumps(request).encode()):
        assert byte_level.encode_request(form) == ids
        assert byte_level.count_request(form) == len(ids)
    assert byte_level.encode_request({"messages": messages}) == byte_level.encode_chat(messages) != ids
    tools = [{"type": "function", "function": {"name": "add"}}]
    with pytest.raises(PromptError, match="it has no place for tools"):
        byte_level.count_request(request | {"tools": tools})
    tokenizer = HfTokenizer(write_byte_level_tokenizer(tmp_path, HERMES))
    assert tokenizer.encode_request({"messages": messages, "tools": tools}) == tokenizer.encode_chat(
        messages, tools
    )


def test_without_bos_or_template(sentencepiece_folder):
    tokenizer = HfTokenizer(sentencepiece_folder)
    assert tokenizer.bos_id is None
    with pytest.raises(ValueError, match="no bos token"):
        tokenizer.encode("hello", bos=True)
    with pytest.raises(PromptError, match="has no chat template"):
        tokenizer.encode_chat([{"role": "user", "content": "hello"}])


def test_a_model_with_more_ids_than_the_tokenizer(byte_level_folder, byte_level):
    padded = HfTokenizer(byte_level_folder, vocab_size=512)
    assert padded.vocab_size == 512
    assert padded.decode([*byte_level.encode("hello"), 511]) == "hello"


def test_a_model_with_fewer_ids_than_the_tokenizer(byte_level_folder):
    with pytest.raises(TokenizerError, match="the model has 100 tokens"):
        HfTokenizer(byte_level_folder, vocab_size=100)


@pytest.mark.parametrize(
    ("decoder", "name"),
    [
        ({"type": "WordPiece"}, "WordPiece"),
        (None, "none"),
        ({"type": "Sequence", "decoders": [{"type": "CTC"}]}, "CTC"),
    ],
)
def test_other_decoders_are_refused_by_name(decoder, name):
    with pytest.raises(TokenizerError, match=name):
        token_bytes({"model": {"vocab": {"a": 0}}, "decoder": decoder})


def test_other_models_are_refused_by_name():
    with pytest.raises(TokenizerError, match="Unigram"):
        token_bytes({"model": {"type": "Unigram", "vocab": []}, "decoder": {"type": "ByteLevel"}})


@pytest.mark.parametrize("content", ["", "[]", "{", '{"model": {"type": "BPE", "vocab": {"a": "b"}}}', "{}"])
def test_a_broken_file_is_named(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        HfTokenizer(tmp_path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        HfTokenizer(tmp_path)


def test_a_missing_extra_is_named(byte_level_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"nemo-fast\[hf\]"):
        HfTokenizer(byte_level_folder)


@pytest.mark.long
def test_smollm2_prompts():
    from nemo_fast.download import pull

    tokenizer = HfTokenizer(pull("smollm2-135m"))
    golden = np.load(GOLDEN / "smollm2_golden.npz")
    for index in range(3):
        ids = golden[f"prompt_ids_{index}"].tolist()
        text = tokenizer.decode(ids, special="keep")
        question = text.split("<|im_start|>user\n")[1].split("<|im_end|>")[0]
        assert tokenizer.encode_chat([{"role": "user", "content": question}]) == ids
