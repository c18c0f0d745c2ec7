"""What of the input was read, for the page: the strip over it, what was read through what, what never was."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

from rlm.coverage import CoverageReader, Reading

MOST_RANGES: Final = 400
MOST_SOURCES: Final = 100
MOST_PLACES: Final = 20


def coverage_in(reader: CoverageReader) -> dict[str, Any] | None:
    """`unread` is the share of the input that no model has seen, from and to; the whole is `None` where nothing can be
    told."""
    coverage = reader.coverage()
    if coverage is None:
        return None
    sources: dict[tuple[str, int | None, int | None], list[Reading]] = {}
    for reading in coverage.readings:
        sources.setdefault((reading.run, reading.turn, reading.call), []).append(reading)
    most = sorted(sources.items(), key=lambda item: -sum(reading.length for reading in item[1]))
    return {
        "size": coverage.size,
        "read": coverage.read,
        "other": coverage.other,
        "shortest": coverage.shortest,
        "unread": [1 - coverage.most, 1 - coverage.share],
        "ranges": thinned(reader.ranges(), MOST_RANGES),
        "sources": [_source(*through, readings) for through, readings in most[:MOST_SOURCES]],
        "more": max(0, len(most) - MOST_SOURCES),
        "gaps": None if coverage.unread is None else [[s.at, s.length, list(s.path)] for s in coverage.unread],
    }


def _source(run: str, turn: int | None, call: int | None, readings: list[Reading]) -> dict[str, Any]:
    return {
        "run": run,
        "turn": turn,
        "call": call,
        "read": sum(reading.length for reading in readings),
        "pieces": len(readings),
        "places": [[r.at, r.length, list(r.path)] for r in readings[:MOST_PLACES]],
    }


def thinned(ranges: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """At most so many ranges to draw: the smallest gaps are closed first."""
    if len(ranges) <= most:
        return ranges
    gaps = sorted((after[0] - before[1] for before, after in pairwise(ranges)), reverse=True)
    least = gaps[most - 1]
    out = [ranges[0]]
    for begin, end in ranges[1:]:
        if begin - out[-1][1] <= least:
            out[-1] = (out[-1][0], end)
        else:
            out.append((begin, end))
    return out
