"""The figures below the picture: calls and agents by what became of them, what was used, what is left."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from rlm.live.agent import Calls
from rlm.live.fold import Run
from rlm.live.words import Spent, cost, dollars, plural, span, tokens

Tone = Literal["done", "open", "failed", "note"]
Figures = tuple[tuple[str, Tone], ...]

LOW: Final = 0.2
"""The share of a limit below which what is left is called to attention."""


@dataclass(slots=True)
class Past:
    """What the runs that are over come to, which are shown with those that go on."""

    runs: int = 0
    calls: Calls = field(default_factory=Calls)
    spent: Spent = field(default_factory=Spent)
    agents: int = 0
    agents_failed: int = 0
    started: float = math.inf

    def add(self, run: Run) -> None:
        self.runs += 1
        self.calls.done += run.calls.done
        self.calls.failed += run.calls.failed
        self.calls.cut += run.calls.cut
        self.spent += run.spent
        self.agents += run.agents_begun - 1
        self.agents_failed += run.agents_failed
        self.started = min(self.started, run.started)


def agents(runs: Sequence[Run], past: Past) -> Figures:
    """RLMs that were called from code; the roots are not among them."""
    work = sum(len(run.agents) - 1 for run in runs)
    begun = past.agents + sum(run.agents_begun - 1 for run in runs)
    failed = past.agents_failed + sum(run.agents_failed for run in runs)
    waiting = sum(run.agents_called for run in runs) - work
    return _counted(
        (work, "at work", "open"),
        (max(0, waiting), "waiting to begin", "note"),
        (begun - work - failed, "done", "done"),
        (failed, "failed", "failed"),
    )


def calls(runs: Sequence[Run], past: Past, spent: Spent) -> Figures:
    return _counted(
        (past.calls.done + sum(run.calls.done for run in runs), "done", "done"),
        (sum(run.calls.open for run in runs), "in flight", "open"),
        (past.calls.failed + sum(run.calls.failed for run in runs), "failed", "failed"),
        (past.calls.cut + sum(run.calls.cut for run in runs), "cut off", "failed"),
        (spent.resent, "sent again", "note"),
        (spent.reused, "reused", "note"),
    )


def _counted(*figures: tuple[int, str, Tone]) -> Figures:
    return tuple((f"{count:,} {words}", tone) for count, words, tone in figures if count)


def failures(runs: Sequence[Run]) -> tuple[str, ...]:
    """Of several runs: in how many words how often, the most frequent first."""
    counts = Counter[str]()
    for run in runs:
        counts.update(run.failures.counts())
    return tuple(f"{plural(count, 'call')}: {text}" for text, count in counts.most_common())


def used(runs: Sequence[Run], past: Past, spent: Spent, now: float) -> Iterable[str]:
    if len(runs) + past.runs > 1:
        yield f"{plural(len(runs), 'run')} going on" + (f", {past.runs:,} ended" if past.runs else "")
    yield from (tokens(spent), cost(spent), span(now - min(past.started, *(run.started for run in runs))))


def left(run: Run, now: float) -> Iterable[tuple[str, bool]]:
    """What is left of each limit; what calls used without telling makes it a most."""
    limits, spent = run.limits, run.spent
    known: tuple[tuple[str, float, int, Callable[[float], str]], ...] = (
        ("max_budget", spent.dollars, spent.unpriced, dollars),
        ("max_tokens", spent.tokens, spent.unmetered, lambda left: plural(int(left), "token")),
        ("max_timeout", now - run.started, 0, span),
        ("max_subcalls", run.calls.made, 0, lambda left: plural(int(left), "sub-call")),
        ("max_iterations", run.root.turn, 0, lambda left: plural(int(left), "turn")),
    )
    for name, used, unknown, words in known:
        limit = limits.get(name)
        if isinstance(limit, int | float):
            left = max(0.0, limit - used)
            yield ("at most " if unknown else "") + words(left), left < LOW * limit
