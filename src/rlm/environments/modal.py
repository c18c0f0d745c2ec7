"""Cells in a sandbox of Modal's cloud: `pip install "rlm[modal]"`, and a token of Modal's on the host.

One sandbox for each session, without network unless it is asked for, without any of the host's keys, and ended with the
session.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from rlm.environments._cloud import CloudStream, check_seconds, imported, opened
from rlm.environments._stream import StreamEnvironment
from rlm.errors import ConfigurationError, SandboxError, SetupError
from rlm.protocols import ByteStream

LARGEST: Final = 2 << 20
"""Bytes of one write: the least of Modal's limits on it."""
WORDS: Final = 4_096
"""Bytes of stderr that are kept, for what an interpreter says that cannot start."""
TOKEN: Final = "set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET, or run: modal token new"
# The number by which it can be interrupted from outside; stderr, because stdout is the wire.
NUMBERED: Final = ("sh", "-c", 'echo $$ >&2; exec "$@"', "sh")


@dataclass(frozen=True, kw_only=True)
class ModalEnvironment(StreamEnvironment):
    """See `create`."""

    app_name: str = "rlm-sandbox"
    image: Any = None
    timeout: int = 600
    network_access: bool = False
    sandbox_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seconds("timeout", self.timeout)
        if not self.app_name:
            raise ConfigurationError(f"app_name must be the name of an app of Modal's, not {self.app_name!r}")

    def connect(self, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        return _connected(self, argv)


def create(
    *,
    app_name: str = "rlm-sandbox",
    image: Any = None,
    timeout: int = 600,
    network_access: bool = False,
    sandbox_options: Mapping[str, Any] | None = None,
    cell_timeout: float | None = 300,
    cell_grace: float = 5,
    setup_code: str | None = None,
    startup_timeout: float = 600,
) -> ModalEnvironment:
    """`image` is a name in a registry or a `modal.Image` with Python 3.8 or newer (default: Modal's Debian with 3.11),
    `timeout` the seconds that a sandbox lives at most, `sandbox_options` further arguments of `modal.Sandbox.create`
    (cpu, memory, gpu, volumes, …), `startup_timeout` includes building an image that is new.
    """
    return ModalEnvironment(
        app_name=app_name,
        image=image,
        timeout=timeout,
        network_access=network_access,
        sandbox_options=sandbox_options or {},
        cell_timeout=cell_timeout,
        cell_grace=cell_grace,
        setup_code=setup_code,
        startup_timeout=startup_timeout,
    )


@asynccontextmanager
async def _connected(environment: ModalEnvironment, argv: Sequence[str]) -> AsyncIterator[ByteStream]:
    modal = await imported(_sdk, "modal")
    try:
        app, image = await _prepared(modal, environment)
    except modal.exception.AuthError as exc:
        raise SetupError(f"Modal does not let this program in ({exc}): {TOKEN}") from exc
    except modal.exception.Error as exc:
        raise SandboxError(f"Modal could not prepare a sandbox: {type(exc).__name__}: {exc}") from exc
    making = modal.Sandbox.create.aio(
        **{
            "app": app,
            "image": image,
            "timeout": environment.timeout,
            "block_network": not environment.network_access,
            **environment.sandbox_options,
        }
    )
    async with opened(making, _end, "a sandbox of Modal's") as sandbox:
        process = await sandbox.exec.aio(*NUMBERED, *argv, text=False)
        stream = ModalStream(sandbox, process)
        async with stream.reading(stream.read_all()):
            yield stream


def _sdk() -> Any:
    import modal

    return modal


async def _prepared(modal: Any, environment: ModalEnvironment) -> tuple[Any, Any]:
    """The image is built here, where it can be cancelled, and not while a sandbox is made, which cannot."""
    app = await modal.App.lookup.aio(environment.app_name, create_if_missing=True)
    image = environment.image
    if image is None:
        image = modal.Image.debian_slim(python_version="3.11")
    elif isinstance(image, str):
        image = modal.Image.from_registry(image)
    return app, await image.build.aio(app)


async def _end(sandbox: Any) -> None:
    await sandbox.terminate.aio()
    await sandbox.detach.aio()


class ModalStream(CloudStream):
    """A process in a sandbox, behind Modal's command router."""

    byte_clean = True

    def __init__(self, sandbox: Any, process: Any) -> None:
        super().__init__(self._write_once, largest=LARGEST)
        self._sandbox = sandbox
        self._process = process
        self._words = b""

    async def _write_once(self, data: bytes) -> None:
        self._process.stdin.write(data)
        await self._process.stdin.drain.aio()

    async def read_all(self) -> str:
        words = asyncio.create_task(self._read_words())
        try:
            async for data in self._process.stdout:
                await self.deliver(data)
            status = await self._process.wait.aio()
            await words
        finally:
            words.cancel()
            await asyncio.wait([words])
        said = self._words.partition(b"\n")[2].decode("utf-8", "backslashreplace").strip()
        return f"it exited with status {status}" + (f". It said: {said}" if said else "")

    async def _read_words(self) -> None:
        async for data in self._process.stderr:
            self._words += data[: WORDS - len(self._words)]

    async def interrupt(self) -> None:
        self.attempt(self._interrupt_once)

    async def _interrupt_once(self) -> None:
        number = self._words.partition(b"\n")[0]
        if number.isdigit():
            await self._sandbox.exec.aio("kill", "-INT", number.decode())
