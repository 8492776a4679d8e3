"""GPT-2's byte-level alphabet: one printable character for each of the 256 bytes.

`tokenizer.json` and GGUF files write a byte-level vocabulary with these characters, so that each token is
readable JSON text. This is only the alphabet: which file uses it is known by the readers of those files.
"""

from __future__ import annotations

# Bytes that are printable in Latin-1 stand for themselves; the others follow from U+0100 on, in order.
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = tuple(byte for byte in range(256) if byte not in _PRINTABLE)
_BYTE_OF_CHARACTER = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(0x100 + index): byte for index, byte in enumerate(_OTHERS)
}


def byte_level_bytes(token: str) -> bytes | None:
    r"""Return the bytes that a byte-level token stands for, or None if a character is outside the alphabet.

    >>> byte_level_bytes("ĠcafÃ©")
    b' caf\xc3\xa9'
    >>> byte_level_bytes("two words") is None
    True
    """
    try:
        return bytes(_BYTE_OF_CHARACTER[character] for character in token)
    except KeyError:
        return None
