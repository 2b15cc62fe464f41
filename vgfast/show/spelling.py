"""Text for streams that do not take every character: what vgfast prints has a plain spelling too.

It is a handler of codec errors, so that it is asked only for what a stream cannot take:

>>> "3 µs ± 1".encode("ascii", ERRORS), "3 µs ± 1".encode("latin-1", ERRORS), "Łódź".encode("latin-1", ERRORS)
(b'3 us +- 1', b'3 \\xb5s \\xb1 1', b'\\\\u0141\\xf3d\\\\u017a')
"""

from __future__ import annotations

import codecs

ERRORS = "vgfast.show.spelling"

_SPELLINGS = {
    "µ": "u",
    "×": "x",  # noqa: RUF001
    "·": "*",
    "∘": "*",
    "‖": "|",
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "–": "-",  # noqa: RUF001
    "─": "-",
    "…": "...",
    "ᵀ": "^T",
    "⁻": "^-",
    **{superscript: f"^{digit}" for digit, superscript in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for the first character that cannot be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character, after = error.object[error.start], error.start + 1
    if "\udc80" <= character <= "\udcff":  # a byte of a path that is no text: it goes out as it came
        return bytes([ord(character) - 0xDC00]), after
    return _SPELLINGS.get(character) or character.encode("ascii", "backslashreplace").decode(), after


def spelled(text: str, encoding: str) -> str:
    """The text as a stream of this encoding shows it; its length is that of what is shown.

    >>> spelled("± 4", "ascii"), spelled("± 4", "utf-8")
    ('+- 4', '± 4')
    """
    return text.encode(encoding, ERRORS).decode(encoding, "surrogateescape")


codecs.register_error(ERRORS, _spell)
