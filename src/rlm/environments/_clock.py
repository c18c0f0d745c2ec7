"""The clock of a cell: it stands while the cell waits for the host, so that a slow model does not use up a cell's
time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

TICK = 0.25


class CellClock:
    """Counts the seconds a cell ran by itself. `hold` and `release` bracket a request to the host, from any thread."""

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._held = 0
        self._ran = 0.0
        self._since = time.monotonic()

    def hold(self) -> None:
        with self._lock:
            if self._held == 0:
                self._ran += time.monotonic() - self._since
            self._held += 1

    def release(self) -> None:
        with self._lock:
            self._held -= 1
            if self._held == 0:
                self._since = time.monotonic()

    def elapsed(self) -> float:
        with self._lock:
            return self._ran + (0.0 if self._held else time.monotonic() - self._since)


async def wait_in_time(work: asyncio.Future[Any], clock: CellClock, tick: Callable[[], None] | None = None) -> bool:
    """Wait for `work` as long as the clock allows, calling `tick` now and then; whether it is done."""
    pause = None if tick is None else TICK
    while not work.done():
        left = None if clock.limit is None else clock.limit - clock.elapsed()
        if left is not None and left <= 0:
            return False
        wait = [pause] if left is None else [pause, max(left, 0.02)]
        await asyncio.wait([work], timeout=min((s for s in wait if s is not None), default=None))
        if tick is not None:
            tick()
    return True
