"""`RLMLogger`: keeps the latest run in memory and, given a directory, writes each to a trajectory file of its own."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm.errors import ConfigurationError
from rlm.events import CellOutput, Event, ReplyText, RunFinished, RunStarted
from rlm.types import UNSET

if TYPE_CHECKING:
    from rlm._writer import TrajectoryWriter


class RLMLogger:
    """Records runs; one logger serves any number of them, also at once.

    With `log_dir` each completion is written to `<log_dir>/<file_name>_<time>_<run>.jsonl` while it runs, see
    `rlm.trajectory.read`. `full_prompts` keeps the prompts of sub-calls verbatim there. Without it, a logger is what
    makes a result have `metadata`.

    Raises:
        ConfigurationError: `log_dir` cannot be made or written to.
    """

    inline = True
    """See `TrajectoryWriter`."""

    def __init__(
        self, log_dir: str | os.PathLike[str] | None = None, file_name: str = "rlm", *, full_prompts: bool = False
    ) -> None:
        if not file_name or Path(file_name).name != file_name:
            raise ConfigurationError(f"file_name is the beginning of a file's name, not a path: {file_name!r}")
        self.log_dir = None if log_dir is None else str(log_dir)
        self.file_name = file_name
        self.log_file_path: str | None = None
        """The file of the run that began last."""
        self._full_prompts = full_prompts
        self._lock = threading.Lock()
        self._events: dict[str, list[Event]] = {}
        self._writers: dict[str, TrajectoryWriter] = {}
        self._active: set[str] = set()
        self._latest: str | None = None
        if self.log_dir is not None:
            try:
                os.makedirs(self.log_dir, exist_ok=True)
            except OSError as error:
                raise ConfigurationError(f"log_dir: cannot make {self.log_dir}: {error.strerror or error}") from error
            if not os.access(self.log_dir, os.W_OK | os.X_OK):
                raise ConfigurationError(f"log_dir: no permission to write in {self.log_dir}")

    def open_run(self, run: str, context: object, *, secrets: Collection[str] = ()) -> None:
        """Begin a run's record, with its context; what is in `secrets` is never written to its file. A second
        call for the same run changes only its context.

        Raises:
            ConfigurationError: the file of a root run cannot be created. A child's run raises nothing.
        """
        if "/" not in run and run not in self._active:
            self._begin(run, context, secrets)
        elif (writer := self._writers.get(run.partition("/")[0])) is not None:
            writer.open_run(run, context)

    def close_run(self, run: str) -> None:
        """Close the file of a root run that ended without saying so; once closed, nothing."""
        with self._lock:
            writer = self._writers.pop(run, None)
            self._active.discard(run)
            if run != self._latest:
                self._events.pop(run, None)
        if writer is not None:
            writer.close()

    def __call__(self, event: Event) -> None:
        if isinstance(event, (ReplyText, CellOutput)):
            return
        root = event.run.partition("/")[0]
        if isinstance(event, RunStarted) and event.run == root and root not in self._events:
            self._begin(root, UNSET, ())
        with self._lock:
            if root in self._events:
                self._events[root].append(event)
            writer = self._writers.get(root)
        try:
            if writer is not None:
                writer(event)
        finally:
            if isinstance(event, RunFinished) and event.run == root:
                self.close_run(root)

    def get_trajectory(self) -> dict[str, Any] | None:
        """The `metadata` of the run that began last, `None` before the first."""
        from rlm._metadata import metadata_of  # most programs never ask

        with self._lock:
            events = list(self._events.get(self._latest or "", ()))
        return metadata_of(events)

    @property
    def iteration_count(self) -> int:
        """Turns so far of the run that began last."""
        trajectory = self.get_trajectory()
        return len(trajectory["iterations"]) if trajectory else 0

    def clear_iterations(self) -> None:
        """Forget the run that began last, if it has ended; its file stays."""
        with self._lock:
            if self._latest is not None and self._latest not in self._active:
                self._events.pop(self._latest, None)

    def _begin(self, run: str, context: object, secrets: Collection[str]) -> None:
        writer = None
        if self.log_dir is not None:
            stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
            from rlm._writer import TrajectoryWriter

            path = Path(self.log_dir, f"{self.file_name}_{stamp}_{re.sub(r'[^A-Za-z0-9_-]', '_', run)}.jsonl")
            writer = TrajectoryWriter(path, context=context, full_prompts=self._full_prompts, secrets=secrets)
        with self._lock:
            if self._latest is not None and self._latest not in self._active:
                self._events.pop(self._latest, None)
            self._latest = run
            self._active.add(run)
            self._events[run] = []
            if writer is not None:
                self._writers[run] = writer
                self.log_file_path = str(writer.path)
