"""A run's events as the reference library's `metadata`: the settings of the run and its iterations, as plain dicts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rlm.events import CellFinished, Event, RunStarted
from rlm.trajectory import Call, Trajectory, Turn
from rlm.types import UNSET, UsageSummary

SETTINGS = ("max_depth", "max_iterations", "backend", "backend_kwargs", "environment_kwargs", "other_backends")


def metadata_of(events: Iterable[Event], run: str | None = None) -> dict[str, Any] | None:
    """`{"run_metadata": …, "iterations": […]}` of one run, the first to begin unless named; `None` when none began.

    A prompt is what was new to the model in that turn, not the history again. A call that was a run of its own has its
    own such dict in `metadata`.
    """
    return _of_run(Trajectory(events=tuple(events)), run)


def _of_run(trajectory: Trajectory, run: str | None) -> dict[str, Any] | None:
    run = run or next(iter(trajectory.runs), None)
    started = trajectory.started(run) if run else None
    if run is None or started is None:
        return None
    iterations: list[dict[str, Any]] = []
    shown = started.question
    turns = trajectory.turns(run)
    for turn in turns:
        answer = _answer(trajectory, run) if turn is turns[-1] else None
        iterations.append(_iteration(trajectory, turn, shown, answer))
        shown = turn.finished.shown if turn.finished else None
    return {"run_metadata": _settings(started), "iterations": iterations}


def _settings(started: RunStarted) -> dict[str, Any]:
    options = dict(started.options)
    out: dict[str, Any] = {name: options.get(name) for name in SETTINGS}
    out["backend_kwargs"] = out["backend_kwargs"] or {}
    out["environment_kwargs"] = out["environment_kwargs"] or {}
    return {"root_model": started.model, **out, "environment_type": started.environment}


def _answer(trajectory: Trajectory, run: str) -> str | None:
    finished = trajectory.finished(run)
    return finished.response if finished else None


def _iteration(trajectory: Trajectory, turn: Turn, shown: str | None, answer: str | None) -> dict[str, Any]:
    began = turn.started or turn.reply or turn.finished
    return {
        "type": "iteration",
        "iteration": turn.number,
        "timestamp": datetime.fromtimestamp(began.time, UTC).isoformat() if began else None,
        "prompt": [] if shown is None else [{"role": "user", "content": shown}],
        "response": turn.reply.reply.text if turn.reply else "",
        "code_blocks": [
            {"code": started.code, "result": _result(trajectory, finished, calls)}
            for started, finished, calls in turn.cells
        ],
        "final_answer": answer,
        "iteration_time": turn.finished.seconds if turn.finished else None,
    }


def _result(trajectory: Trajectory, finished: CellFinished | None, calls: Iterable[Call]) -> dict[str, Any]:
    cell = finished.cell if finished else None
    return {
        "stdout": cell.output if cell else "",
        "stderr": cell.error.traceback if cell and cell.error else "",
        "locals": {},
        "execution_time": cell.seconds if cell else None,
        "rlm_calls": [_call(trajectory, call) for call in calls],
        "final_answer": None if cell is None or cell.answer is UNSET else str(cell.answer),
    }


def _call(trajectory: Trajectory, call: Call) -> dict[str, Any]:
    started, finished = call.started, call.finished
    usage = UsageSummary({started.model: finished.usage} if finished else {})
    out: dict[str, Any] = {
        "root_model": started.model,
        "prompt": started.prompt,
        "response": finished.reply.text if finished and finished.reply else "",
        "usage_summary": usage.to_dict(),
        "execution_time": finished.seconds if finished else None,
    }
    if finished and finished.error:
        out["error"] = ": ".join(finished.error)
    if started.child and (metadata := _of_run(trajectory, started.child)) is not None:
        out["metadata"] = metadata
    return out
