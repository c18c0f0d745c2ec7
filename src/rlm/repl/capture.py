"""Where the output of a session's cells is collected, and the stream objects that cells see as stdout, stderr and
stdin."""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from typing import Any, Callable, NoReturn

KEEP = 16_000_000  # characters of one cell kept from its start; past that a tail is kept
TAIL = 1_000_000
LIVE_EVERY = 0.1  # seconds between pieces of live output
LIVE_SIZE = 8_192  # characters of one piece of live output


class Capture:
    """Collects text from any thread; `take` returns what came since the last `take`. Bounded whatever is written."""

    def __init__(self, live: Callable[[str], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._live = live
        self._live_at = 0.0
        self._pending: list[str] = []
        self._clear()

    def _clear(self) -> None:
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_size = self._tail_size = self._size = 0

    def write(self, text: str) -> None:
        if not text:
            return
        with self._lock:
            self._size += len(text)
            room = KEEP - self._head_size
            if room > 0:
                self._head.append(text[:room])
                self._head_size += min(room, len(text))
            if len(text) > room:
                self._tail.append(text[max(room, len(text) - TAIL) :])
                self._tail_size += len(self._tail[-1])
                while self._tail_size - len(self._tail[0]) >= TAIL:
                    self._tail_size -= len(self._tail.popleft())
            piece = self._live_piece(text) if self._live is not None else ""
        if piece and self._live is not None:
            self._live(piece)

    def _live_piece(self, text: str) -> str:
        """What is due to be shown now: pieces are joined so that a flood of prints is a trickle of notifications."""
        self._pending.append(text[-LIVE_SIZE:])
        if len(self._pending) > 256:
            self._pending = ["".join(self._pending)[-LIVE_SIZE:]]
        now = time.monotonic()
        if now - self._live_at < LIVE_EVERY:
            return ""
        self._live_at = now
        piece = "".join(self._pending)[-LIVE_SIZE:]
        self._pending.clear()
        return piece

    def flush(self) -> None:
        """Show what was written and is not yet due: before a wait, and now and then while a cell runs."""
        with self._lock:
            piece = "".join(self._pending)[-LIVE_SIZE:]
            self._pending.clear()
        if piece and self._live is not None:
            self._live_at = time.monotonic()
            self._live(piece)

    def take(self) -> tuple[str, int]:
        """(text, characters written): the text lacks its middle when more was written than is kept."""
        with self._lock:
            head, tail, size = "".join(self._head), "".join(self._tail)[-TAIL:], self._size
            gone = size - len(head) - len(tail)
            self._pending.clear()
            self._clear()
        if gone > 0:
            tail = omission(gone, "not kept") + tail
        return head + tail, size


def omission(count: int, why: str) -> str:
    return f"\n… [{count:,} characters {why}] …\n"


def clip(text: str, limit: int, why: str) -> str:
    """At most about `limit` characters of `text`: its head and its tail, with a notice of what is missing between
    them."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return text[:half] + omission(len(text) - 2 * half, why) + text[len(text) - half :]


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer` of a cell."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self._capture.write(raw.decode("utf-8", "replace"))
        return len(raw)

    def close(self) -> None:
        """A cell that closes its stdout must not lose the output of the next one."""


class OutputStream(io.TextIOBase):
    """`sys.stdout` and `sys.stderr` of a cell. `fd` is the descriptor that child processes are given, where there is
    one."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, capture: Capture, name: str, fd: int | None = None) -> None:
        super().__init__()
        self._capture = capture
        self._fd = fd
        self.name = name
        self.buffer = _Bytes(capture)

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._capture.write(text)
        return len(text)

    def fileno(self) -> int:
        if self._fd is None:
            raise io.UnsupportedOperation("a cell's output has no file descriptor here")
        return self._fd

    def isatty(self) -> bool:
        return False

    def flush(self) -> None:
        pass

    def reconfigure(self, **_settings: object) -> None:
        """Accepted so that scripts which set an encoding work; the encoding is fixed."""

    def close(self) -> None:
        """A cell that closes its stdout must not lose the output of the next one."""


class NoInput(io.TextIOBase):
    """`sys.stdin` of a cell: nobody is there to type, so reading is an error, never a wait."""

    name = "<stdin>"

    def readable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def _refuse(self, *_args: object) -> NoReturn:
        raise EOFError("there is no standard input in this REPL: the input is in `context`")

    read = readline = readlines = __next__ = _refuse

    @property
    def buffer(self) -> NoInput:
        return self

    def close(self) -> None:
        pass
