"""A program on a real pseudo-terminal, and what a person would see on its screen: an emulator keeps it."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte

from command_line import DEADLINE

Seen = Callable[["Screen"], bool]
# Makes the terminal the one whose Ctrl-C reaches the program, then becomes the program.
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Screen:
    """Runs `command` with stdin, stdout and stderr on a terminal; a context manager, which ends it."""

    def __init__(
        self, command: Sequence[str], *, columns: int = 80, lines: int = 24, environment: dict[str, str], cwd: Path
    ) -> None:
        self._screen = pyte.HistoryScreen(columns, lines, history=10_000)
        self._stream = pyte.Stream(self._screen)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._changed = threading.Condition()
        self._controller, terminal = pty.openpty()
        self._size(columns, lines)
        self.raw = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
        os.close(terminal)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        os.close(self._controller)

    @property
    def lines(self) -> list[str]:
        """What is on the screen, without the spaces at the lines' ends."""
        with self._changed:
            return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """What scrolled away and what is on the screen."""
        with self._changed:
            columns = self._screen.columns
            gone = ["".join(line[x].data for x in range(columns)).rstrip() for line in self._screen.history.top]
            return "\n".join([*gone, *(line.rstrip() for line in self._screen.display)])

    @property
    def cursor_is_shown(self) -> bool:
        with self._changed:
            return not self._screen.cursor.hidden

    def until(self, seen: Seen) -> Self:
        """Wait for something to be seen."""
        with self._changed:
            if not self._changed.wait_for(lambda: seen(self), DEADLINE):
                raise AssertionError(f"not seen in {DEADLINE} s on this screen:\n{self.text}")
        return self

    def type(self, keys: str) -> None:
        os.write(self._controller, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        with self._changed:
            self._screen.resize(lines, columns)
        self._size(columns, lines)

    def wait(self) -> int:
        """The exit code, when all that was written has been seen."""
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code

    def _size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._controller, 65_536)
            except OSError:  # how Linux says that the other side is closed
                return
            if not data:
                return
            with self._changed:
                text = self._decoder.decode(data)
                self.raw += text
                self._stream.feed(text)
                self._changed.notify_all()
