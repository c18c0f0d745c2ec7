"""An exception as the model is shown it: its own frames only, with line numbers and source lines, bounded in size."""

from __future__ import annotations

import linecache
import traceback
from typing import Any, Iterable

from .capture import clip

CELL = "<cell "
FRAMES = 20
LINKS = 12  # exceptions of a chain or group that are shown
MESSAGE = 4_000
TRACEBACK = 16_000


def cell_name(number: int, tag: str = "") -> str:
    """The file name of a cell; `tag` keeps apart the sessions that share a process, and is not shown."""
    return "{}{}{}>".format(CELL, number, "@" + tag if tag else "")


def remember_source(name: str, code: str) -> None:
    """Make the source lines of a cell available to tracebacks and `inspect`, for as long as its functions may run."""
    linecache.cache[name] = (len(code), None, _lines(code), name)


def _lines(code: str) -> list[str]:
    """The lines as the compiler counts them: `splitlines` knows more kinds of line ends than it."""
    return [line + "\n" for line in code.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


def forget_sources(names: Iterable[str]) -> None:
    for name in names:
        linecache.cache.pop(name, None)


def describe(exc: BaseException) -> dict[str, str]:
    """{"type", "message", "traceback"} of an exception that ended a cell."""
    shown = traceback.TracebackException.from_exception(exc, capture_locals=False)
    links = [shown]
    for link in links:
        _own_frames(link)
        more = [part for part in (link.__cause__, link.__context__, *(getattr(link, "exceptions", None) or ())) if part]
        if len(links) + len(more) > LINKS:
            link.__cause__ = link.__context__ = None
        else:
            links.extend(more)
    text = "".join(shown.format())
    return {
        "type": type(exc).__name__,
        "message": clip(_text(exc), MESSAGE, "omitted"),
        "traceback": clip(text, TRACEBACK, "omitted").rstrip("\n"),
    }


def _own_frames(shown: Any) -> None:
    frames = [frame for frame in shown.stack if frame.filename.startswith(CELL)]
    if len(frames) > FRAMES and len({(frame.name, frame.lineno) for frame in frames[-FRAMES:]}) > 1:
        frames = frames[: FRAMES // 2] + frames[-FRAMES // 2 :]
    for frame in frames:
        frame.filename = _shown_name(frame.filename)
    shown.stack = traceback.StackSummary.from_list(frames)
    if getattr(shown, "filename", None):  # a SyntaxError
        shown.filename = _shown_name(shown.filename)


def _shown_name(filename: str) -> str:
    return filename.partition("@")[0] + ">" if filename.startswith(CELL) and "@" in filename else filename


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except BaseException as error:  # the model's class may be broken; that must not hide which exception it was
        return f"<its text could not be made: {type(error).__name__}>"
