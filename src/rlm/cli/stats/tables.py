"""Many runs as tables on the terminal, and as a CSV file with a line per run."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlm.cli.stats.measure import Measured, by_group, labelled, most_used, percentile, values
from rlm.logger import printable

PERCENTILES = (50, 90, 99)
WIDTH = 100
"""Columns where the output is no terminal."""
MOST_MODELS = 20
AT_ONCE = 3
"""Groups beside the first."""

Kind = Literal["text", "time", "whole", "number"]
COLUMNS: Final[dict[str, Kind]] = {
    "group": "text",
    "file": "text",
    "run": "text",
    "status": "text",
    "limit": "text",
    "error": "text",
    "model": "text",
    "environment": "text",
    "question": "text",
    "began": "time",
    "seconds": "number",
    "turns": "whole",
    "child_runs": "whole",
    "llm_calls": "whole",
    "rlm_calls": "whole",
    "failed_calls": "whole",
    "failing_turns": "whole",
    "model_calls": "whole",
    "input_tokens": "whole",
    "output_tokens": "whole",
    "dollars": "number",
    "known_dollars": "number",
    "unpriced": "whole",
    "unmetered": "whole",
    "damaged_lines": "whole",
    "models": "text",
}
"""Of the files, in their order."""


def row(run: Measured) -> dict[str, Any]:
    made = {name: getattr(run, name) for name in COLUMNS}
    made["models"] = json.dumps({model: usage.to_dict() for model, usage in run.models.items()})
    return made


def write_csv(runs: Sequence[Measured], path: Path) -> None:
    """A line per run; what is not known is empty.

    Raises:
        OSError: it cannot be written.
    """
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([written(value) for value in row(run).values()] for run in runs)


def written(value: object) -> object:
    """Times as ISO 8601 in UTC; text that no spreadsheet takes for a formula."""
    if isinstance(value, str):
        return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def show(runs: Sequence[Measured]) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(Text(f"{len(runs):,} runs: {endings(runs)}"))
    damaged = sum(run.damaged_lines for run in runs)
    if damaged:
        console.print(Text(f"{damaged:,} lines could not be read and are left out", style="yellow"))
    groups = labelled(by_group(runs))
    if len(groups) > 1:
        for table in compared(groups):
            console.print(table)
    console.print(figures(runs))
    console.print(models(runs))


def endings(runs: Iterable[Measured]) -> str:
    counted = Counter(ending(run) for run in runs)
    return ", ".join(f"{count:,} {name}" for name, count in counted.most_common())


def ending(run: Measured) -> str:
    if run.status == "forced":
        return printable(f"forced by {run.limit}"[:80])
    if run.status == "failed" and run.error:
        return printable(f"failed with {run.error[:60]}")
    return "running or killed" if run.status == "running" else run.status


Figure = tuple[str, Callable[[Measured], float | None], Callable[[float], str]]


def compared(groups: dict[str, list[Measured]]) -> Iterator[Table]:
    """A column for each group, after those of the first how many times the first group's a figure is."""
    (head, first), *others = groups.items()
    for at in range(0, len(others), AT_ONCE):
        table = Table(title="Compared, per run", title_justify="left")
        table.add_column("")
        table.add_column(Text(shortened(printable(head), 30)), justify="right")
        for name, _ in others[at : at + AT_ONCE]:
            table.add_column(Text(shortened(printable(name), 30)), justify="right")
            table.add_column("×", justify="right")
        columns = [first, *(runs for _, runs in others[at : at + AT_ONCE])]
        for name, of, form in COMPARED:
            known = [of(runs) for runs in columns]
            cells = ["unknown" if value is None else form(value) for value in known]
            ratios = times(known) if name not in COUNTED else [""] * len(known[1:])
            rest = [cell for pair in zip(cells[1:], ratios, strict=True) for cell in pair]
            table.add_row(name, cells[0], *rest)
        yield table


def times(known: Sequence[float | None]) -> list[str]:
    base = known[0]
    return ["" if value is None or not base or base < 0 else ratio(value / base) for value in known[1:]]


def ratio(value: float) -> str:
    return f"{value:,.2f}" if value >= 0.1 else f"{value:.1g}"


def share(status: str) -> Callable[[Sequence[Measured]], float]:
    return lambda runs: sum(run.status == status for run in runs) / len(runs)


def of_each(
    figure: Figure,
) -> Iterator[tuple[str, Callable[[Sequence[Measured]], float | None], Callable[[float], str]]]:
    name, of, form = figure
    yield f"{name}, mean", lambda runs: sum(known) / len(known) if (known := values(runs, of)) else None, form
    yield f"{name}, p50", lambda runs: percentile(known, 50) if (known := values(runs, of)) else None, form


def figures(runs: Sequence[Measured]) -> Table:
    table = Table(title="Per run", title_justify="left")
    table.add_column("")
    for name in ("total", "mean", *(f"p{p}" for p in PERCENTILES), "max", "unknown"):
        table.add_column(name, justify="right")
    for name, of, form in FIGURES:
        known = values(runs, of)
        if not known:
            table.add_row(name, *["unknown"] * 3, *[""] * 3, number(len(runs)))
            continue
        columns = [sum(known), sum(known) / len(known), *(percentile(known, p) for p in PERCENTILES), known[-1]]
        unknown = len(runs) - len(known)
        table.add_row(name, *(form(v) for v in columns), number(unknown) if unknown else "")
    return table


def models(runs: Sequence[Measured]) -> Table:
    table = Table(title="Per model", title_justify="left")
    table.add_column("model")
    for name in ("runs", "calls", "input tokens", "output tokens", "cost", "without a price"):
        table.add_column(name, justify="right")
    for use in most_used(runs, MOST_MODELS):
        usage = use.usage
        more = " or more" if usage.unmetered else ""
        counts = [number(usage.input_tokens) + more, number(usage.output_tokens) + more]
        cost = "unknown" if use.dollars is None else dollars(use.dollars)
        without = number(usage.unpriced) if usage.unpriced else ""
        table.add_row(
            Text(shortened(printable(use.model))), number(use.runs), number(usage.calls), *counts, cost, without
        )
    return table


def shortened(text: str, most: int = 60) -> str:
    """The middle of a long name says least."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - most // 2 + 1 :]}"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:,.1f}"


def dollars(value: float) -> str:
    return f"${value:,.4f}"


def seconds(value: float) -> str:
    return f"{value:,.1f} s" if value >= 10 else f"{value:.2g} s"


COST: Final[Figure] = ("cost", lambda run: run.dollars, dollars)
TIME: Final[Figure] = ("time", lambda run: run.seconds, seconds)
TURNS: Final[Figure] = ("turns", lambda run: run.turns, number)
CALLS: Final[Figure] = ("sub-calls", lambda run: run.calls, number)
FIGURES: Final[tuple[Figure, ...]] = (
    COST,
    TIME,
    TURNS,
    CALLS,
    ("failed sub-calls", lambda run: run.failed_calls, number),
    ("failing turns", lambda run: run.failing_turns, number),
    ("input tokens", lambda run: run.input_tokens, number),
    ("output tokens", lambda run: run.output_tokens, number),
)
COUNTED: Final = ("runs", "cost unknown")
"""How many times as many runs there are says nothing."""
COMPARED: Final = (
    ("runs", len, number),
    *((name, share(name), "{:.1%}".format) for name in ("answered", "forced", "failed")),
    *(row for figure in (COST, TIME, TURNS, CALLS) for row in of_each(figure)),
    ("cost unknown", lambda runs: sum(run.dollars is None for run in runs), number),
)
