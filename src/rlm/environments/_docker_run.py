"""One container for one worker: `docker run -i`, its end, and what the engine says when it fails.

The stream is a socket pair that is stdin, stdout and stderr of the engine's client. Three things end a container: the
end of that stream, seen by its process 1; `docker kill`; and a shell beside the client that waits for the host's end,
for the container that sees nothing any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import BinaryIO, Final

from rlm.environments._docker_client import LABEL, failure, origin, quietly, sweep
from rlm.environments._docker_init import EXCHANGE, GREETING, HERE
from rlm.errors import SetupError
from rlm.protocols import ByteStream

READ_SIZE: Final = 1 << 18
SLICE: Final = 1 << 22
"""Bytes written to a file at a time, so that the loop is not held up for long."""
WORDS: Final = 1 << 16
"""Bytes kept of what the engine says before the container runs."""
ENDING: Final = 2.0
"""Seconds in which a container whose stream ended is gone by itself; process 1 takes a fifth of one."""
HARD: Final = 20.0
"""Seconds in which an engine kills and removes a container; one that takes longer is stuck."""
# Reading ends with a line when the host closes the stream itself, and without one when the host is gone. The second
# leaves the container a moment to end by itself.
WATCH: Final = 'read -r _ || { sleep 1; "$0" kill "$1"; "$0" rm -f "$1"; rm -rf "$2"; }'
_unmounted: set[tuple[str, str | None]] = set()
"""Engines that cannot mount a directory of this machine."""


@asynccontextmanager
async def container(
    *,
    engine: str,
    image: str,
    options: Sequence[str],
    argv: Sequence[str],
    variables: Mapping[str, str],
    limits: str,
) -> AsyncIterator[ByteStream]:
    """A container that runs `argv`; gone when this is left. `variables` are in the client's environment.

    Raises:
        SetupError: the engine cannot be reached, has not the image, or refuses; in its own words.
    """
    if os.name != "posix":
        raise SetupError("the docker environment needs Linux or macOS here; on Windows, run this in WSL")
    await sweep(engine)
    exchange = Exchange()
    client = Client(engine, limits)
    here = (engine, os.environ.get("DOCKER_HOST"))
    try:
        greeting = None
        for mounting in [False] if here in _unmounted else [True, False]:
            words = [*options, *(exchange.option() if mounting else ())]
            client.start([*words, "--entrypoint", argv[0], image, *argv[1:]], variables, exchange.path)
            greeting = await client.greeting()
            if greeting is not None:
                break
            await client.end()
            if not mounting or exchange.path not in client.words:
                raise failure(client.words, engine=engine, image=image, python=argv[0])
            _unmounted.add(here)
        version, seen = _read(greeting)
        if version < (3, 8):
            raise SetupError(f"the image {image} has Python {version[0]}.{version[1]}; 3.8 or newer is needed")
        if seen:
            client.put = exchange.put
        yield client
    finally:
        await client.end()
        exchange.remove()


def _read(greeting: bytes | None) -> tuple[tuple[int, int], bool]:
    try:
        version, seen = (greeting or b"").split()
        major, minor = map(int, version.split(b"."))
    except ValueError:
        raise SetupError(f"the container greets with {greeting!r}; its image is not what it should be") from None
    return (major, minor), seen == b"1"


class Exchange:
    """A directory of this machine that the container sees, read-only. Others here may enter it but not list it, and
    its names are not to be guessed: the container's user is another one."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="rlm-")
        os.chmod(self.path, 0o711)
        self._file(HERE).close()

    def option(self) -> tuple[str, str]:
        source = f"source={self.path}".replace('"', '""')
        return "--mount", f'type=bind,"{source}",target={EXCHANGE},readonly'

    async def put(self, data: bytes) -> str:
        name = secrets.token_hex(16)
        with self._file(name) as file:
            for start in range(0, len(data), SLICE):
                file.write(data[start : start + SLICE])
                await asyncio.sleep(0)
        return f"{EXCHANGE}/{name}"

    def _file(self, name: str) -> BinaryIO:
        file = open(os.path.join(self.path, name), "xb")  # noqa: SIM115 - whoever asked closes it
        os.fchmod(file.fileno(), 0o644)
        return file

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class Client:
    """The engine's client as a stream, and the shell that watches over its container."""

    byte_clean = True

    def __init__(self, engine: str, limits: str) -> None:
        self.words = ""
        self.put: Callable[[bytes], Awaitable[str]] | None = None
        self._engine = engine
        self._limits = limits
        self._name = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._first = b""
        self._receiving = False
        self._interrupting = False
        self._ending = asyncio.Lock()

    def start(self, words: Sequence[str], variables: Mapping[str, str], exchange: str) -> None:
        self._name = f"rlm-{secrets.token_hex(8)}"
        labels = ["--label", f"{LABEL}={origin()}"]
        run = [self._engine, "run", "-i", "--rm", "--sig-proxy=false", "--log-driver", "none", "--name", self._name]
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._socket = ours
        try:
            self._watch = subprocess.Popen(
                ["/bin/sh", "-c", WATCH, self._engine, self._name, exchange],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            fd = theirs.fileno()
            self._process = subprocess.Popen(
                [*run, *labels, *words],
                stdin=fd,
                stdout=fd,
                stderr=fd,
                env={**os.environ, **variables},
                start_new_session=True,
            )
        except OSError as exc:
            raise failure(str(exc), engine=self._engine, image="", python="") from exc
        finally:
            theirs.close()

    async def greeting(self) -> bytes | None:
        """What the container says first; what the engine says before goes to `words`. None when it ended instead."""
        said = b""
        while True:
            _, found, rest = said.partition(GREETING)
            if found and b"\n" in rest:
                greeting, _, self._first = rest.partition(b"\n")
                return greeting
            data = await self._receive()
            if not data:
                self.words = said.decode("utf-8", "backslashreplace").strip()
                return None
            said = (said + data)[-WORDS:]

    async def send(self, data: bytes) -> None:
        assert self._socket is not None
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def receive(self) -> bytes:
        first, self._first = self._first, b""
        return first or await self._receive()

    async def _receive(self) -> bytes:
        assert self._socket is not None
        self._receiving = True
        try:
            return await asyncio.get_running_loop().sock_recv(self._socket, READ_SIZE)
        except ConnectionError:  # the client ended with bytes of ours unread
            return b""
        finally:
            self._receiving = False

    async def interrupt(self) -> None:
        """SIGINT for process 1, which hands it on. One at a time: each is a program that takes a while."""
        if not self._interrupting:
            self._interrupting = True
            try:
                await quietly(self._engine, "kill", "--signal", "INT", self._name)
            finally:
                self._interrupting = False

    async def ended(self) -> str:
        status = await self._exit(ENDING)
        if status is None:
            return "it closed its connection"
        if status == 128 + signal.SIGKILL:
            return f"it was ended by SIGKILL{self._limits and f' ({self._limits})'}"
        if 128 < status < 128 + signal.NSIG:
            return f"it was ended by {signal.Signals(status - 128).name}"
        return f"it exited with status {status}"

    async def kill(self) -> None:
        """Returns when the container is gone: the client stays until it is removed."""
        async with self._ending:
            if self._process is None or self._process.returncode is not None:
                return
            assert self._socket is not None
            with contextlib.suppress(OSError):  # it ended already
                self._socket.shutdown(socket.SHUT_WR)
            if await self._exit(ENDING) is None:
                await quietly(self._engine, "kill", self._name)
                if await self._exit(HARD) is None:
                    self._process.kill()
            status = await self._exit(None)
            if status is None or status < 0:  # the client did not see the container's end
                await quietly(self._engine, "rm", "--force", self._name)
            self._process.wait()

    async def end(self) -> None:
        await self.kill()
        if self._socket is not None:
            self._socket.close()
        if self._watch is not None:
            assert self._watch.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._watch.stdin.write(b"\n")
                self._watch.stdin.close()
            self._watch.wait()
        self._process = self._watch = self._socket = None

    async def _exit(self, seconds: float | None) -> int | None:
        """The client's exit status, unless it takes longer. What it still has to say is taken, so that it can end."""
        assert self._process is not None
        try:
            async with asyncio.timeout(seconds):
                if not self._receiving:
                    while await self._receive():
                        pass
                while self._process.poll() is None:  # noqa: ASYNC110 - no event for it exists on every system
                    await asyncio.sleep(0.002)
        except TimeoutError:
            return None
        return self._process.returncode
