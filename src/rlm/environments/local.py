"""Cells in this process, on a thread of their own: fast, and no sandbox.

The code a model writes has this process's memory, files, packages and keys. It can be stopped in Python bytecode, in
anything awaited and while it waits for the host. A C call that releases the interpreter lock is left behind on its
thread; a C call that holds the lock (a bad regular expression) stalls the whole program until it returns. Use
`process` where that matters."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import queue
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from rlm.calling import awaiting, is_async
from rlm.environments import _children, _router
from rlm.environments._cells import cell_of, stopped
from rlm.environments._clock import CellClock, wait_in_time
from rlm.environments._local_port import LocalPort
from rlm.environments._raising import raise_in, take_interrupts
from rlm.errors import SandboxError
from rlm.protocols import Host, Session
from rlm.repl.capture import NoInput, OutputStream
from rlm.repl.kernel import Kernel
from rlm.types import UNSET, Cell

NAG_EVERY = 0.02
FIRST_PAUSE = 0.5
HUNT = 250  # times that a cell left behind is interrupted again
DEPTH = 100  # as deep as a value may be that is sent to another process
_PLAIN = frozenset((str, int, float, bool, type(None), bytes))
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class LocalEnvironment:
    """See the module. `cell_timeout` and `cell_grace` are seconds (`None`: no limit); `setup_code` runs first in each
    session."""

    cell_timeout: float | None = 300
    cell_grace: float = 5
    setup_code: str | None = None

    def open(self) -> AbstractAsyncContextManager[Session]:
        return _open(self)


def create(
    *, cell_timeout: float | None = 300, cell_grace: float = 5, setup_code: str | None = None
) -> LocalEnvironment:
    return LocalEnvironment(cell_timeout=cell_timeout, cell_grace=cell_grace, setup_code=setup_code)


@asynccontextmanager
async def _open(environment: LocalEnvironment) -> AsyncIterator[Session]:
    session = LocalSession(environment)
    try:
        await session.start()
        yield session
    finally:
        await session.close()


class _Worker:
    """One kernel and the thread that runs its cells, for life."""

    def __init__(self) -> None:
        self.port = LocalPort()
        self.kernel = Kernel(self.port, settings={"tag": str(next(_numbers))})
        self.kernel.after_code = self._calm
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.thread = threading.Thread(target=self._work, name=f"rlm-local-{next(_numbers)}", daemon=True)
        self.port.thread = self.thread
        self._interrupted = False
        self._earlier: frozenset[int] = frozenset()  # processes that earlier cells have started
        _router.acquire()
        self.thread.start()

    def _work(self) -> None:
        capture = self.kernel.capture
        streams: dict[str, Any] = {
            "stdout": OutputStream(capture, "<stdout>"),
            "stderr": OutputStream(capture, "<stderr>"),
            "stdin": NoInput(),
        }
        _router.enter(streams)
        try:
            while (job := self._jobs.get()) is not None:
                work, done = job
                streams["warnings"] = _router.warning_hooks()
                try:
                    result: Any = work()
                except BaseException as exc:  # whoever waits for the cell must learn of it, whatever it is
                    result = exc
                _router.reset_streams(streams)
                done(result)
            self.kernel.close()
        finally:
            _router.release()

    def submit(self, code: str) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any) -> None:
            if future.done():
                return
            if isinstance(result, BaseException):
                future.set_exception(SandboxError(f"the kernel failed: {type(result).__name__}: {result}"))
            else:
                future.set_result(result)

        def done(result: Any) -> None:
            try:
                loop.call_soon_threadsafe(settle, result)
            except RuntimeError:  # the loop is closed: the run was abandoned, and this thread with it
                return

        self._jobs.put((lambda: self._run(code), done))
        return future

    def _run(self, code: str) -> Any:
        self._earlier = _children.of_thread(self.thread.native_id)
        return self.kernel.run(code)

    def end_children(self) -> None:  # one of which the cell may wait for in C, where no exception reaches it
        if self.kernel.running:
            _children.end(_children.of_thread(self.thread.native_id) - self._earlier)

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the running cell, by the way that reaches what it does at the moment."""
        if self.port.abort():
            return
        awaited = self.kernel.loops.cancel()
        with self._lock:
            if not self.kernel.running or self.thread.ident is None:
                return
            first, self._interrupted = not self._interrupted, True
            if not (awaited and first):  # a task that was cancelled is given the time to end by itself
                raise_in(self.thread.ident, KeyboardInterrupt)
        self.kernel.loops.wake()

    def _calm(self) -> None:
        """The cell's code is over: an interrupt still on its way must not reach what follows."""
        with self._lock:
            if self._interrupted:
                take_interrupts()
            self._interrupted = False

    def end(self) -> None:
        self._jobs.put(None)

    def abandon(self) -> None:
        """Leave a cell that does not stop behind, but not alone: what it needs is taken away until it falls."""
        self.end()
        threading.Thread(target=self._hunt, name="rlm-local-hunter", daemon=True).start()

    def _hunt(self) -> None:
        for _ in range(HUNT):
            with self._lock:
                if self.kernel.running and self.thread.ident is not None and self.thread.is_alive():
                    self.kernel.spoil()
                    self._interrupted = True
                    raise_in(self.thread.ident, KeyboardInterrupt)
            self.kernel.loops.wake()
            self.thread.join(2 * NAG_EVERY)
            if not self.thread.is_alive():
                return


class LocalSession:
    """A namespace in this process. See `Session`."""

    def __init__(self, environment: LocalEnvironment) -> None:
        self._environment = environment
        self._bound: dict[object, tuple[str, object]] = {}
        self._worker = _Worker()
        self._untold: Cell | None = None
        """Of a cell whose names and thread were left behind when it was cancelled: nobody was told then."""

    async def start(self) -> None:
        setup = self._environment.setup_code
        if setup:
            result = await self._worker.submit(setup)
            if result["error"]:
                raise SandboxError(f"setup_code failed:\n{result['error']['traceback']}")

    async def bind(self, name: str, value: object) -> None:
        _bind(self._worker, name, value)
        # Earlier contexts stay visible as `context_0`, `context_1`, …
        key = name if name != "context" else (name, len(self._bound))
        self._bound.pop(key, None)
        self._bound[key] = (name, value)

    async def execute(self, code: str, host: Host, *, timeout: float | None = None) -> Cell:
        worker = self._worker
        limit = timeout if timeout is not None else self._environment.cell_timeout
        clock = CellClock(limit)
        worker.port.begin(host, clock)
        work = worker.submit(code)
        try:
            if await wait_in_time(work, clock, worker.kernel.capture.flush):
                return self._told(cell_of(work.result()))
            result = await self._stop(work)
        except asyncio.CancelledError as exc:
            result = await self._stop(work)
            if result is None:
                self._untold = self._told(await self._replace(worker, limit))
            else:
                exc.cell = cell_of(result)  # type: ignore[attr-defined]
            raise
        finally:
            worker.port.host = None
            await worker.port.drain()
        cell = await self._replace(worker, limit) if result is None else stopped(cell_of(result), limit)
        return self._told(cell)

    def _told(self, cell: Cell) -> Cell:
        before, self._untold = self._untold, None
        if before is None:
            return cell
        return replace(cell, lost=(*before.lost, *cell.lost), notices=(*before.notices, *cell.notices))

    async def _stop(self, work: asyncio.Future[Any]) -> Any:
        """Interrupt the cell until it ends or the grace is over; its result, or `None`."""
        loop, grace = asyncio.get_running_loop(), self._environment.cell_grace
        # The first interrupt is given time: the cell may clean up after itself.
        deadline, pause = loop.time() + grace, min(grace / 4, FIRST_PAUSE)
        while not work.done() and loop.time() < deadline:
            self._worker.interrupt()
            await asyncio.wait([work], timeout=pause)
            self._worker.end_children()
            pause = NAG_EVERY
        return work.result() if work.done() else None

    async def _replace(self, worker: _Worker, limit: float | None) -> Cell:
        lost = tuple(worker.kernel.names())
        output, size = worker.kernel.capture.take()
        worker.abandon()
        self._worker = _Worker()
        await self.start()
        for name, value in self._bound.values():
            _bind(self._worker, name, value)
        notice = f"the cell could not be stopped: its thread {worker.thread.name} is left behind in this process"
        cell = Cell(output=output, output_size=size, lost=lost, notices=(notice,))
        return replace(stopped(cell, limit), draft=UNSET)

    async def close(self) -> None:
        worker = self._worker
        worker.end()
        deadline = asyncio.get_running_loop().time() + self._environment.cell_grace
        while worker.thread.is_alive() and asyncio.get_running_loop().time() < deadline:
            if worker.kernel.running:
                worker.interrupt()
            await asyncio.sleep(0 if not worker.kernel.running else NAG_EVERY)
        if worker.thread.is_alive():
            worker.abandon()


def _bind(worker: _Worker, name: str, value: object) -> None:
    kernel = worker.kernel
    if callable(value) and is_async(value):
        kernel.bind_tool(name, inspect.getdoc(value) or "", str(inspect.signature(value)))
    elif inspect.isfunction(value) or inspect.ismethod(value) or isinstance(value, functools.partial):
        kernel.bind(name, awaiting(value, lambda given: worker.port.request("await", {"given": given})))
    else:
        kernel.bind(name, _own(value))


def _own(value: object, depth: int = 0) -> Any:
    """The caller's containers copied, whatever is in them by reference: a cell never changes the caller's data."""
    if type(value) in _PLAIN:
        return value
    if depth > DEPTH:
        raise TypeError(f"the value is nested more than {DEPTH} deep, or contains itself")
    if type(value) is list:
        return [_own(item, depth + 1) for item in value]
    if type(value) is tuple:
        return tuple(_own(item, depth + 1) for item in value)
    if type(value) is dict:
        return {key: _own(item, depth + 1) for key, item in value.items()}
    if type(value) is set:
        return set(value)
    if isinstance(value, Mapping | list | set | bytearray):
        return _copy_of(value)
    return value


def _copy_of(value: Any) -> Any:
    copy = getattr(value, "copy", None)
    return copy() if callable(copy) else value
