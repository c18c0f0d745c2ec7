"""The kernel's way to the host, over the wire. Requests may be made from any thread and overlap."""

from __future__ import annotations

import functools
import os
import queue
import sys
import threading
from typing import Any, Callable

from . import channel as wire
from .codec import CodecError, encode
from .descriptors import Descriptors
from .interrupts import Interrupts
from .kernel import make_error, make_tool_error

SEARCH = sys.version_info >= (3, 10)  # older Pythons may search a text in quadratic time
POLL = 0.05  # seconds between looks for an interrupt while waiting to send


class Port:
    def __init__(self, descriptors: Descriptors, token: str, raw: bool) -> None:
        self.interrupts = Interrupts()
        self.before_wait: Callable[[], None] = lambda: None
        self.channel = wire.Channel(token, "worker", raw, guarded=False)
        self._descriptors = descriptors
        self._lock = threading.Lock()  # of everything below, and of the stream's writing side
        self._shipping = threading.Lock()  # one value's blobs are on their way at a time
        self._numbers = 0
        self._open: dict[int, tuple[str, int, queue.SimpleQueue[Any], int]] = {}
        self._open_count = self._open_bytes = 0
        self._gates: list[queue.SimpleQueue[None]] = []
        self._known: list[tuple[int, str]] = []

    # For the kernel -------------------------------------------------------------------------------------------------

    def request(self, method: str, params: dict[str, Any]) -> Any:
        result = self.request_many(method, [params])[0]
        if isinstance(result, BaseException):
            raise result
        return result

    def request_many(self, method: str, many: list[dict[str, Any]]) -> list[Any]:
        if self._descriptors.wire_out < 0:
            raise RuntimeError("only the REPL's own process can ask the host, not a child of it")
        results: list[Any] = [None] * len(many)
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        asked = 0
        for i, params in enumerate(many):
            try:
                self._ask(method, params, i, arrived)
                asked += 1
            except CodecError as exc:
                results[i] = exc
        self.before_wait()
        for _ in range(asked):
            i, result = arrived.get()
            results[i] = result
        return results

    def output(self, text: str) -> None:
        self.post(method="output", value=encode(text))

    # Sending --------------------------------------------------------------------------------------------------------

    def _ask(self, method: str, params: dict[str, Any], i: int, arrived: queue.SimpleQueue[Any]) -> None:
        tree, blobs = encode(params, refer=self._refer if params.get("kind") == "rlm" else None)
        with self.interrupts:
            with self._lock:
                packed, shipped = self.channel.pack(tree, blobs)
                self._numbers += 1
                number = self._numbers
            frame = self.channel.frame(id=number, method=method, params={"value": packed})
            size = len(frame) + wire.weight([blob for _, blob in shipped])
            if size > wire.BYTES:
                raise CodecError(f"{size:,} bytes are more than a call can carry ({wire.BYTES:,})")
            self._when(lambda: self._reserve(size))
            try:
                self._send(frame, shipped, lambda: self._open.__setitem__(number, (method, i, arrived, size)))
            except BaseException:
                with self._lock:
                    if number not in self._open:
                        self._release(size)
                raise

    def answer(self, number: int, value: Any) -> None:
        """The result of a request of the host's. Raises CodecError where it cannot be carried."""
        tree, blobs = encode(value)
        size = wire.weight(blobs)
        if size > wire.BYTES:
            raise CodecError(f"{size:,} bytes are more than a cell can return ({wire.BYTES:,})")
        with self._lock:
            packed, shipped = self.channel.pack(tree, blobs)
        self._send(self.channel.frame(id=number, result={"value": packed}), shipped)

    def post(self, method: str, value: Any = None, **params: Any) -> None:
        """A notification; its value must be small."""
        if value is not None:
            params["value"], _ = self.channel.pack(*value)
        self.write(self.channel.frame(method=method, params=params))

    def fail(self, number: int, message: str) -> None:
        self.write(self.channel.frame(id=number, error={"code": -32000, "message": message}))

    def write(self, data: bytes) -> None:
        with self.interrupts, self._lock:
            self._write(data)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptors.wire_out, view) :]

    def _send(
        self, frame: bytes, shipped: list[tuple[int, str | bytes]], before: Callable[[], None] | None = None
    ) -> None:
        with self.interrupts:
            if not shipped:
                with self._lock:
                    if before is not None:
                        before()
                    self._write(frame)
                return
            self._when(lambda: self._shipping.acquire(blocking=False))
            try:
                for number, blob in shipped:
                    for piece, size in self.channel.pieces(number, blob):
                        self._when(functools.partial(self._send_piece, piece, size))
                with self._lock:
                    if before is not None:
                        before()
                    self._write(frame)
            except BaseException:
                with self._lock:
                    self._write(self.channel.drop([number for number, _ in shipped]))
                raise
            finally:
                self._shipping.release()
                self.wake()

    def _send_piece(self, piece: bytes, size: int) -> bool:
        if not self.channel.has_room(size):
            return False
        self.channel.sent += size
        self._write(piece)
        return True

    def _reserve(self, size: int) -> bool:
        if self._open_count >= wire.REQUESTS or self._open_bytes + size > wire.BYTES:
            return False
        self._open_count += 1
        self._open_bytes += size
        return True

    def _release(self, size: int) -> None:
        self._open_count -= 1
        self._open_bytes -= size
        self._wake()

    def _when(self, attempt: Callable[[], bool]) -> None:
        """Do it once it can be done; the thread that reads the wire says when to look again."""
        while True:
            with self._lock:
                if attempt():
                    return
                gate: queue.SimpleQueue[None] = queue.SimpleQueue()
                self._gates.append(gate)
            while True:
                try:
                    gate.get(timeout=POLL)
                    break
                except queue.Empty:
                    self.interrupts.check()

    def _wake(self) -> None:
        for gate in self._gates:
            gate.put(None)
        self._gates.clear()

    def wake(self) -> None:
        with self._lock:
            self._wake()

    # Receiving, on the thread that reads the wire -------------------------------------------------------------------

    def settle(self, message: dict[str, Any]) -> None:
        """The host's answer to a question, whether or not somebody still waits for it."""
        with self._lock:
            method, i, arrived, size = self._open.pop(message["id"])
            self._release(size)
        error = message.get("error")
        try:
            result, _, _ = self.channel.unpack(message["result"]["value"] if error is None else error["data"])
        except CodecError as exc:
            result = exc
        else:
            if error is not None:
                result = make_error(result) if method == "query" else make_tool_error(result)
        arrived.put((i, result))

    def know(self, blobs: dict[int, str | bytes]) -> None:
        """Remember the long texts of a bound value: the host has them, so they can be referred to."""
        self._known.extend((number, text) for number, text in blobs.items() if isinstance(text, str))

    def _refer(self, value: str | bytes) -> list[int] | None:
        for number, text in self._known:
            if text is value:
                return [number, 0, len(text)]
        if isinstance(value, str) and SEARCH:
            for number, text in self._known:
                at = text.find(value)
                if at >= 0:
                    return [number, at, at + len(value)]
        return None
