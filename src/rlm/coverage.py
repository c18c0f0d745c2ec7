"""How much of a context the models of a run have seen, through what, and what none of them has.

`Completion.coverage` and `rlm.trajectory.read(path).coverage` are made here, of what `Given` says of each text that a
model was given. docs/howto/coverage.md says what is recognised, and what is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Any, Final, NamedTuple

from rlm._spans import Path, place

__all__ = ["Coverage", "CoverageReader", "Reading", "Stretch"]

MOST_READINGS: Final = 10_000
MOST_UNREAD: Final = 100
COMPACT: Final = 8_192
LARGEST: Final = 1 << 53


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """`length` characters of the context from character `at`; `path` leads to the text inside a list or dict."""

    at: int
    length: int
    path: Path = ()

    def __str__(self) -> str:
        return place(self.path, self.at, self.length)

    def __repr__(self) -> str:
        return f"<{self}>"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Reading(Stretch):
    """A stretch of the context that a model was given, and through what.

    With a `call`, in the prompt of that call, made in `turn`; with a `turn` only, in what the model of `run` was shown
    after that turn; with neither, in the first message of `run`. Numbers are those of the events, from 0.
    """

    run: str
    turn: int | None = None
    call: int | None = None

    def __repr__(self) -> str:
        if self.call is not None:
            return f"<{self} in the prompt of call={self.call} of {self.run}, turn={self.turn}>"
        through = "in the first message of" if self.turn is None else f"shown after turn={self.turn} of"
        return f"<{self} {through} {self.run}>"


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Which parts of a context were in what models were given, in characters.

    What was given is compared with the context by value, so a piece that models got in another form (in capitals,
    escaped, summed up), or that is shorter than `shortest`, is not recognised. `share` is therefore what was seen at
    least, and `most` what was seen at most, if all else that models were given were such short pieces.
    """

    size: int
    """Characters of the context: of a text, or of the texts in a list or dict."""
    read: int
    """Characters that were recognised in what models were given."""
    other: int
    """Characters that models were given and that were not recognised: instructions, results, short pieces."""
    shortest: int
    """From this length on a piece is surely recognised, unless the context repeats it."""
    readings: tuple[Reading, ...] = field(repr=False)
    """What was recognised, in the order in which it was given; the longest 10,000 pieces."""
    unread: tuple[Stretch, ...] | None = field(repr=False)
    """What was recognised nowhere, the longest 100 stretches, longest first. `None` where a log does not tell."""

    @property
    def share(self) -> float:
        """The part of the context, from 0 to 1, that models have surely seen."""
        return self.read / self.size

    @property
    def most(self) -> float:
        """The part of the context, from 0 to 1, that models have seen at most."""
        return min(1.0, (self.read + self.other) / self.size)

    def __repr__(self) -> str:
        longest = "" if not self.unread else f", longest unread {self.unread[0]}"
        return f"Coverage(share={self.share:.4f}, most={self.most:.4f}, size={self.size:,}{longest})"


class Piece(NamedTuple):
    """A stretch of the context in a text; `start` counts all texts of the context before it."""

    start: int
    length: int
    at: int
    path: Path = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What was recognised in one text that a model was given; `run`, `turn` and `call` as in `Reading`."""

    run: str
    turn: int | None = None
    call: int | None = None
    other: int = 0
    pieces: tuple[Piece, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The field `seen` of a record of a trajectory file, which has `run` and `call` itself."""
        turn = {} if self.turn is None else {"turn": self.turn}
        spans = [[p.start, p.length, *((p.at, *p.path) if p.path else ())] for p in self.pieces]
        return {**turn, "other": self.other, **({"spans": spans} if spans else {})}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Given:
        """What a record with a field `seen` says.

        Raises:
            ValueError: it says what cannot be.
        """
        run, call, seen = record.get("run"), record.get("call"), record["seen"]
        if not (isinstance(run, str) and isinstance(seen, dict)):
            raise ValueError("not what a model was given")
        turn, other = seen.get("turn"), seen.get("other")
        if other is None or not all(n is None or _number(n) for n in (turn, call, other)):
            raise ValueError("not what a model was given")
        return cls(run=run, turn=turn, call=call, other=other, pieces=tuple(map(_piece, _list(seen.get("spans", [])))))


class CoverageFold:
    """Adds up what models were given, of a context of `size` characters in which `shortest` are surely recognised.

    `one_text` says that the context is a text, so that what was not read is known by its place in the whole.
    """

    def __init__(self, size: int, shortest: int, *, one_text: bool) -> None:
        self.size = size
        self.unread: Sequence[Stretch] | None = None
        """The gaps in terms of the context, from whoever has it."""
        self._shortest = shortest
        self._one_text = one_text
        self._other = 0
        self._ranges: list[tuple[int, int]] = []
        self._merged = 0
        self._readings: list[Reading] = []

    def add(self, given: Given) -> None:
        """Count one text.

        Raises:
            ValueError: it holds a piece that does not lie in the context.
        """
        if any(piece.start + piece.length > self.size for piece in given.pieces):
            raise ValueError("a piece beyond the end of the context")
        self._other += given.other
        for piece in given.pieces:
            self._ranges.append((piece.start, piece.start + piece.length))
            self._readings.append(
                Reading(
                    at=piece.at, length=piece.length, path=piece.path, run=given.run, turn=given.turn, call=given.call
                )
            )
        if len(self._ranges) > max(COMPACT, 2 * self._merged):
            self._ranges = merged(self._ranges)
            self._merged = len(self._ranges)
        if len(self._readings) > 2 * MOST_READINGS:
            self._readings = _longest(self._readings)

    def ranges(self) -> list[tuple[int, int]]:
        """What was read, in order, as if all texts of the context stood one after the other."""
        self._ranges = merged(self._ranges)
        return self._ranges

    def gaps(self) -> list[tuple[int, int]]:
        """What was not, likewise."""
        ranges = self.ranges()
        edges = [0, *(place for both in ranges for place in both), self.size]
        return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]

    def coverage(self) -> Coverage:
        """All of it so far."""
        unread = self.unread
        if unread is None and self._one_text:
            unread = [Stretch(at=begin, length=end - begin) for begin, end in self.gaps()]
        return Coverage(
            size=self.size,
            read=sum(end - begin for begin, end in self.ranges()),
            other=self._other,
            shortest=self._shortest,
            readings=tuple(_longest(self._readings)),
            unread=None if unread is None else tuple(nsmallest(MOST_UNREAD, unread, key=lambda s: -s.length)),
        )


class CoverageReader:
    """The coverage that a trajectory file tells, from its records as JSON has them: `add` one after the other.

    A record's texts do not matter, so they need not be resolved.
    """

    def __init__(self) -> None:
        self._fold: CoverageFold | None = None

    def add(self, record: Mapping[str, Any]) -> None:
        """Count what a record says was seen; most say nothing.

        Raises:
            ValueError: it says what cannot be.
        """
        kind = record["type"]
        if kind == "Context" and "shortest" in record:
            size, shortest = record.get("size"), record["shortest"]
            if not (_number(size) and size and _number(shortest)):
                raise ValueError("a context without a size")
            self._fold = CoverageFold(size, shortest, one_text=record.get("kind") == "str")
        elif self._fold is None:
            pass
        elif kind == "Coverage":
            self._fold.unread = [_stretch(written) for written in _list(record.get("unread"))]
        elif "seen" in record:
            self._fold.add(Given.from_record(record))

    def coverage(self) -> Coverage | None:
        """What was read up to here; `None` where the file does not tell."""
        return None if self._fold is None else self._fold.coverage()

    def ranges(self) -> list[tuple[int, int]]:
        """Beginnings and ends of what was read, in order, as if all texts of the context stood one after the other."""
        return [] if self._fold is None else self._fold.ranges()


def merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if out and begin <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((begin, end))
    return out


def _longest(readings: list[Reading]) -> list[Reading]:
    if len(readings) <= MOST_READINGS:
        return readings
    kept = sorted(range(len(readings)), key=lambda n: -readings[n].length)[:MOST_READINGS]
    return [readings[n] for n in sorted(kept)]


def _piece(written: Any) -> Piece:
    if not (isinstance(written, list) and len(written) >= 2 and all(map(_number, written[:3]))):
        raise ValueError("not a piece of the context")
    start, length, *more = written
    return Piece(start, length, more[0] if more else start, _path(more[1:]))


def _stretch(written: Any) -> Stretch:
    if not (isinstance(written, list) and len(written) >= 2 and all(map(_number, written[:2]))):
        raise ValueError("not a stretch of the context")
    return Stretch(at=written[0], length=written[1], path=_path(written[2:]))


def _list(written: Any) -> list[Any]:
    if not isinstance(written, list):
        raise ValueError("not a list")
    return written


def _path(keys: list[Any]) -> Path:
    if not all(isinstance(key, str) or type(key) is int for key in keys):
        raise ValueError("a path is made of texts and numbers")
    return tuple(keys)


def _number(value: Any) -> bool:
    return type(value) is int and 0 <= value < LARGEST
