"""How large a value is and what it looks like, in bounded time: for the helpers, and for the facts about a context."""

from __future__ import annotations

from itertools import islice
from typing import Any, Iterable

SEQUENCES = (list, tuple, set, frozenset)
DEEPEST = 50


def size(value: Any, nodes: int = 10000) -> int:
    """Characters of text in a value, keys included and punctuation not.

    Exact for text and for containers of up to `nodes` parts; above, worked out from a sample of its parts.
    """
    if isinstance(value, str):
        return len(value)
    total, exact = _measure(value, [nodes], 0)
    if exact or not isinstance(value, (dict, *SEQUENCES)):
        return total
    sample = spread(value, max(1, nodes // 20))
    return sum(_measure(part, [40], 0)[0] for part in sample) * len(value) // len(sample)


def _measure(value: Any, room: list[int], depth: int) -> tuple[int, bool]:
    """Characters, and whether every part was seen; `room` counts the parts that may still be looked at."""
    if isinstance(value, (str, bytes, bytearray)):
        return len(value), True
    if isinstance(value, int):
        return (len(repr(value)) if value.bit_length() < 1000 else value.bit_length() * 3 // 10), True
    if not isinstance(value, (dict, *SEQUENCES)):
        return len(repr(value)) if isinstance(value, (float, type(None))) else len(type(value).__name__), True
    if depth > DEEPEST:
        return 0, False
    total = 0
    for seen, part in enumerate(parts(value)):
        if room[0] <= 0:
            return total * len(value) // max(seen, 1), False
        room[0] -= 1
        for piece in part if isinstance(value, dict) else (part,):
            count, exact = _measure(piece, room, depth + 1)
            total += count
            if not exact:
                return total * len(value) // (seen + 1), False
    return total, True


def parts(context: Any) -> Iterable[Any]:
    return context.items() if isinstance(context, dict) else context


def spread(context: Any, count: int) -> list[Any]:
    """At most `count` of a container's parts, out of all of it (a dict or a set: out of its first 200,000), in order.

    Not at even distances: what repeats at some interval would be seen at one of its phases only.
    """
    if not isinstance(context, (list, tuple)):
        context = list(islice(parts(context), 200000))
    if len(context) <= count:
        return list(context)
    places = {int(index * 0.6180339887498949 % 1 * len(context)) for index in range(count)}
    return [context[place] for place in sorted(places)]


def glimpse(value: Any, n: int = 200) -> str:
    """The value as a Python literal of about `n` characters, `…` where it was cut. Builds no long text on the way."""
    if isinstance(value, (float, type(None))) or (isinstance(value, int) and value.bit_length() <= 1000):
        return repr(value)[: n + 60]
    out: list[str] = []
    left = n

    def write(text: str) -> None:
        nonlocal left
        out.append(text)
        left -= len(text)

    def walk(value: Any, depth: int) -> None:
        if isinstance(value, (str, bytes, bytearray)):
            cut = value[: max(left, 0)]
            write(repr(cut) + ("" if len(cut) == len(value) else f"…({len(value):,} characters)"))
        elif isinstance(value, int) and value.bit_length() > 1000:
            write(f"<int of {value.bit_length():,} bits>")
        elif isinstance(value, (dict, *SEQUENCES)):
            opening, closing = "[]" if isinstance(value, list) else "()" if isinstance(value, tuple) else "{}"
            write(opening)
            for index, part in enumerate(parts(value)):
                if left <= 0 or depth > 8:
                    write(f"…{len(value) - index:,} more")
                    break
                if isinstance(value, dict):
                    walk(part[0], depth + 1)
                    write(": ")
                    part = part[1]
                walk(part, depth + 1)
                if index + 1 < len(value):
                    write(", ")
            write(closing)
        else:
            try:
                text = repr(value)
            except Exception as error:  # an object's own code
                text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
            write(text if len(text) <= max(left, 20) else text[: max(left, 20)] + "…")

    walk(value, 0)
    text = "".join(out)
    return text if len(text) <= n + 60 else text[:n] + "…"


def plain(text: str, n: int) -> str:
    """Text on one line: cut to `n` characters, what cannot be printed escaped."""
    cut = text[:n]
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    return cut if len(text) <= n else cut + "…"


def checked(context: Any, name: str) -> Any:
    if isinstance(context, (str, dict, *SEQUENCES)):
        return context
    hint = ": decode it first, context.decode('utf-8', 'replace')" if isinstance(context, (bytes, bytearray)) else ""
    raise TypeError(f"{name} works on text, lists and dicts, not on {type(context).__name__}{hint}")
