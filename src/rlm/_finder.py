"""Recognises pieces of a context in any text, by value and in bounded time.

A log keeps them as places; and it is how one knows which parts of a context models have seen.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate, islice
from typing import Final, NamedTuple

from rlm._spans import Path, Span, digest

BLOCK: Final = 32
MOST_BLOCKS: Final = 1 << 19
MOST_PLACES: Final = 64
"""Places that are tried of a block which the source repeats."""
MOST_TEXTS: Final = 200_000
DEEPEST: Final = 8
SHORTEST_SPAN: Final = 200
MOST_SPANS: Final = 64
PATIENCE: Final = 50_000


class Hit(NamedTuple):
    """`text[begin:end]` is the source's text number `leaf` from `at` on."""

    begin: int
    end: int
    leaf: int
    at: int

    @property
    def size(self) -> int:
        return self.end - self.begin

    @property
    def after(self) -> tuple[int, int]:
        """The place in the source that comes next."""
        return self.leaf, self.at + self.end - self.begin


class SliceFinder:
    """Recognises pieces of one source: a text, or the texts anywhere inside lists and dicts.

    A block of 32 characters is indexed at every stride of each text of the source, the stride such that a piece of
    `shortest` characters holds one wherever it was taken from; it is wider in a source of which this would take more
    than half a million blocks (see `surely`). A text is looked through once, block by block, and what is found is
    followed both ways as far as it agrees. Where the source repeats all blocks of a piece, it may stand for any of
    their places: the one after the last piece found is tried, the first, and the last 63, and the longest agreement is
    taken. Not safe for threads, but for `prepare`.
    """

    def __init__(self, source: object, shortest: int = SHORTEST_SPAN) -> None:
        leaves = list(islice(_leaves(source), MOST_TEXTS + 1))
        self.complete = len(leaves) <= MOST_TEXTS
        """False where the source has more texts than are looked at."""
        del leaves[MOST_TEXTS:]
        self.paths: list[Path] = [path for path, _ in leaves]
        self._texts = [text for _, text in leaves]
        self.starts = array("Q", accumulate(map(len, self._texts), initial=0))
        """Where each text begins if all are put one after the other; the last number is the size of the whole."""
        self.shortest = shortest
        self._least = shortest - BLOCK + 1
        """Characters that a piece has beyond the one before, with whose end it may agree by chance."""
        self._stride = max(self._least, -(-self.size // MOST_BLOCKS))
        self._table = array("I")
        """Numbers of blocks by the hash of their text, a block that stands in many places once."""
        self._maybe = bytearray()
        """The same without numbers, and sparser: one look tells of most blocks that they are not in the source."""
        self._mask = 0
        self._places = array("Q")
        self._more = array("I")
        self._cut_after = (0, 0)
        self._latest: tuple[str, list[Hit]] = ("", [])
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        return self.starts[-1]

    @property
    def surely(self) -> int:
        """Characters from which on a piece is found for sure, where the source does not repeat it."""
        return max(self.shortest, self._stride + BLOCK - 1)

    def find(self, text: str, after: tuple[int, int] = (0, 0), patience: int | None = None) -> list[Hit]:
        """Pieces of the source in a text, in order, none inside another. `after` is the place that comes next; after
        `patience` characters without a piece it ends."""
        if self.size < self.shortest or len(text) < self.shortest:
            return []
        if not self._table:
            self.prepare()
        patience, last = len(text) if patience is None else patience, len(text) - BLOCK
        hits: list[Hit] = []
        where, done, end = 0, 0, min(last, patience)
        unsure: int | None = None
        while where <= end:
            decide = end if unsure is None else min(end, unsure + self._stride + BLOCK)
            where, number = self._seek(text, where, decide)
            hit = None
            if number and not self._more[number]:
                hit = self._grow(text, where, *self._place(number))
            elif number and unsure is None:
                unsure = where  # a block that tells the place may follow, in a piece that reaches back to here
            if unsure is not None and (where >= decide or (hit is not None and hit.begin > unsure)):
                doubtful = self._choose(text, unsure, done, after)
                if doubtful is not None and doubtful.end - done >= self._least:
                    hit, where = doubtful, unsure
                unsure = None
            where += 1
            if hit is not None and hit.end - done >= self._least:
                while hits and hits[-1].begin >= hit.begin:
                    hits.pop()
                hits.append(hit)
                after, done, unsure = hit.after, hit.end, None
                # The next piece may agree with this one's end by chance: its own block then begins before that end.
                where = max(where, done - BLOCK + 1)
                end = min(last, where + patience)
        self._latest = text, hits
        return hits

    def cut(self, text: str, patience: int = PATIENCE) -> tuple[str | Span, ...]:
        """The text as literal pieces and spans of 200 characters or more, in order: the longest 64, and the rest as it
        is. After `patience` characters without a piece no more is looked for. What `find` found last is not looked for
        again."""
        known, found = self._latest
        found = found if text is known else self.find(text, self._cut_after, patience)
        hits = [hit for hit in found if hit.size >= SHORTEST_SPAN]
        if hits:
            self._cut_after = hits[-1].after
        if len(hits) > MOST_SPANS:
            hits = sorted(sorted(hits, key=lambda hit: -hit.size)[:MOST_SPANS])
        parts: list[str | Span] = []
        done = 0
        for begin, end, leaf, at in hits:
            overlap = max(0, done - begin)
            if end - begin - overlap < SHORTEST_SPAN:
                continue
            if begin > done:
                parts.append(text[done:begin])
            piece = text[begin + overlap : end]
            parts.append(Span(at=at + overlap, length=len(piece), digest=digest(piece), path=self.paths[leaf]))
            done = end
        if done < len(text) or not parts:
            parts.append(text[done:])
        return tuple(parts)

    def whole(self, text: str) -> Hit | None:
        """All of a source that is one text, where it stands in `text`, however short."""
        begin = text.find(self._texts[0]) if self.paths == [()] else -1
        return None if begin < 0 else Hit(begin, begin + self.size, 0, 0)

    def prepare(self) -> None:
        """Make the index, as the first search else does. It may be done beforehand, by any thread."""
        with self._lock:
            if not self._table:
                self._build()

    def _build(self) -> None:
        count = sum(max(0, (len(text) - BLOCK) // self._stride + 1) for text in self._texts)
        bits = max(4, (2 * count).bit_length())
        table = array("I", bytes(4 << bits))
        self._maybe = maybe = bytearray(8 << bits)
        self._mask = mask = len(table) - 1
        most = len(maybe) - 1
        self._places = places = array("Q", [0])
        self._more = more = array("I", bytes(4 * (count + 1)))
        stride, number = self._stride, 0
        for start, text in zip(self.starts, self._texts, strict=False):
            for at in range(0, len(text) - BLOCK + 1, stride):
                number += 1
                places.append(start + at)
                block = text[at : at + BLOCK]
                value = hash(block)
                maybe[value & most] = 1
                slot = value & mask
                while known := table[slot]:
                    if self._block(known) == block:
                        more[number], more[known] = more[known], number
                        break
                    slot = (slot + 1) & mask
                else:
                    table[slot] = number
        self._table = table

    def _place(self, number: int) -> tuple[int, int]:
        place = self._places[number]
        leaf = bisect_right(self.starts, place) - 1 if len(self._texts) > 1 else 0
        return leaf, place - self.starts[leaf]

    def _block(self, number: int) -> str:
        leaf, at = self._place(number)
        return self._texts[leaf][at : at + BLOCK]

    def _seek(self, text: str, where: int, last: int) -> tuple[int, int]:
        """The next place up to `last` where a block of the source stands, and the number of the first such block; else
        `last` and 0."""
        maybe, most = self._maybe, len(self._maybe) - 1
        for at in range(where, last + 1):
            if maybe[hash(text[at : at + BLOCK]) & most] and (number := self._known(text[at : at + BLOCK])):
                return at, number
        return last, 0

    def _known(self, block: str) -> int:
        slot = hash(block) & self._mask
        while (number := self._table[slot]) and self._block(number) != block:
            slot = (slot + 1) & self._mask
        return number

    def _choose(self, text: str, where: int, done: int, after: tuple[int, int]) -> Hit | None:
        """The longest piece around a block that the source repeats, counted from `done` on; what comes next in the
        source, if no other is longer."""
        number = self._known(text[where : where + BLOCK])
        best = self._next(text, where, *after)
        longest = 0 if best is None else best.end - max(best.begin, done)
        for _ in range(MOST_PLACES):
            leaf, at = self._place(number)
            if self._worth(text, where, self._texts[leaf], at):
                hit = self._grow(text, where, leaf, at)
                if hit is not None and (size := hit.end - max(hit.begin, done)) > longest:
                    best, longest = hit, size
            if not (number := self._more[number]):
                break
        return best

    def _worth(self, text: str, where: int, source: str, at: int) -> bool:
        """Whether a piece around a block may be long enough: then half of what it lacks agrees on one side."""
        half = (self.shortest - BLOCK + 1) // 2
        ahead = source[at + BLOCK : at + BLOCK + half]
        if len(ahead) == half and text.startswith(ahead, where + BLOCK):
            return True
        return min(where, at) >= half and text.startswith(source[at - half : at], where - half)

    def _next(self, text: str, where: int, leaf: int, at: int) -> Hit | None:
        """What comes next in the source, if it begins in the text about where a block was found."""
        if len(self._texts[leaf]) - at < BLOCK:
            leaf, at = leaf + 1, 0
            if leaf == len(self._texts) or len(self._texts[leaf]) < BLOCK:
                return None
        block = self._texts[leaf][at : at + BLOCK]
        begin = text.find(block, max(0, where - self._stride + 1), where + BLOCK)
        return None if begin < 0 else self._grow(text, begin, leaf, at)

    def _grow(self, text: str, where: int, leaf: int, at: int) -> Hit | None:
        source = self._texts[leaf]
        ahead = _shared_ahead(text, where, source, at)
        behind = _shared_behind(text, where, source, at)
        return None if ahead + behind < self.shortest else Hit(where - behind, where + ahead, leaf, at - behind)


def _leaves(source: object) -> Iterator[tuple[Path, str]]:
    stack: list[tuple[Path, object]] = [((), source)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, str):
            yield path, value
        elif len(path) > DEEPEST:  # deeper than any real context: a structure that holds itself
            continue
        elif isinstance(value, (list, tuple)):
            stack += [((*path, i), value[i]) for i in range(min(len(value), MOST_TEXTS + 1) - 1, -1, -1)]
        elif isinstance(value, Mapping):
            items = list(islice(value.items(), MOST_TEXTS + 1))
            stack += [((*path, key), item) for key, item in reversed(items) if type(key) in (str, int)]


def _shared_ahead(a: str, i: int, b: str, j: int) -> int:
    most, shared, step = min(len(a) - i, len(b) - j), 0, 64
    while shared < most:
        step = min(step, most - shared)
        if a[i + shared : i + shared + step] == b[j + shared : j + shared + step]:
            shared += step
            step *= 2
        elif step == 1:
            break
        else:
            most, step = min(most, shared + step), step // 2
    return shared


def _shared_behind(a: str, i: int, b: str, j: int) -> int:
    most, shared, step = min(i, j), 0, 64
    while shared < most:
        step = min(step, most - shared)
        if a[i - shared - step : i - shared] == b[j - shared - step : j - shared]:
            shared += step
            step *= 2
        elif step == 1:
            break
        else:
            most, step = min(most, shared + step), step // 2
    return shared
