"""Cells in a sandbox of E2B's cloud, a small virtual machine: `pip install "rlm[e2b]"`, and a key of E2B's on the host.

One sandbox for each session, without network unless it is asked for, without any of the host's keys, and ended with the
session.
"""

from __future__ import annotations

import asyncio
import itertools
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from rlm.environments._cloud import CloudStream, check_seconds, imported, opened
from rlm.environments._stream import StreamEnvironment
from rlm.errors import SandboxError, SetupError
from rlm.protocols import ByteStream

LARGEST: Final = 1 << 20
WORDS: Final = 4_096
"""Characters of stderr that are kept, for what an interpreter says that cannot start."""
RENEWALS: Final = 3
"""How often a sandbox is renewed in the time that it would live."""


@dataclass(frozen=True, kw_only=True)
class E2BEnvironment(StreamEnvironment):
    """See `create`."""

    template: str | None = None
    timeout: int = 300
    api_key: str | None = field(default=None, repr=False)
    network_access: bool = False
    sandbox_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seconds("timeout", self.timeout)

    def connect(self, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        return _connected(self, argv)


def create(
    *,
    template: str | None = None,
    timeout: int = 300,
    api_key: str | None = None,
    network_access: bool = False,
    sandbox_options: Mapping[str, Any] | None = None,
    cell_timeout: float | None = 300,
    cell_grace: float = 5,
    setup_code: str | None = None,
    startup_timeout: float = 120,
) -> E2BEnvironment:
    """`template` has Python 3.8 or newer (default: E2B's own), `timeout` is the seconds after which E2B ends a sandbox
    that is not renewed, as an open session does, `api_key` is else `E2B_API_KEY`, `sandbox_options` are further
    arguments of `e2b.AsyncSandbox.create` (metadata, network, domain, …).
    """
    return E2BEnvironment(
        template=template,
        timeout=timeout,
        api_key=api_key,
        network_access=network_access,
        sandbox_options=sandbox_options or {},
        cell_timeout=cell_timeout,
        cell_grace=cell_grace,
        setup_code=setup_code,
        startup_timeout=startup_timeout,
    )


@asynccontextmanager
async def _connected(environment: E2BEnvironment, argv: Sequence[str]) -> AsyncIterator[ByteStream]:
    e2b = await imported(_sdk, "e2b")
    making = e2b.AsyncSandbox.create(
        **{
            "template": environment.template,
            "timeout": environment.timeout,
            "allow_internet_access": environment.network_access,
            "api_key": environment.api_key,
            **environment.sandbox_options,
        }
    )
    try:
        async with opened(making, lambda sandbox: sandbox.kill(), "a sandbox of E2B's") as sandbox:
            stream = E2BStream(e2b, sandbox)
            command = f"exec {shlex.join(argv)}"  # its number is then the interpreter's own, for `interrupt`
            async with opened(stream.start(command), lambda handle: handle.disconnect(), "a command") as handle:
                async with stream.reading(stream.read_all(handle, environment.timeout)):
                    yield stream
    except e2b.AuthenticationException as exc:
        raise SetupError(f"E2B does not let this program in ({exc}): set E2B_API_KEY, or give api_key=…") from exc
    except e2b.SandboxException as exc:
        raise SandboxError(f"E2B could not start a sandbox: {type(exc).__name__}: {exc}") from exc


def _sdk() -> Any:
    import e2b

    return e2b


class E2BStream(CloudStream):
    """A command in a sandbox, whose output comes as decoded text in other pieces than it was written."""

    def __init__(self, e2b: Any, sandbox: Any) -> None:
        super().__init__(self._write_once, largest=LARGEST)
        self._e2b = e2b
        self._sandbox = sandbox
        self._number = 0
        self._words = ""
        self._files = itertools.count()

    async def start(self, command: str) -> Any:
        handle = await self._sandbox.commands.run(
            command,
            background=True,
            stdin=True,
            timeout=0,
            on_stdout=self._printed,
            on_stderr=self._said,
            retain_output=False,
        )
        self._number = handle.pid
        return handle

    async def _printed(self, text: str) -> None:
        await self.deliver(text.encode("utf-8"))

    def _said(self, text: str) -> None:
        self._words += text[: WORDS - len(self._words)]

    async def _write_once(self, data: bytes) -> None:
        await self._sandbox.commands.send_stdin(self._number, data)

    async def read_all(self, handle: Any, timeout: int) -> str:
        renewing = asyncio.create_task(self._renew(timeout))
        try:
            status = (await handle.wait()).exit_code
        except self._e2b.CommandExitException as exc:
            status = exc.exit_code
        finally:
            renewing.cancel()
        said = self._words.strip()
        return f"it exited with status {status}" + (f". It said: {said}" if said else "")

    async def _renew(self, timeout: int) -> None:
        while True:
            await asyncio.sleep(timeout / RENEWALS)
            try:
                await self._sandbox.set_timeout(timeout)
            except self._e2b.SandboxException:  # there is time for another attempt, or its stream tells of its end
                continue

    async def interrupt(self) -> None:
        self.attempt(self._interrupt_once)

    async def _interrupt_once(self) -> None:
        await self._sandbox.commands.run(f"kill -INT {self._number}")

    async def put(self, data: bytes) -> str:
        written = await self._sandbox.files.write(f"/tmp/rlm-{next(self._files)}", data, use_octet_stream=True)
        return str(written.path)
