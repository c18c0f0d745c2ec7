"""The host's end of a worker conversation, without any I/O: bytes in, checked events out; calls and answers to bytes.

The far side is not trusted. Whatever is not the protocol is a `WireError`, and what it may make this side hold is
bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rlm.errors import WireError
from rlm.repl.channel import BYTES, PROTOCOL, REQUESTS, Channel, TooLargeError
from rlm.repl.codec import LIFT, encode
from rlm.repl.frames import FrameError
from rlm.types import UNSET

Encoded = tuple[Any, list[Any]]
LARGEST_ID: Final = 1 << 53
SLICES: Final = 4
"""Slices of bound texts that open questions may hold, in sizes of those texts."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker runs; `python` is its version."""

    python: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a cell's: `method` is `query` or `tool`. `problem`: why it cannot be answered."""

    number: int
    method: str
    params: Mapping[str, Any]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Returned:
    """The end of a call: its value, or what went wrong."""

    number: int
    value: Any = UNSET
    error: str = ""


@dataclass(frozen=True, slots=True)
class Printed:
    """Text of a running cell, to be shown."""

    text: str


@dataclass(frozen=True, slots=True)
class Shipment:
    """A message and the blobs to be sent before it."""

    blobs: list[tuple[int, str | bytes]]
    frame: bytes


Event = Ready | Asked | Returned | Printed


class Wire:
    """One conversation. `feed` raises `WireError`, after which the session must be ended."""

    def __init__(self, token: str, *, raw: bool) -> None:
        self._channel = Channel(token, "host", raw, guarded=True, resolve=self._resolve)
        self._ready = False
        self._numbers = 0
        self._calls: set[int] = set()
        self._asked: dict[int, tuple[int, int]] = {}
        self._asked_bytes = 0
        self._known: dict[int, str] = {}
        self._sliced = self._slicing = 0

    # Receiving ------------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> list[Event]:
        """The events that became complete. Questions stay open until `answer` or `fail`."""
        try:
            return [self._event(message, size) for message, size in self._channel.feed(data)]
        except FrameError as exc:
            raise WireError(f"the sandbox broke the protocol: {exc}") from None

    def acknowledgement(self) -> bytes:
        return self._channel.acknowledgement()

    @property
    def noise(self) -> str:
        """The last of what came beside the protocol: banners, the words of a worker that could not start or died."""
        return self._channel.reader.unread().decode("utf-8", "backslashreplace").strip()

    def _event(self, message: dict[str, Any], size: int) -> Event:
        method = message.get("method")
        if not self._ready:
            if method != "ready":
                raise FrameError("the worker did not say first that it is ready")
            return self._greeting(message)
        if method is None:
            return self._returned(message)
        if method == "output":
            return self._printed(message)
        if method in ("query", "tool"):
            return self._question(message, method, size)
        raise FrameError("an unknown method")

    def _greeting(self, message: dict[str, Any]) -> Ready:
        params = _members(message, {"jsonrpc", "method", "params"})["params"]
        if type(params) is not dict or params.get("protocol") != PROTOCOL:
            raise FrameError("a worker of another protocol")
        python = params.get("python")
        if type(python) is not str or len(python) > 100:
            raise FrameError("a greeting that cannot be")
        self._ready = True
        return Ready(python)

    def _printed(self, message: dict[str, Any]) -> Printed:
        try:
            text, _ = self._value(_members(message, {"jsonrpc", "method", "params"})["params"])
        except TooLargeError as exc:
            raise FrameError(f"output that cannot be: {exc}") from None
        if type(text) is not str or len(text) > LIFT:
            raise FrameError("output that cannot be")
        return Printed(text)

    def _question(self, message: dict[str, Any], method: str, size: int) -> Asked:
        number = _members(message, {"jsonrpc", "id", "method", "params"})["id"]
        if type(number) is not int or not 0 <= number < LARGEST_ID or number in self._asked:
            raise FrameError("a question whose id cannot be")
        params: Any = {}
        problem = ""
        try:
            params, blobs = self._value(message["params"])
            size += blobs
            _check_question(method, params)
        except TooLargeError as exc:
            problem = str(exc)
        self._asked[number] = size, self._slicing
        self._asked_bytes += size
        self._sliced += self._slicing
        if len(self._asked) > REQUESTS or self._asked_bytes > BYTES:
            raise FrameError("more questions at once than may be open")
        return Asked(number, method, params, problem)

    def _returned(self, message: dict[str, Any]) -> Returned:
        number = message.get("id")
        if type(number) is not int or number not in self._calls:
            raise FrameError("an answer to a question never asked")
        self._calls.discard(number)
        if "error" in message:
            error = _members(message, {"jsonrpc", "id", "error"})["error"]
            text = error.get("message") if type(error) is dict else None
            if type(text) is not str:
                raise FrameError("a failure that cannot be")
            return Returned(number, error=text or "unknown")
        try:
            value, _ = self._value(_members(message, {"jsonrpc", "id", "result"})["result"])
        except TooLargeError as exc:
            return Returned(number, error=str(exc))
        return Returned(number, value)

    def _value(self, holder: Any) -> tuple[Any, int]:
        if type(holder) is not dict or holder.keys() != {"value"}:
            raise FrameError("a message without its value")
        self._slicing = 0
        value, size, _ = self._channel.unpack(holder["value"])
        return value, size

    def _resolve(self, blob: int, start: int, stop: int) -> str:
        """A part of a bound text. The copies are counted: a few bytes of the worker's could ask for terabytes."""
        text = self._known.get(blob)
        if text is None or not start <= stop <= len(text):
            raise FrameError("a reference to what was never bound")
        if stop - start < len(text):
            self._slicing += stop - start
            if self._sliced + self._slicing > BYTES + SLICES * sum(map(len, self._known.values())):
                self._slicing = 0
                raise TooLargeError("the slices of bound values in open calls are too large together")
        return text[start:stop]

    # Sending --------------------------------------------------------------------------------------------------------

    def call(self, method: str, params: Mapping[str, Any], value: Encoded | None = None) -> tuple[int, Shipment]:
        """A call to the worker: its number, by which `Returned` names it, and what to send."""
        self._numbers += 1
        number = self._numbers
        self._calls.add(number)
        packed, blobs = ({}, []) if value is None else self._pack(value)
        frame = self._channel.frame(id=number, method=method, params={**params, **packed})
        return number, Shipment(blobs, frame)

    def answer(self, number: int, value: Encoded) -> Shipment:
        """The answer to a question; call `settled` when it is sent, and before it can have arrived."""
        packed, blobs = self._pack(value)
        return Shipment(blobs, self._channel.frame(id=number, result=packed))

    def fail(self, number: int, data: Mapping[str, Any]) -> Shipment:
        """The same for a question that failed; `data` says how, for the exception that is raised in the cell."""
        packed, blobs = self._pack(encode({k: v if v is None else _cut(str(v)) for k, v in data.items()}))
        error = {"code": -32000, "message": "failed", "data": packed["value"]}
        return Shipment(blobs, self._channel.frame(id=number, error=error))

    def settled(self, number: int) -> None:
        size, sliced = self._asked.pop(number)
        self._asked_bytes -= size
        self._sliced -= sliced

    def notify(self, method: str, **params: Any) -> bytes:
        return self._channel.frame(method=method, params=params)

    def pieces(self, number: int, blob: str | bytes) -> Iterator[tuple[bytes, int]]:
        """The frames of one blob of a shipment, each with the bytes of the window that it takes."""
        return self._channel.pieces(number, blob)

    def piece_at(self, number: int, blob: str | bytes, path: str, end: bool) -> bytes:
        """The frame for a piece that was put in a file inside."""
        return self._channel.piece_at(number, blob, path, end)

    def take_room(self, size: int) -> bool:
        """Take bytes of the window; whether there were as many."""
        if not self._channel.has_room(size):
            return False
        self._channel.sent += size
        return True

    def drop(self, shipment: Shipment) -> bytes:
        """The frame that takes back a shipment which will not be completed."""
        return self._channel.drop([number for number, _ in shipment.blobs])

    def know(self, shipment: Shipment) -> None:
        """The worker holds these texts from now on, and may refer to them."""
        self._known.update((number, blob) for number, blob in shipment.blobs if isinstance(blob, str))

    def _pack(self, value: Encoded) -> tuple[dict[str, Any], list[tuple[int, str | bytes]]]:
        packed, blobs = self._channel.pack(*value)
        return {"value": packed}, blobs


def _members(message: dict[str, Any], names: set[str]) -> dict[str, Any]:
    if message.keys() != names:
        raise FrameError("a message with other members than it should have")
    return message


def _check_question(method: str, params: Any) -> None:
    """That the parameters have their shape; what is in a prompt is for who answers to judge."""
    if type(params) is not dict:
        raise FrameError("parameters that cannot be")
    if method == "query":
        ok = params.keys() - {"context"} == {"kind", "prompt", "model", "batch"} and _is_prompt(params["prompt"])
    else:
        ok = (
            params.keys() == {"name", "args", "kwargs"}
            and type(params["name"]) is str
            and type(params["args"]) is list
            and type(params["kwargs"]) is dict
            and all(type(key) is str for key in params["kwargs"])
        )
    if not ok:
        raise FrameError("parameters that cannot be")


def _is_prompt(prompt: Any) -> bool:
    if type(prompt) is list:
        return all(type(message) is dict and message.keys() == {"role", "content"} for message in prompt)
    return type(prompt) is str


def _cut(text: str, limit: int = 16_000) -> str:
    """Messages of failures come from providers and tools, and may be of any size."""
    return text if len(text) <= limit else text[: limit // 2] + " … " + text[-limit // 2 :]
