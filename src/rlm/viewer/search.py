"""Finding words in a log: every line that holds them anywhere in its texts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Final

from rlm.viewer.log import DAMAGE, Log

MOST_HITS: Final = 1_000
LONGEST: Final = 10.0
"""Seconds after which a search gives what it has."""
UNSEARCHED: Final = frozenset({"type", "run", "time", "depth", "sha", "usage", "seen", "unread"})


def search(log: Log, words: str) -> dict[str, Any]:
    """Lines in whose texts the words stand, in any case; a text that is repeated is found where it is first."""
    wanted = words.casefold()
    # A line that does not hold the words as they are written in JSON need not be parsed. What JSON escapes has more
    # than one form under case folding, so then every line is.
    raw = json.dumps(words)[1:-1].lower().encode() if words.isascii() else b""
    deadline = time.monotonic() + LONGEST
    hits: list[int] = []
    for number, line in log.lines():
        if raw not in line.lower():
            continue
        if len(hits) == MOST_HITS or time.monotonic() > deadline:
            return {"lines": hits, "complete": False}
        try:
            record = json.loads(line)
        except DAMAGE:
            continue
        if any(wanted in text.casefold() for text in texts(record)):
            hits.append(number)
    return {"lines": hits, "complete": True}


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in UNSEARCHED:
                yield from texts(item)
