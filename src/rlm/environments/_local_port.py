"""The way of local cells to the host: a request runs on the host's loop while the thread that made it waits."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from typing import Any

from rlm.calling import awaited
from rlm.environments._cells import cell_error, query_of
from rlm.environments._clock import CellClock
from rlm.environments._raising import Spared
from rlm.protocols import Host
from rlm.repl import calls


class LocalPort:
    """See the module. One for each kernel; `begin` for each cell."""

    def __init__(self) -> None:
        self.host: Host | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.clock = CellClock(None)
        self.context = contextvars.copy_context()
        self.interrupts = Spared()
        self.thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[list[Any]]] = set()
        self._main_waits = False
        self._stopping = False

    def begin(self, host: Host, clock: CellClock) -> None:
        """A cell begins: `host` answers it, in the running context and loop."""
        self.host, self.clock, self._stopping = host, clock, False
        self.loop, self.context = asyncio.get_running_loop(), contextvars.copy_context()

    def request(self, method: str, params: dict[str, Any]) -> Any:
        result = self.request_many(method, [params])[0]
        if isinstance(result, BaseException):
            raise result
        return result

    def request_many(self, method: str, params: list[dict[str, Any]]) -> list[Any]:
        host, loop = self.host, self.loop
        if host is None or loop is None:
            raise calls.LMError("no cell is running, so nobody can answer this call", "cancelled")
        future: concurrent.futures.Future[list[Any]] = concurrent.futures.Future()
        main = threading.current_thread() is self.thread
        self.clock.hold()
        self._main_waits = main or self._main_waits
        try:
            loop.call_soon_threadsafe(self._start, future, host, method, params, context=self.context)
            results = future.result()
            if main and self._stopping:
                raise asyncio.CancelledError
            return results
        except asyncio.CancelledError:
            if main:
                raise KeyboardInterrupt("the cell was stopped while it waited for the host") from None
            raise calls.LMError("the cell ended before the reply was there", "cancelled") from None
        finally:
            self._main_waits = self._main_waits and not main
            self.clock.release()

    def _start(
        self, future: concurrent.futures.Future[list[Any]], host: Host, method: str, params: list[dict[str, Any]]
    ) -> None:
        """On the host's loop and in the host's context: what the host prints is not the cell's output."""
        if self._stopping:
            future.set_exception(asyncio.CancelledError())
            return
        task = asyncio.get_running_loop().create_task(self._perform(host, method, params))
        self._tasks.add(task)  # kept here, not by the thread: that may be interrupted out of its wait
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda task: _settle(future, task))

    async def _perform(self, host: Host, method: str, params: list[dict[str, Any]]) -> list[Any]:
        if len(params) == 1:
            return [await _ask(host, method, params[0])]
        # With the exceptions as values: else, when cancelled, it would not wait for all of them to end.
        return await asyncio.gather(*(_ask(host, method, p) for p in params), return_exceptions=True)

    def output(self, text: str) -> None:
        host, loop = self.host, self.loop
        if host is not None and loop is not None:
            loop.call_soon_threadsafe(host.output, text)

    def abort(self) -> bool:
        """Cancel whatever is being waited for; whether the thread of the cells itself waited."""
        main, self._stopping = self._main_waits, True
        for task in list(self._tasks):
            task.cancel()
        return main

    async def drain(self) -> None:
        """Cancel what is still being waited for, and wait until it has ended."""
        self.abort()
        if self._tasks:
            await asyncio.wait(list(self._tasks))


def _settle(future: concurrent.futures.Future[list[Any]], task: asyncio.Task[list[Any]]) -> None:
    if task.cancelled():
        future.set_exception(asyncio.CancelledError())
    elif (error := task.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())


async def _ask(host: Host, method: str, params: dict[str, Any]) -> Any:
    """One request, its failure as a value: a batch's entries must not cost each other."""
    try:
        if method == "tool":
            return await host.call_tool(params["name"], params["args"], params["kwargs"])
        if method == "await":
            return await awaited(params["given"])
        reply = await host.query(query_of(params))
    except Exception as exc:
        return cell_error(exc) if method == "query" else exc
    return {"text": reply.text, "model": reply.model, "finish": reply.finish, "usage": reply.usage.to_dict()}
