"""The live view on a terminal.

The cursor is left where the program's own output goes on, and the live part stands below it: what others print is not
overwritten, a change of size does not displace anything, and there is no state of the terminal to be given back.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, TextIO

from rich.console import Console, ConsoleDimensions, Group

from rlm.live.entries import record
from rlm.live.frame import frame, most_agents
from rlm.live.picture import Picture
from rlm.live.record import Item

DOWN: Final = "\x1bD"  # one line down in the same column, scrolling at the bottom
ERASE_BELOW: Final = "\x1b[J"
SAVE, RESTORE = "\x1b7", "\x1b8"
# Where a terminal and we disagree about the width of a character, the line is cut and does not become two.
NO_WRAP, WRAP = "\x1b[?7l", "\x1b[?7h"
# For the time of one write: terminals that know it show the whole at once, and the cursor does not run about.
BEGIN, END = "\x1b[?2026h\x1b[?25l", "\x1b[?25h\x1b[?2026l"


class Terminal:
    """Draws on the terminal behind `stream`; `size` is columns and lines, by default the terminal's own."""

    interval = 1 / 8

    def __init__(self, stream: TextIO, *, size: tuple[int, int] | None = None) -> None:
        self._stream = stream
        self._size = size
        self._console = Console(
            file=stream, force_terminal=True, force_jupyter=False, legacy_windows=False, highlight=False, markup=False
        )
        self._drawn = ""
        self._tick = 0

    def size(self) -> tuple[int, int]:
        if self._size is not None:
            return self._size
        try:
            columns, lines = os.get_terminal_size(self._stream.fileno())
        except OSError:
            columns = lines = 0
        return columns or 80, lines or 24

    def agents(self) -> int:
        """How many have room."""
        return most_agents(self.size()[1])

    def show(self, items: Sequence[Item], picture: Picture | None, *, marked: bool) -> None:
        """Put down what is for good, and below it the picture, `None` for nothing."""
        columns, lines = self.size()
        self._console.size = ConsoleDimensions(columns, lines)
        self._tick += 1
        rows = [] if picture is None else frame(picture, width=columns, height=lines, tick=self._tick)
        with self._console.capture() as capture:
            self._console.print(Group(*rows))
        drawn = _below(capture.get().splitlines())
        with self._console.capture() as capture:
            self._console.print(Group(*(record(item, width=columns, marked=marked) for item in items)))
        text = capture.get().replace("\n", "\r\n")
        if text or drawn != self._drawn:
            self._stream.write(BEGIN + ("\r" if text else "") + ERASE_BELOW + text + drawn + END)
            self._stream.flush()
        self._drawn = drawn


def _below(lines: Sequence[str]) -> str:
    """The lines below the cursor, which stays."""
    if not lines:
        return ""
    room = DOWN * len(lines) + f"\x1b[{len(lines)}A"
    return room + SAVE + NO_WRAP + "".join(f"\r\n{line}" for line in lines) + RESTORE + WRAP
