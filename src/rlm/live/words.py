"""Counts, dollars and times as words; what is not known is said, never shown as zero."""

from __future__ import annotations

from dataclasses import dataclass, fields

from rlm.types import Usage


@dataclass(slots=True)
class Spent:
    """What calls used. `resent`: requests sent again after a failure."""

    tokens: int = 0
    unmetered: int = 0
    dollars: float = 0.0
    unpriced: int = 0
    resent: int = 0
    reused: int = 0

    def add(self, usage: Usage) -> None:
        self.tokens += usage.input_tokens + usage.output_tokens
        self.unmetered += usage.unmetered
        self.dollars += usage.dollars
        self.unpriced += usage.unpriced
        self.resent += max(0, usage.attempts - usage.calls)
        self.reused += usage.reused

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(getattr(self, name) + getattr(other, name) for name in _COUNTS))

    def __sub__(self, other: Spent) -> Spent:
        return Spent(*(getattr(self, name) - getattr(other, name) for name in _COUNTS))

    def __str__(self) -> str:
        return f"{tokens(self)} · {cost(self)}"


_COUNTS = tuple(field.name for field in fields(Spent))


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def tokens(spent: Spent) -> str:
    """Tokens, and calls whose provider told none."""
    if not spent.unmetered:
        return plural(spent.tokens, "token")
    unknown = f"{plural(spent.unmetered, 'call')} unmetered"
    return f"{plural(spent.tokens, 'token')} + {unknown}" if spent.tokens else f"tokens unknown ({unknown})"


def cost(spent: Spent) -> str:
    """Dollars as far as they are known, and that they are not where they are not."""
    known = dollars(spent.dollars)
    if not spent.unpriced:
        return known
    unknown = f"{plural(spent.unpriced, 'call')} of unknown cost"
    return f"{known} + {unknown}" if spent.dollars > 0 else "cost unknown"


def dollars(amount: float) -> str:
    return f"${amount:,.4f}" if amount > 0 else "$0"


def span(seconds: float) -> str:
    """A time to be read at a glance."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
