"""The event loops of a session's cells: one for top-level `await`, and those that `asyncio.run` starts.

asyncio is imported when a cell first names it, because that takes longer than all the rest of a session's start.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

THREADS = 64
_owners: dict[int, Loops] = {}  # by the thread that runs the cells
_plain_run: Any = None


class Loops:
    """One session's loops; `tasks` are the main tasks running now, the innermost last. `whole` is a context in which
    an interrupt waits: half a loop cannot be closed, and says so whenever it is collected."""

    def __init__(self, whole: Any) -> None:
        self.tasks: list[Any] = []
        self.whole = whole
        self._loop: Any = None

    def ready(self) -> None:
        """Make the session's loop the current one of this thread, and let cells use `asyncio.run` anywhere."""
        global _plain_run
        import asyncio

        if self._loop is None or self._loop.is_closed():
            with self.whole:
                self._loop = _new_loop()
        asyncio.set_event_loop(self._loop)
        _owners[threading.get_ident()] = self
        if asyncio.run is not _run:
            _plain_run = asyncio.run
            asyncio.run = _run

    def run(self, coroutine: Any) -> Any:
        """Run the coroutine of a cell with top-level `await` to its end."""
        return self.complete(self._loop, coroutine)

    def complete(self, loop: Any, coroutine: Any) -> Any:
        task: Any = None
        try:
            with self.whole:
                task = loop.create_task(coroutine)
                self.tasks.append(task)
            return loop.run_until_complete(task)
        except BaseException:  # it may be an interrupt, which came through the loop or before the first step
            if task is None:
                coroutine.close()
            elif not task.done():  # it must not go on in the next cell
                _cancel(loop, [task])
            raise
        finally:
            if task is not None:
                self.tasks.remove(task)

    def wake(self) -> None:
        """Let the loops that wait notice what was done to their thread; from any thread."""
        for loop in [self._loop, *(task.get_loop() for task in list(self.tasks))]:
            if loop is not None:
                _call_soon(loop, _nothing)

    def cancel(self) -> bool:
        """Cancel what is awaited, from any thread; whether anything was."""
        tasks = list(self.tasks)
        for task in tasks:
            _call_soon(task.get_loop(), task.cancel)
        return bool(tasks)

    def close(self) -> None:
        """End the session's loop, on the thread that runs the cells."""
        _owners.pop(threading.get_ident(), None)
        if self._loop is not None and not self._loop.is_closed():
            import asyncio

            _end(self._loop, self.whole)
            asyncio.set_event_loop(None)


def _run(main: Any, **options: Any) -> Any:
    """`asyncio.run`, which in a cell also works where a loop is running, and can be stopped."""
    import asyncio

    owner = _owners.get(threading.get_ident())
    if owner is None or options.get("loop_factory") is not None:
        return _plain_run(main, **options)
    if not asyncio.iscoroutine(main):
        raise ValueError(f"a coroutine was expected, got {main!r}")
    if asyncio._get_running_loop() is None:
        return _run_on_new_loop(owner, main)
    return _run_on_new_thread(owner, main)


def _run_on_new_loop(owner: Loops, main: Any) -> Any:
    import asyncio

    loop: Any = None
    begun = False
    try:
        with owner.whole:
            loop = _new_loop()
        asyncio.set_event_loop(loop)
        begun = True
        return owner.complete(loop, main)
    finally:
        if loop is not None:
            _end(loop, owner.whole)
        if not begun:
            main.close()
        asyncio.set_event_loop(owner._loop)


def _run_on_new_thread(owner: Loops, main: Any) -> Any:
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.extend((True, _run_on_new_loop(owner, main)))
        except BaseException as exc:
            outcome.extend((False, exc))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.05)  # in steps, so that an interrupt gets through
    good, value = outcome
    if good:
        return value
    raise value


def _new_loop() -> Any:
    """A loop whose `asyncio.to_thread` lets as many calls to models overlap as a run allows, not as there are cores."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS))
    return loop


def _end(loop: Any, whole: Any) -> None:
    import asyncio

    try:
        _cancel(loop, asyncio.all_tasks(loop))
        loop.run_until_complete(loop.shutdown_asyncgens())
        if sys.version_info >= (3, 9):
            loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        with whole:
            loop.close()


def _cancel(loop: Any, tasks: Any) -> None:
    """Cancel tasks and give them a second to end."""
    import asyncio

    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1))


def _call_soon(loop: Any, function: Any) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:  # it was closed meanwhile
        return


def _nothing() -> None:
    """Called by a loop that had to be woken."""
