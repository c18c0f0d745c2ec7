"""How many provider calls a tree has in flight: a fixed most, fewer for a while when the provider pushes back."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LEAST = 1


class Limiter:
    """A semaphore whose size adapts (additive increase, multiplicative decrease; Chiu and Jain, 1989)."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = float(most)
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._since_cut = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the places; first come, first served."""
        if self.in_flight >= int(self.size) or self._waiting:
            await self._wait()
        else:
            self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._admit()

    def report(self, *, pushed_back: bool) -> bool:
        """A call ended; whether the size was cut. One burst of refusals counts once: those sent before the cut say
        nothing new."""
        self._since_cut += 1
        if not pushed_back:
            self.size = min(self.most, self.size + 1 / max(1.0, self.size))
            return False
        if self._since_cut < self.size or self.size <= LEAST:
            return False
        self.size = max(LEAST, self.size * 0.7)
        self._since_cut = 0
        return True

    async def _wait(self) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.in_flight -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting and self.in_flight < int(self.size):
            place = self._waiting.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)


class Stopwatch:
    """Times one call, from when it is made: `seconds` in all, of which it stood in line for `waited`."""

    def __init__(self) -> None:
        self._made = time.perf_counter()
        self._sent: float | None = None

    def sent(self) -> None:
        """It has its place, and goes out."""
        self._sent = time.perf_counter()

    def times(self) -> dict[str, float]:
        """`seconds` and `waited` so far."""
        now = time.perf_counter()
        return {"seconds": now - self._made, "waited": (self._sent or now) - self._made}
