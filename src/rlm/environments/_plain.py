"""A process behind a socket pair, started the portable way: for macOS, which has no warm parent and no isolation."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from rlm.errors import SandboxError
from rlm.protocols import ByteStream

READ_SIZE: Final = 1 << 18


class PlainStream:
    """A process that leads a group of its own, behind a socket pair."""

    byte_clean = True

    def __init__(self, process: subprocess.Popen[bytes], ours: socket.socket) -> None:
        self._process = process
        self._socket = ours

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def receive(self) -> bytes:
        try:
            return await asyncio.get_running_loop().sock_recv(self._socket, READ_SIZE)
        except ConnectionError:  # it ended with bytes of ours unread
            return b""

    async def interrupt(self) -> None:
        os.kill(self._process.pid, signal.SIGINT)

    async def kill(self) -> None:
        """The whole group, also when its leader has ended by itself."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS: not permitted, where only the ended leader is left
            return

    async def ended(self) -> str:
        """It has closed its end of the stream, so it is about to end, or of no use any more."""
        try:
            async with asyncio.timeout(1):
                status = await _exit_of(self._process)
        except TimeoutError:
            return "it closed its connection"
        return f"it was ended by {signal.Signals(-status).name}" if status < 0 else f"it exited with status {status}"


@asynccontextmanager
async def plain_process(
    argv: Sequence[str], variables: Callable[[str], Mapping[str, str]]
) -> AsyncIterator[ByteStream]:
    folder = tempfile.mkdtemp(prefix="rlm-")
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        try:
            process = _start(argv, theirs, folder, variables(folder))
        except OSError as exc:
            raise SandboxError(f"{argv[0]} could not be started: {exc}") from exc
        finally:
            theirs.close()
        stream = PlainStream(process, ours)
        try:
            yield stream
        finally:
            await stream.kill()
            await _exit_of(process)
            process.wait()
    finally:
        ours.close()
        await _remove(folder)


async def _exit_of(process: subprocess.Popen[bytes]) -> int:
    """Wait for its end. It is not reaped: until then its number stays its own, and that of its group."""
    while (status := _status(process)) is None:  # noqa: ASYNC110 - no event for it exists on every system
        await asyncio.sleep(0.002)
    return status


def _status(process: subprocess.Popen[bytes]) -> int | None:
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return process.poll()
    try:
        result = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:  # reaped by someone who waits for any child
        return process.poll() or 0
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


async def _remove(folder: str) -> None:
    """Mostly there is nothing in it; where there is much, removing it must not hold up the loop."""
    if not _removed_at_once(folder):
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def remove() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            loop.call_soon_threadsafe(done.set)

        threading.Thread(target=remove, name="rlm-remove").start()
        await done.wait()


def _removed_at_once(folder: str) -> bool:
    try:
        if os.path.islink(folder):  # of a cell's that moved it away: what it leads to is not the session's
            os.unlink(folder)
        else:
            os.rmdir(folder)
    except OSError:
        return False
    return True


def _start(argv: Sequence[str], end: socket.socket, folder: str, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """One millisecond: a thread for it would take longer. stderr too, for what an interpreter says that cannot
    start."""
    fd = end.fileno()
    return subprocess.Popen(list(argv), stdin=fd, stdout=fd, stderr=fd, cwd=folder, env=env, start_new_session=True)
