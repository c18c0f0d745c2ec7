"""Processes that a thread of this program started: a cell may wait for one in C, where no exception reaches it."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def of_thread(number: int | None, process: int | str = "self") -> frozenset[int]:
    """By the system's number of the thread. None where the system does not tell them: elsewhere than on Linux."""
    try:
        return frozenset(map(int, Path(f"/proc/{process}/task/{number}/children").read_text().split()))
    except OSError:  # or the thread has ended
        return frozenset()


def end(processes: frozenset[int]) -> None:
    """Kill them, and what they have started: a shell's commands would go on without it."""
    for process in processes:
        below = of_thread(process, process)  # of its first thread, which most have only
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, or is another user's (sudo)
            os.kill(process, signal.SIGKILL)
        end(below)
