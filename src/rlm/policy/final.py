"""An answer written as text: `FINAL(…)` or `FINAL_VAR(…)` at the end of a reply, turned into the code that submits it.

For models trained on the reference library, which write it outside of any code.
"""

from __future__ import annotations

import ast
import keyword
import re

_START = re.compile(r"^[ \t>*_`]*FINAL(?P<var>_VAR)?[ \t]*\(", re.MULTILINE)
_LINE_END = re.compile(r"[ \t*_`.;]*$", re.MULTILINE)
_VALID_ESCAPES = re.compile(r"""(?:[^\\]|\\[\\'"abfnrtv\n])*""")


def final_code(text: str) -> tuple[str, int] | None:
    """(code, line of `text` counted from 0) when `text` ends with such a call, begun at the start of a line."""
    text = text.rstrip(" \t\n*_`.;")
    if not text.endswith(")"):
        return None
    pairs = _pairs(text)
    for match in _START.finditer(text):
        end = pairs.get(match.end() - 1)
        if end is not None and end < len(text) - 1 and _LINE_END.match(text, end + 1):
            continue  # it ended with its line, and other text follows
        argument = text[match.end() : -1].strip()
        if argument:
            code = _variable(argument) if match["var"] else _value(argument)
            return code, text.count("\n", 0, match.end())
    return None


def mentions_final(text: str) -> bool:
    """Whether a line begins with `FINAL(` or `FINAL_VAR(`."""
    return _START.search(text) is not None


def _pairs(text: str) -> dict[int, int]:
    """Where each parenthesis that is closed is closed."""
    opened: list[int] = []
    pairs = {}
    for match in re.finditer(r"[()]", text):
        if match[0] == "(":
            opened.append(match.start())
        elif opened:
            pairs[opened.pop()] = match.start()
    return pairs


def _variable(argument: str) -> str:
    return f"FINAL_VAR({argument.strip(chr(34) + chr(39) + '` ')!r})"


def _value(argument: str) -> str:
    if argument.isidentifier() and not keyword.iskeyword(argument):
        # a variable's name or a one-word answer: which of the two is known only where the variables are
        return f"FINAL(globals().get({argument!r}, {argument!r}))"
    return f"FINAL({_unquoted(argument)!r})"


def _unquoted(argument: str) -> str:
    """The text without the quotes around all of it, with its escapes read as Python would; any other text as it is."""
    for quote in ('"""', "'''", '"', "'"):
        inner = argument[len(quote) : -len(quote)]
        if len(argument) < 2 * len(quote) or argument != quote + inner + quote:
            continue
        if "\\" in inner and _VALID_ESCAPES.fullmatch(inner) and len(inner) < 1_000_000:
            try:
                value = ast.literal_eval(argument)
            except (SyntaxError, ValueError, MemoryError, RecursionError):
                return argument
            return value if isinstance(value, str) else argument
        return argument if quote in inner else inner
    return argument
