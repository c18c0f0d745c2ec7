"""Where a run departed from its recording, in words: what was asked, the nearest that is recorded, and how they
differ."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from rlm._journal_entry import Entry, Key, Recording
from rlm.errors import ReplayMismatchError

NEAREST_OF: Final = 40
COMPARED: Final = 4_000
AROUND: Final = 60
SHOWN: Final = 160


def mismatch(recording: Recording, key: Key, request: Mapping[str, Any], used: Collection[Key]) -> ReplayMismatchError:
    """The error for a request that is not recorded."""
    place = where(key.run, key.cell)
    near = nearest(recording, key, request, used)
    if near is None:
        told = f"{place}: nothing of the kind is recorded there. It asked for {outline(request)}"
        return ReplayMismatchError(told, run=key.run, place=place)
    recorded = recording.request(near)
    diff = difference(recorded, request)
    again = " (already given to an equal request)" if near.key in used else ""
    return ReplayMismatchError(
        f"{place}: it asked for {outline(request)}, which is not recorded. The nearest recorded request{again} is in "
        f"{where(near.key.run, near.key.cell)}: {outline(recorded)}\n{diff}",
        run=key.run,
        place=place,
        diff=diff,
    )


def leftover(recording: Recording, run: str, cell: str, left: Sequence[Entry]) -> ReplayMismatchError:
    """The error for what is recorded and was not asked."""
    place = where(run, cell)
    more = f", and {len(left) - 1} more" if len(left) > 1 else ""
    told = f"{place}: it ended without asking for {outline(recording.request(left[0]))}{more}, which is recorded there"
    return ReplayMismatchError(told, run=run, place=place)


def divergence(recording: Recording, key: Key, request: Mapping[str, Any], used: Collection[Key]) -> str:
    """The same for a run that goes on, with the call made live."""
    near = nearest(recording, key, request, used)
    text = f"run again, the code of {where(key.run, key.cell)} asked for something else than before, which is made live"
    if near is None:
        return f"{text}: {outline(request)}"
    return f"{text}\n{difference(recording.request(near), request)}"


def where(run: str, cell: str) -> str:
    """A place as one reads it, counted from 1."""
    turn, _, block = cell.partition(".")
    number, _, what = turn.partition(" ")
    place = f"turn {int(number) + 1} of run {run}" if number.isdecimal() else f"run {run}"
    if block:
        return f"cell {int(block) + 1} of {place}"
    return f"{place} ({what})" if what else place


def nearest(recording: Recording, key: Key, request: Mapping[str, Any], used: Collection[Key]) -> Entry | None:
    """The recorded request most like this one: in the same cell if there is any, and not yet given out if any is."""
    candidates = [e for e in recording.of(key.run.partition("/")[0]) if e.key.kind == key.kind]

    def rank(entry: Entry) -> tuple[bool, bool, bool]:
        return (entry.key.run != key.run, entry.key.cell != key.cell, entry.key in used)

    candidates.sort(key=rank)
    best = [e for e in candidates if rank(e) == rank(candidates[0])][:NEAREST_OF]
    text = _text(request)[-COMPARED:]

    def likeness(entry: Entry) -> float:
        return difflib.SequenceMatcher(None, text, _text(recording.request(entry))[-COMPARED:]).quick_ratio()

    return max(best, key=likeness, default=None)


def outline(request: Mapping[str, Any]) -> str:
    """A request in a line."""
    if "tool" in request:
        return _cut(f"{request['tool']}{request.get('given', '')}")
    kind = "an RLM" if request.get("child") or str(request.get("sampling", "")).startswith("context") else "a call"
    return f"{kind} of {request.get('model')}: {_cut(_text(request).strip())!r}"


def difference(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """The first thing that differs, a line of each."""
    for label, before, now in _parts(recorded, asked):
        if before != now:
            return f"first difference, {label}:\n" + _lines(before, now)
    return "they differ only in how often they were asked, or in parts too long to be kept"


def _parts(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name in ("tool", "given", "model", "sampling"):
        yield name, str(recorded.get(name, "")), str(asked.get(name, ""))
    old, new = recorded.get("messages", []), asked.get("messages", [])
    for number in range(max(len(old), len(new))):
        before = old[number] if number < len(old) else ["", "(no such message)"]
        now = new[number] if number < len(new) else ["", "(no such message)"]
        role = now[0] or before[0]
        yield f"message {number + 1} ({role})", before[1], now[1]


def _lines(before: str, now: str) -> str:
    old, new = before.splitlines() or [""], now.splitlines() or [""]
    same = 0
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    a = old[same] if same < len(old) else "(ends here)"
    b = new[same] if same < len(new) else "(ends here)"
    at = 0
    while at < min(len(a), len(b)) and a[at] == b[at]:
        at += 1
    return f"line {same + 1}\n- recorded: {_window(a, at)}\n+ asked:    {_window(b, at)}"


def _window(line: str, at: int) -> str:
    start = max(0, at - AROUND)
    head, tail = "…" if start else "", "…" if len(line) > at + AROUND else ""
    return f"{head}{line[start : at + AROUND]}{tail}"


def _text(request: Mapping[str, Any]) -> str:
    if "tool" in request:
        return f"{request['tool']}{request.get('given', '')}"
    messages = request.get("messages") or [["", ""]]
    return str(messages[-1][1])


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}…{text[-SHOWN // 2 :]}"
