"""Records of a trajectory file back to events.

A file is data from anywhere: every field is checked against the types of its event.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Final, Literal

from rlm import events
from rlm._encode import Memory, Shown
from rlm._spans import CutText, Span
from rlm.errors import TrajectoryError
from rlm.events import CallStarted, Event
from rlm.types import Usage

EVENT_TYPES: Final[Mapping[str, type[Event]]] = {
    name: kind for name, kind in vars(events).items() if isinstance(kind, type) and issubclass(kind, Event)
}

LATEST_TIME: Final = 253_402_300_799  # the end of the year 9999
DEEPEST_RUN: Final = 100


class Decoder:
    """Records to events, in the order of the file. `most` bounds the characters that references may repeat."""

    def __init__(self, most: int) -> None:
        self.memory = Memory()
        self._left = most

    def event(self, record: Mapping[str, Any]) -> Event:
        run = record.get("run")
        if not isinstance(run, str):
            raise TrajectoryError("a record names no run")
        event: Event = self._object(EVENT_TYPES[record["type"]], record, run)
        if not 0 <= event.time <= LATEST_TIME:
            raise TrajectoryError("a time that is none")
        if not 0 <= event.depth <= DEEPEST_RUN or run.count("/") > DEEPEST_RUN:
            raise TrajectoryError("deeper than any run")
        if isinstance(event, CallStarted) and event.child is not None and event.child.rpartition("/")[0] != run:
            raise TrajectoryError("a child that is not the run's own")
        self.memory.note(event)
        return event

    def text(self, written: object, run: str) -> str:
        if isinstance(written, str):
            return written
        if not isinstance(written, dict):
            raise TrajectoryError(f"expected a text, found {type(written).__name__}")
        if "same" in written:
            same = self.memory.of(run).get(str(written["same"]))
            if not isinstance(same, str):
                raise TrajectoryError(f"refers to a text {written['same']!r} that the file does not hold")
            return same
        parts = [self._part(part, run) for part in _checked(list, written.get("parts"))]
        return CutText(parts, run) if any(isinstance(part, Span) for part in parts) else "".join(map(str, parts))

    def _part(self, part: object, run: str) -> str | Span:
        if isinstance(part, str):
            return part
        written: dict[str, Any] = _checked(dict, part)
        at, length = _checked(int, written.get("at")), _checked(int, written.get("n"))
        if at < 0 or length < 0:
            raise TrajectoryError("a span lies before its text")
        if "of" not in written:
            path = tuple(_key(key) for key in _checked(list, written.get("path", [])))
            return Span(at=at, length=length, digest=_checked(str, written.get("sha")), path=path)
        source = self.memory.of(run).get(str(written["of"]))
        if not isinstance(source, str) or at + length > len(source):
            raise TrajectoryError(f"refers to a text {written['of']!r} that the file does not hold")
        self._left -= length
        if self._left < 0:
            raise TrajectoryError("its references would repeat far more text than the file holds")
        return source[at : at + length]

    def _object(self, kind: type, written: Mapping[str, Any], run: str) -> Any:
        values = {}
        for name, hint, required in _fields(kind):
            if name in written:
                try:
                    values[name] = self._value(hint, written[name], name, run)
                except TrajectoryError as error:
                    raise TrajectoryError(f"{kind.__name__}.{name}: {error}") from None
            elif required:
                raise TrajectoryError(f"{kind.__name__} has no {name!r}")
        return kind(**values)

    def _value(self, hint: Any, written: Any, name: str, run: str) -> Any:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (types.UnionType, typing.Union):
            if written is None and types.NoneType in arguments:
                return None
            hint = next(a for a in arguments if a is not types.NoneType)
            return self._value(hint, written, name, run)
        if origin is Literal:
            if written not in arguments:
                raise TrajectoryError(f"expected one of {', '.join(map(str, arguments))}")
            return written
        if origin is tuple:
            items = _checked(list, written)
            hints = [arguments[0]] * len(items) if arguments[-1] is ... else arguments
            if len(hints) != len(items):
                raise TrajectoryError(f"expected {len(hints)} items, found {len(items)}")
            return tuple(self._value(hint, item, name, run) for hint, item in zip(hints, items, strict=True))
        if hint is str:
            return self.text(written, run)
        if hint is object:
            return self._answer(written, name, run) if name in ("answer", "draft") else written
        if hint is Usage:
            if not all(type(count) in (int, float) for count in _checked(dict, written).values()):
                raise TrajectoryError("usage is counted in numbers")
            return Usage.from_dict(written)
        if is_dataclass(hint):
            return self._object(typing.cast(type, hint), _checked(dict, written), run)
        return _checked(hint, written)

    def _answer(self, written: object, name: str, run: str) -> object:
        known = self.memory.of(run)
        value: object
        if isinstance(written, dict) and "json" in written:
            value = written["json"]
        elif isinstance(written, dict) and "repr" in written:
            value = Shown(str(written.get("of", "object")), str(written["repr"]))
        elif isinstance(written, dict) and str(written.get("same")) in known:
            value = known[str(written["same"])]
        else:
            value = self.text(written, run)
        known[name] = value
        return value


def _checked(kind: type, value: Any) -> Any:
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    if kind is float and type(value) is int:
        return value
    raise TrajectoryError(f"expected {kind.__name__}, found {type(value).__name__}")


def _key(key: object) -> str | int:
    if isinstance(key, (str, int)):
        return key
    raise TrajectoryError("a path is made of texts and numbers")


@cache
def _fields(kind: type) -> tuple[tuple[str, Any, bool], ...]:
    hints = typing.get_type_hints(kind)
    return tuple((f.name, hints[f.name], f.default is MISSING and f.default_factory is MISSING) for f in fields(kind))
