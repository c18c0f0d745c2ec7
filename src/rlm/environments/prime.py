"""Cells in a sandbox of Prime Intellect's cloud, a small virtual machine: `pip install "rlm[prime]"`, and a key of
Prime's on the host.

One sandbox for each session, without network unless it is asked for, without any of the host's keys, and deleted with
the session.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import secrets
import shlex
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from rlm.environments._cloud import CloudStream, check_name, check_number, imported, opened
from rlm.environments._stream import StreamEnvironment
from rlm.errors import ConfigurationError, SandboxError, SetupError
from rlm.protocols import ByteStream

LARGEST: Final = 1 << 20
PIECE: Final = 1 << 16
WORDS: Final = 4_096
"""Bytes of stderr that are kept, for what an interpreter says that cannot start."""
BEAT: Final = 2
"""Seconds after which the relay says that it has nothing to say."""
SILENCE: Final = 45.0
"""Seconds without any of that; the SDK takes up to 16 to connect again."""
INTERRUPT: Final = 3.0
"""Seconds for an interrupt from outside."""
KEY: Final = "set PRIME_API_KEY, or give api_key=…"
# The SDK connects again when its connection breaks, and what came in between is lost without a word. So the worker's
# output is numbered on its way out, each piece with its place, its size and a checksum; a piece of nothing is a beat.
RELAY: Final = f"""\
import os,select,signal,subprocess,sys,zlib
p=subprocess.Popen(sys.argv[1:],stdout=subprocess.PIPE,start_new_session=True)
signal.signal(signal.SIGINT,lambda *_:p.send_signal(signal.SIGINT))
f=p.stdout.fileno()
n=0
while 1:
    d=b""
    if select.select([f],[],[],{BEAT})[0]:
        d=os.read(f,{PIECE})
        if not d: break
    d=b"%d %d %d\\n"%(n,len(d),zlib.crc32(d))+d
    n+=len(d)-d.index(b"\\n")-1
    while d: d=d[os.write(1,d):]
s=p.wait()
sys.exit(s if s>=0 else 128-s)
"""


@dataclass(frozen=True, kw_only=True)
class PrimeEnvironment(StreamEnvironment):
    """See `create`."""

    name: str | None = None
    docker_image: str = "python:3.11-slim"
    timeout_minutes: int = 60
    network_access: bool = False
    api_key: str | None = field(default=None, repr=False)
    sandbox_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("timeout_minutes", self.timeout_minutes)
        check_name("docker_image", self.docker_image, "the name of an image")
        if self.name is not None:
            check_name("name", self.name, "the beginning of the sandboxes' names")

    def connect(self, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        return _connected(self, argv)


def create(
    *,
    name: str | None = None,
    docker_image: str = "python:3.11-slim",
    timeout_minutes: int = 60,
    network_access: bool = False,
    api_key: str | None = None,
    sandbox_options: Mapping[str, Any] | None = None,
    cell_timeout: float | None = 300,
    cell_grace: float = 5,
    setup_code: str | None = None,
    startup_timeout: float = 600,
) -> PrimeEnvironment:
    """`name` is the beginning of the sandboxes' names, `docker_image` has Python 3.8 or newer, `timeout_minutes` is how
    long a sandbox lives at most, `api_key` is else `PRIME_API_KEY` or what Prime's own command line has stored,
    `sandbox_options` are further arguments of `prime_sandboxes.CreateSandboxRequest` (cpu_cores, memory_gb,
    network_allowlist, …), `startup_timeout` includes building an image that is new.
    """
    return PrimeEnvironment(
        name=name,
        docker_image=docker_image,
        timeout_minutes=timeout_minutes,
        network_access=network_access,
        api_key=api_key,
        sandbox_options=sandbox_options or {},
        cell_timeout=cell_timeout,
        cell_grace=cell_grace,
        setup_code=setup_code,
        startup_timeout=startup_timeout,
    )


@asynccontextmanager
async def _connected(environment: PrimeEnvironment, argv: Sequence[str]) -> AsyncIterator[ByteStream]:
    prime = await imported(_sdk, "prime", "prime_sandboxes")
    request = _request(prime, environment)
    command = shlex.join([argv[0], "-I", "-S", "-c", RELAY, *argv])
    try:
        async with prime.AsyncSandboxClient(api_key=environment.api_key) as client:
            if not client.client.api_key:
                raise SetupError(f"the prime environment needs a key of Prime's: {KEY}")

            async def end(sandbox: Any) -> None:
                await _end(prime, client, sandbox.id)

            async with opened(client.create(request), end, "a sandbox of Prime's") as sandbox:
                # As many attempts as make it at least `startup_timeout` that it waits, which others keep.
                await client.wait_for_creation(sandbox.id, max_attempts=math.ceil(environment.startup_timeout))
                # `exec`: the command's number is then the relay's, for `interrupt`
                process = await client.open_process(sandbox.id, f"exec {command}")
                stream = PrimeStream(prime, client, sandbox.id, process)
                try:
                    async with stream.reading(stream.read_all()):
                        yield stream
                finally:
                    if not stream.over:  # else the SDK has let go of it, and would try for seconds
                        with contextlib.suppress(prime.APIError):
                            await process.kill()
                        await process.aclose()
    except prime.UnauthorizedError as exc:
        raise SetupError(f"Prime does not let this program in ({exc}): {KEY}") from exc
    except (prime.APIError, prime.SandboxNotRunningError) as exc:
        raise SandboxError(f"Prime could not start a sandbox: {type(exc).__name__}: {exc}") from exc


def _sdk() -> Any:
    import prime_sandboxes

    return prime_sandboxes


def _request(prime: Any, environment: PrimeEnvironment) -> Any:
    fields: dict[str, Any] = {
        "name": f"{environment.name or 'rlm'}-{secrets.token_hex(6)}",
        "docker_image": environment.docker_image,
        "timeout_minutes": environment.timeout_minutes,
        "labels": ["rlm"],
    }
    if not environment.network_access:
        fields["network_allowlist"] = []  # nothing is allowed
    try:
        return prime.CreateSandboxRequest(**{**fields, **environment.sandbox_options})
    except ValueError as exc:
        raise ConfigurationError(f"sandbox_options are not what Prime takes: {exc}") from exc


async def _end(prime: Any, client: Any, sandbox: str) -> None:
    try:
        await client.delete(sandbox)
    except prime.APIError as exc:
        if not str(exc).startswith("HTTP 404"):  # which is what was wanted
            raise


class Pieces:
    """What the relay numbers, put together again; `ConnectionError` where something is missing."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._received = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces that became complete; a beat is an empty one."""
        self._buffer += data
        while (end := self._buffer.find(b"\n", 0, 64)) >= 0:
            try:
                place, size, checksum = map(int, self._buffer[:end].split())
            except ValueError:
                raise self._lost() from None
            if place != self._received or not 0 <= size <= PIECE:
                raise self._lost()
            if len(self._buffer) < end + 1 + size:
                return
            piece = bytes(self._buffer[end + 1 : end + 1 + size])
            del self._buffer[: end + 1 + size]
            if zlib.crc32(piece) != checksum:
                raise self._lost()
            self._received += size
            yield piece
        if len(self._buffer) > 64:
            raise self._lost()

    def _lost(self) -> ConnectionError:
        return ConnectionError(f"some of its output was lost, {self._received:,} bytes from the beginning")


class PrimeStream(CloudStream):
    """A process in a sandbox, behind a gateway. It is never told that its input ended: it is told to shut down, and
    deleted."""

    byte_clean = True

    def __init__(self, prime: Any, client: Any, sandbox: str, process: Any) -> None:
        super().__init__(process.write_stdin, largest=LARGEST)
        self._prime = prime
        self._client = client
        self._sandbox = sandbox
        self._process = process
        self._pieces = Pieces()
        self._words = b""
        self.over = False
        self._files = itertools.count()

    async def read_all(self) -> str:
        words = asyncio.create_task(self._read_words())
        try:
            async with asyncio.timeout(SILENCE) as silence:
                async for data in self._process.stdout:
                    for piece in self._pieces.feed(data):
                        silence.reschedule(asyncio.get_running_loop().time() + SILENCE)
                        if piece:
                            await self.deliver(piece)
            self.over = True
            status = await self._process.wait()
            await words
        except self._prime.APIError:
            self.over = True
            raise
        except TimeoutError:
            return f"nothing was heard of it for {SILENCE:g} seconds"
        finally:
            words.cancel()
            await asyncio.wait([words])
        said = self._words.decode("utf-8", "backslashreplace").strip()
        return f"it exited with status {status}" + (f". It said: {said}" if said else "")

    async def _read_words(self) -> None:
        async for data in self._process.stderr:
            self._words += data[: WORDS - len(self._words)]

    async def interrupt(self) -> None:
        ended = (self._prime.APIError, self._prime.SandboxNotRunningError)
        with contextlib.suppress(*ended, TimeoutError):
            async with asyncio.timeout(INTERRUPT):
                await self._client.execute_command(self._sandbox, f"kill -INT {self._process.pid}")

    async def put(self, data: bytes) -> str:
        name = f"rlm-{next(self._files)}"
        return str((await self._client.upload_bytes(self._sandbox, f"/tmp/{name}", data, name)).path)
