"""An agent at work, as the live view knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from rlm.live.words import Spent

State = Literal["starting", "thinking", "writing", "running code", "reading output", "done", "failed"]

TAIL: Final = 2_000
"""Characters kept of what an agent is writing or printing."""


@dataclass(slots=True)
class Calls:
    """Calls by what became of them. `open` ones may be waiting for their turn to be sent."""

    open: int = 0
    done: int = 0
    failed: int = 0
    cut: int = 0

    @property
    def ended(self) -> int:
        return self.done + self.failed + self.cut

    @property
    def made(self) -> int:
        return self.open + self.ended

    def end(self, error: tuple[str, str] | None) -> None:
        self.open -= 1
        if error is None:
            self.done += 1
        elif error[0] == "cancelled":
            self.cut += 1
        else:
            self.failed += 1


@dataclass(slots=True, eq=False)
class Agent:
    """One agent that is at work, or has just ended. `turn` counts from 1 and is 0 before the first."""

    path: str
    depth: int
    model: str
    born: float
    state: State = "starting"
    since: float = 0.0
    turn: int = 0
    code: str = ""
    tail: str = ""
    calls: Calls = field(default_factory=Calls)
    batches: dict[int, list[int]] = field(default_factory=dict)
    """Of the running cell, by number: entries that ended, and size."""
    spent: Spent = field(default_factory=Spent)
    """Its own and what its ended calls used."""
    children: dict[str, Agent] = field(default_factory=dict)

    def now(self, state: State, time: float) -> None:
        self.state, self.since, self.tail = state, time, ""

    def grow(self, text: str) -> None:
        self.tail = (self.tail + text)[-TAIL:]
