"""Compare the ids of whole files with mistral-common's, a line per file; exit code 1 if any differ.

python tests/compare_corpus.py FILE...    (.txt or .txt.xz, in UTF-8)
"""

import lzma
import sys
from pathlib import Path

from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

import nemo_fast


def main(paths):
    reference_chat = MistralTokenizer.from_file(MistralTokenizer._data_path() / "tekken_240718.json")
    reference = reference_chat.instruct_tokenizer.tokenizer
    all_equal = True
    for path in map(Path, paths):
        content = path.read_bytes()
        text = (lzma.decompress(content) if path.suffix == ".xz" else content).decode()
        ids = nemo_fast.encode(text)
        is_equal = ids == reference.encode(text, bos=False, eos=False) and nemo_fast.count(text) == len(ids)
        sys.stdout.write(f"{'equal' if is_equal else 'DIFFERENT':9}  {len(ids):>10,} ids  {path.name}\n")
        sys.stdout.flush()
        all_equal &= is_equal
    return 0 if all_equal else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
