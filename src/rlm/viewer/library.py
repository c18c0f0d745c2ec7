"""The trajectory files that a viewer was given: their summaries, and a few of them open."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

from rlm.errors import TrajectoryError
from rlm.viewer.export import state
from rlm.viewer.log import Log
from rlm.viewer.texts import preview

MOST_OPEN: Final = 4
MOST_FOLLOWED: Final = 50
LINES_AT_ONCE: Final = 2_000


class Library:
    """One file, or the `*.jsonl` files of a directory, by name; safe for threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: OrderedDict[str, Log] = OrderedDict()
        self._followed: dict[str, Log] = {}
        """Of runs that were not read to their end yet: what was read is not read again."""
        self._known: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {}
        self._lock = threading.Lock()

    @property
    def is_directory(self) -> bool:
        return self.path.is_dir()

    def names(self) -> list[str]:
        """Newest first, as far as names tell."""
        if not self.is_directory:
            return [self.path.name]
        here = self.path.resolve()
        # A link may lead to a file that nobody meant to show.
        found = (p.name for p in self.path.glob("*.jsonl") if p.is_file() and p.resolve().parent == here)
        return sorted(found, reverse=True)

    def log(self, name: str) -> Log:
        """An open log, read as far as it goes.

        Raises:
            KeyError: it is none of the files that were given.
        """
        if name not in self.names():
            raise KeyError(name)
        with self._lock:
            log = self._open.pop(name, None)
            if log is None:
                log = Log(self._place(name))
            self._open[name] = log
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        return log

    def runs(self, patience: float = 0.5) -> list[dict[str, Any]]:
        """A line of the list for each file; what cannot be read within so many seconds says so."""
        deadline = time.monotonic() + patience
        return [found for name in self.names() if (found := self._summary(name, deadline)) is not None]

    def _place(self, name: str) -> Path:
        return self.path / name if self.is_directory else self.path

    def _summary(self, name: str, deadline: float) -> dict[str, Any] | None:
        place = self._place(name)
        try:
            status = place.stat()
            stamp = (status.st_size, status.st_mtime_ns)
            known = self._known.get(name)
            if known is not None and known[0] == stamp:
                return known[1]
            log = self._open.get(name) or self._followed.get(name)
            if log is None:
                log = self._followed[name] = Log(place)
            while time.monotonic() < deadline:
                if not log.update(most=LINES_AT_ONCE):
                    break
            else:
                return {"file": name, "status": "reading"} if known is None else known[1]
            self._known[name] = stamp, entry(name, log)
            if log.summary.ended:
                self._followed.pop(name, None)
            while len(self._followed) > MOST_FOLLOWED:
                self._followed.pop(next(iter(self._followed)), None)
        except FileNotFoundError:
            return None
        except (TrajectoryError, OSError) as error:
            return {"file": name, "status": "unreadable", "error": str(error)}
        return self._known[name][1]


def entry(name: str, log: Log) -> dict[str, Any]:
    with log.lock:
        summary = log.summary.brief()
    question = log.summary.question
    asked = None if question is None else preview(question, 300)
    return {"file": name, "question": asked, **summary, **state(log)}
