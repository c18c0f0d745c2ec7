"""An exception raised in a thread from outside, and taken back there where it comes too late."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Final

_spared: Final[set[int]] = set()
_waiting: Final[dict[int, type[BaseException]]] = {}


class Spared:
    """In this context, what is raised in the thread from outside waits until its end."""

    def __enter__(self) -> None:
        _spared.add(threading.get_ident())

    def __exit__(self, *_exc: object) -> None:
        ident = threading.get_ident()
        _spared.discard(ident)
        exception = _waiting.pop(ident, None)
        if exception is not None:
            raise exception


def start_spared(start: Callable[[], None]) -> None:
    """Start a thread; what is raised in this one meanwhile waits until it has begun.

    CPython lets a new thread go by its starter's number until it runs: the exception could end it before it has begun,
    and its starter would wait for that for ever.
    """
    with Spared():
        start()


def raise_in(ident: int, exception: type[BaseException]) -> None:
    """Raise an exception in a thread, at its next step in Python code."""
    if ident in _spared:
        _waiting[ident] = exception
        return
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(exception))


class _Taken(BaseException):
    """Takes the place of an interrupt that came too late."""


def take_interrupts() -> None:
    """Take what is still on its way to this thread.

    Setting it to nothing would do, but for CPython 3.11: there the interpreter stays flagged until an exception is
    really delivered, and whatever is traced in any thread (a debugger, coverage) loops for ever.
    """
    _waiting.pop(threading.get_ident(), None)
    try:
        raise_in(threading.get_ident(), _Taken)
        while True:
            pass
    except (_Taken, KeyboardInterrupt):
        return
