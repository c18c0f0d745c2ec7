"""Environments behind a byte stream: everything they share. A provider writes `connect`, 30 to 80 lines, and has
every promise."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, final

from rlm.environments._bootstrap import command
from rlm.environments._cells import cell_of, stopped
from rlm.environments._clock import CellClock, wait_in_time
from rlm.environments._link import Link, WorkerEndedError
from rlm.errors import ConfigurationError, SandboxError, WireError
from rlm.protocols import ByteStream, Host, Session
from rlm.repl.codec import encode
from rlm.types import Cell, CellError
from rlm.wire import Encoded, Returned

ATTEMPTS: Final = 3
"""Workers that may end while they start before the session is given up."""
INTERRUPTS: Final = 5
"""How often a cell is interrupted in its grace; a second time soon after the first would hit its clean-up."""
CANCEL_GRACE: Final = 1.0
"""Seconds that a cancelled cell is given to stop, where `cell_grace` is longer."""


@dataclass(frozen=True, kw_only=True)
class StreamEnvironment(ABC):
    """A place where the worker runs as a program that is spoken to through a byte stream.

    `cell_timeout` seconds of its own time for a cell (`None`: no limit), `cell_grace` seconds for a cell that was
    told to stop until its worker is replaced, `setup_code` run first in each session, `startup_timeout` seconds for a
    worker to be ready.

    The stream may have more than `ByteStream` asks: `byte_clean = True` where bytes pass unchanged in both directions
    (else they may be text, re-chunked, with foreign lines between); `interrupt()`, a SIGINT from outside;
    `put(data)`, a faster way in that returns a path inside; `ended()`, which says how the program ended, after
    `receive` gave `b""`.
    """

    cell_timeout: float | None = 300
    cell_grace: float = 5
    setup_code: str | None = None
    startup_timeout: float = 60

    def __post_init__(self) -> None:
        for name in ("cell_timeout", "cell_grace", "startup_timeout"):
            value = getattr(self, name)
            if value is None and name == "cell_timeout":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")
        if self.setup_code is not None and not isinstance(self.setup_code, str):
            raise ConfigurationError(f"setup_code must be text, not {type(self.setup_code).__name__}")

    @abstractmethod
    def connect(self, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        """Start `argv` there, and give the stream of its stdin and stdout; leaving the context ends it and all it
        started.

        Raises:
            SetupError: something is missing (an engine, a key).
            SandboxError: it could not be started.
        """

    @property
    def python(self) -> tuple[str, ...]:
        """The interpreter's command there."""
        return ("python3",)

    @property
    def path(self) -> tuple[str, ...]:
        """What is added to the worker's `sys.path`."""
        return ()

    @property
    def kernel(self) -> str:
        """The module, among those sent to the worker, whose `KERNEL` runs the cells."""
        return "kernel"

    @final
    def open(self) -> AbstractAsyncContextManager[Session]:
        """A session over a stream of `connect`; a worker that ends is replaced by the next one."""
        return _open(self)


@asynccontextmanager
async def _open(environment: StreamEnvironment) -> AsyncIterator[Session]:
    session = StreamSession(environment)
    try:
        await session.start()
        yield session
    finally:
        await session.close()


@dataclass(frozen=True, kw_only=True)
class _Bound:
    """A name as it is bound, again in each worker: a copy of the containers, so that later changes of the caller's
    are not seen."""

    name: str
    value: Encoded | None
    tool: dict[str, str] | None


class StreamSession:
    """A namespace in a worker, and in the next one when that worker is gone. See `Session`."""

    def __init__(self, environment: StreamEnvironment) -> None:
        self._environment = environment
        self._link: Link | None = None
        self._bound: dict[object, _Bound] = {}
        self._names: tuple[str, ...] = ()
        self._failed: Exception | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        self._link = await self._connect()

    async def close(self) -> None:
        if self._link is not None:
            await self._link.close()

    async def bind(self, name: str, value: object) -> None:
        if callable(value):
            bound = _Bound(name=name, value=None, tool=_tool(value))
        else:
            bound = _Bound(name=name, value=encode(value, name), tool=None)
        async with self._turn:
            link = await self._living_link()
            try:
                await link.bind(name, bound.value, bound.tool)
            except WorkerEndedError:
                link = await self._living_link(bound)
            # Earlier contexts stay visible as `context_0`, `context_1`, …
            key = name if name != "context" else (name, len(self._bound))
            self._bound.pop(key, None)
            self._bound[key] = bound

    async def execute(self, code: str, host: Host, *, timeout: float | None = None) -> Cell:
        limit = timeout if timeout is not None else self._environment.cell_timeout
        async with self._turn:
            died = self._link is not None and not self._link.alive
            lost = self._forget() if died else ()
            link = await self._living_link()
            cell = await self._run(link, code, host, limit)
            if died and lost:
                notice = "the REPL's process ended between cells and was replaced; the context and the tools are back"
                cell = replace(cell, lost=(*lost, *cell.lost), notices=(notice, *cell.notices))
            return cell

    # Workers --------------------------------------------------------------------------------------------------------

    async def _living_link(self, *more: _Bound) -> Link:
        if self._failed is not None:
            raise SandboxError(f"this session is over: {self._failed}")
        if self._link is None or not self._link.alive:
            if self._link is not None:
                await self._link.close()
            self._link = await self._connect(*more)
        return self._link

    async def _connect(self, *more: _Bound) -> Link:
        """A worker with everything bound that was bound before."""
        ended: list[str] = []
        while len(ended) < ATTEMPTS:
            where = self._environment
            link = Link(where.connect(command(where.python)), where.path, where.kernel)
            try:
                await link.start(self._environment.startup_timeout)
                await self._set_up(link)
                for bound in (*self._bound.values(), *more):
                    await link.bind(bound.name, bound.value, bound.tool)
            except WorkerEndedError as exc:
                await link.close()
                ended.append(str(exc))
            except BaseException:
                await link.close()
                raise
            else:
                return link
        raise SandboxError(f"the sandbox ended while it started, {ATTEMPTS} times in a row: {ended[-1]}")

    async def _set_up(self, link: Link) -> None:
        code = self._environment.setup_code
        if not code:
            return
        _, work = link.begin("execute", encode(code))
        link.clock = CellClock(self._environment.cell_timeout)
        if not await wait_in_time(work, link.clock):
            raise SandboxError(f"setup_code ran longer than cell_timeout, {self._environment.cell_timeout:g} seconds")
        cell = self._cell(work.result())
        if cell.error is not None:
            raise SandboxError(f"setup_code failed:\n{cell.error.traceback}")

    def _forget(self) -> tuple[str, ...]:
        names, self._names = self._names, ()
        return names

    # Cells ----------------------------------------------------------------------------------------------------------

    async def _run(self, link: Link, code: str, host: Host, limit: float | None) -> Cell:
        link.host, link.clock, link.printed = host, CellClock(limit), ""
        number, work = link.begin("execute", encode(code))
        try:
            in_time = await wait_in_time(work, link.clock)
            if not in_time and not await self._stop(link, number, work, self._environment.cell_grace):
                return self._killed(link, limit)
            cell = self._cell(work.result())
            return cell if in_time else stopped(cell, limit)
        except asyncio.CancelledError as exc:
            if await self._stop(link, number, work, min(self._environment.cell_grace, CANCEL_GRACE)):
                exc.cell = self._cell(work.result())  # type: ignore[attr-defined]
            raise
        except WorkerEndedError as exc:
            return self._died(link, exc)
        except SandboxError as exc:
            self._failed = exc
            await link.kill()
            raise
        finally:
            link.host = None
            await link.calm()

    def _cell(self, returned: Returned) -> Cell:
        if returned.error:
            raise WireError(f"a cell without a result: {returned.error}")
        try:
            result = dict(returned.value)
            names = result.pop("names", None)
            cell = cell_of(result)
            if names is not None:
                self._names = _names(names)
        except (KeyError, TypeError, ValueError) as exc:
            raise WireError(f"the sandbox broke the protocol: a cell that cannot be ({exc})") from None
        return cell

    async def _stop(self, link: Link, number: int, work: asyncio.Future[Any], grace: float) -> bool:
        """Interrupt a cell until it ends; where it does not within `grace` seconds, its worker is killed. Whether it
        ended."""
        loop = asyncio.get_running_loop()
        deadline, every, first = loop.time() + grace, grace / INTERRUPTS, True
        try:
            while not work.done() and loop.time() < deadline:
                link.interrupt(number, children=not first)
                if not first:
                    await link.interrupt_from_outside()
                first = False
                await asyncio.wait([work], timeout=every)
        finally:
            if not work.done():
                await link.kill()
        return not isinstance(work.exception(), WorkerEndedError)

    def _killed(self, link: Link, limit: float | None) -> Cell:
        notice = (
            "the cell did not stop when interrupted, so its process was replaced; the context is back, and the tools"
        )
        cell = Cell(output=link.printed, output_size=len(link.printed), lost=self._forget(), notices=(notice,))
        return stopped(cell, limit)

    def _died(self, link: Link, exc: WorkerEndedError) -> Cell:
        message = f"the process that ran this cell ended: {exc}"
        error = CellError(type="SandboxDied", message=message, traceback=f"SandboxDied: {message}")
        notice = "the process of this REPL is replaced; the context and the tools are back"
        output = link.printed
        return Cell(output=output, output_size=len(output), error=error, lost=self._forget(), notices=(notice,))


def _tool(function: Callable[..., object]) -> dict[str, str]:
    try:
        signature = str(inspect.signature(function))
    except (TypeError, ValueError):  # some built-in functions have none
        signature = ""
    return {"doc": inspect.getdoc(function) or "", "signature": signature}


def _names(names: Any) -> tuple[str, ...]:
    if type(names) is not list or len(names) > 1_000 or any(type(n) is not str or len(n) > 1_000 for n in names):
        raise ValueError("names that cannot be")
    return tuple(names)
