"""One end of the conversation between host and worker, without any I/O: values in messages, blobs in pieces, flow
control.

A value is its tree (see `codec`) in the message, or, where that is large, in a blob; its blobs travel before it. The
receiver acknowledges the bytes of blobs, and the sender stays within a window of them, so that no stream in between
has to hold much.
"""

from __future__ import annotations

import binascii
import itertools
import json
import re
from typing import Any, Generator, Iterable, Iterator

from .codec import CodecError, Resolve, decode
from .frames import FrameError, Reader, frame

PROTOCOL = 1
PIECE = 1 << 17  # characters or bytes of a blob sent at a time
WINDOW = 8 << 20  # bytes of blobs on their way
INLINE = 65_536  # characters of a tree's JSON above which it travels as a blob; escaped, still within a frame
REQUESTS = 4_096  # questions of a worker that may be open at a time
BYTES = 256 << 20  # bytes of a worker's open questions, and of one value it sends
BLOBS = BYTES // INLINE + 16
HELD_BACK = b"\n"  # after a frame: some streams of text hold the last bytes back until more come (Daytona's: two)
PART = 32  # bytes that a part of a worker's value counts for at least: `[],` is three, and a hundred once it is read


class TooLargeError(CodecError):
    """The value is well-formed and more than may be held."""


class Channel:
    """`end` is "host" or "worker". `guarded`: the far side is not trusted, so what it may make this one hold is
    bounded."""

    def __init__(self, token: str, end: str, raw: bool, *, guarded: bool, resolve: Resolve | None = None) -> None:
        ours, theirs = (">", "<") if end == "host" else ("<", ">")
        self.mark = (token + ours).encode("ascii")
        self.reader = Reader((token + theirs).encode("ascii"), raw)
        self.sent = 0
        self.acknowledged = 0
        self._received = 0
        self._announced = 0
        self._raw = raw
        self._tail = b"" if raw else HELD_BACK
        self._guarded = guarded
        self._resolve = resolve
        self._arriving: dict[int, _Blob] = {}
        self._arrived: dict[int, tuple[int, str | bytes]] = {}
        self._held = 0
        self._numbers = 0

    # Sending --------------------------------------------------------------------------------------------------------

    def frame(self, **message: Any) -> bytes:
        return frame(self.mark, dict(jsonrpc="2.0", **message)) + self._tail

    def pack(self, tree: Any, blobs: list[str | bytes]) -> tuple[dict[str, Any], list[tuple[int, str | bytes]]]:
        """(what stands for the value in the message, [(number, blob)] to be sent before it)."""
        shipped: list[tuple[int, str | bytes]] = []
        for blob in blobs:
            self._numbers += 1
            shipped.append((self._numbers, blob))
        packed: dict[str, Any] = {"b": [number for number, _ in shipped]}
        text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        if len(text) > INLINE:
            self._numbers += 1
            shipped.append((self._numbers, text))
            packed["j"] = self._numbers
        else:
            packed["v"] = tree
        return packed, shipped

    def pieces(self, number: int, blob: str | bytes) -> Iterator[tuple[bytes, int]]:
        """The frames of one blob, each with the bytes it takes of the window."""
        for data, end in encoded_pieces(blob, PIECE):
            params: dict[str, Any] = {"id": number, "text": isinstance(blob, str), "end": end}
            if self._raw:
                params["raw"] = len(data)
                yield frame(self.mark, {"jsonrpc": "2.0", "method": "blob", "params": params}, data), len(data)
            else:
                params["data"] = binascii.b2a_base64(data, newline=False).decode("ascii")
                yield self.frame(method="blob", params=params), len(data)

    def piece_at(self, number: int, blob: str | bytes, path: str, end: bool) -> bytes:
        """The frame of a piece that was put in a file at the far side."""
        params = {"id": number, "text": isinstance(blob, str), "end": end, "path": path}
        return self.frame(method="blob", params=params)

    def drop(self, numbers: Iterable[int]) -> bytes:
        """The frame that takes back blobs whose message will not come."""
        return self.frame(method="drop", params={"ids": list(numbers)})

    def has_room(self, weight: int) -> bool:
        return self.sent - self.acknowledged + weight <= WINDOW

    def acknowledgement(self) -> bytes:
        """The frame that opens the far side's window again, b"" while none is due."""
        if self._received - self._announced < WINDOW // 4:
            return b""
        self._announced = self._received
        return self.frame(method="credit", params={"bytes": self._received})

    # Receiving ------------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> list[tuple[dict[str, Any], int]]:
        """(message, its size) for what became complete, blobs and credit apart. Raises FrameError."""
        out = []
        for message, payload, size in self.reader.feed(data):
            method = message.get("method")
            if method == "blob":
                self._piece(_params(message), payload)
            elif method == "drop":
                self._dropped(_params(message))
            elif method == "credit":
                self._credit(_params(message).get("bytes"))
            else:
                out.append((message, size))
        return out

    def _credit(self, total: Any) -> None:
        if type(total) is not int or not self.acknowledged <= total <= self.sent:
            raise FrameError("credit for bytes that were not sent")
        self.acknowledged = total

    def _piece(self, params: dict[str, Any], payload: bytes) -> None:
        number, is_text, end = params.get("id"), params.get("text"), params.get("end")
        if type(number) is not int or type(is_text) is not bool or type(end) is not bool or number in self._arrived:
            raise FrameError("a blob that cannot be")
        path = params.get("path")
        if path is not None:
            if self._guarded:
                raise FrameError("a blob in a file")
            with open(path, "rb") as file:
                payload = file.read()
        else:
            self._received += len(payload)
        blob = self._arriving.get(number)
        if blob is None:
            blob = self._arriving[number] = _Blob(is_text)
        self._held += len(payload)
        if self._guarded and (self._held > BYTES or len(self._arriving) + len(self._arrived) > BLOBS):
            raise FrameError("more in blobs than may be held")
        if blob.is_text is not is_text:
            raise FrameError("a blob that changes its kind")
        blob.add(payload)
        if end:
            del self._arriving[number]
            self._arrived[number] = (blob.size, blob.value())

    def _dropped(self, params: dict[str, Any]) -> None:
        ids = params.get("ids")
        if type(ids) is not list or any(type(number) is not int for number in ids):
            raise FrameError("blobs dropped that cannot be")
        for number in ids:
            if number in self._arriving:
                self._held -= self._arriving.pop(number).size
            elif number in self._arrived:
                self._held -= self._arrived.pop(number)[0]

    def unpack(self, packed: Any) -> tuple[Any, int, dict[int, str | bytes]]:
        """(value, bytes of its blobs, {number: blob}) of what `pack` made at the far side."""
        if type(packed) is not dict or type(packed.get("b")) is not list or len(packed) != 2:
            raise FrameError("a value that cannot be")
        size = 0
        blobs: dict[int, str | bytes] = {}
        for number in packed["b"]:
            taken, blobs[number] = self._claim(number)
            size += taken
        tree = packed.get("v")
        if "j" in packed:
            taken, text = self._claim(packed["j"])
            size += taken
            if type(text) is not str:
                raise FrameError("a tree that is not JSON")
            if self._guarded:
                size += PART * _parts(text)
            try:
                tree = json.loads(text, parse_constant=_refuse)
            except (ValueError, TypeError, RecursionError) as exc:
                raise FrameError(f"a tree that is not JSON: {str(exc)[:200]}") from None
        elif "v" not in packed:
            raise FrameError("a value that is not there")
        elif self._guarded:
            size += PART * _inner_parts(tree)
        try:
            return decode(tree, list(blobs.values()), self._resolve), size, blobs
        except TooLargeError:
            raise
        except CodecError as exc:
            if self._guarded:
                raise FrameError(f"a value that cannot be: {exc}") from None
            raise

    def _claim(self, number: Any) -> tuple[int, str | bytes]:
        if type(number) is not int or number not in self._arrived:
            raise FrameError("a blob that was not sent")
        size, value = self._arrived.pop(number)
        self._held -= size
        return size, value


class _Blob:
    """The pieces of one blob, put together as they come."""

    def __init__(self, is_text: bool) -> None:
        self.is_text = is_text
        self.size = 0
        self._bytes = bytearray()
        self._text = _joined()
        next(self._text)

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if not self.is_text:
            self._bytes += data
            return
        try:
            piece = data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise FrameError("text that is not UTF-8") from None
        self._text.send(piece)

    def value(self) -> str | bytes:
        if not self.is_text:
            return bytes(self._bytes)
        try:
            self._text.send(None)
        except StopIteration as end:
            return str(end.value)
        raise AssertionError


def _joined() -> Generator[None, str | None, str]:
    """Joins what it is sent. CPython extends a local `str` in place, so the text is never held twice."""
    text = ""
    piece = yield
    while piece is not None:
        text += piece
        piece = yield
    return text


def encoded_pieces(blob: str | bytes, size: int) -> Iterator[tuple[bytes, bool]]:
    """(bytes, whether they are the last) for each `size` characters or bytes; text is cut between characters."""
    last = max(len(blob) - 1, 0) // size * size
    for start in range(0, last + 1, size):
        piece = blob[start : start + size]
        yield (piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else piece), start == last


def weight(blobs: Iterable[str | bytes]) -> int:
    """The bytes that blobs take on the wire."""
    return sum(len(b) if isinstance(b, bytes) or b.isascii() else _utf8_size(b) for b in blobs)


def _utf8_size(text: str) -> int:
    return sum(len(data) for data, _ in encoded_pieces(text, PIECE))


def _params(message: dict[str, Any]) -> dict[str, Any]:
    params = message.get("params")
    if type(params) is not dict or "id" in message:
        raise FrameError("a notification that cannot be")
    return params


def _parts(text: str) -> int:
    """The parts of a tree that is still text. Raises TooLargeError."""
    most = BYTES // PART
    parts = text.count(",") + text.count("[") + text.count("{")
    if parts > most:  # unless most of these are inside of text
        # Possessive and without a need for the second quote, so that no text is read twice; new in 3.11, the host's.
        found = re.finditer(r'"(?:[^"\\]++|\\.)*+"?|[\[{,]', text)
        parts = sum(1 for _ in itertools.islice(found, most + 1))
    if parts > most:
        raise TooLargeError(f"a value of more than {most:,} parts")
    return parts


def _inner_parts(tree: Any) -> int:
    """The same for one that came in a message, which is not large."""
    parts, left = 0, [tree]
    while left:
        inner = left.pop()
        if type(inner) in (list, dict):
            parts += len(inner)
            left.extend(inner if type(inner) is list else inner.values())
    return parts


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
