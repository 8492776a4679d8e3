"""The profiles of the tests, and the reference that they compare with.

`NEMO_FAST_TEST_PROFILE=long` also runs what is marked `long`, and gives hypothesis many more examples.
"""

import json
import os
from pathlib import Path

import hypothesis
import pytest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from model_files import TINY_FP8, write_random_model
from peer_files import TEKKEN, hugging_face, read_tekken

import nemo_fast

LONG = os.environ.get("NEMO_FAST_TEST_PROFILE") == "long"

hypothesis.settings.register_profile("short", max_examples=200, deadline=None)
hypothesis.settings.register_profile("long", max_examples=5_000, deadline=None)
hypothesis.settings.load_profile("long" if LONG else "short")


def pytest_collection_modifyitems(config, items):
    if LONG:
        return
    deselected = [item for item in items if item.get_closest_marker("long")]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


@pytest.fixture(scope="session")
def tokenizer():
    return nemo_fast.Tokenizer()


@pytest.fixture(scope="session")
def reference_chat():
    """mistral-common's tokenizer of requests, in the mode that `encode_chat` follows."""
    path = MistralTokenizer._data_path() / "tekken_240718.json"
    return MistralTokenizer.from_file(path, mode=ValidationMode.test)


@pytest.fixture(scope="session")
def reference(reference_chat):
    """mistral-common's tokenizer of texts."""
    return reference_chat.instruct_tokenizer.tokenizer


@pytest.fixture(scope="session")
def hf_content():
    """The vocabulary as a `tokenizer.json` without added tokens, as the benchmarks give it to the peers."""
    path = MistralTokenizer._data_path() / TEKKEN
    return hugging_face(*read_tekken(path.read_bytes()))


@pytest.fixture(scope="session")
def hf_reference(hf_content):
    """Hugging Face's tokenizer of texts."""
    return pytest.importorskip("tokenizers").Tokenizer.from_str(json.dumps(hf_content))


@pytest.fixture(scope="session")
def golden():
    path = Path(__file__).parents[1] / "golden" / "chat.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def tiny():
    with nemo_fast.Model.load(TINY_FP8, context_length=256) as model:
        yield model


@pytest.fixture(scope="session")
def nemo(tmp_path_factory):
    """A random model of two thin layers with Nemo's vocabulary, so that its answers have text."""
    folder = tmp_path_factory.mktemp("nemo") / "thin-nemo"
    write_random_model(folder, vocab_size=131_072, tie_word_embeddings=True)
    with nemo_fast.Model.load(folder) as model:
        yield model
