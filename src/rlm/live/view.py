"""`LiveView`, the observer behind `verbose=True` and the command: the live view where there is a screen for it, plain
lines where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TextIO

from rlm.events import Event, RunFinished, RunStarted
from rlm.live.board import Board, Surface, board
from rlm.logger import VerbosePrinter


class LiveView:
    """An observer that shows runs while they go on: on a terminal and in a notebook as a record of what was done with
    a live part below it, elsewhere as the plain lines of `VerbosePrinter`.

    Views on one terminal share it: any number of runs and threads may be shown at once. `stream` is where to, by
    default stderr; `answers=False` leaves out the question, the answer and the figures at the end, for a program that
    prints them itself. It ends with the last run; as a context manager, it ends with the block whatever its runs do.
    """

    def __init__(self, stream: TextIO | None = None, *, answers: bool = True) -> None:
        self._stream = stream
        self._answers = answers
        self._runs: dict[str, Callable[[Event], None]] = {}
        self._boards: dict[str, Board] = {}

    @property
    def live(self) -> bool:
        """Whether replies are wanted as they arrive."""
        return self._place() is not None

    def __call__(self, event: Event) -> None:
        root = event.run.partition("/")[0]
        if isinstance(event, RunStarted) and event.run == root:
            self._begin(event)
        show = self._runs.get(root)
        if isinstance(event, RunFinished) and event.run == root:
            self._runs.pop(root, None)
            self._boards.pop(root, None)
        if show is not None:
            show(event)

    def close(self) -> None:
        """Show no more of the runs that go on, and leave the place clean."""
        boards, self._boards = self._boards, {}
        self._runs.clear()
        for each in set(boards.values()):
            each.close([run for run, place in boards.items() if place is each])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, event: RunStarted) -> None:
        place = self._place()
        if place is None:
            self._runs[event.run] = self._printer()
            return
        name, surface = place
        here = self._boards[event.run] = board(name)
        here.begin(event, surface, answers=self._answers)
        self._runs[event.run] = here.add

    def _place(self) -> tuple[object, Callable[[], Surface]] | None:
        """Where there is a screen: a name for it, and how to draw on it."""
        stream = self._stream or sys.stderr
        publish = publisher() if self._stream is None else None
        if publish is not None:

            def notebook() -> Surface:
                from rlm.live.notebook import Notebook  # as below

                return Notebook(publish)

            return "notebook", notebook
        if not is_screen(stream):
            return None

        def terminal() -> Surface:
            from rlm.live.terminal import Terminal  # rich takes 100 ms to import, and a pipe does not need it

            return Terminal(stream)

        return stream.fileno(), terminal

    def _printer(self) -> Callable[[Event], None]:
        printer = VerbosePrinter(stream=self._stream)
        if self._answers:
            return printer

        def without_texts(event: Event) -> None:
            if isinstance(event, RunStarted) and event.depth == 0:
                event = replace(event, question=None)
            elif isinstance(event, RunFinished) and event.depth == 0:
                event = replace(event, response=None)
            printer(event)

        return without_texts


def publisher() -> Callable[..., Any] | None:
    """How to publish in the notebook that this program runs in, `None` in any other. IPython is not imported for it:
    in a notebook it is."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or getattr(shell, "kernel", None) is None:
        return None
    publish: Callable[..., Any] = shell.display_pub.publish
    return publish


def is_screen(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal that can be drawn on."""
    try:
        terminal = stream is not None and stream.isatty() and stream.fileno() >= 0
    except (OSError, ValueError):  # it is closed, or no file
        return False
    if not terminal or os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        return False
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"
