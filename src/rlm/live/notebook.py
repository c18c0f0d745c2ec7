"""The live view in a Jupyter notebook: two displays of the cell, the record and below it the live part, that are
updated in place."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.terminal_theme import TerminalTheme

from rlm.live.entries import record
from rlm.live.frame import frame, most_agents
from rlm.live.picture import Picture
from rlm.live.record import Item

COLUMNS: Final = 100
LINES: Final = 36
KEPT: Final = 100
"""Entries of the record that are shown; those before are counted. A notebook's file keeps what it shows."""
# Colours that can be read on white and on black; a dim text is halfway between the two.
THEME: Final = TerminalTheme(
    (255, 255, 255),
    (0, 0, 0),
    [
        (110, 110, 110),
        (208, 48, 48),
        (47, 150, 68),
        (176, 132, 0),
        (38, 125, 205),
        (165, 79, 196),
        (20, 145, 152),
        (128, 128, 128),
    ],
)
PAGE: Final = '<pre style="white-space:pre;overflow-x:auto;line-height:1.3;margin:0">{code}</pre>'


class Notebook:
    """Draws through `publish`, the method of a notebook's display publisher."""

    interval = 1 / 4

    def __init__(self, publish: Callable[..., Any]) -> None:
        self._publish = publish
        self._name = f"rlm-{os.urandom(6).hex()}"
        self._record: list[RenderableType] = []
        self._left_out = 0
        self._shown: dict[str, str] = {}
        self._tick = 0

    def agents(self) -> int:
        """How many have room."""
        return most_agents(LINES)

    def show(self, items: Sequence[Item], picture: Picture | None, *, marked: bool) -> None:
        """Add to the record, and show the picture below it, `None` for nothing."""
        self._tick += 1
        if items or not self._shown:
            self._record += [record(item, width=COLUMNS, marked=marked) for item in items]
            self._left_out += max(0, len(self._record) - KEPT)
            del self._record[:-KEPT]
            before = [f"… {self._left_out:,} entries before"] if self._left_out else []
            self._put("record", [*before, *self._record])
        rows = [] if picture is None else frame(picture, width=COLUMNS, height=LINES, tick=self._tick)
        self._put("live", ["", *rows] if rows else [])

    def _put(self, part: str, pieces: Iterable[RenderableType]) -> None:
        console = Console(
            record=True, file=io.StringIO(), width=COLUMNS, force_jupyter=False, highlight=False, markup=False
        )
        console.print(Group(*pieces))
        text = console.export_text(clear=False)
        if self._shown.get(part) == text:
            return
        html = console.export_html(theme=THEME, code_format=PAGE, inline_styles=True) if text else ""
        name = {"display_id": f"{self._name}-{part}"}
        self._publish({"text/html": html, "text/plain": text}, {}, transient=name, update=part in self._shown)
        self._shown[part] = text
