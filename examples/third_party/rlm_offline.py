"""Cells in a process that a command of yours starts, by default one with a network of its own, which leads nowhere."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from rlm.environments import StreamEnvironment
from rlm.protocols import ByteStream


@dataclass(frozen=True)
class Stream:
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    byte_clean = True  # bytes pass unchanged, so they need not be sent as text

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> bytes:
        with suppress(ConnectionError):  # it ended before it had read all
            return await self.reader.read(1 << 18)
        return b""

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # with all that it started


@dataclass(frozen=True, kw_only=True)
class Offline(StreamEnvironment):
    command: Sequence[str] = ("unshare", "--map-root-user", "--net", "--")
    python: tuple[str, ...] = (sys.executable, "-s")

    @asynccontextmanager
    async def connect(self, argv: Sequence[str]) -> AsyncIterator[ByteStream]:
        ours, theirs = socket.socketpair()
        with ours, theirs, tempfile.TemporaryDirectory(prefix="rlm-", ignore_cleanup_errors=True) as folder:
            env = {"PATH": os.environ["PATH"], "HOME": folder, "TMPDIR": folder}  # none of the host's keys
            process = await asyncio.create_subprocess_exec(
                *self.command, *argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=theirs.fileno(),
                cwd=folder, env=env, start_new_session=True,
            )  # fmt: skip
            theirs.close()
            stream = Stream(process, *await asyncio.open_connection(sock=ours))
            try:
                yield stream
            finally:
                await stream.kill()
                stream.writer.close()
                await process.wait()
