"""The file of a journal: one line of JSON for each record, appended before what it holds is used, and read back by
position."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rlm._secret import Masks
from rlm.errors import JournalError

FORMAT: Final = "rlm-journal"
VERSION: Final = 2
HEAD: Final = f'{{"format":"{FORMAT}","version":{VERSION},'.encode()
NONE: Final = Masks()
_encode = json.JSONEncoder(separators=(",", ":")).encode


class JournalFile:
    """The end that is written to. Each record is one `write`, so it outlives this process from then on; with `sync` a
    `commit` outlives the machine's power too. Appending is thread-safe."""

    def __init__(self, path: Path, *, end: int, sync: bool = False) -> None:
        """`end` is where the last whole line ends: what follows was cut off while it was written."""
        self.path = path
        self._sync = sync
        self._lock = threading.Lock()
        self._end = end
        self._closed = False
        self._written = self._synced = 0
        self._syncing: asyncio.Future[None] | None = None
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)  # prompts may be private
            os.ftruncate(self._fd, end)
        except OSError as error:
            raise JournalError(f"cannot write {path}: {error.strerror or error}") from error
        if not end:
            self.append({"format": FORMAT, "version": VERSION, "created": time.time()})
            if sync:
                _sync_folder(path.parent)

    def append(self, record: Mapping[str, Any], masks: Masks = NONE) -> None:
        """Write a record, asterisks for the keys in it. Raises `JournalError` when the file cannot take it, or is
        closed: the run must not go on without."""
        data = masks.line(_encode(record)).encode("ascii") + b"\n"
        with self._lock:
            if self._closed:
                raise JournalError(f"{self.path} is closed: what it is for was over before this run was")
            rest = memoryview(data)
            try:
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
            except OSError as error:
                self._take_back()
                raise JournalError(f"cannot write {self.path}: {error.strerror or error}") from error
            if not os.fstat(self._fd).st_nlink:
                raise JournalError(f"{self.path} was deleted while the run went on: nothing of it is kept any more")
            self._end += len(data)
            self._written += 1

    def _take_back(self) -> None:
        """Remove what was written of a record that did not fit: a smaller one may fit after it."""
        try:
            os.ftruncate(self._fd, self._end)
        except OSError:
            self._closed = True
            os.close(self._fd)

    async def commit(self) -> None:
        """With `sync`: return when all that was appended is on the disk. Commits that wait together share one sync."""
        mine = self._written if self._sync else 0
        while self._synced < mine:
            if self._syncing is None:
                self._syncing = asyncio.ensure_future(self._to_disk())
            await asyncio.shield(self._syncing)

    async def _to_disk(self) -> None:
        upto = self._written
        try:
            await asyncio.to_thread(self._sync_now)
        finally:
            self._syncing = None
        self._synced = max(self._synced, upto)

    def _sync_now(self) -> None:
        with self._lock:
            descriptor = None if self._closed else os.dup(self._fd)  # the file may be closed while this takes its time
        if descriptor is not None:
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """From now on nothing is written, also not by a run that goes on: the descriptor's number is another's."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._fd)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class JournalReader:
    """The end that is read from: records by the position at which they begin."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end = 0
        """Where the last whole record ends."""
        self.torn = 0
        """Bytes after it, of a record that was cut off while it was written."""
        if path.exists() and not path.is_file():
            raise JournalError(f"cannot read {path}: it is no file")
        try:
            self._file = open(path, "rb")  # noqa: SIM115 - close() ends it
        except OSError as error:
            raise JournalError(f"cannot read {path}: {error.strerror or error}") from error

    def records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Every record with its position, the file's first line not among them.

        Raises:
            JournalError: it is no journal, of another version, or damaged before its last record.
        """
        for number, (at, line) in enumerate(self._lines(), 1):
            record = _parsed(line)
            if record is None:
                if number > 1 and not any(_parsed(later) for _, later in self._lines(at + len(line))):
                    break
                if number == 1 and not line.endswith(b"\n") and HEAD.startswith(line[: len(HEAD)]):
                    break
                raise JournalError(f"{self.path}, line {number}: " + ("no journal" if number == 1 else "damaged"))
            if number == 1:
                if record.get("format") != FORMAT:
                    raise JournalError(f"{self.path} is no journal")
                if record.get("version") != VERSION:
                    version = record.get("version")
                    raise JournalError(f"{self.path} has version {version!r}; this library reads {VERSION}")
            else:
                yield at, record
            self.end = at + len(line)
        self.torn = os.fstat(self._file.fileno()).st_size - self.end

    def record(self, at: int) -> dict[str, Any]:
        """The record at a position that `records` gave."""
        self._file.seek(at)
        record = _parsed(self._file.readline())
        if record is None:
            raise JournalError(f"{self.path} was changed while it was read")
        return record

    def _lines(self, at: int = 0) -> Iterator[tuple[int, bytes]]:
        while True:
            self._file.seek(at)
            line = self._file.readline()
            if not line:
                return
            yield at, line
            at += len(line)

    def close(self) -> None:
        self._file.close()


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


_held: set[str] = set()
_held_lock = threading.Lock()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder for one run at a time. The lock goes with this process, not with what it forked.

    Raises:
        JournalError: another run has it.
    """
    name = str(folder.resolve())
    busy = JournalError(f"checkpoint: another run is using {folder} at this moment")
    with _held_lock:
        if name in _held:
            raise busy
        _held.add(name)
    try:
        with open(folder / "lock", "wb") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise busy from None
            yield
    finally:
        with _held_lock:
            _held.discard(name)
