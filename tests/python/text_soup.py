"""Texts that are hard to cut: words whose starts cost more than they do, and all classes of characters."""

import re

from hypothesis import strategies as st

_PARTS = [
    *("Première", "Prem", " internationalization", "don't", "HTTPServer", "A", "BC", "x", "é", "ǅ", "ʰ", "ß"),
    *("中", "文字", "こんにちは", "한국어", "สวัสดี", "\u0301", "\u0302", "😀", "👩‍👩‍👧", "🇫🇷", "\U0001f9ac"),
    *(
        "1",
        "½",
        "2024",
        " ",
        "  ",
        "\t",
        "\u3000",
        "\n",
        "\r\n",
        "\n\n",
        "  \n",
        "/",
        "+",
        "+\u0301\n/",
        "==",
        ".\n",
    ),
    *("a" * 20, "=" * 30, " " * 40, "ABCD" * 8, "\ud83d", "\ude00", "\ufffd"),
]

# One character at a time from a few, so that classes meet in every order; whole parts; and anything.
soup = st.one_of(
    st.lists(st.sampled_from(_PARTS), max_size=12).map("".join),
    st.text(st.sampled_from("Aa中\u03011 \t\n\r/+é\ud83d\ude00"), max_size=16),
    st.text(max_size=20),
)


def characters_of(text):
    """Return the characters of a text; a pair of surrogates is one."""
    return re.findall("[\ud800-\udbff][\udc00-\udfff]|.", text, re.DOTALL)
