"""Cells in a sandbox of Daytona's cloud: `pip install "rlm[daytona]"`, and a key of Daytona's on the host.

One sandbox for each session, without network unless it is asked for, without any of the host's keys, and deleted with
the session.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from rlm.environments._cloud import CloudStream, check_name, check_number, check_seconds, imported, opened
from rlm.environments._stream import StreamEnvironment
from rlm.errors import SandboxError, SetupError
from rlm.protocols import ByteStream

LARGEST: Final = 1 << 18
"""Bytes of one write, or a line more: the input goes through a pipe in the sandbox."""
WORDS: Final = 4_096
"""Characters of stderr that are kept, for what an interpreter says that cannot start."""
ATTEMPTS: Final = 6
"""Connections without anything new on them before a broken stream is given up."""
PAUSE: Final = 0.5
"""Seconds before the second attempt, twice that before the third, and so on."""
INTERRUPT: Final = 3.0
"""Seconds for an interrupt from outside."""
SESSION: Final = "rlm"
API: Final = "https://app.daytona.io/api"
KEY: Final = "set DAYTONA_API_KEY, or give api_key=…"
# The leader of a group, so that the processes that cells start can be interrupted with them; and the number by which it
# can be from outside, on stderr, because stdout is the wire.
LEADER: Final = "import os,sys;os.setpgid(0,0);os.write(2,b'%d\\n'%os.getpid());os.execvp(sys.argv[1],sys.argv[1:])"


@dataclass(frozen=True, kw_only=True)
class DaytonaEnvironment(StreamEnvironment):
    """See `create`."""

    api_key: str | None = field(default=None, repr=False)
    target: str | None = "us"
    name: str | None = None
    timeout: int = 600
    cpu: int = 1
    memory: int = 2
    disk: int = 5
    auto_stop_interval: int = 0
    image: Any = None
    ttl_minutes: int = 1440
    network_access: bool = False
    sandbox_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seconds("timeout", self.timeout)
        for name, least in (("cpu", 1), ("memory", 1), ("disk", 1), ("auto_stop_interval", 0), ("ttl_minutes", 0)):
            check_number(name, getattr(self, name), least=least)
        if self.name is not None:
            check_name("name", self.name, "the beginning of the sandboxes' names")

    def connect(self, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        return _connected(self, argv)


def create(
    *,
    api_key: str | None = None,
    target: str | None = "us",
    name: str | None = None,
    timeout: int = 600,
    cpu: int = 1,
    memory: int = 2,
    disk: int = 5,
    auto_stop_interval: int = 0,
    image: Any = None,
    ttl_minutes: int = 1440,
    network_access: bool = False,
    sandbox_options: Mapping[str, Any] | None = None,
    cell_timeout: float | None = 300,
    cell_grace: float = 5,
    setup_code: str | None = None,
    startup_timeout: float = 600,
) -> DaytonaEnvironment:
    """`api_key` is else `DAYTONA_API_KEY`, `target` a region, `name` the beginning of the sandboxes' names, `timeout`
    the seconds that making one may take, `cpu` its cores, `memory` and `disk` in GiB. `auto_stop_interval` is the
    minutes without a sign of the session after which Daytona deletes it (0: never), `ttl_minutes` the minutes after
    which it does so in any case (0: never): both are for sandboxes whose host is gone. `image` is a name in a registry
    or a `daytona.Image` with Python 3.8 or newer (default: python:3.11-slim), `sandbox_options` are further arguments
    of `daytona.CreateSandboxFromImageParams` (volumes, domain_allow_list, …).
    """
    return DaytonaEnvironment(
        api_key=api_key,
        target=target,
        name=name,
        timeout=timeout,
        cpu=cpu,
        memory=memory,
        disk=disk,
        auto_stop_interval=auto_stop_interval,
        image=image,
        ttl_minutes=ttl_minutes,
        network_access=network_access,
        sandbox_options=sandbox_options or {},
        cell_timeout=cell_timeout,
        cell_grace=cell_grace,
        setup_code=setup_code,
        startup_timeout=startup_timeout,
    )


@asynccontextmanager
async def _connected(environment: DaytonaEnvironment, argv: Sequence[str]) -> AsyncIterator[ByteStream]:
    daytona = await imported(_sdk, "daytona")
    config = daytona.DaytonaConfig(
        api_key=environment.api_key,
        api_url=os.environ.get("DAYTONA_API_URL") or API,  # left out, the SDK looks for its old name, and warns of that
        target=environment.target,
    )
    try:
        async with daytona.AsyncDaytona(config) as client:
            making = _made(daytona, client, environment)
            async with opened(making, _end, "a sandbox of Daytona's") as sandbox:
                stream = DaytonaStream(daytona, sandbox)
                await stream.start(argv)
                async with stream.reading(stream.read_all(environment.auto_stop_interval)):
                    yield stream
    except daytona.DaytonaAuthenticationError as exc:
        raise SetupError(f"Daytona does not let this program in ({exc}): {KEY}") from exc
    except daytona.DaytonaError as exc:
        raise SandboxError(f"Daytona could not start a sandbox: {type(exc).__name__}: {exc}") from exc


def _sdk() -> Any:
    import daytona

    return daytona


async def _made(daytona: Any, client: Any, environment: DaytonaEnvironment) -> Any:
    """A name of its own, because one whose start fails or is cancelled is found again only by it."""
    name = f"{environment.name or 'rlm'}-{secrets.token_hex(6)}"
    resources = daytona.Resources(cpu=environment.cpu, memory=environment.memory, disk=environment.disk)
    params = daytona.CreateSandboxFromImageParams(
        **{
            "name": name,
            "image": environment.image or "python:3.11-slim",
            "resources": resources,
            "auto_stop_interval": environment.auto_stop_interval,
            "ephemeral": True,
            "ttl_minutes": environment.ttl_minutes,
            "network_block_all": not environment.network_access,
            **environment.sandbox_options,
        }
    )
    try:
        return await client.create(params, timeout=environment.timeout)
    except daytona.DaytonaAuthenticationError:
        raise
    except BaseException:
        with contextlib.suppress(daytona.DaytonaError):  # there is none, or what made it fail makes this fail too
            await _end(await client.get(name))
        raise


async def _end(sandbox: Any) -> None:
    try:
        await sandbox.delete()
    except Exception as exc:
        if getattr(exc, "status_code", None) != 404:  # which is what was wanted
            raise


class DaytonaStream(CloudStream):
    """A command in a session of a sandbox's shell. It is given lines of text, and its output goes through a log that is
    followed."""

    def __init__(self, daytona: Any, sandbox: Any) -> None:
        super().__init__(self._write_once, largest=LARGEST)
        self._daytona = daytona
        self._sandbox = sandbox
        self._process = sandbox.process
        self._command = ""
        self._line = b""
        self._words = ""
        self._received = 0
        self._repeated = 0
        self._files = itertools.count()
        self._home = ""

    async def start(self, argv: Sequence[str]) -> None:
        await self._process.create_session(SESSION)
        command = shlex.join((argv[0], "-I", "-S", "-c", LEADER, *argv))
        request = self._daytona.SessionExecuteRequest(command=command, run_async=True, suppress_input_echo=True)
        self._command = (await self._process.execute_session_command(SESSION, request)).cmd_id

    async def _write_once(self, data: bytes) -> None:
        """Whole lines: where there is no line end, Daytona puts one."""
        lines, end, self._line = (self._line + data).rpartition(b"\n")
        if end:
            await self._process.send_session_command_input(SESSION, self._command, (lines + end).decode("ascii"))

    async def read_all(self, auto_stop: int) -> str:
        renewing = asyncio.create_task(self._renew(auto_stop)) if auto_stop else None
        try:
            status = await self._follow()
        finally:
            if renewing is not None:
                renewing.cancel()
        said = self._words.removeprefix(self._number()).strip()
        return f"it exited with status {status}" + (f". It said: {said}" if said else "")

    async def _follow(self) -> int:
        """The log is all there when a connection is lost: it is read again, without what was received before."""
        attempts = 0
        while True:
            before = self._repeated = self._received
            self._words = ""
            broken: Exception | None = None
            try:
                await self._process.get_session_command_logs_async(SESSION, self._command, self._printed, self._said)
            except self._daytona.DaytonaError as exc:
                broken = exc
            status = (await self._process.get_session_command(SESSION, self._command)).exit_code
            if status is not None:
                return int(status)
            attempts = attempts + 1 if self._received == before else 1
            if attempts == ATTEMPTS:
                raise broken or ConnectionError("its output ended, and it did not")
            await asyncio.sleep(PAUSE * attempts)

    async def _printed(self, text: str) -> None:
        new = text[self._repeated :]
        self._repeated = max(0, self._repeated - len(text))
        self._received += len(new)
        if new:
            await self.deliver(new.encode("utf-8"))

    def _said(self, text: str) -> None:
        self._words += text[: WORDS - len(self._words)]

    def _number(self) -> str:
        number, end, _ = self._words.partition("\n")
        return number if end and number.isdecimal() else ""

    async def _renew(self, auto_stop: int) -> None:
        while True:
            with contextlib.suppress(self._daytona.DaytonaError):  # there is time for another attempt
                await self._sandbox.refresh_activity()
            await asyncio.sleep(auto_stop * 60 / 3)

    async def interrupt(self) -> None:
        if number := self._number():
            with contextlib.suppress(self._daytona.DaytonaError, TimeoutError):  # it has ended
                async with asyncio.timeout(INTERRUPT):
                    await self._process.exec(f"kill -INT {number}")

    async def put(self, data: bytes) -> str:
        if not self._home:
            self._home = await self._sandbox.get_user_home_dir()
        path = f"{self._home}/.rlm-{next(self._files)}"
        await self._sandbox.fs.upload_file(data, path)
        return path
