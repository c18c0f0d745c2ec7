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
from rlm.errors import SetupError


@dataclass(frozen=True)
class Stream:
    process: asyncio.subprocess.Process
    socket: socket.socket
    byte_clean = True  # bytes pass unchanged, so they need not be sent as text

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def receive(self) -> bytes:
        with suppress(ConnectionError):  # it ended before it had read all
            return await asyncio.get_running_loop().sock_recv(self.socket, 1 << 18)
        return b""

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # with all that it started


@dataclass(frozen=True, kw_only=True)
class Offline(StreamEnvironment):
    command: Sequence[str] = ("unshare", "--map-root-user", "--net", "--")
    python: tuple[str, ...] = (sys.executable, "-s")

    @asynccontextmanager
    async def connect(self, argv: Sequence[str]) -> AsyncIterator[Stream]:
        ours, theirs = socket.socketpair()
        with ours, theirs, tempfile.TemporaryDirectory(prefix="rlm-", ignore_cleanup_errors=True) as folder:
            end, env = theirs.fileno(), {"PATH": os.environ["PATH"], "HOME": folder, "TMPDIR": folder}  # no key gets in
            try:
                process = await asyncio.create_subprocess_exec(
                    *self.command, *argv, stdin=end, stdout=end, stderr=end, cwd=folder, env=env, start_new_session=True
                )
            except FileNotFoundError as exc:
                raise SetupError(f"there is no {self.command[0]!r} here: install it, or give another command") from exc
            theirs.close()
            ours.setblocking(False)
            stream = Stream(process, ours)
            try:
                yield stream
            finally:
                await stream.kill()
                await process.wait()
