"""What one asks of a run first, folded from its records: calls, dollars, time, the slowest part, failures, coverage."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rlm.coverage import CoverageReader
from rlm.types import Usage
from rlm.viewer.coverage import coverage_in
from rlm.viewer.rows import cell_error, failure

MOST_ERRORS = 1_000
ASIDE = ("Context", "Coverage")
"""Records that are no events of the run."""


@dataclass(slots=True)
class Step:
    """Something a run did that took time. `within` is the slowest call made from it."""

    seconds: float
    kind: str
    run: str
    turn: int
    line: int
    number: int = 0
    child: str | None = None
    calls: int = 0
    within: Step | None = None

    def to_dict(self) -> dict[str, Any]:
        names = ("seconds", "kind", "run", "turn", "line", "number", "child", "calls")
        return {name: getattr(self, name) for name in names}


@dataclass(slots=True)
class _Run:
    """What is remembered of one run while it goes on, and of it ever after."""

    began: float | None = None
    doing: tuple[str, float] | None = None
    """What it is at, and since when: `model` or `code`."""
    turn: int = 0
    turns: int = 0
    failed: bool = False
    slowest: Step | None = None
    slowest_call: Step | None = None
    calls: int = 0


@dataclass
class Summary:
    """A fold over the records of one file, in their order; `add` one after the other."""

    run: str = ""
    model: str = ""
    question: Any = None
    environment: str = ""
    began: float | None = None
    latest: float = 0.0
    finished: dict[str, Any] | None = None
    turns: int = 0
    runs: int = 0
    events: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    """Sub-calls made from code: `llm`, `rlm`, and how they ended: `done`, `failed`, `cancelled`."""
    failing_turns: int = 0
    errors: int = 0
    error_lines: list[int] = field(default_factory=list)
    first_failure: dict[str, Any] | None = None
    seen: CoverageReader = field(default_factory=CoverageReader)
    context: tuple[str, int] = ("", 0)
    """Type and size of the root's context."""
    _final: dict[str, Usage] | None = None
    _usage: dict[str, dict[str, Any]] = field(default_factory=dict)
    _open: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    _runs: dict[str, _Run] = field(default_factory=dict)

    def add(self, record: dict[str, Any], line: int) -> None:
        kind = record["type"]
        if kind not in ASIDE:
            self.events += 1
            self.latest = max(self.latest, float(record["time"]))
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, record, line, self._runs.setdefault(record["run"], _Run()))
        self.seen.add(record)

    @property
    def ended(self) -> bool:
        return self.finished is not None

    @property
    def status(self) -> str:
        if self.finished is None:
            return "running"
        return "failed" if self.finished.get("error") is not None else str(self.finished.get("status") or "failed")

    @property
    def seconds(self) -> float:
        if self.finished is not None:
            return float(self.finished["seconds"])
        return 0.0 if self.began is None else self.latest - self.began

    @property
    def usage(self) -> dict[str, Usage]:
        """By model: the run's own total once it ended, before that the sum of the replies so far."""
        if self._final is not None:
            return self._final
        return {model: Usage.from_dict(counts) for model, counts in self._usage.items()}

    @property
    def total(self) -> Usage:
        return sum(self.usage.values(), Usage())

    @property
    def answer(self) -> Any:
        return None if self.finished is None else self.finished.get("response")

    def slowest(self) -> list[Step]:
        """From the slowest step of the run down to the slowest in it, and so on."""
        found: list[Step] = []
        step = self._runs[self.run].slowest if self.run in self._runs else None
        while step is not None and len(found) < 100:
            found.append(step)
            below = self._runs.get(step.child) if step.child is not None else None
            step = step.within if step.within is not None else below.slowest if below is not None else None
        return found

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.brief(),
            "slowest": [step.to_dict() for step in self.slowest()],
            "context": self.context,
            "coverage": coverage_in(self.seen),
        }

    def brief(self) -> dict[str, Any]:
        """What a list of runs says of one."""
        total = self.total
        finished = self.finished or {}
        names = ("run", "model", "environment", "began", "turns", "runs", "events", "failing_turns", "errors", "status")
        return {
            **{name: getattr(self, name) for name in names},
            "seconds": self.seconds,
            "limit": finished.get("limit"),
            "error": failure(finished.get("error")),
            "calls": dict(self.calls),
            "running": len(self._open),
            "model_calls": total.calls,
            "dollars": total.cost,
            "known_dollars": total.dollars,
            "unpriced": total.unpriced,
            "unmetered": total.unmetered,
            "tokens": [total.input_tokens, total.output_tokens],
            "usage": {model: used.to_dict() for model, used in self.usage.items()},
            "first_failure": self.first_failure,
        }

    def _run_started(self, record: dict[str, Any], line: int, run: _Run) -> None:
        run.began = float(record["time"])
        if not self.run:
            self.run, self.began = record["run"], float(record["time"])
            self.model, self.environment = str(record["model"]), str(record["environment"])
            self.question = record.get("question")
            self.context = str(record["context_type"]), int(record["context_size"])
        else:
            self.runs += 1

    def _turn_started(self, record: dict[str, Any], line: int, run: _Run) -> None:
        if run.began is not None and not run.turns:
            self._step(run, Step(float(record["time"]) - run.began, "start", record["run"], record["turn"], line))
        run.turn, run.doing = record["turn"], ("model", float(record["time"]))
        run.turns += 1
        self.turns += record["run"] == self.run

    def _reply(self, record: dict[str, Any], line: int, run: _Run) -> None:
        self._count(record["reply"])
        kind = "summary" if record["type"] == "Compacted" else "model"
        run.doing = ("model", float(record["time"])) if kind == "summary" else None
        self._step(run, Step(float(record["seconds"]), kind, record["run"], record["turn"], line))

    def _cell_started(self, record: dict[str, Any], line: int, run: _Run) -> None:
        run.slowest_call, run.calls = None, 0
        run.doing = "code", float(record["time"])

    def _cell(self, record: dict[str, Any], line: int, run: _Run) -> None:
        cell, run.doing = record["cell"], None
        step = Step(float(cell.get("seconds", 0.0)), "code", record["run"], record["turn"], line)
        step.within, step.calls = run.slowest_call, run.calls
        self._step(run, step)
        error = cell_error(cell)
        if error is not None:
            self._failed(record["run"], record["turn"], line, error, run)

    def _call_started(self, record: dict[str, Any], line: int, run: _Run) -> None:
        self.calls[record["kind"]] += 1
        run.calls += 1
        self._open[record["run"], record["call"]] = record

    def _call_finished(self, record: dict[str, Any], line: int, run: _Run) -> None:
        started = self._open.pop((record["run"], record["call"]), None)
        error = record.get("error")
        ended = "done" if error is None else "cancelled" if error[0] == "cancelled" else "failed"
        self.calls[ended] += 1
        if error is not None:
            self._error(line)
        child = None if started is None else started.get("child")
        # A child's calls are records of their own: its total would count them twice.
        if started is not None and child is None:
            self._count({"model": started["model"], "usage": record["usage"]})
        seconds, turn = float(record["seconds"]), run.turn if started is None else started["turn"]
        if run.slowest_call is None or seconds > run.slowest_call.seconds:
            run.slowest_call = Step(seconds, "call", record["run"], turn, line, record["call"], child)

    def _run_finished(self, record: dict[str, Any], line: int, run: _Run) -> None:
        if run.doing is not None:  # it was cut off
            kind, since = run.doing
            self._step(run, Step(float(record["time"]) - since, kind, record["run"], run.turn, line))
        error = record.get("error")
        if error is not None:
            if not run.failed:
                self._failed(record["run"], run.turn, line, failure(error) or "", run)
            else:
                self._error(line)
        if record["run"] == self.run:
            total = {str(model): Usage.from_dict(counts) for model, counts in record["usage"]}
            sum(total.values(), Usage())  # fails here, on what is no number, and not when it is asked for
            self._final, self.finished = total, record

    def _count(self, reply: dict[str, Any]) -> None:
        used = self._usage.setdefault(str(reply["model"]), {})
        for name, count in reply["usage"].items():
            used[name] = used.get(name, 0) + count

    def _step(self, run: _Run, step: Step) -> None:
        if run.slowest is None or step.seconds > run.slowest.seconds:
            run.slowest = step

    def _failed(self, run: str, turn: int, line: int, text: str, state: _Run) -> None:
        state.failed = True
        self.failing_turns += 1
        self._error(line)
        if self.first_failure is None:
            self.first_failure = {"run": run, "turn": turn, "line": line, "text": text}

    def _error(self, line: int) -> None:
        self.errors += 1
        if len(self.error_lines) < MOST_ERRORS:
            self.error_lines.append(line)


_HANDLERS = {
    "RunStarted": Summary._run_started,
    "TurnStarted": Summary._turn_started,
    "ReplyReceived": Summary._reply,
    "Compacted": Summary._reply,
    "CellStarted": Summary._cell_started,
    "CellFinished": Summary._cell,
    "CallStarted": Summary._call_started,
    "CallFinished": Summary._call_finished,
    "RunFinished": Summary._run_finished,
}
