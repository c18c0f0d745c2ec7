"""File descriptors of a worker: the wire away from 0 and 1, and 1 and 2 into the cell's output."""

from __future__ import annotations

import codecs
import fcntl
import io
import os
import select
import signal
import sys
import threading
import warnings
from typing import Callable

READS = 16  # of 64 KiB each: what a pipe holds, and no more, because a child may write without end
HIGH = 100  # the wire is kept away from the numbers that code closes or reuses


class Descriptors:
    """Made once, before anything else runs; `drain` may be called from any thread."""

    def __init__(self) -> None:
        self.wire_in = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, HIGH)
        self.wire_out = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, HIGH)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        low, write_end = os.pipe()
        self._read_end = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, HIGH)
        os.close(low)
        os.set_blocking(self._read_end, False)
        os.dup2(write_end, 1)
        os.dup2(write_end, 2)
        os.close(write_end)
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=self._forked)
        # Python 3.12 and later warn of it beside threads. They are ours, and a child needs none of them.
        warnings.filterwarnings("ignore", r"This process \(pid=\d+\) is multi-threaded", DeprecationWarning)

    def _forked(self) -> None:
        """A child of a cell has no wire, and prints like any other child process. So does a child of it."""
        if self.wire_in < 0:
            return
        os.close(self.wire_in)
        os.close(self.wire_out)
        self.wire_in = self.wire_out = -1
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", "surrogateescape", write_through=True)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "surrogateescape", write_through=True)

    def drain(self, write: Callable[[str], None], last: bool = False) -> None:
        """What was written to 1 and 2 so far, to `write`. `last`: half a character is not waited for."""
        if self.wire_in < 0:
            return
        with self._lock:
            for _ in range(READS):
                try:
                    data = os.read(self._read_end, 65_536)
                except BlockingIOError:
                    break
                if not data:
                    return
                write(self._decoder.decode(data))
            if last:
                write(self._decoder.decode(b"", final=True))

    def drain_always(self, write: Callable[[str], None]) -> None:
        """Keeps the pipe from filling while a cell runs; the target of a thread."""
        poll = select.poll()
        poll.register(self._read_end, select.POLLIN)
        while True:
            poll.poll()
            self.drain(write)
