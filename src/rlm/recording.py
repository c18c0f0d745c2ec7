"""Where the journals of an `RLM`'s runs are: a checkpoint's folder, a recording that is replayed, or a tape that a test
has put in for every run of the process."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rlm._journal_digest import Digester, task_digest
from rlm._journal_entry import Recording, Run
from rlm._journal_file import JournalFile, alone
from rlm._secret import Masks
from rlm.errors import ConfigurationError, JournalError, ReplayMismatchError
from rlm.journal import Journal

FILE: Final = "journal.jsonl"
QUESTION: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a run is about, and the keys that must not be written down."""

    context: object
    question: str | None
    secrets: Collection[str] = field(repr=False)

    @property
    def asked(self) -> str | None:
        """The question, to be read."""
        return None if self.question is None else Masks(self.secrets).text(self.question)[:QUESTION]

    def digest(self, digester: Digester) -> str:
        return task_digest(self.context, self.question, digester)


class Tape:
    """One file for many runs: recorded, or replayed, each run in the place of one about the same question and context.
    From any thread.

    Each recorded run is replayed once, in order; with `again` as often as it is made, from the first on.

    Raises:
        JournalError: the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, record: bool = False, again: bool = False) -> None:
        self.path = Path(path)
        self._again = again
        self._lock = threading.Lock()
        self._given: Counter[str] = Counter()
        self._file: JournalFile | None = None
        self._journals: list[Journal] = []
        self._mismatches: list[ReplayMismatchError] = []
        if record:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = JournalFile(self.path, end=0)

    @property
    def mismatches(self) -> tuple[ReplayMismatchError, ...]:
        """Where replayed runs departed, whatever the program made of these errors."""
        with self._lock:
            found = [journal.mismatch for journal in self._journals if journal.mismatch is not None]
            return (*self._mismatches, *found)

    @property
    def unfinished(self) -> int:
        """How many runs have begun and are not over."""
        with self._lock:
            return sum(not journal.over for journal in self._journals)

    def left(self) -> list[ReplayMismatchError]:
        """Recorded runs that were not made."""
        recording = Recording.of_file(journal_in(self.path))
        recording.close()
        with self._lock:
            given = self._given.copy()
        left = []
        for run in recording.runs.values():
            given[run.task] -= 1
            if given[run.task] < 0:
                text = f"{self.path} holds a run {_about(run.question)} that was not made"
                left.append(ReplayMismatchError(text, run="", place="the end"))
        return left

    def enter(self, stack: ExitStack, task: Task) -> Journal:
        """A journal for a run that begins."""
        if self._file is not None:
            journal = _begin(Recording(), self._file, task)
        else:
            recording = Recording.of_file(journal_in(self.path))
            stack.callback(recording.close)
            run = self._run(recording, task.digest(Digester(covers=recording.covers)), task.asked)
            journal = Journal(run, recording, None, secrets=task.secrets)
        with self._lock:
            self._journals.append(journal)
        return journal

    def _run(self, recording: Recording, task: str, question: str | None) -> Run:
        """The recorded run that is replayed next."""
        runs = [run for run in recording.runs.values() if run.task == task]
        with self._lock:
            number = self._given[task]
            if runs and (self._again or number < len(runs)):
                self._given[task] += 1
                return runs[number % len(runs)]
            text = _one_more(self.path, len(runs), question) if runs else _no_run(self.path, recording, question)
            error = ReplayMismatchError(text, run="", place="the beginning")
            self._mismatches.append(error)
        raise error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


_tape: Tape | None = None


@contextmanager
def using(tape: Tape) -> Iterator[None]:
    """Put a tape in for every run of this process that has no journal of its own."""
    global _tape
    before, _tape = _tape, tape
    try:
        yield
    finally:
        _tape = before
        tape.close()


class Journals:
    """What an `RLM` was told of its runs' journals.

    Raises:
        ConfigurationError: things that exclude each other.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        replay: str | os.PathLike[str] | None = None,
        *,
        sync: bool = False,
    ) -> None:
        if checkpoint is not None and replay is not None:
            raise ConfigurationError("give checkpoint= or replay=, not both: a replay is not written down again")
        if sync and checkpoint is None:
            raise ConfigurationError("checkpoint_sync goes with checkpoint=DIR")
        self._checkpoint, recorded = path_of("checkpoint", checkpoint), path_of("replay", replay)
        self._sync = sync
        self._replay = None if recorded is None else Tape(recorded, again=True)
        if self._replay is not None and not os.path.isfile(journal_in(self._replay.path)):
            raise ConfigurationError(f"replay: there is no journal {self._replay.path}")

    def refuse_kept(self) -> None:
        """Raise `ConfigurationError` where a session is to be kept that can have no checkpoint."""
        if self._checkpoint is not None:
            raise ConfigurationError("checkpoint= is for one completion; a session that is kept has none")

    @asynccontextmanager
    async def open(
        self, context: object, question: str | None, secrets: Collection[str]
    ) -> AsyncIterator[Journal | None]:
        """The journal of a run that begins; `None` where none is wanted.

        Raises:
            JournalError: it is of another run, is used by one at the moment, or cannot be read or written.
            ReplayMismatchError: the recording has no such run.
        """
        source = self._checkpoint or self._replay or _tape
        if source is None:
            yield None
            return

        def enter() -> Journal:
            task = Task(context=context, question=question, secrets=secrets)
            return source.enter(stack, task) if isinstance(source, Tape) else _resume(stack, source, task, self._sync)

        with ExitStack() as stack:
            # A context may be large, and a journal: both are read off the loop.
            journal = await asyncio.to_thread(enter)
            try:
                yield journal
            except (Exception, asyncio.CancelledError) as exc:
                # Where the journal itself failed, what was answered may not be kept.
                if source is self._checkpoint and not isinstance(exc, JournalError):
                    exc.add_note(f"What was answered is kept in {source}: the same call goes on from there.")
                raise
            finally:
                journal.end()


def path_of(setting: str, given: object) -> Path | None:
    """What a setting was given, as a path; `None` stays it. Raises `ConfigurationError` for what is none: an empty one
    would be the directory that the program happens to be in."""
    path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if given is not None and (not isinstance(path, str) or not path or "\0" in path):
        raise ConfigurationError(f"{setting} must be a path, not {given!r}")
    return None if path is None else Path(path)


def journal_in(path: Path) -> Path:
    """A journal's file, which may be named by its folder."""
    return path / FILE if os.path.isdir(path) else path


def _resume(stack: ExitStack, folder: Path, task: Task, sync: bool) -> Journal:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stack.enter_context(alone(folder))
    except OSError as error:
        raise JournalError(f"checkpoint: cannot use {folder}: {error.strerror or error}") from error
    path = folder / FILE
    recording = Recording.of_file(path) if path.exists() else Recording()
    stack.callback(recording.close)
    known = next(iter(recording.runs.values()), None)
    if known is not None and known.task != task.digest(Digester(covers=recording.covers)):
        about = f" (its question was {known.question!r})" if known.question is not None else ""
        raise JournalError(
            f"checkpoint: {folder} holds a run about another context or question{about}; "
            "give the same ones to resume it, or another directory"
        )
    end = 0 if recording.reader is None else recording.reader.end
    file = JournalFile(path, end=end, sync=sync)
    stack.callback(file.close)
    if known is None:
        return _begin(Recording(), file, task)
    untold = recording.untold_failures(known)
    if untold:
        file.append({"type": "void", "run": known.path, "keys": [list(key) for key in untold]})
    for key in untold:
        recording.drop(key)
    return Journal(known, recording, file, secrets=task.secrets)


def _begin(recording: Recording, file: JournalFile, task: Task) -> Journal:
    digest = task.digest(Digester(Masks(task.secrets), note=file.append))
    run = Run(os.urandom(4).hex(), digest)
    file.append({"type": "run", "run": run.path, "task": digest, "question": task.asked, "created": time.time()})
    return Journal(run, recording, file, secrets=task.secrets)


def _no_run(path: Path, recording: Recording, question: str | None) -> str:
    held = "; ".join(repr(run.question) for run in list(recording.runs.values())[:5]) or "none at all"
    return (
        f"{path} holds no run {_about(question)} about this context; it holds runs with the questions: {held}. "
        "Where the question is there, the context is another"
    )


def _one_more(path: Path, number: int, question: str | None) -> str:
    many = "one run" if number == 1 else f"{number} runs"
    return f"{path} holds {many} {_about(question)} about this context, and this is one more"


def _about(question: str | None) -> str:
    return "without a question" if question is None else f"with the question {question!r}"
