"""One adapter a tokenizer: the calls that a user of it would make for Nemo's vocabulary.

Each adapter imports its package when it loads, so that one that is not installed is left out, and takes the
cheapest public call for each purpose. What comes back keeps the peer's own form; `flat_ids` reads them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from peer_files import PeerFiles

OURS = "nemo_fast"
REFERENCE = "mistral-common"


@dataclass(frozen=True)
class Calls:
    """The calls of a loaded tokenizer; None where it has none of the kind.

    `encode_list`, `encode_array`: text -> ids as Python's list, as anything flat (an array or bytes);
    `count`: text -> number; `decode_list`, `decode_array`: ids -> str; `decode_bytes`: ids -> bytes;
    `encode_batch`, `count_batch`: texts and a number of threads.
    """

    encode_list: Callable[[str], list[int]]
    encode_array: Callable[[str], Any] | None = None
    count: Callable[[str], int] | None = None
    decode_list: Callable[[list[int]], str] | None = None
    decode_array: Callable[[NDArray[np.uint32]], str] | None = None
    decode_bytes: Callable[[Any], bytes] | None = None
    encode_batch: Callable[[list[str], int], Any] | None = None
    count_batch: Callable[[list[str], int], Any] | None = None


@dataclass(frozen=True)
class Peer:
    """A tokenizer: its package on PyPI, what to import, how to load it, and if one round is enough."""

    name: str
    package: str
    module: str
    load: Callable[[PeerFiles], Calls]
    slow: bool = False

    @property
    def version(self) -> str | None:
        """Return the installed version; None if it is not installed."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None


def flat_ids(result: Any) -> NDArray[np.uint32]:
    """Return the ids of any form that the adapters give, those of a batch joined."""
    import numpy as np

    if isinstance(result, dict):  # tuetoken: {"data": ids, "offsets": ...}
        result = result["data"]
    elif isinstance(result, tuple):  # ids and offsets
        result = result[0]
    elif hasattr(result, "offsets") and hasattr(result, "ids"):
        result = result.ids
    if isinstance(result, bytes):
        return np.frombuffer(result, np.uint32)
    if hasattr(result, "layout"):  # gigatoken: an awkward array
        import awkward

        result = awkward.flatten(result)
    elif isinstance(result, list) and result and not isinstance(result[0], int):
        result = np.concatenate([np.asarray(row, np.uint32) for row in result])
    return np.asarray(result, np.uint32)


def _nemo_fast(_: PeerFiles) -> Calls:
    import nemo_fast

    # None stands for a method that this build does not have yet.
    tokenizer: Any = nemo_fast.Tokenizer()
    encode_array = getattr(tokenizer, "encode_array", None)
    encode_batch = getattr(tokenizer, "encode_batch", None)
    count_batch = getattr(tokenizer, "count_batch", None)
    return Calls(
        encode_list=tokenizer.encode,
        encode_array=encode_array,
        count=tokenizer.count,
        decode_list=tokenizer.decode,
        decode_array=tokenizer.decode,
        decode_bytes=tokenizer.decode_bytes,
        encode_batch=encode_batch and (lambda texts, threads: encode_batch(texts, threads=threads)),
        count_batch=count_batch and (lambda texts, threads: count_batch(texts, threads=threads)),
    )


def _gigatoken(files: PeerFiles) -> Calls:
    import gigatoken

    tokenizer = gigatoken.Tokenizer(files.hugging_face)
    return Calls(
        encode_list=lambda text: tokenizer.encode(text).tolist(),
        encode_array=tokenizer.encode,
        decode_list=lambda ids: tokenizer.decode(ids).decode(errors="replace"),
        decode_array=lambda ids: tokenizer.decode(ids).decode(errors="replace"),
        decode_bytes=tokenizer.decode,
        encode_batch=lambda texts, threads: tokenizer.encode_batch(texts, parallel=threads > 1),
    )


def _fastokens(files: PeerFiles) -> Calls:
    import fastokens

    tokenizer = fastokens.Tokenizer.from_file(str(files.hugging_face))
    return Calls(
        encode_list=lambda text: tokenizer.encode_ordinary(text).ids,
        encode_array=lambda text: tokenizer.encode_batch_flat([text]),
        decode_list=tokenizer.decode,
        encode_batch=lambda texts, _: tokenizer.encode_batch_flat(texts),
    )


def _quicktok(files: PeerFiles) -> Calls:
    import quicktok

    folder = str(files.tekken.parent)
    if not (files.tekken.parent / "nemo.enc").exists():
        quicktok.import_tokenizer(str(files.tekken), "nemo", folder)
    tokenizer = quicktok.Tokenizer("nemo", folder)
    return Calls(
        encode_list=tokenizer.encode_ordinary,
        encode_array=lambda text: tokenizer.encode_batch([text], 1),
        count=tokenizer.count,
        decode_list=tokenizer.decode,
        decode_bytes=tokenizer.decode_bytes,
        encode_batch=tokenizer.encode_batch,
        count_batch=partial(quicktok.count_batch, tokenizer),
    )


def _splintr(files: PeerFiles) -> Calls:
    import splintr

    tokenizer = splintr.from_json(str(files.hugging_face))
    return Calls(
        encode_list=tokenizer.encode_ordinary,
        encode_array=tokenizer.encode_flat,
        decode_list=tokenizer.decode,
        encode_batch=lambda texts, _: tokenizer.encode_batch_flat(texts),
    )


def _snaptokens(files: PeerFiles) -> Calls:
    import snaptokens

    tokenizer = snaptokens.Tokenizer.from_file(str(files.hugging_face))
    return Calls(
        encode_list=lambda text: tokenizer.encode(text).ids,
        encode_array=lambda text: tokenizer.encode_batch_flat([text]),
        decode_list=tokenizer.decode,
        encode_batch=lambda texts, _: tokenizer.encode_batch_flat(texts),
    )


def _tuetoken(files: PeerFiles) -> Calls:
    import tuetoken

    tokenizer = tuetoken.Tokenizer(str(files.hugging_face))
    return Calls(
        encode_list=tokenizer.encode_ordinary,
        encode_array=tokenizer.encode_to_bytes,
        count=tokenizer.count_tokens,
        decode_list=tokenizer.decode,
        decode_array=tokenizer.decode_array,
        encode_batch=tokenizer.encode_ordinary_to_buffer,
        count_batch=tokenizer.count_tokens_batch,
    )


def _tiktoken(files: PeerFiles) -> Calls:
    import tiktoken
    from peer_files import read_tekken
    from tiktoken.load import load_tiktoken_bpe

    pattern, _, _ = read_tekken(files.tekken.read_bytes())
    tokenizer = tiktoken.Encoding(
        "nemo", pat_str=pattern, mergeable_ranks=load_tiktoken_bpe(str(files.tiktoken)), special_tokens={}
    )
    return Calls(
        encode_list=tokenizer.encode_ordinary,
        decode_list=tokenizer.decode,
        decode_bytes=tokenizer.decode_bytes,
        encode_batch=lambda texts, threads: tokenizer.encode_ordinary_batch(texts, num_threads=threads),
    )


def _tokenizers(files: PeerFiles) -> Calls:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(files.hugging_face))
    return Calls(
        encode_list=lambda text: tokenizer.encode(text).ids,
        decode_list=tokenizer.decode,
        encode_batch=lambda texts, _: [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)],
    )


def _mistral_common(files: PeerFiles) -> Calls:
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    tokenizer = Tekkenizer.from_file(files.tekken)
    return Calls(
        encode_list=lambda text: tokenizer.encode(text, bos=False, eos=False),
        decode_list=tokenizer.decode,
    )


PEERS = {
    peer.name: peer
    for peer in (
        Peer(OURS, "nemo-fast", "nemo_fast", _nemo_fast),
        Peer("gigatoken", "gigatoken", "gigatoken", _gigatoken),
        Peer("fastokens", "fastokens", "fastokens", _fastokens),
        Peer("quicktok", "quicktok-v1", "quicktok", _quicktok),
        Peer("snaptokens", "snaptokens", "snaptokens", _snaptokens),
        Peer("splintr", "splintr-rs", "splintr", _splintr),
        Peer("tuetoken", "tuetoken", "tuetoken", _tuetoken),
        Peer("tiktoken", "tiktoken", "tiktoken.load", _tiktoken, slow=True),
        Peer("tokenizers", "tokenizers", "tokenizers", _tokenizers, slow=True),
        Peer(
            REFERENCE, "mistral-common", "mistral_common.tokens.tokenizers.tekken", _mistral_common, slow=True
        ),
    )
}
