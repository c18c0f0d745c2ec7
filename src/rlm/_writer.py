"""The writer of trajectory files: an observer that appends each event of a run to a file as it happens."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from rlm._encode import Encoder
from rlm._finder import SliceFinder
from rlm._secret import Masks
from rlm._sightings import Watch
from rlm._spans import CutText
from rlm.errors import ConfigurationError
from rlm.events import CellOutput, Event, ReplyText, RunFinished
from rlm.types import UNSET

FORMAT: Final = "rlm-trajectory"
VERSION: Final = 1
LONGEST_CHILD_CONTEXT: Final = 8_000_000
"""Characters of a child's context up to which it is looked for in its parent's."""
LONGEST_CHILD_LITERAL: Final = 2_000
"""Characters of a child's context that the log holds where they are not slices of its parent's."""
LARGE_CONTEXT: Final = 1_000_000
"""Characters of a root's context from which on its index is made on a thread."""


class TrajectoryWriter:
    """An observer that appends each event to a new file, one line each, as it comes.

    `context` is the root run's; `open_run` names any other's. `full_prompts` keeps every prompt verbatim. `secrets` (of
    eight characters or more) are never written, wherever they turn up: asterisks stand in their place. Thread-safe.
    After a failed write it raises once and then ignores all further events: a full disk ends the log, not the run.

    Raises:
        ConfigurationError: the file cannot be created, or exists.
    """

    inline = True
    """What has happened is in the file before anything else happens, whatever then ends the process."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        context: object = UNSET,
        full_prompts: bool = False,
        secrets: Collection[str] = (),
    ) -> None:
        self.path = Path(path)
        self._context = context
        self._watch: Watch | None = None
        self._finders: dict[str, SliceFinder] = {}
        self._encoder = Encoder(self._finders.get, full_prompts=full_prompts)
        self._masks = Masks(secrets)
        self._trouble: OSError | None = None
        self._lock = threading.Lock()
        try:
            self._file = open(self.path, "xb", buffering=0, opener=_append_only)  # noqa: SIM115 - close() ends it
        except OSError as error:
            raise ConfigurationError(f"log_dir: cannot create {self.path}: {error.strerror or error}") from error
        self._write({"format": FORMAT, "version": VERSION, "created": time.time()})
        if self._trouble is not None:
            raise ConfigurationError(f"log_dir: cannot write {self.path}: {self._trouble.strerror}") from self._trouble

    def open_run(self, run: str, context: object) -> None:
        """Make a run's context known before its first event: slices of it are recognised in the run's prompts.

        Never raises: a write that fails here is raised by the next event.
        """
        with self._lock:
            if self._file.closed:
                return
            parent = run.rpartition("/")[0]
            if parent:
                self._write(self._child_context(run, parent, context))
                self._finders[run] = SliceFinder(context)
            else:
                self._open_root(run, context)

    def __call__(self, event: Event) -> None:
        if isinstance(event, (ReplyText, CellOutput)):
            return
        with self._lock:
            if not self._file.closed:
                if self._watch is None and event.parent is None and self._context is not UNSET:
                    self._open_root(event.run, self._context)
                self._record(event)
            trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble

    def close(self) -> None:
        """Close the file; events that come later are ignored."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _record(self, event: Event) -> None:
        given = None if self._watch is None else self._watch.given(event)
        record = self._encoder.record(event)
        if given is not None:
            record["seen"] = given.to_json()
        if isinstance(event, RunFinished):
            self._finders.pop(event.run, None)
            if event.parent is None and self._watch is not None and (end := self._watch.ending()) is not None:
                self._write({"type": "Coverage", "run": event.run, **end})
        self._write(record)

    def _open_root(self, run: str, context: object) -> None:
        self._context, self._watch = context, Watch(context)
        if self._watch.finder.size >= LARGE_CONTEXT:
            # It takes up to half a second, in which the run waits for its environment and for the first reply.
            threading.Thread(target=self._watch.finder.prepare, name="rlm-trajectory", daemon=True).start()
        self._finders[run] = self._watch.finder
        self._write({"type": "Context", "run": run, **self._watch.beginning()})

    def _child_context(self, run: str, parent: str, context: object) -> dict[str, Any]:
        record: dict[str, Any] = {"type": "Context", "run": run, "kind": type(context).__name__}
        if isinstance(context, str):
            record["size"] = len(context)
            if self._encoder.memory.of(run).get("prompt") == context:
                record["text"] = {"same": "prompt"}
            elif len(context) <= LONGEST_CHILD_CONTEXT and (finder := self._finders.get(parent)) is not None:
                parts = finder.cut(context, patience=LONGEST_CHILD_LITERAL)
                if sum(len(part) for part in parts if isinstance(part, str)) <= LONGEST_CHILD_LITERAL:
                    record["text"] = self._encoder.text(CutText(parts, parent), "context", parent)
        return record

    def _write(self, record: Mapping[str, Any]) -> None:
        line = self._masks.line(json.dumps(record, separators=(",", ":")))
        rest = memoryview(line.encode("ascii") + b"\n")
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.close()
            message = f"the trajectory ends here, it could not be written any further: {error.strerror}"
            self._trouble = OSError(error.errno, message, str(self.path))


def _append_only(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_APPEND, 0o600)  # prompts may be private
