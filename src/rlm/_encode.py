"""Events to the JSON-able records of a trajectory file.

A text that the file or the context already holds becomes a reference. `Memory` is what both directions remember of the
file so far: the writer refers to it, the reader looks it up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from math import isfinite
from reprlib import Repr
from typing import Any, Final

from rlm._finder import SliceFinder
from rlm._secret import secret_name
from rlm._spans import CutText, Span
from rlm.events import CallFinished, CallStarted, CellFinished, Event, ReplyReceived, RunFinished
from rlm.types import Usage

OUTPUT_CAP: Final = 16_000
"""Characters of one cell's output, and of one traceback, that the log keeps."""
JSON_CAP: Final = 1_000_000
"""Characters of JSON that a submitted value may take before the log keeps its clipped `repr` instead."""
REPR_CAP: Final = 10_000
SHORTEST_REFERENCE: Final = 200
CUT_FROM: Final[Mapping[str, int]] = {
    "prompt": 500,
    "question": 500,
    "answer": 10_000,
    "draft": 10_000,
    "response": 10_000,
    "text": 10_000,
}
"""Fields in which slices of the context are recognised, and the length in characters from which they are."""

MOST_ITEMS: Final = 100_000
DEEPEST: Final = 50
LARGEST_INT: Final = 10**4_000  # Python refuses to write out much longer ones

_NO_DEFAULT = object()
_SPLIT_PAIR = re.compile("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])")
_repr = Repr()
_repr.maxstring = _repr.maxother = 2_000
_repr.maxlong = 200
_repr.maxlist = _repr.maxtuple = _repr.maxdict = _repr.maxset = _repr.maxfrozenset = _repr.maxdeque = 100


class Shown:
    """What a log kept of a value that JSON cannot hold exactly: the name of its type and its `repr`, clipped."""

    def __init__(self, type_name: str, text: str) -> None:
        self.type_name = type_name
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shown) and (self.type_name, self.text) == (other.type_name, other.text)

    def __hash__(self) -> int:
        return hash((self.type_name, self.text))


class Memory:
    """Texts of the file so far that a later record may name, by run."""

    def __init__(self) -> None:
        self._texts: dict[str, dict[str, object]] = {}
        self._children: dict[tuple[str, int], str] = {}

    def of(self, run: str) -> dict[str, object]:
        return self._texts.setdefault(run, {})

    def outputs(self, run: str) -> dict[str, str]:
        return {n: t for n, t in self.of(run).items() if n.startswith("output ") and isinstance(t, str)}

    def note(self, event: Event) -> None:
        mine = self.of(event.run)
        match event:
            case ReplyReceived():
                for name in self.outputs(event.run):
                    del mine[name]
                mine["reply"] = event.reply.text
            case CellFinished():
                mine[f"output {event.block}"] = event.cell.output
            case CallStarted(child=str() as child):
                self._children[event.run, event.call] = child
                self.of(child)["prompt"] = event.prompt
            case CallFinished():
                child = self._children.pop((event.run, event.call), "")
                mine.pop(f"response {child}", None)
                self._texts.pop(child, None)
            case RunFinished():
                del self._texts[event.run]
                if event.parent in self._texts and event.response is not None:
                    self._texts[event.parent][f"response {event.run}"] = event.response
            case _:
                pass


class Encoder:
    """Events to records. `finder(run)` gives the recogniser of that run's context, or `None`."""

    def __init__(self, finder: Callable[[str], SliceFinder | None], *, full_prompts: bool = False) -> None:
        self.memory = Memory()
        self._finder = finder
        self._full_prompts = full_prompts

    def record(self, event: Event) -> dict[str, Any]:
        event = _capped(event)
        out: dict[str, Any] = {"type": type(event).__name__, **self._fields(event, event.run)}
        self.memory.note(event)
        if isinstance(event, ReplyReceived) and isinstance(out["reply"]["text"], dict):
            # A reader has it with places for slices of the context: offsets into the whole would lead elsewhere.
            del self.memory.of(event.run)["reply"]
        return out

    def text(self, text: str, name: str, run: str) -> str | dict[str, Any]:
        """A text as itself, as the name of one that the file holds, or as its parts."""
        parts: Sequence[str | Span] = text.parts if isinstance(text, CutText) else (text,)
        write: Callable[[Span], dict[str, Any]] = _context_span
        if len(text) >= SHORTEST_REFERENCE:
            known = self.memory.of(run)
            same = next(
                (other for other, earlier in known.items() if isinstance(earlier, str) and earlier == text), None
            )
            if same is not None:
                return {"same": same}
            if isinstance(text, CutText):
                pass
            elif name == "code":
                parts, write = SliceFinder({"reply": known.get("reply")}).cut(text), _file_span
            elif name == "shown":
                parts, write = SliceFinder(self.memory.outputs(run)).cut(text), _file_span
            elif not self._full_prompts and len(text) >= CUT_FROM.get(name, len(text) + 1):
                finder = self._finder(run)
                parts = finder.cut(text) if finder else parts
        pieces = [p for part in parts for p in (_literals(part) if isinstance(part, str) else [write(part)])]
        return pieces[0] if len(pieces) == 1 and isinstance(pieces[0], str) else {"parts": pieces}

    def _fields(self, value: object, run: str) -> dict[str, Any]:
        out: dict[str, Any] = {}
        kind: type = type(value)
        for name, default in _defaults(kind):
            item = getattr(value, name)
            if item is not default and not (type(item) is type(default) and item == default):
                out[name] = self._value(item, name, run)
        return out

    def _value(self, value: Any, name: str, run: str) -> Any:
        if name in ("answer", "draft"):
            return self._answer(value, name, run)
        if name == "options":
            return [[option, _setting(option, item)] for option, item in value]
        if isinstance(value, str):
            return self.text(value, name, run)
        if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and isfinite(value)):
            return value
        if isinstance(value, Usage):
            return value.to_dict()
        if is_dataclass(value):
            return self._fields(value, run)
        if isinstance(value, (tuple, list)):
            return [self._value(item, name, run) for item in value]
        return shown(value)

    def _answer(self, value: object, name: str, run: str) -> Any:
        known = self.memory.of(run)
        if isinstance(value, str):
            text = value if isinstance(value, CutText) else str.__str__(value)
            held = self.text(text, name, run)
            known[name] = text
            return held
        written: dict[str, Any] = {"json": value} if is_plain(value) else shown(value)
        if len(text := json.dumps(written)) > JSON_CAP:
            text = json.dumps(written := shown(value))
        # Compared as it is written: the object itself may have been changed in place since the last cell.
        same = next((other for other in ("answer", "draft") if known.get(other) == (text,)), None)
        known[name] = (text,)
        return {"same": same} if same and len(text) >= SHORTEST_REFERENCE else written


def is_plain(value: object) -> bool:
    """Whether JSON holds the value exactly; answered in bounded time, so no for what is very large or very deep."""
    steps = 0
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for item in level:
            if isinstance(item, list) and type(item) is list:
                below += item
            elif isinstance(item, dict) and type(item) is dict:
                if not all(isinstance(key, str) and len(_literals(key)) == 1 for key in item):
                    return False
                below += item.values()
            elif isinstance(item, str):
                if len(_literals(item)) > 1:
                    return False
            elif type(item) is int:
                if abs(item) >= LARGEST_INT:
                    return False
            elif type(item) is float:
                if not isfinite(item):
                    return False
            elif item is not None and type(item) is not bool:
                return False
            if len(below) + steps > MOST_ITEMS:
                return False
        if not below:
            return True
        steps += len(below)
        level = below
    return False


def shown(value: object) -> dict[str, str]:
    if isinstance(value, Shown):
        return {"repr": value.text, "of": value.type_name}
    try:
        text = _repr.repr(value)
    except Exception as error:  # the value's own code: whatever it raises says no more than that it cannot be shown
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return {"repr": _clip(text, REPR_CAP).encode("utf-8", "replace").decode(), "of": type(value).__name__}


def _setting(name: str, value: object) -> Any:
    if secret_name(name) and value is not None:
        return "(not logged)"
    if isinstance(value, Mapping):
        return {str(key): _setting(str(key), item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_setting("", item) for item in value]
    return value if is_plain(value) else shown(value)["repr"]


def _capped(event: Event) -> Event:
    if not isinstance(event, CellFinished):
        return event
    cell = replace(event.cell, output=_clip(event.cell.output, OUTPUT_CAP))
    if cell.error is not None:
        message, traceback = _clip(cell.error.message, OUTPUT_CAP), _clip(cell.error.traceback, OUTPUT_CAP)
        cell = replace(cell, error=replace(cell.error, message=message, traceback=traceback))
    return replace(event, cell=cell)


def _clip(text: str, cap: int) -> str:
    if len(text) <= cap:
        return text
    half = cap // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters are not in the log …\n{text[-half:]}"


@cache
def _defaults(kind: type) -> tuple[tuple[str, object], ...]:
    return tuple((f.name, _NO_DEFAULT if f.default is MISSING else f.default) for f in fields(kind))


def _literals(text: str) -> list[str]:
    # JSON reads a high surrogate followed by a low one as the character they make: a part ends between them.
    return _SPLIT_PAIR.split(text) if _has_surrogates(text) else [text]


def _has_surrogates(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _context_span(span: Span) -> dict[str, Any]:
    path = {"path": list(span.path)} if span.path else {}
    return {"at": span.at, "n": span.length, "sha": span.digest, **path}


def _file_span(span: Span) -> dict[str, Any]:
    return {"of": span.path[0], "at": span.at, "n": span.length}
