"""Frames on a byte stream, the same at both ends: one ASCII line of JSON each behind a mark, or raw bytes after a
line that says how many.

Streams may hand text over re-chunked, with CRLF, between banners and echoes: a line without the mark is noise.
"""

from __future__ import annotations

import binascii
import json
from typing import Any

FRAME = 1 << 20  # bytes of one line, or of the raw bytes after one
NOISE = 4_096  # bytes of noise remembered, for errors


class FrameError(Exception):
    """The far side sent what the protocol does not have."""


def frame(mark: bytes, message: dict[str, Any], payload: bytes = b"") -> bytes:
    return mark + json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n" + payload


class Reader:
    """Bytes in any pieces to (message, payload, bytes of the message); holds back at most one frame."""

    def __init__(self, mark: bytes, raw: bool) -> None:
        self.noise = b""
        self._mark = mark
        self._raw = raw
        self._buffer = bytearray()
        self._scanned = 0
        self._announced: tuple[dict[str, Any], int, int] | None = None

    def feed(self, data: bytes) -> list[tuple[dict[str, Any], bytes, int]]:
        buffer = self._buffer
        buffer += data
        out: list[tuple[dict[str, Any], bytes, int]] = []
        while True:
            if self._announced is not None:
                message, length, size = self._announced
                if len(buffer) < size:
                    return out
                out.append((message, self._take(size), length))
                self._announced = None
                continue
            end = buffer.find(b"\n", self._scanned)
            if end < 0:
                self._scanned = len(buffer)
                if len(buffer) > FRAME:
                    self._overlong()
                return out
            line = self._take(end + 1)
            self._scanned = 0
            read = self._message(line)
            if read is None:
                continue
            raw = self._payload_size(read)
            if raw is None:
                out.append((read, _data(read), len(line)))
            else:
                self._announced = (read, len(line), raw)

    def _take(self, size: int) -> bytes:
        with memoryview(self._buffer) as view, view[:size] as part:
            taken = bytes(part)
        del self._buffer[:size]
        return taken

    def _overlong(self) -> None:
        if self._mark in self._buffer:
            raise FrameError(f"a frame of more than {FRAME:,} bytes")
        self._remember(self._buffer)
        del self._buffer[: -len(self._mark)]
        self._scanned = 0

    def _remember(self, noise: bytes | bytearray) -> None:
        self.noise = (self.noise + bytes(noise[-NOISE:]))[-NOISE:]

    def unread(self) -> bytes:
        """The last noise, and what has no line end yet: the last words of a worker that died."""
        return (self.noise + bytes(self._buffer[-NOISE:]))[-NOISE:]

    def _message(self, line: bytes) -> dict[str, Any] | None:
        at = line.find(self._mark)
        if at < 0:
            self._remember(line)
            return None
        if at:
            self._remember(line[:at] + b"\n")
        if len(line) - at > FRAME + len(self._mark):
            raise FrameError(f"a frame of more than {FRAME:,} bytes")
        try:
            message = json.loads(line[at + len(self._mark) :].decode("ascii"), parse_constant=_refuse)
        except (ValueError, RecursionError) as exc:
            raise FrameError(f"a frame that is not JSON: {str(exc)[:200]}") from None
        if type(message) is not dict or message.get("jsonrpc") != "2.0":
            raise FrameError("a frame that is no JSON-RPC message")
        return message

    def _payload_size(self, message: dict[str, Any]) -> int | None:
        params = message.get("params")
        size = params.get("raw") if type(params) is dict else None
        if size is None:
            return None
        if not self._raw or type(size) is not int or not 0 <= size <= FRAME:
            raise FrameError("raw bytes that cannot be")
        return size


def _data(message: dict[str, Any]) -> bytes:
    params = message.get("params")
    data = params.get("data") if type(params) is dict else None
    if data is None:
        return b""
    try:
        return binascii.a2b_base64(data)
    except (ValueError, TypeError):
        raise FrameError("data that is not base64") from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
