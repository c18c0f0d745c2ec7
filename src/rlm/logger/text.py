"""Text on its way to where somebody reads it: what a model, an input or a log says is data and steers no terminal."""

from __future__ import annotations

import re

# Terminal controls, line and paragraph separators, direction overrides, and halves of characters (not encodable).
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """The text with everything that could steer a terminal written as an escape; newlines and tabs stay."""
    text = text.replace("\r\n", "\n")
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape", "backslashreplace").decode("ascii"), text)
