"""What a record of a journal may be. The file is data from anywhere: whatever a run would stumble over later, when
calls are paid for, is refused when it is read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from rlm.errors import LMErrorKind
from rlm.repl.codec import decode
from rlm.types import Finish

Check = Callable[[Any], bool]

MOST: Final = 2**63
PATH: Final = re.compile(r"[^/]+(/[0-9]{1,15}){0,100}", re.DOTALL)


def check(record: Mapping[str, Any]) -> None:
    """Raise `ValueError` for a record that says something else than its kind may; a kind that is not known may say
    anything."""
    kind = record["type"]
    _fields(record, f"a record of kind {kind!r}", _RECORDS.get(kind, {}))
    if kind == "fact":
        name = record["name"].partition(" ")[0]
        _fields(record["value"], f"the fact {record['name']!r}", _FACTS.get(name, {}))
    elif kind == "child" and record["child"].rpartition("/")[0] != record["run"]:
        raise ValueError("a child that is not the run's own")
    elif kind == "tool":
        _fields(record, "a tool's outcome", {"raised": _raised} if "raised" in record else {"result": _any})
        if "raised" not in record:
            decode(record["result"], blobs_of(record))


def blobs_of(record: Mapping[str, Any]) -> list[str | bytes]:
    """The long texts and bytes of a tool's result."""
    return [blob if isinstance(blob, str) else bytes.fromhex(blob["bytes"]) for blob in record["blobs"]]


def _fields(value: Mapping[str, Any], what: str, checks: Mapping[str, Check]) -> None:
    """A name that ends with `?` may be missing."""
    for name, check in checks.items():
        known = name.removesuffix("?")
        if known not in value:
            if known == name:
                raise ValueError(f"{what} has no {known!r}")
        elif not check(value[known]):
            raise ValueError(f"{what} has a {known!r} that is none")


def _any(value: Any) -> bool:
    return True


def _bool(value: Any) -> bool:
    return isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST


def _number(value: Any) -> bool:
    return math.isfinite(value) if type(value) is float else type(value) is int and abs(value) < MOST


def _share(value: Any) -> bool:
    return _number(value) or value == math.inf  # of a limit that is next to nothing


def _positive(value: Any) -> bool:
    return _number(value) and value > 0


def _path(value: Any) -> bool:
    return isinstance(value, str) and PATH.fullmatch(value) is not None


def _one_of(*words: object) -> Check:
    return lambda value: isinstance(value, str) and value in words


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _list(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _like(checks: Mapping[str, Check]) -> Check:
    def check(value: Any) -> bool:
        if isinstance(value, dict):
            _fields(value, "a part of it", checks)
        return isinstance(value, dict)

    return check


def _row(*checks: Check) -> Check:
    return lambda value: (
        isinstance(value, list)
        and len(value) == len(checks)
        and all(check(item) for check, item in zip(checks, value, strict=True))
    )


def _usage(value: Any) -> bool:
    return isinstance(value, dict) and all(_number(count) and count >= 0 for count in value.values())


def _message(value: Any) -> bool:
    return isinstance(value, str) or _like({"role": _text, "content": _text, "digest?": _text})(value)


def _blob(value: Any) -> bool:
    return isinstance(value, str) or _like({"bytes": _text})(value)


def _raised(value: Any) -> bool:
    return _like({"type": _text, "message": _text})(value) and "\0" not in value["type"]


_KEY: Final[Mapping[str, Check]] = {"run": _path, "cell": _text, "digest": _text, "nth": _count}
_ASKED: Final[Mapping[str, Check]] = {
    **_KEY,
    "of?": _one_of("child"),
    "number?": _count,
    "model": _text,
    "sampling": _text,
    "messages": _list(_message),
    "prefix?": _row(_text, _count),
}
_ERROR: Final = _like({
    "message": _text,
    "kind": _one_of(*get_args(LMErrorKind)),
    "hint": _text,
    "model": _or_none(_text),
    "status": _or_none(_number),
    "usage": _usage,
    "limit?": _text,
})  # fmt: skip
_FAILED: Final[Mapping[str, Check]] = {**_ASKED, "error": _ERROR}
_RECORDS: Final[Mapping[str, Mapping[str, Check]]] = {
    "run": {"run": _path, "task": _text, "question?": _or_none(_text)},
    "end": {"run": _path, "ending": _one_of("answered", "forced", "failed")},
    "fact": {"run": _path, "name": _text, "value": _like({})},
    "masked": {"length": _count, "spans": _list(_row(_count, _count)), "digest": _text},
    "void": {"keys": _list(_row(_path, _text, _text, _text, _count))},
    "reply": {
        **_ASKED,
        "text": _text,
        "finish": _one_of(*get_args(Finish)),
        "usage": _usage,
        "reasoning?": _text,
        "replied": _text,
    },
    "failure": _FAILED,
    "refused": _FAILED,
    "unsent": _FAILED,
    "child": {**_ASKED, "child": _path},
    "tool": {**_KEY, "tool": _text, "given": _text, "blobs?": _list(_blob)},
}
_FACTS: Final[Mapping[str, Mapping[str, Check]]] = {
    "briefing": {"turns": _count, "calls": _or_none(_count), "subcall_chars": _number},
    "limits": {"max_iterations": _count, "max_errors": _or_none(_count)},
    "turn": {"turns": _count, "share": _share, "limit": _text, "left": _or_none(_number), "seconds": _number},
    "compaction": {"ratio": _positive},
    "end": {"why": _text},
    "mcp": {
        "tools": _list(
            _like(
                {"server": _count, "tool": _text, "description": _text, "parameters": _list(_row(_text, _bool, _any))}
            )
        )
    },
}
