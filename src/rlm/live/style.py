"""Pieces of styled text. What they are made from is data: nothing in it is taken for markup or reaches the terminal
as a control."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from rich.color import Color
from rich.padding import Padding
from rich.style import Style
from rich.syntax import ANSI_LIGHT, ANSISyntaxTheme, Syntax
from rich.text import Text

from rlm.live.words import plural
from rlm.logger import printable

LONGEST: Final = 20_000
REASONS: Final = 3
CODE_LINES: Final = 60
CODE_LENGTH: Final = 8_000
BLUE: Final = Color.parse("blue")
# Of the sixteen colours that a terminal's person chose, those that can be read on black and on white.
THEME: Final = ANSISyntaxTheme(
    {
        token: Style(color="magenta" if style.color == BLUE else style.color, dim=style.dim)
        for token, style in ANSI_LIGHT.items()
        # Red is for what failed.
        if style.color is None or style.color.name not in ("red", "white", "bright_blue")
    }
)


def safe(text: str) -> str:
    return printable(text).expandtabs(4)


def line(text: str, style: str = "") -> Text:
    """One line, cut at the screen's edge."""
    return Text(safe(" ".join(text[:LONGEST].splitlines())), style=style, no_wrap=True, overflow="ellipsis")


def wrapped(text: str, style: str = "") -> Padding:
    """A text that must be read to its end."""
    return Padding(Text(safe(" ".join(text[:LONGEST].split())), style=style), (0, 0, 0, 2))


def code(source: str, limit: int) -> list[Text]:
    """A source in `limit` lines; where it has more, the last says how many."""
    source = source.strip("\n")
    size = source.count("\n") + 1
    shown = _highlighted(source)[: limit if size <= limit else limit - 1]
    lines = [Text("  ", no_wrap=True, overflow="ellipsis").append_text(each) for each in shown]
    return lines if len(lines) == size else [*lines, more(size - len(lines))]


def clipped(text: str, limit: int) -> list[Text]:
    """An output in `limit` lines; where it has more, the last says how many."""
    text = text.strip("\n")
    size = text.count("\n") + 1
    lines = safe(text[:LONGEST]).split("\n")[: limit if size <= limit else limit - 1]
    shown = [line(f"  │ {each}") for each in lines]
    return shown if len(lines) == size else [*shown, more(size - len(lines), "  │ ")]


def failures(reasons: Sequence[str]) -> list[Text]:
    """Failed calls, one line for each reason, the most frequent ones."""
    shown = [line(f"  ✗ {reason}", "red") for reason in reasons[:REASONS]]
    left = len(reasons) - len(shown)
    return [*shown, line(f"    … and {plural(left, 'other reason')}", "red dim")] if left else shown


def more(count: int, bar: str = "  ") -> Text:
    return line(f"{bar}… {plural(count, 'more line')}", "dim")


@lru_cache(maxsize=16)
def _highlighted(source: str) -> tuple[Text, ...]:
    head = "\n".join(source[:CODE_LENGTH].split("\n")[:CODE_LINES])
    lines = Syntax("", "python", theme=THEME).highlight(safe(head)).split("\n", allow_blank=True)
    return tuple(lines[: head.count("\n") + 1])
