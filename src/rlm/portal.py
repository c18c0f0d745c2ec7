"""One event loop on one thread, for callers that have none or whose own is busy; and what lives as long as its
loop."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

T = TypeVar("T")
LOOK_UP = 1.0
"""Seconds of one wait: a signal that comes just before it begins would else be heard of when the call has ended."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came while a call ran, which has ended since: with `outcome`, be it that it was cancelled or not."""

    def __init__(self, outcome: concurrent.futures.Future[Any]) -> None:
        super().__init__()
        self.outcome = outcome


class Portal:
    """Runs coroutines for any number of threads at once, each waiting for its own."""

    def __init__(self) -> None:
        self.on_abandon: list[Callable[[], object]] = []
        """Called when a second Ctrl-C leaves a call that has not ended."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `function()` to its end and return its value. Ctrl-C, or what another signal handler raises, cancels it
        and waits for it to end; a second one does not wait.

        Raises:
            Interrupted: Ctrl-C, whatever came of the call: it may have come as that ended.
            RuntimeError: called on the portal's own thread, which would wait for itself.
        """
        loop = self._running_loop()
        if threading.current_thread() is self._thread:
            raise RuntimeError("this would block the event loop it waits for: use the async form here")
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            task = loop.create_task(function())
            tasks.append(task)
            task.add_done_callback(lambda task: _settle(outcome, task))

        def cancel() -> None:
            for task in tasks:
                task.cancel()
            if not tasks:  # the interrupt came before it could start
                outcome.set_exception(asyncio.CancelledError())

        try:
            loop.call_soon_threadsafe(start)
            _wait(outcome)
            return outcome.result()
        except BaseException as exc:
            if outcome.done() and not isinstance(exc, KeyboardInterrupt):
                raise
            try:
                loop.call_soon_threadsafe(cancel)
                _wait(outcome)
            except BaseException:
                for tell in self.on_abandon:
                    tell()
                raise
            if not isinstance(exc, KeyboardInterrupt):
                raise
            raise Interrupted(outcome) from None

    def close(self) -> None:
        """End the loop and what lives as long as it; the next `call` starts another."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None or not thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(_end(loop), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def forget(self) -> None:
        """After a fork: the thread is not in this process."""
        self._lock = threading.Lock()
        self._loop = self._thread = None

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                made: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
                thread = threading.Thread(target=_serve, args=(made,), name="rlm-portal", daemon=True)
                try:
                    thread.start()
                    self._loop, self._thread = made.result(), thread
                except BaseException:
                    if not made.cancel():
                        self._loop, self._thread = made.result(), thread
                    raise
            return self._loop


def _wait(outcome: concurrent.futures.Future[Any]) -> None:
    while not concurrent.futures.wait([outcome], LOOK_UP).done:
        pass


def _serve(made: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
    """The loop is made here, where no Ctrl-C is raised: half a loop cannot be closed."""
    if not made.set_running_or_notify_cancel():
        return
    try:
        loop = asyncio.new_event_loop()
    except Exception as exc:
        made.set_exception(exc)
        return
    asyncio.set_event_loop(loop)
    made.set_result(loop)
    while True:
        try:
            loop.run_forever()  # until it is told to stop
        except (SystemExit, KeyboardInterrupt):  # of some task of the user's; asyncio lets these two out of the loop
            continue
        return


def _settle(outcome: concurrent.futures.Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        try:
            task.result()
        except asyncio.CancelledError as exc:  # the one that was raised inside, with what it carries
            outcome.set_exception(exc)
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


async def _end(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


class LoopLocal(Generic[T]):
    """One value for each event loop, made when first asked for, closed with the loop or when its owner is gone."""

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._lock = threading.Lock()
        self._kept: _Kept[T] = {}
        # What is kept must not be garbage together with its owner: it would be too late to close it then.
        weakref.finalize(self, _close_later, self._kept).atexit = False

    async def get(self) -> T:
        """The running loop's value."""
        loop = asyncio.get_running_loop()
        with self._lock:
            for other in [other for other in self._kept if other.is_closed()]:
                del self._kept[other]
            entry = self._kept.get(loop)
            if entry is not None:
                return entry[1]
            value = self._make()
            holder = _hold(self._kept, loop, value, self._close)
            self._kept[loop] = (holder, value)
        # A started async generator is what a loop closes before it ends, so this is how to end with it.
        await anext(holder)
        return value

    async def aclose(self) -> None:
        """Close the running loop's value, if there is one."""
        entry = self._kept.get(asyncio.get_running_loop())
        if entry is not None:
            await entry[0].aclose()

    def close_soon(self) -> None:
        """Close the values of all loops, each in its own; not waited for."""
        _close_later(self._kept)


_Kept = dict[asyncio.AbstractEventLoop, tuple[AsyncGenerator[None, None], T]]
_closing: set[asyncio.Task[None]] = set()


async def _hold(
    kept: _Kept[T], loop: asyncio.AbstractEventLoop, value: T, close: Callable[[T], Awaitable[None]]
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        kept.pop(loop, None)
        await close(value)


def _close_later(kept: _Kept[T]) -> None:
    for loop, (holder, _) in list(kept.items()):
        if not loop.is_closed():
            loop.call_soon_threadsafe(_close_now, loop, holder)


def _close_now(loop: asyncio.AbstractEventLoop, holder: AsyncGenerator[None, None]) -> None:
    task = loop.create_task(_finish(holder))
    _closing.add(task)
    task.add_done_callback(_closing.discard)


async def _finish(holder: AsyncGenerator[None, None]) -> None:
    await holder.aclose()


class Held(Generic[T]):
    """A context that one task enters and leaves while others use what it gives.

    A loop that ends cancels its tasks, so that they leave in order. An asynchronous generator, which most contexts
    are, it would close while others still hold it.
    """

    def __init__(self, context: AbstractAsyncContextManager[T]) -> None:
        self._context = context
        self._entered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._left = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def enter(self) -> T:
        """What the context gives, or raises. Cancelling this leaves it again."""
        self._task = asyncio.create_task(self._hold())
        try:
            return await self._entered
        except BaseException:
            self._task.cancel()
            await asyncio.wait([self._task])
            raise

    async def leave(self) -> None:
        """Leave it, with what that raises. Where this is cancelled, leaving goes on."""
        self._left.set()
        if self._task is not None:
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()

    async def _hold(self) -> None:
        try:
            async with self._context as value:
                if not self._entered.done():
                    self._entered.set_result(value)
                    await self._left.wait()
        except Exception as exc:
            if self._entered.done():
                raise
            self._entered.set_exception(exc)
        finally:
            self._entered.cancel()


portal = Portal()
atexit.register(portal.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=portal.forget)
