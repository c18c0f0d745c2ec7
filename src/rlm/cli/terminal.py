"""Text on its way to a terminal or a pipe: what a model wrote must not steer the terminal, and no text may crash us.

The answer of a run must not be lost; a note to the person may be, when nobody is there to hear it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from typing import Final, Self, TextIO

from rlm.logger import printable

PATIENCE: Final = 0.5
INTERVAL: Final = 0.1
"""Seconds."""


def write(text: str) -> None:
    """Text and a newline on stdout.

    Raises:
        OSError: it is closed, its disk is full, or who read it went away (`BrokenPipeError`).
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, "stdout is closed")
    put(text, sys.stdout)


def say(line: str) -> None:
    """One line for the person, on stderr."""
    with contextlib.suppress(OSError):  # nobody is there
        if sys.stderr is not None:
            put(one_line(line), sys.stderr)


def deliver(answer: str) -> bool:
    """An answer on stdout, or, where that cannot be, on stderr; whether stdout took it."""
    try:
        write(answer)
    except BrokenPipeError:  # who reads it has what was wanted
        silence()
    except OSError as error:
        silence()
        say(f"rlm: the answer cannot be written to stdout ({error.strerror}); here it is:")
        with contextlib.suppress(OSError):
            if sys.stderr is not None:
                put(answer, sys.stderr)
        return False
    return True


def put(text: str, out: TextIO) -> None:
    """Exact bytes to a pipe or file, what would steer a terminal as escapes to one."""
    line = text if text.endswith("\n") else text + "\n"
    if out.isatty():
        line = printable(line)
    out.flush()
    out.buffer.write(encode(line))
    out.buffer.flush()


def encode(text: str) -> bytes:
    """UTF-8. Bytes that were read as surrogates come out as they were; other lone surrogates as three bytes."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def one_line(text: str) -> str:
    """A name may hold a line break, which would make a second line that looks like one of ours."""
    return printable(text).replace("\n", "\\n")


def watched() -> bool:
    """Whether somebody sees what goes to stderr."""
    return sys.stderr is not None and sys.stderr.isatty()


class Reading:
    """Shows on a terminal how much was read, once that takes long enough to wonder."""

    def __init__(self, *, shown: bool) -> None:
        self.files = self.size = 0
        self._next = time.monotonic() + PATIENCE if shown else float("inf")
        self._width = 0

    def __call__(self, size: int) -> None:
        """A file of so many bytes was read."""
        self.files += 1
        self.size += size
        if (now := time.monotonic()) >= self._next:
            self._next = now + INTERVAL
            self._draw(f"reading: {self.files:,} files, {self.size / 1e6:,.1f} MB")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._width:
            self._draw("")

    def _draw(self, line: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"\r{line:{self._width}}\r{line}")
            sys.stderr.flush()
        self._width = len(line)


def silence() -> None:
    """Lets what stdout still holds go nowhere: Python writes it when it ends, and would fail again."""
    if sys.stdout is None:
        return
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def occupy() -> None:
    """Gives closed standard streams a place: else the next file opened would be stdout to whoever writes there."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free
