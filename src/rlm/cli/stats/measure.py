"""One run's log as a line of figures. The fields of `Measured` are the columns of the files that `rlm stats` writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rlm.types import Usage
from rlm.viewer import Log

LARGEST: Final = 2**63 - 1
"""What is beyond a 64-bit integer was not counted by anybody."""
LONGEST: Final = 10_000
LINES_AT_ONCE: Final = 20_000


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one run took; `None` is what is not known. Seconds, tokens, US dollars."""

    group: str
    """The directory the log lies in, as it was named."""
    file: str
    run: str
    status: str
    """`answered`, `forced`, `failed`, or `running`: also of a run that was killed, which says no end."""
    limit: str | None
    error: str | None
    model: str
    environment: str
    question: str | None
    began: datetime | None
    seconds: float | None
    turns: int
    child_runs: int
    llm_calls: int
    rlm_calls: int
    failed_calls: int
    failing_turns: int
    model_calls: int | None
    input_tokens: int | None
    output_tokens: int | None
    dollars: float | None
    known_dollars: float | None
    unpriced: int | None
    unmetered: int | None
    damaged_lines: int
    models: Mapping[str, Usage]

    @property
    def calls(self) -> int:
        return self.llm_calls + self.rlm_calls


def places(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Each log once, with its group: the logs (`*.jsonl`) of the directories, and the files named.

    Raises:
        OSError: a directory cannot be read.
    """
    found: dict[str, tuple[str, Path]] = {}
    for path in paths:
        names = sorted(name for name in os.listdir(path) if name.endswith(".jsonl")) if path.is_dir() else None
        files = [path] if names is None else [path / name for name in names]
        for file in files:
            found.setdefault(os.path.realpath(file), (str(file.parent), file))
    return list(found.values())


def measure(group: str, path: Path, progress: Callable[[int], object] = lambda size: None) -> Measured:
    """Read one log; `progress` is told the bytes read since it was last.

    Raises:
        TrajectoryError: it is none.
        OSError: it cannot be read.
    """
    if path.exists() and not path.is_file():  # a pipe would block for ever
        raise OSError(f"{path} is no regular file")
    log = Log(path)
    known = 0
    while log.update(most=LINES_AT_ONCE):
        progress(log.size - known)
        known = log.size
    summary = log.summary
    finished = summary.finished or {}
    error, limit, total = finished.get("error"), finished.get("limit"), summary.total
    return Measured(
        group=text(group),
        file=text(path.name),
        run=text(summary.run),
        status=summary.status,
        limit=None if limit is None else text(limit),
        error=None if error is None else text(error[0]),
        model=text(summary.model),
        environment=text(summary.environment),
        question=text(summary.question) if isinstance(summary.question, str) else None,
        began=None if summary.began is None else datetime.fromtimestamp(summary.began, UTC),
        seconds=number(summary.seconds),
        turns=summary.turns,
        child_runs=summary.runs,
        llm_calls=summary.calls["llm"],
        rlm_calls=summary.calls["rlm"],
        failed_calls=summary.calls["failed"],
        failing_turns=summary.failing_turns,
        model_calls=whole(total.calls),
        input_tokens=None if total.unmetered else whole(total.input_tokens),
        output_tokens=None if total.unmetered else whole(total.output_tokens),
        dollars=number(total.cost),
        known_dollars=number(total.dollars),
        unpriced=whole(total.unpriced),
        unmetered=whole(total.unmetered),
        damaged_lines=len(log.damaged),
        models={text(model): usage for model, usage in summary.usage.items()},
    )


def text(value: Any) -> str:
    """A text that can be written: halves of characters and names that are no UTF-8 become question marks."""
    return str(value)[:LONGEST].encode("utf-8", "replace").decode()


def whole(value: Any) -> int | None:
    return None if number(value) is None else int(value)


def number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) <= LARGEST else None


def values(runs: Sequence[Measured], of: Callable[[Measured], float | None]) -> list[float]:
    """What is known of it, in order of size."""
    return sorted(found for run in runs if (found := of(run)) is not None)


def percentile(ordered: Sequence[float], p: float) -> float:
    """By linear interpolation between the two nearest."""
    place = (len(ordered) - 1) * p / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def by_group(runs: Sequence[Measured]) -> dict[str, list[Measured]]:
    """In the order in which they were named."""
    groups: dict[str, list[Measured]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    return groups


def labelled(groups: Mapping[str, list[Measured]]) -> dict[str, list[Measured]]:
    """Without the folders that all have in common."""
    try:
        common = os.path.commonpath(groups) if len(groups) > 1 else ""
    except ValueError:  # one from the root, another from here
        common = ""
    return {os.path.relpath(name, common) if common else name: runs for name, runs in groups.items()}


@dataclass(frozen=True)
class ModelUse:
    """What one model was used for, over many runs."""

    model: str
    runs: int
    usage: Usage

    @property
    def dollars(self) -> float | None:
        """The part that is known; `None` where none is."""
        return self.usage.dollars if self.usage.dollars or not self.usage.unpriced else None


def by_model(runs: Sequence[Measured]) -> list[ModelUse]:
    """The most called first."""
    used: dict[str, tuple[int, Usage]] = {}
    for run in runs:
        for model, usage in sane(run.models):
            count, total = used.get(model, (0, Usage()))
            used[model] = count + 1, total + usage
    uses = [ModelUse(model, count, usage) for model, (count, usage) in used.items()]
    return sorted(uses, key=lambda use: (-use.usage.calls, use.model))


def most_used(runs: Sequence[Measured], most: int) -> list[ModelUse]:
    """At most so many rows; the last is then all others together."""
    uses = by_model(runs)
    if len(uses) <= most:
        return uses
    others = uses[most - 1 :]
    names = {use.model for use in others}
    count = sum(not names.isdisjoint(run.models) for run in runs)
    return [
        *uses[: most - 1],
        ModelUse(f"{len(others):,} others", count, sum((use.usage for use in others), Usage())),
    ]


def sane(models: Mapping[str, Usage]) -> Iterator[tuple[str, Usage]]:
    for model, usage in models.items():
        if all(number(count) is not None for count in usage.to_dict().values()):
            yield model, usage
