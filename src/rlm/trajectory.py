"""Trajectories: the events of a run as JSON lines on disk, written while it goes on, and read back into events.

The format is described in docs/trajectory.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlm._decode import EVENT_TYPES, Decoder
from rlm._encode import Shown
from rlm._spans import CutText, Span, expand
from rlm._writer import FORMAT, VERSION, TrajectoryWriter
from rlm.coverage import Coverage, CoverageReader
from rlm.errors import TrajectoryError
from rlm.events import (
    CallFinished,
    CallStarted,
    CellFinished,
    CellStarted,
    Event,
    ReplyReceived,
    RunFinished,
    RunStarted,
    TurnFinished,
    TurnStarted,
)
from rlm.evidence import Evidence, evidence, replies
from rlm.types import UNSET

__all__ = [
    "Call",
    "CutText",
    "Shown",
    "Span",
    "Trajectory",
    "TrajectoryWriter",
    "Turn",
    "expand",
    "read",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call made from code: its beginning, and its end unless the run ended first."""

    started: CallStarted
    finished: CallFinished | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of one run, as far as it got."""

    number: int
    started: TurnStarted | None = None
    reply: ReplyReceived | None = None
    cells: tuple[tuple[CellStarted, CellFinished | None, tuple[Call, ...]], ...] = ()
    """Each cell with its end and the calls made while it ran."""
    finished: TurnFinished | None = None


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """The events of a run and of its children, in the order they happened."""

    events: tuple[Event, ...]
    created: float | None = None
    torn: str | None = None
    """What is wrong with the last line, when the writer was stopped in the middle of it; that line is left out."""
    unknown: int = 0
    """Records of a kind this version does not know, left out too."""
    contexts: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Children's contexts that are slices of their parent's (or their prompt), by run."""
    coverage: Coverage | None = None
    """Which parts of the root's context models have seen, and through what; `None` where the file does not tell."""

    @property
    def evidence(self) -> Evidence | None:
        """Through which sub-calls the text of the root's answer came; `None` without one."""
        answer = next((e.response for e in self.events if isinstance(e, RunFinished) and e.parent is None), None)
        return None if answer is None else evidence(answer, replies(self.events))

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs' paths in the order they began."""
        return tuple(event.run for event in self.events if isinstance(event, RunStarted))

    def started(self, run: str) -> RunStarted | None:
        """The beginning of a run."""
        return next((e for e in self.events if isinstance(e, RunStarted) and e.run == run), None)

    def finished(self, run: str) -> RunFinished | None:
        """The end of a run, `None` while it goes on and for one that was killed."""
        return next((e for e in self.events if isinstance(e, RunFinished) and e.run == run), None)

    def calls(self, run: str | None = None) -> tuple[Call, ...]:
        """The calls made from the code of one run, or of all."""
        ends = {(e.run, e.call): e for e in self.events if isinstance(e, CallFinished)}
        starts = [e for e in self.events if isinstance(e, CallStarted) and run in (None, e.run)]
        return tuple(Call(started=start, finished=ends.get((start.run, start.call))) for start in starts)

    def turns(self, run: str) -> tuple[Turn, ...]:
        """The turns of one run, in order."""
        calls = {call.started.call: call for call in self.calls(run)}
        turns: dict[int, dict[str, Any]] = {}
        cells: dict[tuple[int, int], tuple[CellStarted, list[CellFinished], list[Call]]] = {}
        latest: tuple[int, int] | None = None
        for event in self.events:
            if event.run != run:
                continue
            match event:
                case TurnStarted():
                    turns.setdefault(event.turn, {})["started"] = event
                case ReplyReceived():
                    turns.setdefault(event.turn, {})["reply"] = event
                case TurnFinished():
                    turns.setdefault(event.turn, {})["finished"] = event
                case CellStarted():
                    turns.setdefault(event.turn, {})
                    latest = (event.turn, event.block)
                    cells[latest] = (event, [], [])
                case CellFinished() if (event.turn, event.block) in cells:
                    cells[event.turn, event.block][1].append(event)
                case CallStarted() if latest is not None:
                    cells[latest][2].append(calls[event.call])
                case _:
                    pass
        return tuple(
            Turn(
                number=number,
                cells=tuple(
                    (start, ends[-1] if ends else None, tuple(made))
                    for (turn, _), (start, ends, made) in cells.items()
                    if turn == number
                ),
                **found,
            )
            for number, found in sorted(turns.items())
        )

    def expand(self, text: str, context: object = UNSET) -> str:
        """The exact text of one in these events, given the context of the root run.

        Raises:
            TrajectoryError: it is another context, or the file does not tell how the context of a child's run follows
                from it; then `expand(text, that_context)` of this module does it.
        """
        return expand(text, self.context(text.run, context)) if isinstance(text, CutText) else text

    def context(self, run: str, context: object = UNSET) -> object:
        """The context of any run, given the root's."""
        parent = run.rpartition("/")[0]
        if not parent:
            if context is UNSET:
                raise TrajectoryError("the log holds spans of the context: give the context to have the text")
            return context
        if run not in self.contexts:
            raise TrajectoryError(f"the log does not hold the context of {run}, nor how it was made from its parent's")
        text = self.contexts[run]
        if isinstance(text, CutText) and not run.startswith(text.run + "/"):
            raise TrajectoryError(f"the log says that the context of {run} was made from that of {text.run}")
        return self.expand(text, context)


def read(path: str | os.PathLike[str]) -> Trajectory:
    """Read a trajectory file, of a run that ended, was killed, or still goes on.

    Raises:
        TrajectoryError: it is no trajectory, of a newer version, or damaged before its last line.
        OSError: it cannot be opened.
    """
    events: list[Event] = []
    contexts: dict[str, str] = {}
    header: dict[str, Any] = {}
    seen = CoverageReader()
    unknown, torn = 0, None
    with open(path, "rb") as file:
        decoder = Decoder(most=8 * os.fstat(file.fileno()).st_size + 1_000_000)
        for number, line in enumerate(file, 1):
            try:
                record = _parse(line)
                if number == 1:
                    header = _header(record)
                    continue
                if not isinstance(record.get("type"), str):
                    raise TrajectoryError("a record has no type")
                if record["type"] == "Context":
                    run = str(record.get("run"))
                    if "text" in record:
                        of_parent = record["text"] != {"same": "prompt"}
                        contexts[run] = decoder.text(record["text"], run.rpartition("/")[0] if of_parent else run)
                elif record["type"] in EVENT_TYPES:
                    events.append(decoder.event(record))
                elif record["type"] != "Coverage":
                    unknown += 1
                seen.add(record)
            except (TrajectoryError, ValueError) as error:
                if line.endswith(b"\n") or number == 1:
                    raise TrajectoryError(f"{path}, line {number}: {error}") from None
                torn = f"line {number} is cut off after {len(line):,} bytes"
    if not header:
        raise TrajectoryError(f"{path} is empty, not a trajectory")
    created = header.get("created")
    return Trajectory(
        events=tuple(events),
        created=created if isinstance(created, float) else None,
        torn=torn,
        unknown=unknown,
        contexts=contexts,
        coverage=seen.coverage(),
    )


def _parse(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TrajectoryError(f"not a line of JSON: {error}") from None
    if not isinstance(record, dict):
        raise TrajectoryError("not a JSON object")
    return record


def _header(record: Mapping[str, Any]) -> dict[str, Any]:
    if record.get("format") != FORMAT:
        raise TrajectoryError("not a trajectory: the first line names another format")
    version = record.get("version")
    if version != VERSION:
        raise TrajectoryError(f"format version {version!r}; this library reads version {VERSION}")
    return dict(record)
