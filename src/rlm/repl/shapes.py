"""`shapes`: what is ordinary in a context and what stands out, by counting lines or items that look alike."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from itertools import accumulate, islice
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

from .measure import SEQUENCES, checked, glimpse, plain

_BLOCK = 4000000
_LINE = 300
_HEAD = 24
_KEPT = 50000
_DIGITS = str.maketrans("123456789", "000000000")
_Table = Dict[str, Tuple[int, int]]


def _mask_parts(text: str) -> str:
    return re.sub(r"""0\w*(?:[.:,/+-]0\w*)*|"(?<!\w")[^"\n]*"(?!:)|'(?<!\w')[^'\n]*'(?!:)""", "#", text)


def _mask_names(text: str) -> str:
    if "@" in text:
        text = re.sub(r"(?<![\w.+-])[\w.+-]{1,64}@[\w.-]+", "#", text)
    if "#" in text:
        text = re.sub(r"\b[A-Fa-f]{1,16}#", "#", text)
        text = re.sub(r"#(?:[.:,/+-]#)+", "#", text)
    return re.sub(r"(?<=[a-z] )[A-ZÀ-Þ][a-zß-ÿ]+(?: [A-ZÀ-Þ][a-zß-ÿ]+)*", "#", text)


def _mask_capitals(text: str) -> str:
    return re.sub(r"[A-ZÀ-Þ][a-zß-ÿ]+(?:[ -][A-ZÀ-Þ][a-zß-ÿ]+)*(?![\w:])", "#", text)


def _keep_heads(text: str) -> str:
    lines = text.split("\n")
    return "\n".join(line if len(line) <= _HEAD else line[:_HEAD].rpartition(" ")[0] + " …" for line in lines)


# From the second on, each is used only where the ones before leave too many shapes to tell anything.
_MASKS: tuple[tuple[str, tuple[Callable[[str], str], ...]], ...] = (
    ("# masks a number, a name or a quoted part", (_mask_parts, _mask_names)),
    ("# masks a number, a quoted part or capitalised words", (_mask_capitals,)),
    ("only the beginnings of lines are compared; # masks a number, a quoted part or capitalised words", (_keep_heads,)),
)


class Shape(NamedTuple):
    """`times` lines or items look like `shape`, the first is `example`.

    `at` is where that one is: its offset in text, its index or key, (key, offset) where items are counted by line.
    """

    times: int
    shape: str
    at: Any
    example: str


class Shapes(List[Shape]):
    """A list of `Shape`, the commonest first; `total` lines or items were counted, `other` of them are in no shape."""

    total = 0
    other = 0
    unit = "lines"
    mask = ""

    def __repr__(self) -> str:
        lines = [f"<{len(self):,} shapes of {self.total:,} {self.unit}; {self.mask}>"]
        common = sum(1 for shape in self[:12] if shape.times > 3)
        for shape in self[:common]:
            share = 100.0 * shape.times / max(self.total, 1)
            lines.append("{:5.1f} % {:>9,} × {}".format(share, shape.times, plain(shape.shape, 160) or "(blank)"))
        if len(self) > common + 12:
            lines.append(f"… {len(self) - common - 12:,} shapes between …")
        rare = self[common:][-12:]
        lines.extend(f"{shape.times:,} × at {glimpse(shape.at, 80)}: {plain(shape.example, 160)}" for shape in rare)
        if self.other:
            lines.append(f"{self.other:,} {self.unit} more are not in these counts: there were too many shapes")
        return "\n".join(lines)


def shapes(context: Any) -> Shapes:
    """What is ordinary in a context and what stands out: its lines, or its items, counted by what they look like.

    Digits, names and quoted parts are masked (`.mask` says how far); rare shapes come last, with their positions. Every
    line is counted, by its first 300 characters; records (dicts) are compared by keys and types; items that are long
    texts are counted by line. Time grows with the size of the context.
    """
    checked(context, "shapes")
    found = Shapes()
    if isinstance(context, str):
        keys: Sequence[Any] = ()
        texts: Sequence[str] = (context,)
    else:
        keys = list(context) if isinstance(context, (dict, set, frozenset)) else range(len(context))
        texts = list(context.values()) if isinstance(context, dict) else list(context)
        if not all(isinstance(text, str) for text in texts) or sum(map(len, texts)) < 500 * len(texts):
            found.unit = "items"
            texts = [_item_shape(item) for item in texts]
    begins = [0]
    for text in texts:
        begins.append(begins[-1] + len(text) + (bool(text) and not text.endswith("\n")))
    table: _Table = {}
    level = 0
    for base, block in _blocks(texts):
        fresh = _tally(base, block, _LINE if level + 1 < len(_MASKS) else _HEAD * 2)
        found.total += block.count("\n") + 1
        for _, masks in _MASKS[: level + 1]:
            for mask in masks:
                fresh = _merged({}, fresh, mask)
        _merged(table, fresh, None)
        while len(table) > _KEPT and level + 1 < len(_MASKS):
            level += 1
            table = _merged({}, table, _MASKS[level][1][0])
        if len(table) > 2 * _KEPT:
            table = dict(sorted(table.items(), key=lambda entry: -entry[1][0])[:_KEPT])
    while level + 1 < len(_MASKS) and _scattered(table, found.total):
        level += 1
        table = _merged({}, table, _MASKS[level][1][0])
    found.mask = _MASKS[level][0]
    for shape, (count, at) in sorted(table.items(), key=lambda entry: (-entry[1][0], entry[1][1])):
        index = bisect_right(begins, at, 0, len(texts)) - 1
        offset = at - begins[index]
        example = texts[index][offset : offset + _LINE].partition("\n")[0]
        place: Any = offset if not keys else keys[index] if found.unit == "items" else (keys[index], offset)
        found.append(Shape(count, shape, place, example))
    found.other = found.total - sum(shape.times for shape in found)
    return found


def _scattered(table: _Table, total: int) -> bool:
    commonest = sorted((count for count, _ in table.values()), reverse=True)[:20]
    return len(table) > 50 and sum(commonest) * 2 < total


def _item_shape(item: Any) -> str:
    """One line for an item; never empty, so that every item has a position of its own."""
    if isinstance(item, str):
        return item[:_LINE].replace("\n", " ") or " "
    if isinstance(item, dict):
        fields = (f"{str(key)[:60]}: {type(value).__name__}" for key, value in islice(item.items(), 20))
        return ("{" + ", ".join(fields) + ("…}" if len(item) > 20 else "}")).replace("\n", " ")
    if isinstance(item, SEQUENCES):
        kinds = Counter(type(part).__name__ for part in islice(item, 100))
        return "{} of {}".format(type(item).__name__, ", ".join(sorted(kinds)) or "nothing")
    return glimpse(item, _LINE).replace("\n", " ")


def _blocks(texts: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The texts one after the other, each ended by a newline, in blocks of whole lines: (offset, lines)."""
    base, held = 0, 0
    batch: List[str] = []  # noqa: UP006 - read by old Pythons
    for text in texts:
        if len(text) < _BLOCK and text:
            batch.append(text if text.endswith("\n") else text + "\n")
            held += len(batch[-1])
        if batch and (held > _BLOCK or len(text) >= _BLOCK):
            yield base, "".join(batch)[:-1]
            base, held, batch = base + held, 0, []
        if len(text) >= _BLOCK:
            at = 0
            while at < len(text):
                end = text.rfind("\n", at, at + _BLOCK)
                if end < 0:
                    end = text.find("\n", at + _BLOCK)
                if end < 0 or len(text) - at <= _BLOCK:
                    end = len(text) - text.endswith("\n")
                yield base + at, text[at:end]
                at = end + 1
            base += len(text) + (not text.endswith("\n"))
    if batch:
        yield base, "".join(batch)[:-1]


def _tally(base: int, block: str, width: int) -> _Table:
    """The distinct lines of a block, cut to `width`, with digits as zeros: (count, offset of the first)."""
    if block.isascii():
        block = block.translate(_DIGITS)
    else:  # translate is slow on other text
        for digit in "123456789":
            block = block.replace(digit, "0")
    lines = block.split("\n")
    starts = list(accumulate([base] + [len(line) + 1 for line in lines[:-1]]))
    lines = [line[:width] for line in lines]
    first = dict(zip(reversed(lines), reversed(starts)))
    return {line: (count, first[line]) for line, count in Counter(lines).items()}


def _merged(table: _Table, more: _Table, mask: Callable[[str], str] | None) -> _Table:
    """`table` with the entries of `more` added, under their masked shapes."""
    for shape, (count, at) in zip(mask("\n".join(more)).split("\n") if mask else more, more.values()):
        known = table.get(shape)
        table[shape] = (count, at) if known is None else (known[0] + count, min(known[1], at))
    return table
