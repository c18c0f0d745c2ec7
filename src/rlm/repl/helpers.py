"""The helpers of every session: `grep`, `chunks`, `peek`, `shapes` find one's way in text, lists and dicts of any size.

Their results are real lists and strings whose repr is short, because the value of a cell's last expression is echoed.
Sent to sandboxes as source, so standard library only and Python 3.8.
"""

from __future__ import annotations

import re
import time
import warnings
from itertools import islice
from typing import Any, Callable, Iterator, List, NamedTuple

from . import measure
from .measure import SEQUENCES, checked, glimpse, parts, plain
from .shapes import shapes

__all__ = ["chunks", "grep", "peek", "shapes"]

_WINDOW, _REACH = 32768, 8192


class Hit(NamedTuple):
    """`where`: line number (from 1) in text, index in a list, key in a dict; `at`: offset in the text or item's text.

    `text` is the match with its surroundings; `path` leads from an item to the text inside it, `()` where it is text.
    """

    where: Any
    at: int
    match: str
    text: str
    path: tuple[Any, ...] = ()


class Hits(List[Hit]):
    """A list of `Hit`; `total` also counts those not kept, `complete` is False where the search ran out of time."""

    total = 0
    complete = True
    place = "line"

    def __repr__(self) -> str:
        shown = self if len(self) <= 13 else self[:10] + self[-3:]
        lines = []
        for hit in shown:
            place = f"line {hit.where}" if self.place == "line" else f"[{glimpse(hit.where, 60)}]"
            place += "".join(f"[{glimpse(step, 40)}]" for step in hit.path)
            lines.append(f"{place} at {hit.at}: {plain(hit.text, 160)}")
        if len(shown) < len(self):
            lines.insert(10, f"… {len(self) - 13:,} more …")
        names = "" if not self else "; each a Hit(where, at, match, text, path)"
        kept = "" if self.total == len(self) else f", {len(self):,} kept"
        count = "{:,} {}".format(self.total, "hit" if self.total == 1 else "hits")
        lines.insert(0, "<{}{}{}{}>".format("" if self.complete else "at least ", count, kept, names))
        return "\n".join(lines)


def grep(
    pattern: Any,
    context: Any,
    flags: int = 0,
    around: int = 60,
    regex: bool = True,
    limit: int = 100000,
    seconds: float = 20.0,
) -> Hits:
    """Where a regular expression (`regex=False`: plain text) matches in text, or in a list's or dict's texts.

    `^` and `$` match at line ends. `around`: characters of surroundings on each side. At most `limit` hits are kept,
    all are counted (`.total`); after `seconds` it stops and warns. Long texts are searched in windows of some 32,000
    characters that end with a line, so a match is found whole when it is no longer than 8,000. Keys of dicts are not
    searched.
    """
    if isinstance(pattern, (list, tuple, dict, set)) or (isinstance(pattern, str) and len(pattern) > 100000):
        raise TypeError("the pattern comes first: grep(pattern, context)")
    if isinstance(pattern, str):
        try:
            finder = re.compile(pattern if regex else re.escape(pattern), flags | re.MULTILINE)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(
                f"{pattern[:200]!r} is not a regular expression: {error}. For plain text use regex=False."
            ) from None
    elif isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
        finder = pattern
    else:
        raise TypeError(f"the pattern is a str or a compiled pattern for str, not {type(pattern).__name__}")
    if not finder.pattern:
        raise ValueError("the pattern is empty")
    hits = Hits()
    deadline = time.monotonic() + seconds
    line, counted, end = 1, 0, 0
    where: Any = None
    for number, (where, path, text) in enumerate(_texts(checked(context, "grep"))):
        if number % 1000 and len(text) < _WINDOW and not finder.search(text):
            continue
        for start, end in _matches(finder, text, deadline):
            if start < 0:
                hits.complete = False
                break
            hits.total += 1
            if len(hits) < limit:
                if isinstance(context, str):
                    line += text.count("\n", counted, start)
                    where, counted = line, start
                hits.append(Hit(where, start, text[start:end], text[max(0, start - around) : end + around], path))
        if not hits.complete:
            break
    if not isinstance(context, str):
        hits.place = "item"
    if not hits.complete:
        warnings.warn(
            "grep stopped after {:g} s, at {} of {:,}: the hits are not all".format(
                seconds,
                f"character {end:,}" if isinstance(context, str) else glimpse(where, 60),
                len(context),
            ),
            RuntimeWarning,
            stacklevel=2,
        )
    elif hits.total > len(hits):
        warnings.warn(
            f"grep found {hits.total:,} hits and kept the first {len(hits):,}; .total counts all",
            RuntimeWarning,
            stacklevel=2,
        )
    return hits


def _texts(context: Any) -> Iterator[tuple[Any, tuple[Any, ...], str]]:
    """Every text in a context, as (index or key, path inside the item, text)."""
    if isinstance(context, str):
        yield None, (), context
        return
    for where, item in context.items() if isinstance(context, dict) else enumerate(context):
        if isinstance(item, str):
            yield where, (), item
        else:
            for path, text in _leaves(item, ()):
                yield where, path, text


def _leaves(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, (bytes, bytearray)):
        yield path, value.decode("utf-8", "replace")
    elif isinstance(value, (dict, *SEQUENCES)) and len(path) < measure.DEEPEST:
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(part, (*path, key))
    else:
        yield path, glimpse(value, 10000)


def _matches(finder: Any, text: str, deadline: float) -> Iterator[tuple[int, int]]:
    """(start, end) of every match; (-1, how far it came) when time is up. Windows keep the search interruptible."""
    start = 0
    while True:
        if time.monotonic() > deadline:
            yield -1, start
            return
        end = len(text)
        if end - start > _WINDOW + _REACH:
            end = text.rfind("\n", start, start + _WINDOW) + 1 or start + _WINDOW
        reach = len(text) if end + 2 * _REACH > len(text) else text.find("\n", end + _REACH, end + 2 * _REACH)
        resume = end
        for count, match in enumerate(finder.finditer(text, start, reach if reach >= 0 else end + _REACH), 1):
            if match.start() >= end and end < len(text):
                break
            yield match.span()
            resume = max(end, match.end())
            if not count % 10000 and time.monotonic() > deadline:
                yield -1, match.end()
                return
        if end >= len(text):
            return
        start = resume


class Pieces(List[Any]):
    """A list of pieces of a context."""

    def __repr__(self) -> str:
        if not self:
            return "<no pieces: the context is empty>"
        sizes = [measure.size(piece, 1000) for piece in self]
        text = f"<{len(self):,} pieces of {min(sizes):,} to {max(sizes):,} characters; [0] is {glimpse(self[0], 120)}"
        return text + (f", [-1] is {glimpse(self[-1], 120)}>" if len(self) > 1 else ">")


def chunks(context: Any, size: int, overlap: int = 0) -> Pieces:
    """Cut a context into pieces of at most `size` characters, each beginning with some `overlap` of the one before.

    Text is cut at line ends (inside a line only where it is longer than `size`); lists give lists and dicts give dicts
    of whole items, an item larger than `size` by itself. Without overlap, joined pieces are the context again.
    """
    size, overlap = int(size), int(overlap)
    if not 0 <= overlap < size:
        raise ValueError("chunks(context, size, overlap): numbers of characters, 0 <= overlap < size")
    checked(context, "chunks")
    return _text_chunks(context, size, overlap) if isinstance(context, str) else _item_chunks(context, size, overlap)


def _text_chunks(text: str, size: int, overlap: int) -> Pieces:
    pieces, start, end = Pieces(), 0, 0
    while end < len(text):
        done, end = end, min(start + size, len(text))
        if end < len(text):
            end = text.rfind("\n", done, end) + 1 or end
        pieces.append(text[start:end])
        if overlap:
            # the overlap begins with a line where one starts near enough
            exact = max(start + 1, end - overlap)
            start = text.rfind("\n", max(start, end - 2 * overlap, end - size), exact) + 1 or exact
        else:
            start = end
    return pieces


def _item_chunks(context: Any, limit: int, overlap: int) -> Pieces:
    items = list(parts(context))
    sizes = [sum(map(measure.size, item)) if isinstance(context, dict) else measure.size(item) for item in items]
    make: Callable[[Any], Any] = dict if isinstance(context, dict) else list
    pieces, start, held = Pieces(), 0, 0
    for index, weight in enumerate(sizes):
        if index > start and held + weight > limit:
            pieces.append(make(items[start:index]))
            start, held = index, 0
            while (
                overlap
                and start > 0
                and held + sizes[start - 1] <= overlap
                and held + sizes[start - 1] + weight <= limit
            ):
                start -= 1
                held += sizes[start]
        held += weight
    if items:
        pieces.append(make(items[start:]))
    return pieces


class Look(str):
    """A str: what `peek` saw. Its repr says where that was and shows the text as it is."""

    __slots__ = ("place",)
    place: str

    def __repr__(self) -> str:
        return f"<{self.place}>\n{self!s}"


def _look(text: str, place: str) -> Look:
    look = Look(text)
    look.place = place
    return look


def peek(context: Any, at: Any = 0, n: int = 1000) -> Look:
    """About `n` characters from `at` on: an offset in text, an index in a list, a key (or position) in a dict.

    Negative positions count from the end. Items are shown as Python literals, cut with `…`.
    """
    if not isinstance(context, (dict, str, bytes, bytearray, *SEQUENCES)):
        return _look(glimpse(context, n), type(context).__name__)
    count = len(context)
    if isinstance(context, dict) and _has(context, at):
        first = next(index for index, key in enumerate(context) if key is at or key == at)
    elif isinstance(at, int):
        first = max(0, at + count) if at < 0 else at
    else:
        known = glimpse(list(islice(context, 20)), 400) if isinstance(context, dict) else "a whole number"
        raise KeyError(f"no {glimpse(at, 80)} here; at may be {known}")
    if isinstance(context, (str, bytes, bytearray)):
        part = context[first : first + n]
        text = part if isinstance(part, str) else repr(part)
        return _look(text, f"characters {first:,} to {first + len(part):,} of {count:,}")
    if first >= count > 0:
        raise IndexError(f"there are {count:,} items, {at:,} is past the last")
    lines: list[str] = []
    left = n
    for index, part in enumerate(islice(parts(context), first, None), first):
        key, item = part if isinstance(context, dict) else (index, part)
        lines.append(f"[{glimpse(key, 80)}] {glimpse(item, max(left, 20))}")
        left -= len(lines[-1])
        if left <= 0:
            break
    return _look("\n".join(lines), f"items {first:,} to {first + len(lines):,} of {count:,}")


def _has(context: dict[Any, Any], key: Any) -> bool:
    try:
        return key in context
    except TypeError:  # not hashable, so not a key
        return False
