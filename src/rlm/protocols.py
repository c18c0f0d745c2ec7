"""The seams: what a backend, an environment and a running cell's host have to offer. Third parties implement these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

from rlm.types import Cell, Message, ModelInfo, Query, Reply


@runtime_checkable
class Client(Protocol):
    """A backend: one provider. Safe to call concurrently; belongs to the event loop it was made in."""

    @property
    def model(self) -> str:
        """Name of the model used when `complete` is given none."""
        ...

    def info(self, model: str | None = None) -> ModelInfo:
        """What is known of a model; costs no request."""
        ...

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        model: str | None = None,
        on_text: Callable[[str], None] | None = None,
        **sampling: Any,
    ) -> Reply:
        """One model call; `on_text` is given the reply's pieces as they arrive. The provider's retries happen inside.

        Cancelling it ends its request; how many HTTP requests were sent is the `attempts` of the `CancelledError`,
        where it can be told.

        Raises:
            LMError: the call failed; `usage.attempts` counts every HTTP request sent.
            SetupError: the key or the SDK is missing.
        """
        ...

    async def aclose(self) -> None:
        """Close its connections, in the event loop it belongs to."""
        ...


class Host(Protocol):
    """What a running cell may ask of us."""

    async def query(self, query: Query) -> Reply:
        """Call a model, or a whole RLM. Raises `LMError`."""
        ...

    async def call_tool(self, name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        """Call one of the host's functions by the name it was bound under; its exceptions pass through."""
        ...

    def output(self, text: str) -> None:
        """Text that the cell printed, as it is printed. Only to be shown: `Cell.output` has it all."""
        ...


class Session(Protocol):
    """A live namespace; one cell at a time; replaces a dead worker itself (and says so in `Cell.lost`)."""

    async def bind(self, name: str, value: object) -> None:
        """Give the namespace a protected name. A callable is called through `Host.call_tool` where it cannot go itself.

        Raises:
            TypeError: the value cannot be carried there; names the path inside it and the type.
        """
        ...

    async def execute(self, code: str, host: Host, *, timeout: float | None = None) -> Cell:
        """Run one cell. `timeout` in seconds overrides the environment's `cell_timeout`.

        Cancelling it stops the cell; what it had done by then is the `cell` of the `CancelledError`, where it can be
        told. Raises `SandboxError` when there is no worker and none can be had.
        """
        ...


class Environment(Protocol):
    """A recipe for sessions: configuration only. `open` may be entered many times at once."""

    def open(self) -> AbstractAsyncContextManager[Session]:
        """A session, which ends with the context.

        Raises:
            SetupError: something is missing on this machine: an engine, an SDK, a key.
            SandboxError: it could not be started.
        """
        ...


class ByteStream(Protocol):
    """Duplex bytes to one worker.

    A stream may also have `async def interrupt()` (a SIGINT from outside) and `async def put(data) -> str` (a faster
    way in: returns a path inside).
    """

    async def send(self, data: bytes) -> None:
        """All of it, waiting while the far side does not read."""
        ...

    async def receive(self) -> bytes:
        """Some bytes; `b""` is the end."""
        ...

    async def kill(self) -> None:
        """End the worker at once, and all that it started; nothing where it has ended."""
        ...
