"""What of a run is put down for good: its beginning, what each of the root's cells did, what failed, its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from rlm.events import RunFinished
from rlm.types import Cell

KINDS: Final = 20
"""Failures that are told apart; more are counted together."""
NAMED: Final = 4
"""Calls that are named for each."""
LONGEST: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """A run with its context's type and size in characters."""

    run: str
    model: str
    environment: str
    kind: str
    size: int
    question: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A cell of the root that ran; `first` in its turn. `thought` is what the
    reply took, in seconds; `calls` and the rest count what was made while it ran. `stopped`: the run ended in it."""

    run: str
    turn: int
    first: bool
    said: str
    thought: float
    code: str = field(repr=False)
    cell: Cell = field(repr=False)
    calls: int
    failed: int
    cut: int
    failures: tuple[str, ...]
    stopped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A turn of the root without code."""

    run: str
    turn: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    run: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended; with `brief` in a word, because the program says the rest."""

    run: str
    event: RunFinished
    summary: str
    draft: object
    brief: bool


Item = Began | Ran | Said | Note | Ended


class Failures:
    """Failed calls, those that failed in the same words together."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[int, list[str]]] = {}

    def add(self, error: tuple[str, str], call: str) -> None:
        kind, message = error
        # A failed call's message begins with its kind.
        text = message if message.startswith("[") else f"[{kind}] {message}"
        text = " ".join(text[:LONGEST].split())
        if text not in self._kinds and len(self._kinds) >= KINDS:
            text = "for other reasons"
        count, calls = self._kinds.get(text, (0, []))
        if len(calls) < NAMED:
            calls.append(call)
        self._kinds[text] = (count + 1, calls)

    def counts(self) -> dict[str, int]:
        """How many failed in which words."""
        return {text: count for text, (count, _) in self._kinds.items()}

    def lines(self) -> tuple[str, ...]:
        """The most frequent first: which calls, and why."""
        kinds = sorted(self._kinds.items(), key=lambda kind: -kind[1][0])
        return tuple(_line(text, count, calls) for text, (count, calls) in kinds)


def _line(text: str, count: int, calls: list[str]) -> str:
    if count == 1:
        return f"call {calls[0]}: {text}"
    more = f", … {count:,} in all" if count > len(calls) else ""
    return f"calls {', '.join(calls)}{more}: {text}"


def opening_words(reply: str) -> str:
    """The first line of a reply that is neither code nor thinking."""
    text = reply[:20_000].rpartition("</think>")[2]
    for line in text.splitlines():
        if line.startswith("```"):
            return ""
        if line.strip():
            return line.strip()[:LONGEST]
    return ""
