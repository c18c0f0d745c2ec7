"""SIGINT as the way to stop a cell: raised in its code, never in the middle of a message or after the cell is over."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Interrupts:
    """Used as a context manager around what must not be cut in two; an interrupt that comes meanwhile is raised at
    its end."""

    def __init__(self) -> None:
        self.cell: int | None = None
        self.kernel: Any = None
        self.came = False
        self._main = threading.get_ident()
        self._aim: int | None = None
        self._quiet = 0
        self._pending = False

    def install(self) -> None:
        """Before each cell, because a cell may have put a handler of its own in its place."""
        self._pending = self.came = False
        signal.signal(signal.SIGINT, self._handle)

    def stop(self, cell: int) -> None:
        """Interrupt that cell; from the thread that reads the wire."""
        self._aim = cell
        signal.pthread_kill(self._main, signal.SIGINT)

    def _handle(self, _number: int, _frame: Any) -> None:
        aim, self._aim = self._aim, None
        if not self.kernel.running or (aim is not None and aim != self.cell):
            return
        self.came = True
        if self._quiet:
            self._pending = True
            return
        raise KeyboardInterrupt

    def __enter__(self) -> None:
        if threading.get_ident() == self._main:
            self._quiet += 1

    def __exit__(self, *_exc: object) -> None:
        if threading.get_ident() == self._main:
            self._quiet -= 1
            if not self._quiet:
                self.check()

    def check(self) -> None:
        """Raise an interrupt that came in a quiet part; for waits inside one."""
        if self._pending and threading.get_ident() == self._main:
            self._pending = False
            raise KeyboardInterrupt
