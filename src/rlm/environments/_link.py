"""One live worker: the task that holds its stream, the conversation on it, and the host's work for the cell that
runs."""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from rlm.environments._bootstrap import program
from rlm.environments._cells import error_data, query_of
from rlm.environments._clock import CellClock
from rlm.errors import LMError, RLMError, SandboxError, WireError
from rlm.protocols import ByteStream, Host
from rlm.repl.channel import encoded_pieces
from rlm.repl.codec import CodecError, encode
from rlm.types import Query
from rlm.wire import Asked, Encoded, Printed, Ready, Returned, Shipment, Wire

log = logging.getLogger("rlm")

STALL: Final = 60.0
"""Seconds in which a worker must take bytes, or answer what it can answer at once, before it is given up."""
PUT: Final = 1 << 20
"""Size from which a blob goes by the stream's own fast way in, where it has one."""
PUT_PIECE: Final = 1 << 25
SHOWN: Final = 50_000
"""Characters of live output kept for a cell whose worker dies and takes its output with it."""


_Outgoing = tuple[bytes, asyncio.Future[None] | None, int | None]
"""A frame, what is told when it is sent, and the question that it answers."""


class WorkerEndedError(Exception):
    """The worker is gone; the text says how it ended, as far as that is known."""


class Link:
    """Begins at once; `start` waits until the worker is ready, `close` ends it. The stream is entered and left in one
    task."""

    def __init__(
        self, connecting: AbstractAsyncContextManager[ByteStream], path: tuple[str, ...], kernel: str = "kernel"
    ) -> None:
        self.host: Host | None = None
        self.clock = CellClock(None)
        self.printed = ""
        self._wire: Wire | None = None
        self._stream: ByteStream | None = None
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._calls: dict[int, asyncio.Future[Returned]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._outbox: asyncio.Queue[_Outgoing] = asyncio.Queue()
        self._leaving: asyncio.Future[None] | None = None
        self._shipping = asyncio.Lock()
        self._window = asyncio.Event()
        self._end = ""
        self._ending = False
        self._living = asyncio.create_task(self._live(connecting, path, kernel))
        self._living.add_done_callback(self._over)

    @property
    def alive(self) -> bool:
        return not self._living.done()

    @property
    def wire(self) -> Wire:
        assert self._wire is not None
        return self._wire

    async def start(self, timeout: float) -> None:
        """Wait until the worker is ready.

        Raises:
            WorkerEndedError: it ended instead.
            SandboxError: it was not ready in time, or could not be connected to.
        """
        waiting: list[asyncio.Future[Any]] = [self._ready, self._living]
        await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not self.alive:
            raise self.ending()
        if not self._ready.done():
            raise SandboxError(f"the sandbox was not ready within {timeout:g} seconds{self._words()}")

    def ending(self) -> Exception:
        """Why this link ended, as an exception."""
        exc = None if self._living.cancelled() else self._living.exception()
        if isinstance(exc, RLMError):
            return exc
        if isinstance(exc, Exception) and not isinstance(exc, ConnectionError):
            error = SandboxError(f"the sandbox failed: {type(exc).__name__}: {exc}")
            error.__cause__ = exc
            return error
        return WorkerEndedError(f"{self._end or 'its stream ended'}{self._words()}")

    def _words(self) -> str:
        noise = self._wire.noise if self._wire is not None else ""
        return f". It said: {noise[-2000:]}" if noise else ""

    async def close(self) -> None:
        if self.alive and self._ready.done():
            self._post(self.wire.notify("shutdown"))
            await asyncio.sleep(0)
        await self.calm()
        await self.kill()

    # The stream -----------------------------------------------------------------------------------------------------

    async def _live(
        self, connecting: AbstractAsyncContextManager[ByteStream], path: tuple[str, ...], kernel: str
    ) -> None:
        async with connecting as stream:
            raw = bool(getattr(stream, "byte_clean", False))
            token = secrets.token_hex(8)
            self._wire = Wire(token, raw=raw)
            self._stream = stream
            known = bool(getattr(stream, "knows_modules", False))
            self._post(program(token, raw, path, kernel, known))
            writer = asyncio.create_task(self._write(stream))
            try:
                await self._read(stream)
                ended = getattr(stream, "ended", None)
                if ended is not None:
                    self._end = await ended()
            finally:
                writer.cancel()
                await stream.kill()

    async def _read(self, stream: ByteStream) -> None:
        while data := await stream.receive():
            for event in self.wire.feed(data):
                self._happened(event)
            self._window.set()
            if due := self.wire.acknowledgement():
                self._post(due)
            await asyncio.sleep(0)  # a stream that always has bytes must not keep the loop to itself

    async def _write(self, stream: ByteStream) -> None:
        """The one task that sends: a frame is never cut short because who wanted it sent was cancelled."""
        while True:
            data, sent, settles = await self._outbox.get()
            self._leaving = sent
            if settles is not None:  # before it can arrive, and bring on the next question
                self.wire.settled(settles)
            try:
                await stream.send(data)
            except Exception as exc:  # the reading side sees the end, and says what is known of it
                self._end = f"it could not be written to ({type(exc).__name__}: {exc})"
                await stream.kill()
                return
            if sent is not None and not sent.done():
                sent.set_result(None)

    def _over(self, living: asyncio.Task[None]) -> None:
        if not living.cancelled():
            living.exception()
        waiting: list[asyncio.Future[Any] | None] = [self._leaving, *self._calls.values()]
        while not self._outbox.empty():
            waiting.append(self._outbox.get_nowait()[1])
        for future in waiting:
            if future is not None:
                _give_up(future, self.ending())
        self._window.set()

    def _post(self, data: bytes, settles: int | None = None) -> None:
        self._outbox.put_nowait((data, None, settles))

    async def _send(self, data: bytes, left: asyncio.Event | None = None, settles: int | None = None) -> None:
        """Cancelling it does not take the frame back: `left` says that it goes. `settles`: the question it answers."""
        if not self.alive:
            raise self.ending()
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outbox.put_nowait((data, sent, settles))
        if left is not None:
            left.set()
        await sent

    async def _ship(self, shipment: Shipment, left: asyncio.Event | None = None, settles: int | None = None) -> None:
        if not shipment.blobs:
            await self._send(shipment.frame, left, settles)
            return
        left = left or asyncio.Event()
        async with self._shipping:
            try:
                for number, blob in shipment.blobs:
                    await self._ship_blob(number, blob)
                await self._send(shipment.frame, left, settles)
            except BaseException:
                if not left.is_set():
                    self._post(self.wire.drop(shipment))
                raise

    async def _ship_blob(self, number: int, blob: str | bytes) -> None:
        rest = await self._put_blob(number, blob) if len(blob) >= PUT else blob
        for frame, size in self.wire.pieces(number, rest) if rest is not None else ():
            while not self.wire.take_room(size):
                self._window.clear()
                async with asyncio.timeout(STALL):
                    await self._window.wait()
                if not self.alive:
                    raise self.ending()
            await self._send(frame)

    async def _put_blob(self, number: int, blob: str | bytes) -> str | bytes | None:
        """Send a blob by the stream's own fast way in; what is left of it where there is none, or it failed."""
        put = getattr(self._stream, "put", None)
        if put is None:
            return blob
        at = 0
        for data, end in encoded_pieces(blob, PUT_PIECE):
            try:
                path = await put(data)
            except Exception as exc:  # whatever a provider's SDK raises; the stream itself may be well
                log.warning("a value goes by the slow way: %s: %s", type(exc).__name__, exc)
                return blob[at:]
            await self._send(self.wire.piece_at(number, blob, path, end))
            at += PUT_PIECE
        return None

    # Calls to the worker --------------------------------------------------------------------------------------------

    def begin(self, method: str, value: Encoded) -> tuple[int, asyncio.Future[Returned]]:
        """Start a call; its number, and what it will return."""
        number, shipment = self.wire.call(method, {}, value)
        future = self._expect(number)
        if shipment.blobs:
            self._keep(asyncio.create_task(self._ship_call(shipment, future)))
        else:
            self._post(shipment.frame)
        return number, future

    async def _ship_call(self, shipment: Shipment, future: asyncio.Future[Returned]) -> None:
        try:
            await self._ship(shipment)
        except Exception as exc:
            _give_up(future, exc)

    async def bind(self, name: str, value: Encoded | None, tool: dict[str, str] | None) -> None:
        """Bind a value, or a function of the host's.

        Raises:
            TypeError: the value cannot be had in that worker.
        """
        params: dict[str, Any] = {"name": name} if tool is None else {"name": name, "tool": tool}
        number, shipment = self.wire.call("bind", params, value)
        future = self._expect(number)
        try:
            await self._ship(shipment)
            async with asyncio.timeout(STALL):
                returned = await future
        except TimeoutError:
            await self.kill()
            raise SandboxError(f"the sandbox did not take `{name}` within {STALL:g} seconds") from None
        if returned.error:
            raise TypeError(returned.error)
        self.wire.know(shipment)

    def _expect(self, number: int) -> asyncio.Future[Returned]:
        future: asyncio.Future[Returned] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        if not self.alive:
            _give_up(future, self.ending())
        return future

    def interrupt(self, cell: int, *, children: bool) -> None:
        self._post(self.wire.notify("interrupt", cell=cell, children=children))

    async def interrupt_from_outside(self) -> None:
        """For code that holds the interpreter, so that the worker cannot even read; where the place has a way."""
        interrupt = getattr(self._stream, "interrupt", None)
        if interrupt is not None:
            await interrupt()

    async def kill(self) -> None:
        """End the worker and wait until its place is clean, for which a second cancellation would not leave the
        time."""
        if not self._ending:
            self._ending = True
            self._living.cancel()
        await asyncio.wait([self._living])

    # What the worker says -------------------------------------------------------------------------------------------

    def _happened(self, event: Ready | Asked | Returned | Printed) -> None:
        if isinstance(event, Asked):
            self._asked(event)
        elif isinstance(event, Returned):
            future = self._calls.pop(event.number)
            if not future.done():
                future.set_result(event)
        elif isinstance(event, Printed):
            self.printed = (self.printed + event.text)[-SHOWN:]
            if self.host is not None:
                self.host.output(event.text)
        elif not self._ready.done():
            self._ready.set_result(event.python)

    def _asked(self, asked: Asked) -> None:
        clock = self.clock
        clock.hold()
        answered = asyncio.Event()
        task = asyncio.create_task(self._serve(asked, self.host, answered))
        self._keep(task)
        task.add_done_callback(functools.partial(self._served, asked, clock, answered))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, asked: Asked, host: Host | None, answered: asyncio.Event) -> None:
        try:
            shipment = self.wire.answer(asked.number, encode(await _perform(asked, host)))
        except Exception as exc:
            shipment = self.wire.fail(asked.number, _failure(asked.method, exc))
        await self._ship(shipment, answered, asked.number)

    def _served(self, asked: Asked, clock: CellClock, answered: asyncio.Event, task: asyncio.Task[None]) -> None:
        clock.release()
        cut_off = LMError("the cell that asked has ended", kind="cancelled")
        exc = cut_off if task.cancelled() else task.exception()
        if isinstance(exc, Exception) and not answered.is_set():  # a cell must never wait for what will not come
            self._post(self.wire.fail(asked.number, _failure(asked.method, exc)).frame, asked.number)
        if not isinstance(exc, LMError | WorkerEndedError | WireError | SandboxError | None):
            asyncio.get_running_loop().call_exception_handler({"message": "a cell's call failed", "exception": exc})

    async def calm(self) -> None:
        """End what the host still does for a cell that is over."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _give_up(future: asyncio.Future[Any], exc: Exception) -> None:
    if not future.done():
        future.set_exception(exc)
        future.exception()  # nobody may be waiting for it any more


async def _perform(asked: Asked, host: Host | None) -> object:
    if asked.problem:
        raise LMError(asked.problem, kind="bad_request")
    if host is None:
        raise LMError("no cell is running, so nobody can answer this call", kind="cancelled")
    if asked.method == "tool":
        return await host.call_tool(asked.params["name"], asked.params["args"], asked.params["kwargs"])
    reply = await host.query(_query(asked))
    return {"text": reply.text, "model": reply.model, "finish": reply.finish, "usage": reply.usage.to_dict()}


def _query(asked: Asked) -> Query:
    try:
        return query_of(asked.params)
    except (KeyError, TypeError, ValueError) as exc:
        raise LMError(f"this is not a query ({exc})", kind="bad_request") from None


def _failure(method: str, exc: Exception) -> dict[str, Any]:
    if method == "query":
        return error_data(exc)
    if isinstance(exc, CodecError):
        return {"type": "TypeError", "message": f"the tool's result cannot be returned: {exc}"}
    if type(exc) is KeyError and exc.args:  # whose text is the repr of its key, and would be that of that
        return {"type": "KeyError", "message": str(exc.args[0])}
    return {"type": type(exc).__name__, "message": str(exc)}
