"""Sessions under test: running scenarios, and environments whose streams are measured, quicker, or broken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlm.environments import process
from rlm.environments._stream import StreamEnvironment
from rlm.protocols import ByteStream, Session
from rlm.testing.conformance import ScriptedHost
from rlm.types import UNSET

DEADLINE = 60.0


def run(scenario: Callable[[], Coroutine[Any, Any, None]], deadline: float = DEADLINE) -> None:
    async def timed() -> None:
        async with asyncio.timeout(deadline):
            await scenario()

    asyncio.run(timed())


async def value(session: Session, expression: str, host: ScriptedHost | None = None) -> Any:
    cell = await session.execute(f"FINAL({expression})", host or ScriptedHost())
    assert cell.error is None, cell
    assert cell.answer is not UNSET, cell
    return cell.answer


async def comes_true(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE / 2):
        while not condition():  # noqa: ASYNC110 - the condition is of the operating system
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second where it ends between opening and reading
        return False


def with_mark(mark: str) -> list[int]:
    """The processes of this machine that have it in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@dataclass(frozen=True, kw_only=True)
class Measured(StreamEnvironment):
    """A process whose stream counts bytes, and may have the fast way in."""

    inner: StreamEnvironment = field(default_factory=process.create)
    folder: str | None = None
    byte_clean: bool = True
    counts: dict[str, int] = field(default_factory=lambda: {"in": 0, "out": 0, "put": 0})

    @property
    def python(self) -> tuple[str, ...]:
        return self.inner.python

    def connect(self, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        return self._connect(argv)

    @asynccontextmanager
    async def _connect(self, argv: Sequence[str]) -> AsyncIterator[ByteStream]:
        async with self.inner.connect(argv) as stream:
            yield (PutStream if self.folder else CountedStream)(stream, self)


class CountedStream:
    def __init__(self, inner: ByteStream, environment: Measured) -> None:
        self._inner, self._environment, self.byte_clean = inner, environment, environment.byte_clean

    async def send(self, data: bytes) -> None:
        self._environment.counts["in"] += len(data)
        await self._inner.send(data)

    async def receive(self) -> bytes:
        data = await self._inner.receive()
        self._environment.counts["out"] += len(data)
        return data

    async def kill(self) -> None:
        await self._inner.kill()


class PutStream(CountedStream):
    async def put(self, data: bytes) -> str:
        self._environment.counts["put"] += len(data)
        path = os.path.join(str(self._environment.folder), f"{self._environment.counts['put']}")
        Path(path).write_bytes(data)  # noqa: ASYNC240
        return path


@dataclass(frozen=True, kw_only=True)
class Shell(StreamEnvironment):
    """Whatever a shell makes of it, in the interpreter's place."""

    script: str

    @property
    def python(self) -> tuple[str, ...]:
        return ("/bin/sh", "-c", self.script)

    def connect(self, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        return process.create().connect(argv)


def environ(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **more}
