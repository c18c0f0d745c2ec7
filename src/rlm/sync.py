"""The synchronous form of the library's asynchronous functions, and `with` for what has both."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from rlm.errors import CancellationError
from rlm.portal import Interrupted, portal
from rlm.result import Completion

T = TypeVar("T")


def blocking(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it on the library's own loop. Ctrl-C cancels it and becomes a `CancellationError` with what there was, also
    where it came as all was done: a program that is told to stop must not go on."""
    ended: object
    try:
        return portal.call(function)
    except Interrupted as exc:
        ended = exc.outcome.exception() or exc.outcome.result()
    except asyncio.CancelledError as exc:
        ended = exc
    raise _cancelled(ended)


def _cancelled(ended: object) -> CancellationError:
    """With what there was: in the error that it ended with, or in its result."""
    if isinstance(ended, Completion):
        error = CancellationError(ended.response)
        error.result = ended
        return error
    error = CancellationError(getattr(ended, "partial_answer", None))
    error.result = getattr(ended, "result", None)
    error.__cause__ = ended if isinstance(ended, Exception) else None
    return error


class Closing(ABC):
    """`with` and `async with` for what has `close` and `aclose`."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    async def aclose(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()
