"""Functions of the user's, called so that nothing they do can stop the loop they are called from: not by blocking it,
and not by what they raise."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


def is_async(function: object) -> bool:
    """Whether calling it gives something to await, as far as can be seen; partials and callable objects too."""
    while isinstance(function, functools.partial):
        function = function.func
    method = getattr(type(function), "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(method)


async def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function, on a thread of its own unless it is asynchronous, and await what it gives where that is
    awaitable.

    Cancelling does not stop a thread: what it returns then is dropped.

    Raises:
        Exception: what the function raised. What is no `Exception` (`SystemExit`, …), or would be lost on its way
            (`StopIteration`), is a `RuntimeError` that says so.
    """
    if is_async(function):
        return await awaited(function(*args, **kwargs))
    result = await _in_thread(functools.partial(function, *args, **kwargs))
    return await awaited(result) if inspect.isawaitable(result) else result


def awaiting(function: Callable[..., Any], wait: Callable[[Awaitable[Any]], Any]) -> Callable[..., Any]:
    """The function, with what it gives handed to `wait` where that is awaitable."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        return wait(result) if inspect.isawaitable(result) else result

    return called


async def awaited(work: Awaitable[T]) -> T:
    """Await what is not ours; its exceptions are ordinary ones, see `call`."""
    try:
        return await work
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ordinary(exc) from exc
    except Exception:
        raise
    except BaseException as exc:
        raise ordinary(exc) from exc


def ordinary(exc: BaseException) -> Exception:
    """An exception that ends nothing but the call it came from. Ctrl-C is raised again: it is for the program."""
    if isinstance(exc, Exception) and not isinstance(exc, StopIteration | StopAsyncIteration):
        return exc
    if isinstance(exc, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        raise exc
    said = str(exc)
    return RuntimeError(f"it raised {type(exc).__name__}{': ' if said else ''}{said}")


async def _in_thread(work: Callable[[], T]) -> T:
    """On a thread of its own rather than one of the loop's few: `work` may wait for another that needs one."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = context.run(work)
        except BaseException as exc:
            error = ordinary(exc)
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    threading.Thread(target=run, name="rlm-call", daemon=True).start()
    return await done
