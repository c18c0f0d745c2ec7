"""`RLMLogger`: keeps the latest run in memory and, given a directory, writes each to a trajectory file of its own."""

from __future__ import annotations

import itertools
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
        self._records: dict[str, Record] = {}
        """Of the runs that go on and whose events are given to the logger itself, by path."""
        self._latest: Record | None = None
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
        root = run.partition("/")[0]
        if "/" not in run and run not in self._records:
            self._records[run] = self._new(run, context, secrets)
        elif (record := self._records.get(root)) is not None:
            record.open_run(run, context)

    def close_run(self, run: str) -> None:
        """Close the file of a root run that ended without saying so; once closed, nothing."""
        record = self._records.pop(run, None)
        if record is not None:
            record.close_run(run)

    def _new(self, run: str, context: object = UNSET, secrets: Collection[str] = ()) -> Record:
        writer = None if self.log_dir is None else self._file(self.log_dir, run, context, secrets)
        record = Record(writer)
        with self._lock:
            self._latest = record
            if writer is not None:
                self.log_file_path = str(writer.path)
        return record

    def __call__(self, event: Event) -> None:
        root = event.run.partition("/")[0]
        if isinstance(event, RunStarted) and event.run == root and root not in self._records:
            self._records[root] = self._new(root)
        record = self._records.get(root)
        if record is not None:
            record(event)
            if record.closed:
                self._records.pop(root, None)

    def get_trajectory(self) -> dict[str, Any] | None:
        """The `metadata` of the run that began last, `None` before the first."""
        from rlm._metadata import metadata_of  # most programs never ask

        with self._lock:
            latest = self._latest
        return metadata_of([] if latest is None else list(latest.events))

    @property
    def iteration_count(self) -> int:
        """Turns so far of the run that began last."""
        trajectory = self.get_trajectory()
        return len(trajectory["iterations"]) if trajectory else 0

    def clear_iterations(self) -> None:
        """Forget the run that began last, if it has ended; its file stays."""
        with self._lock:
            if self._latest is not None and self._latest.closed:
                self._latest = None

    def _file(self, folder: str, run: str, context: object, secrets: Collection[str]) -> TrajectoryWriter:
        from rlm._writer import TrajectoryWriter

        name = f"{self.file_name}_{datetime.now():%Y-%m-%d_%H-%M-%S}_{re.sub(r'[^A-Za-z0-9_-]', '_', run)}"
        with self._lock:  # one at a time, so that no two are given one name
            numbered = (Path(folder, f"{name}_{number}.jsonl") for number in itertools.count(2))
            paths = itertools.chain([Path(folder, f"{name}.jsonl")], numbered)
            path = next(path for path in paths if not path.exists())
            return TrajectoryWriter(path, context=context, full_prompts=self._full_prompts, secrets=secrets)


class Record:
    """One run's events, in memory and, with a writer, in its file."""

    inline = True
    """See `TrajectoryWriter`."""

    def __init__(self, writer: TrajectoryWriter | None) -> None:
        self.events: list[Event] = []
        self.closed = False
        self._writer = writer
        self.__qualname__ = RLMLogger.__qualname__  # what a failure is told of: who gave the logger knows no other name

    def open_run(self, run: str, context: object) -> None:
        """Make the context of the run, or of a child of it, known."""
        if self._writer is not None:
            self._writer.open_run(run, context)

    def __call__(self, event: Event) -> None:
        if isinstance(event, (ReplyText, CellOutput)) or self.closed:
            return
        self.events.append(event)
        try:
            if self._writer is not None:
                self._writer(event)
        finally:
            if isinstance(event, RunFinished) and event.parent is None:
                self.close_run(event.run)

    def close_run(self, run: str) -> None:
        """It takes no more events."""
        self.closed = True
        if self._writer is not None:
            self._writer.close()


def begin(logger: RLMLogger, run: str, context: object, secrets: Collection[str]) -> Record:
    """Begin a root run's record and give it, for the run's events. It is not found by the path: another run may go
    on under the same, as when a recording is replayed twice at once."""
    return logger._new(run, context, secrets)
