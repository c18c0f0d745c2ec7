"""The synchronous form of the library's asynchronous functions, and `with` for what has both."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from rlm.errors import CancellationError
from rlm.portal import portal

T = TypeVar("T")


def blocking(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it on the library's own loop. Ctrl-C cancels it and becomes a `CancellationError` with what there was."""
    try:
        return portal.call(function)
    except asyncio.CancelledError as exc:
        error = CancellationError(getattr(exc, "partial_answer", None))
        error.result = getattr(exc, "result", None)
        for note in getattr(exc, "__notes__", ()):
            error.add_note(note)
        raise error from None


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
