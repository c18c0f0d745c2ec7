"""What environments over a cloud provider's SDK share: the SDK is imported late, what was made is surely ended, and
separate calls for writing and for reading become one stream."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import warnings
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from rlm.errors import ConfigurationError, SetupError

UNREAD: Final = 64
"""Pieces that may wait to be received before who delivers them has to wait."""
ENDING: Final = 30.0
"""Seconds that a service is given to make or to end a sandbox that nobody wants any more."""
LAST_WORDS: Final = 2.0
"""Seconds in which the reading side may say how a sandbox ended that could not be written to."""

T = TypeVar("T")


async def imported(sdk: Callable[[], T], name: str, module: str = "") -> T:
    """What `sdk` imports (`module`, where that is not `name`), in a thread, because importing an SDK takes a second.

    Raises:
        SetupError: it is not installed.
    """
    try:
        return sdk() if (module or name) in sys.modules else await asyncio.to_thread(sdk)
    except ImportError as exc:
        raise SetupError(f'the {name} environment needs its SDK: pip install "rlm[{name}]" ({exc})') from exc


def check_seconds(name: str, value: object) -> None:
    """A lifetime, as the services take it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number of seconds, not {value!r}")


def check_number(name: str, value: object, *, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} must be a whole number from {least} on, not {value!r}")


def check_name(name: str, value: object, what: str) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name} must be {what}, not {value!r}")


@asynccontextmanager
async def opened(making: Coroutine[Any, Any, T], end: Callable[[T], Awaitable[object]], what: str) -> AsyncIterator[T]:
    """What `making` makes, ended on leaving. A service may have made it already when who waits for it is cancelled:
    then it is waited for, and ended too, because nobody else would and it costs money."""
    task = asyncio.create_task(making)
    try:
        yield await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait([task], timeout=ENDING)
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            await _end(end(task.result()), what)


async def _end(ending: Awaitable[object], what: str) -> None:
    try:
        async with asyncio.timeout(ENDING):
            await ending
    except Exception as exc:  # whatever an SDK raises; there is nobody left to raise it to
        how = f"{type(exc).__name__}: {exc}"
        warnings.warn(f"{what} could not be ended ({how}); it ends by its own time limit", RuntimeWarning, stacklevel=1)


class CloudStream:
    """A `ByteStream` over an SDK that has a call for writing and hands over by itself what it reads.

    A write is a request to a far-away service, so what is sent while one is under way goes with the next, up to
    `largest` bytes. Who leaves the stream ends the sandbox, so `kill` need not.
    """

    byte_clean = False

    def __init__(self, write: Callable[[bytes], Awaitable[object]], *, largest: int) -> None:
        self._write = write
        self._largest = largest
        self._unsent = bytearray()
        self._unread: deque[bytes] = deque()
        self._changed = asyncio.Condition()
        self._how: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._writing = False
        self._attempting = False

    async def send(self, data: bytes) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._how is not None or len(self._unsent) < self._largest)
            if self._how is not None:
                raise ConnectionError(self._how)
            self._unsent += data
            if not self._writing:
                self._writing = True
                self._start(self._write_all())

    async def receive(self) -> bytes:
        async with self._changed:
            await self._changed.wait_for(lambda: self._unread or self._how is not None)
            data = b"".join(self._unread)
            self._unread.clear()
            self._changed.notify_all()
            return data

    async def kill(self) -> None:
        await self.finish("it was ended")

    async def ended(self) -> str:
        return self._how or ""

    async def deliver(self, data: bytes) -> None:
        """For who reads: waits while much is not received yet."""
        async with self._changed:
            self._unread.append(data)
            self._changed.notify_all()
            await self._changed.wait_for(lambda: len(self._unread) < UNREAD or self._how is not None)

    async def finish(self, how: str) -> None:
        """The end of the stream; the first to say how it came is believed."""
        async with self._changed:
            if self._how is None:
                self._how = how
            self._changed.notify_all()

    @asynccontextmanager
    async def reading(self, read: Coroutine[Any, Any, str]) -> AsyncIterator[None]:
        """`read` delivers what comes, and returns how it ended."""
        self._reader = self._start(self._read_all(read))
        try:
            yield
        finally:
            await self.kill()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    def attempt(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start what may be slow and may fail, and is waited for by nobody; nothing where the last is under way."""
        if not self._attempting and self._how is None:
            self._attempting = True
            self._start(self._attempt(work))

    async def _attempt(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with contextlib.suppress(Exception):  # whatever an SDK raises
            await work()
        self._attempting = False

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _read_all(self, read: Coroutine[Any, Any, str]) -> None:
        try:
            how = await read
        except Exception as exc:  # whatever an SDK raises: the stream is over, and this is how
            how = f"its stream broke ({type(exc).__name__}: {exc})"
        await self.finish(how)

    async def _write_all(self) -> None:
        try:
            while self._unsent:
                data = bytes(self._unsent[: self._largest])
                async with self._changed:
                    del self._unsent[: self._largest]
                    self._changed.notify_all()
                await self._write(data)
        except Exception as exc:  # the same; who sent it has gone on
            if self._reader is not None:
                await asyncio.wait([self._reader], timeout=LAST_WORDS)
            await self.finish(f"it could not be written to ({type(exc).__name__}: {exc})")
        finally:
            self._writing = False
