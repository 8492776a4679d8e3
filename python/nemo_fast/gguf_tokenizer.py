"""Makes the tokenizer files of a model folder from a GGUF file's metadata.

GGUF names the way a text is split (`tokenizer.ggml.pre`) but does not describe it, so each name needs its
rule here. One is known so far, SmolLM's; Mistral Nemo's needs no file, because its vocabulary is embedded.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nemo_fast._native import CheckpointError
from nemo_fast.byte_level import byte_level_bytes
from nemo_fast.model_tokenizer import NEMO_VOCAB_SIZE, is_nemo_vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Values of `tokenizer.ggml.token_type`.
_CONTROL, _USER_DEFINED = 3, 4
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
# SmolLM: each digit by itself, then GPT-2's pattern.
_SPLITS = {
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, _BYTE_LEVEL],
    }
}


def write_tokenizer(metadata: Mapping[str, Any], vocab_size: int, folder: Path) -> str | None:
    """Write `tokenizer.json` and `tokenizer_config.json`; return why there are none, or None if all is well.

    Errors: `CheckpointError` for broken metadata, and where a folder without a tokenizer would be taken for
    Mistral Nemo's.
    """
    model, split = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if model == "gpt2" and split in _SPLITS:
        try:
            contents = {
                "tokenizer.json": _tokenizer(metadata, _SPLITS[split]),
                "tokenizer_config.json": _tokenizer_config(metadata),
            }
        except (LookupError, TypeError, ValueError) as error:
            raise CheckpointError(f"the metadata `tokenizer.ggml` do not fit together: {error!r}") from error
        for name, content in contents.items():
            (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
        return None
    if vocab_size == NEMO_VOCAB_SIZE:
        tokens = metadata.get("tokenizer.ggml.tokens", ())
        if len(tokens) == vocab_size and is_nemo_vocabulary(lambda index: byte_level_bytes(tokens[index])):
            return None
        raise CheckpointError(
            f"the file has {vocab_size} tokens, as Mistral Nemo has, but another tokenizer "
            f"({model!r}, {split!r}): converted, it would be taken for Mistral Nemo's"
        )
    return f"its tokenizer ({model!r}, {split!r}) is not supported"


def _tokenizer(metadata: Mapping[str, Any], split: Mapping[str, Any]) -> dict[str, Any]:
    tokens = metadata["tokenizer.ggml.tokens"]
    kinds = metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": kind == _CONTROL,
            }
            for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind in {_CONTROL, _USER_DEFINED}
        ],
        "normalizer": None,
        "pre_tokenizer": split,
        "post_processor": None,
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            # A byte-level token has no space in it, so the space stands between the two.
            "merges": [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]],
        },
    }


def _tokenizer_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    tokens = metadata["tokenizer.ggml.tokens"]
    config: dict[str, Any] = {"add_bos_token": bool(metadata.get("tokenizer.ggml.add_bos_token", False))}
    for key, name in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        index = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if index is not None:
            config[f"{key}_token"] = tokens[index]
    if template := metadata.get("tokenizer.chat_template"):
        config["chat_template"] = template
    return config
