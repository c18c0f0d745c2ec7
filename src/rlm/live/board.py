"""A place where runs are shown, any number at once; a thread of its own draws while one goes on, so that the runs only
ever wait for a fold."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

from rlm.events import Event, RunFinished, RunStarted
from rlm.live.figures import Past
from rlm.live.fold import Run
from rlm.live.picture import Picture, look
from rlm.live.record import Item
from rlm.portal import portal


class Surface(Protocol):
    """What is drawn on, by one thread at a time. `interval` is seconds between two pictures."""

    @property
    def interval(self) -> float: ...

    def agents(self) -> int: ...

    def show(self, items: Sequence[Item], picture: Picture | None, *, marked: bool) -> None: ...


class Board:
    """Shows the runs whose events it is given, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._past = Past()
        self._marked = False
        self._items: list[Item] = []
        self._drawer: _Drawer | None = None
        self._before: _Drawer | None = None
        self._lost: dict[str, Exception] = {}

    def begin(self, event: RunStarted, surface: Callable[[], Surface], *, answers: bool) -> None:
        """A root run began; `surface` makes what to draw on, if nothing is drawn yet."""
        with self._lock:
            run = Run(event, answers=answers)
            self._runs[event.run] = run
            self._items.append(run.begin(event))
            if self._drawer is None:
                self._past, self._marked = Past(), False
                self._drawer = self._before = _Drawer(self, surface, self._before)
                self._drawer.start()
            self._marked = self._marked or len(self._runs) > 1

    def add(self, event: Event) -> None:
        """The next event of a run that began here. Returns from its last when all is drawn.

        Raises:
            Exception: what ended the drawing; once for each run.
        """
        root, finished = event.run.partition("/")[0], None
        with self._lock:
            if (error := self._lost.pop(root, None)) is not None:
                raise error
            if (run := self._runs.get(root)) is None:
                return
            self._items += run.add(event)
            if isinstance(event, RunFinished) and event.run == run.path:
                finished = self._leave(run)
        if finished is not None:
            finished.end()

    def close(self, runs: Sequence[str]) -> None:
        """Take these runs off, whether or not they have ended."""
        finished = None
        with self._lock:
            for path in runs:
                if (run := self._runs.get(path)) is not None:
                    finished = self._leave(run)
        if finished is not None:
            finished.end()

    def close_all(self) -> None:
        with self._lock:
            runs = list(self._runs)
        self.close(runs)

    def next(self, agents: int, *, last: bool) -> tuple[list[Item], Picture | None, bool]:
        """What is to be drawn now: new in the record, the picture, and whether runs share the place."""
        with self._lock:
            items, self._items = self._items, []
            runs = list(self._runs.values())
            picture = look(runs, time.time(), agents, self._past) if runs and not last else None
            return items, picture, self._marked

    def fail(self, error: Exception) -> None:
        """Drawing is not possible any more."""
        with self._lock:
            self._lost = dict.fromkeys(self._runs, error)
            self._runs.clear()
            self._items.clear()
            self._drawer = None

    def _leave(self, run: Run) -> _Drawer | None:
        del self._runs[run.path]
        self._past.add(run)
        if self._runs:
            return None
        drawer, self._drawer = self._drawer, None
        return drawer


class _Drawer(threading.Thread):
    """Draws until it is told to end; begins when the one before it has ended."""

    def __init__(self, board: Board, surface: Callable[[], Surface], before: _Drawer | None) -> None:
        super().__init__(name="rlm-live-view", daemon=True)
        self._board = board
        self._surface = surface
        self._before = before
        self._ending = threading.Event()

    def run(self) -> None:
        if self._before is not None:
            self._before.join()
            self._before = None
        try:
            surface = self._surface()
            while True:
                last = self._ending.is_set()
                items, picture, marked = self._board.next(surface.agents(), last=last)
                surface.show(items, picture, marked=marked)
                if last:
                    return
                self._ending.wait(surface.interval)
        except Exception as error:  # whatever it is, the runs go on, and are told of it as of any observer that fails
            self._board.fail(error)

    def end(self) -> None:
        """Draw the last, and return when that is done."""
        self._ending.set()
        self.join()


_boards: dict[Hashable, Board] = {}
_lock = threading.Lock()


def board(place: Hashable) -> Board:
    """The board of a place: there is one for each, whoever shows runs there."""
    with _lock:
        return _boards.setdefault(place, Board())


def _close_boards() -> None:
    for each in list(_boards.values()):
        each.close_all()


def _forget() -> None:
    """After a fork: the threads are not in this process, nor are the runs."""
    global _lock
    _lock = threading.Lock()
    _boards.clear()


atexit.register(_close_boards)
portal.on_abandon.append(_close_boards)  # before a traceback is printed where the live part stands
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
