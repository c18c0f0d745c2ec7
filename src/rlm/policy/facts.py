"""What the first message says of a context: constant in size and found in constant time, whatever the context.

Everything quoted from the context is data: cut, on one line, and what cannot be printed escaped, so it cannot break the
message around it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from rlm.repl.measure import glimpse, plain, size, spread
from rlm.repl.shapes import Shapes, shapes

_WHOLE = 150_000
"""Characters of text whose shapes are counted in full; of longer ones, of a sample."""
_BLOCKS, _BLOCK = 40, 3_000
_COUNTED = 300_000_000
"""Characters of text whose lines are counted; of longer ones they are estimated."""
_ITEMS = 500
_LONGEST = 2_400
_Container = dict[object, object] | list[object] | tuple[object, ...] | set[object] | frozenset[object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """`size` is in characters (about, where `exact` is False), `count` the lines or items, `text` the description."""

    type: str
    size: int
    exact: bool
    tokens: int
    """An estimate."""
    count: int | None
    text: str


def describe(context: object) -> str:
    """Some lines for the model about `context`; at most about 2 KB."""
    return facts(context).text


def size_of(context: object) -> int:
    """Characters of text in a context, keys included: exact for text, estimated for more than 10,000 parts."""
    return size(context)


def facts(context: object) -> Facts:
    if isinstance(context, str):
        return _text_facts(context)
    if isinstance(context, dict | list | tuple | set | frozenset):
        return _container_facts(context)
    characters = size(context)
    if isinstance(context, bytes | bytearray):
        lines = [f"{len(context):,} bytes, beginning {glimpse(bytes(context[:200]), 300)}"]
    elif context is None or isinstance(context, int | float | complex):
        lines = [glimpse(context, 300)]
    else:
        lines = _object_lines(context)
    return _facts(context, characters, True, characters // 4, None, lines)


def _facts(
    context: object, characters: int, exact: bool, tokens: int, count: int | None, lines: Sequence[str]
) -> Facts:
    name = plain(type(context).__name__, 60)
    text = f"Its type is {name}: " + "\n".join(lines)
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "…"
    return Facts(type=name, size=characters, exact=exact, tokens=tokens, count=count, text=text)


def _tokens(characters: int, sample: str) -> int:
    """Some four characters of ASCII a token, one and a half of other text."""
    ascii_share = sum(map(str.isascii, sample)) / len(sample) if sample else 1.0
    return round(characters * (ascii_share / 4 + (1 - ascii_share) / 1.5))


def _about(number: int) -> str:
    """Two significant digits: what an estimate is good for."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return f"{round(number / unit) * unit:,}"


# --- text


def _text_facts(text: str) -> Facts:
    if not text:
        return _facts(text, 0, True, 0, 0, ["empty, 0 characters"])
    counted = len(text) <= _COUNTED
    count = text.count("\n") + (not text.endswith("\n")) if counted else _estimated_lines(text)
    step = max(1, len(text) // 2_000)
    tokens = _tokens(len(text), text[: step * 2_000 : step])
    number = f"{count:,}" if counted else f"about {_about(count)}"
    lines = [f"{len(text):,} characters (about {_about(tokens)} tokens) in {number} lines."]
    first = _first_lines(text, 4)
    last = _last_lines(text, min(3, count - len(first)))
    lines += ["First lines:" if last else "Lines:", *(f"  {n:>9,} | {line}" for n, line in enumerate(first, 1))]
    if last:
        before = (count if counted else -1) - len(last)  # where they were not counted, from the end: -1 is the last
        lines += ["Last lines:", *(f"  {before + n:>9,} | {line}" for n, line in enumerate(last, 1))]
    if count > 10:
        whole = len(text) <= _WHOLE
        lines += _shape_lines(shapes(text if whole else _sample(text)), "lines", whole)
    return _facts(text, len(text), True, tokens, count, lines)


def _estimated_lines(text: str) -> int:
    places = range(0, len(text) - 500_000, len(text) // 100)
    return sum(text.count("\n", at, at + 500_000) for at in places) * len(text) // (500_000 * len(places)) + 1


def _first_lines(text: str, count: int) -> list[str]:
    lines: list[str] = []
    at = 0
    while len(lines) < count and at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        lines.append(plain(text[at : min(end, at + 200)].rstrip("\r"), 140))
        at = end + 1
    return lines


def _last_lines(text: str, count: int) -> list[str]:
    lines: list[str] = []
    end = len(text) - text.endswith("\n")
    while len(lines) < count:
        start = text.rfind("\n", 0, end) + 1
        lines.insert(0, plain(text[start : min(end, start + 200)].rstrip("\r"), 140))
        end = start - 1
    return lines


def _sample(text: str) -> str:
    """Whole lines out of evenly spread places."""
    step = len(text) // _BLOCKS
    found = []
    for at in range(0, len(text) - _BLOCK, step):
        block = text[at : at + _BLOCK]
        start, end = block.find("\n") + 1 if at else 0, block.rfind("\n")
        if start <= end:
            found.append(block[start:end])
    return "\n".join(found)


def _shape_lines(found: Shapes, unit: str, whole: bool) -> list[str]:
    common = [shape for shape in found[:6] if shape.times > 1 and shape.times * 100 >= found.total]
    if all(shape.shape == "" for shape in common):
        return []
    among = "" if whole else f", in a sample of {found.total:,} {unit}"
    lines = [f"Commonest shapes of {unit}{among} ({found.mask}):"]
    lines.extend(
        f"  {100 * shape.times / found.total:4.0f} % {shape.times:>7,} × {plain(shape.shape, 100) or '(blank)'}"
        for shape in common
    )
    others = len(found) - len(common)
    if others:
        rest = found.total - sum(shape.times for shape in common)
        lines.append(f"  {100 * rest / found.total:4.0f} % {rest:>7,} of {others:,} other shapes")
    return lines


# --- lists and dicts


def _container_facts(context: _Container) -> Facts:
    count = len(context)
    keyed = isinstance(context, dict)
    unit = "entries" if keyed else "items"
    if not count:
        return _facts(context, 0, True, 0, 0, [f"empty, 0 {unit}"])
    characters = size(context)
    exact = count <= _ITEMS
    sample = spread(context, _ITEMS)
    values = [part[1] for part in sample] if keyed else sample
    sizes = sorted(size(value, 50) for value in values)
    glance = "".join(value[:20] for value in values if isinstance(value, str))
    tokens = _tokens(characters, glance)
    among = "" if len(sample) == count else f" (in a sample of {len(sample):,})"
    kinds = Counter(plain(type(value).__name__, 40) for value in values).most_common(5)
    lines = [
        f"{count:,} {unit}, {'' if exact else 'about '}{characters:,} characters (about {_about(tokens)} tokens).",
        f"Types{among}: {', '.join(f'{kind} {number:,}' for kind, number in kinds)}.",
        f"Characters of {'a value' if keyed else 'an item'}{among}: "
        f"min {sizes[0]:,}, median {sizes[len(sizes) // 2]:,}, max {sizes[-1]:,}.",
    ]
    if keyed:
        shown = list(islice(context, 12))
        more = f", … {count - len(shown):,} more" if count > len(shown) else ""
        lines.append(f"Keys: {', '.join(_one_line(key, 60) for key in shown)}{more}")
    if count > 4 and not (keyed and all(isinstance(value, str) for value in values)):
        lines += _shape_lines(shapes(values), unit, len(sample) == count)
    if isinstance(context, dict):
        lines += ["First:", *(f"  [{_one_line(k, 60)}] {_one_line(v, 200)}" for k, v in islice(context.items(), 2))]
    elif isinstance(context, list | tuple):
        places = range(count) if count <= 3 else [0, 1, count - 1]
        lines += ["First and last:", *(f"  [{place}] {_one_line(context[place], 200)}" for place in places)]
    else:
        lines += ["Some:", *(f"  {_one_line(item, 200)}" for item in islice(context, 3))]
    return _facts(context, characters, exact, tokens, count, lines)


def _one_line(value: object, n: int) -> str:
    return plain(glimpse(value, n), n + 60)


# --- other objects


def _object_lines(context: object) -> list[str]:
    """An object's own repr may be of any length and take any time, so it is not asked for."""
    lines = [f"an object of {plain(type(context).__module__, 60)}.{plain(type(context).__qualname__, 80)}."]
    names = list(islice(getattr(context, "__dict__", {}), 12))
    if names:
        lines.append("Attributes: " + ", ".join(plain(name, 40) for name in names))
    return lines
