"""Through which sub-calls an answer came: whose replies hold its text, whole or in pieces.

Texts are compared without regard to case, white space and typographic quotes. What code made of replies (a sum, a
table) stands in none of them, and is not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from rlm.events import CallFinished, Event

__all__ = ["Evidence", "Passage", "evidence", "replies"]

SHORTEST_PIECE: Final = 12
MOST_PIECES: Final = 200
MOST_FOUND: Final = 200
_QUOTES = str.maketrans("‘’“”„–—", '\'\'"""--')
_BREAKS = re.compile(r"(?<=[.!?;])\s+|\n+")
_BULLET = re.compile(r"^[\s>*•#|-]*(?:\d+[.)]\s+)?")
_ORDER: Final = ("whole", "pieces", "within")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A reply to a call that holds the answer, and how.

    `whole`: all of it. `pieces`: so many of its lines and sentences of 12 characters or more. `within`: the reply, 12
    characters or more, stands in the answer (and `pieces` is 0).
    """

    run: str
    call: int
    how: Literal["whole", "pieces", "within"]
    pieces: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The replies that hold the answer, the one that holds most of it first. It says through what the text came, not
    that it is true."""

    found: tuple[Passage, ...] = field(repr=False)
    """At most 200."""
    calls: int
    """Replies that were looked through."""
    pieces: int
    """Lines and sentences of the answer that were looked for, besides the whole."""
    more: int = 0
    """Passages that were found beyond those 200."""

    def __repr__(self) -> str:
        first = "".join(f", {passage}" for passage in self.found[:3])
        more = ", …" if self.found[3:] else ""
        return f"Evidence({len(self.found) + self.more:,} of {self.calls:,} replies{first}{more})"


def evidence(answer: str, replies: Iterable[tuple[str, int, str]]) -> Evidence | None:
    """Where an answer stands in replies, each given as run, call and text; `None` for an answer without text."""
    whole = normal(answer)
    if not whole:
        return None
    pieces = split(answer)
    wanted = [(text, _words(text)) for text in (whole, *pieces)]
    found: list[Passage] = []
    calls = 0
    for run, call, text in replies:
        calls += 1
        reply = normal(text)
        # Most pieces are not in most replies, which takes no pattern to find out.
        all_of_it, *held = (piece in reply and pattern.search(reply) is not None for piece, pattern in wanted)
        if all_of_it:
            found.append(Passage(run=run, call=call, how="whole", pieces=len(pieces)))
        elif len(pieces) > 1 and any(held):
            found.append(Passage(run=run, call=call, how="pieces", pieces=sum(held)))
        elif len(reply) >= SHORTEST_PIECE and reply in whole:
            found.append(Passage(run=run, call=call, how="within", pieces=0))
    found.sort(key=lambda passage: (_ORDER.index(passage.how), -passage.pieces))
    more = max(0, len(found) - MOST_FOUND)
    return Evidence(found=tuple(found[:MOST_FOUND]), calls=calls, pieces=len(pieces), more=more)


def replies(events: Iterable[Event]) -> Iterable[tuple[str, int, str]]:
    """The replies to calls, of all runs of a tree."""
    return ((e.run, e.call, e.reply.text) for e in events if isinstance(e, CallFinished) and e.reply is not None)


def split(answer: str) -> list[str]:
    """An answer's lines and sentences that are long enough to tell anything."""
    pieces = [normal(_BULLET.sub("", piece)) for piece in _BREAKS.split(answer)]
    return list(dict.fromkeys(piece.rstrip(".;,") for piece in pieces if len(piece) >= SHORTEST_PIECE))[:MOST_PIECES]


def normal(text: str) -> str:
    return " ".join(text.translate(_QUOTES).casefold().split())


def _words(text: str) -> re.Pattern[str]:
    """The text as whole words: `3` is not in `1,234`."""
    return re.compile(rf"(?<![\w.,]){re.escape(text)}(?!\w|[.,]\d)")
