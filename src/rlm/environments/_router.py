"""Gives cells that share this process a stdout, stderr and stdin of their own, and leaves everybody else's alone.

While a session is open, a `_Router` stands in the `sys` module for each stream. Python's `print` finds it there; code
that reads or sets `sys.stdout` goes through properties on the module's class, so that a cell which redirects its
output redirects only its own, and a host that redirects (pytest, Jupyter, contextlib) redirects only the host's. The
context reaches threads that a cell starts because `Thread.start` carries it over, for cells only."""

from __future__ import annotations

import functools
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from types import ModuleType
from typing import Any

from rlm.environments._raising import start_spared

NAMES = ("stdout", "stderr", "stdin")

_streams: ContextVar[dict[str, Any] | None] = ContextVar("rlm_cell_streams", default=None)
_lock = threading.Lock()
_users = 0
_outside: dict[str, Any] = {}
_saved: tuple[type[ModuleType], Callable[..., None], Callable[..., None], Callable[..., None]] | None = None


def enter(streams: dict[str, Any]) -> None:
    """Make `streams` (by name in `NAMES`) those of the running context: a session's thread calls this once."""
    _streams.set(streams)


class _Router:
    """Stands in `sys` for one stream; every use goes to the stream of the context it is used in."""

    def __init__(self, name: str) -> None:
        self.__dict__["_name"] = name

    def _target(self) -> Any:
        mine = _streams.get()
        return _outside[self._name] if mine is None else mine[self._name]

    def write(self, text: str) -> int:
        written: int = self._target().write(text)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._target(), name, value)

    def __iter__(self) -> Any:
        return iter(self._target())

    def __repr__(self) -> str:
        return f"<router of sys.{self._name}: {self._target()!r}>"


_ROUTERS = {name: _Router(name) for name in NAMES}


def _stream_property(name: str) -> property:
    router = _ROUTERS[name]

    def get(module: ModuleType) -> Any:
        mine = _streams.get()
        return _outside[name] if mine is None else mine.get(f"set_{name}", router)

    def put(module: ModuleType, value: object) -> None:
        mine = _streams.get()
        if mine is None:
            _outside[name] = value
        elif value is router:
            mine[name] = mine[f"own_{name}"]
            mine.pop(f"set_{name}", None)
        else:
            mine.setdefault(f"own_{name}", mine[name])
            mine[name] = mine[f"set_{name}"] = value

    return property(get, put)


class _RoutedSys(ModuleType):
    stdout = _stream_property("stdout")
    stderr = _stream_property("stderr")
    stdin = _stream_property("stdin")


def _start_in_context(thread: threading.Thread) -> None:
    assert _saved is not None
    if _streams.get() is not None:
        run, context = thread.run, copy_context()
        thread.run = lambda: context.run(_run_in_cell, run)  # type: ignore[method-assign]
    start_spared(functools.partial(_saved[1], thread))


def _run_in_cell(run: Callable[[], None]) -> None:
    """What ends a cell's thread is the cell's output, not the business of the host's `threading.excepthook`."""
    try:
        run()
    except SystemExit:
        return
    except BaseException:
        traceback.print_exc(file=_ROUTERS["stderr"])


def _show_warning(message: Any) -> None:
    assert _saved is not None
    mine = _streams.get()
    if mine is None or mine.get("warnings") != warning_hooks():
        _saved[2](message)
    else:
        text = warnings.formatwarning(message.message, message.category, message.filename, message.lineno, message.line)
        _ROUTERS["stderr"].write(text)


def _show_unraisable(event: Any) -> None:
    """The interrupt of a cell that hits a finalizer ends nothing, and is raised again."""
    assert _saved is not None
    if event.exc_type is not KeyboardInterrupt or _streams.get() is None:
        _saved[3](event)


def warning_hooks() -> tuple[Any, Any]:
    """Where warnings go; kept in a cell's streams when it starts, to know whether the cell has changed it."""
    return warnings.showwarning, getattr(warnings, "_showwarnmsg_impl", None)


def _set_class(cls: type[ModuleType]) -> None:
    setattr(sys, "__class__", cls)  # noqa: B010 - type checkers take `sys` for its stub


def acquire() -> None:
    """Put the routers in place, for the first session that is open."""
    global _users, _saved
    with _lock:
        _users += 1
        if _users > 1:
            return
        _outside.update({name: getattr(sys, name) for name in NAMES})
        _saved = (type(sys), threading.Thread.start, warnings._showwarnmsg, sys.unraisablehook)  # type: ignore[attr-defined]
        sys.__dict__.update(_ROUTERS)
        _set_class(_RoutedSys)
        threading.Thread.start = _start_in_context  # type: ignore[assignment, method-assign]
        warnings._showwarnmsg = _show_warning  # type: ignore[attr-defined]
        sys.unraisablehook = _show_unraisable


def release() -> None:
    """Take them away again after the last one, leaving what the host has set meanwhile."""
    global _users
    with _lock:
        _users -= 1
        if _users or _saved is None:
            return
        _set_class(_saved[0])
        threading.Thread.start = _saved[1]  # type: ignore[method-assign]
        warnings._showwarnmsg = _saved[2]  # type: ignore[attr-defined]
        if sys.unraisablehook is _show_unraisable:
            sys.unraisablehook = _saved[3]
        sys.__dict__.update(_outside)


def reset_streams(streams: dict[str, Any]) -> None:
    """Undo what a cell set and did not restore."""
    for name in NAMES:
        if f"own_{name}" in streams:
            streams[name] = streams.pop(f"own_{name}")
            streams.pop(f"set_{name}", None)
