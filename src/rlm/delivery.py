"""Events to observers that may take their time: each is called on a thread of its own, in order, so that none delays a
run. docs/adr/0006-observers.md says why it is done this way."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, Final

from rlm.events import Event, Observer

log = logging.getLogger("rlm")

PATIENCE: Final = 2.0
"""Seconds that the end of a run waits for observers that are behind, and the end of the program once more."""
LAST_EVENT: Final = 0.5
"""Seconds that there are for the last event in any case, also where one observer has used up all others."""
MOST_BEHIND: Final = 100_000
"""Events of a run that may wait for an observer; one further behind is given up, so as not to fill the memory."""
NOT_CALLED: Final = "it is not called any more in this run"


class Delivery:
    """One run's events to its observers. Belongs to one event loop; `warn` is called there with what the user should
    know of an observer."""

    def __init__(self, observers: Sequence[Observer], warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._deadline: float | None = None
        self._posts = [_Post(observer, self._failed) for observer in observers]
        self._loop = asyncio.get_running_loop() if self._posts else None

    def __bool__(self) -> bool:
        return bool(self._posts)

    def put(self, event: Event) -> None:
        for post in self._posts:
            post.put(event)

    async def settle(self) -> None:
        """Wait until the observers have been given everything so far, `PATIENCE` seconds from the first call on. One
        that was late at the end of an earlier run is not waited for until it has caught up."""
        now = time.monotonic()
        deadline = self._deadline = max(self._deadline or now + PATIENCE, now + LAST_EVENT)
        while (left := deadline - time.monotonic()) > 0:
            if not self._behind():
                await asyncio.sleep(0)  # what `_failed` has scheduled is told now, and is one more event for the others
            if not (behind := self._behind()):
                break
            await asyncio.wait([post.caught_up() for post in behind], timeout=left)
        for post in [post for post in self._posts if post.behind and not post.ended and not post.late]:
            post.late = post.mailbox.late = True
            text = (
                f"the observer {post.name} is {post.behind:,} events behind: the run ends without waiting for it any "
                "longer, and it is given the rest in the background"
            )
            record(text)
            self._warn(text)

    def close(self) -> None:
        for post in self._posts:
            post.mailbox.leave()

    def _behind(self) -> list[_Post]:
        return [post for post in self._posts if post.behind and not post.mailbox.late]

    def _failed(self, text: str) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed: the run is over, and the log has it
            self._loop.call_soon_threadsafe(self._warn, text)


class _Post:
    """One observer of one run. It is called in a copy of the context that the run was started in."""

    def __init__(self, observer: Observer, failed: Callable[[str], None]) -> None:
        self.name = _name_of(observer)
        self.mailbox = _mailbox_of(observer)
        self.ended = False
        self.late = False
        self._observer = observer
        self._failed = failed
        self._context = copy_context()
        self._put = 0
        self._given = 0

    @property
    def behind(self) -> int:
        return self._put - self._given

    def put(self, event: Event) -> None:
        if self.ended:
            return
        if self.behind >= MOST_BEHIND:
            self._end(f"the observer {self.name} is more than {MOST_BEHIND:,} events behind; {NOT_CALLED}", None)
            return
        self._put += 1
        self.mailbox.put(self._give, event)

    def caught_up(self) -> asyncio.Future[None]:
        """Done when the observer has been given what was put so far."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.mailbox.put(_wake, future)
        return future

    def _give(self, event: Event) -> None:
        if not self.ended:
            try:
                self._context.run(self._observer, event)
            except BaseException as exc:  # whatever it is, also a SystemExit, must not end what others are observed by
                self._end(failure_text(self._observer, exc), exc)
        self._given += 1

    def _end(self, text: str, exc: BaseException | None) -> None:
        self.ended = True
        record(text, exc)
        self._failed(text)


class _Mailbox:
    """What one observer has still to be given, by all the runs it observes, and the thread that gives it."""

    def __init__(self, owner: object) -> None:
        self.late = False
        """It was behind at the end of a run, and has not caught up since."""
        self.users = 0
        self._owner = owner
        self._queue: SimpleQueue[tuple[Callable[[Any], None], Any] | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._serve, name="rlm-observer", daemon=True)
        self.thread.start()

    def put(self, function: Callable[[Any], None], argument: Any) -> None:
        self._queue.put((function, argument))

    def leave(self) -> None:
        with _lock:
            self.users -= 1
            if not self.users:
                self._queue.put(None)

    def _serve(self) -> None:
        while True:
            item = self._queue.get()
            if item is not None:
                function, argument = item
                function(argument)
                self.late = self.late and not self._queue.empty()
                continue
            with _lock:
                if not self.users and self._queue.empty():
                    del _mailboxes[id(self._owner)]
                    return


_mailboxes: dict[int, _Mailbox] = {}
"""By the observer's identity: one is never called by two threads at once."""
_lock = threading.Lock()


def _mailbox_of(owner: object) -> _Mailbox:
    with _lock:
        mailbox = _mailboxes.get(id(owner))
        if mailbox is None:
            mailbox = _mailboxes[id(owner)] = _Mailbox(owner)
        mailbox.users += 1
        return mailbox


def _wake(future: asyncio.Future[None]) -> None:
    with suppress(RuntimeError):  # the loop is closed
        future.get_loop().call_soon_threadsafe(_settle, future)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def failure_text(observer: Observer, exc: BaseException) -> str:
    return f"the observer {_name_of(observer)} raised {type(exc).__name__}: {exc}; {NOT_CALLED}"


def _name_of(observer: Observer) -> str:
    return getattr(observer, "__qualname__", None) or type(observer).__qualname__


def record(text: str, exc: BaseException | None = None) -> None:
    """Write to the log, on a thread of its own too: a handler may block as an observer may."""
    mailbox = _mailbox_of(_write)
    mailbox.put(_write, (text, exc))
    mailbox.leave()


def _write(record: tuple[str, BaseException | None]) -> None:
    log.warning(record[0], exc_info=record[1])


def _wait_at_exit() -> None:
    deadline = time.monotonic() + PATIENCE
    with _lock:
        ending = [mailbox for mailbox in _mailboxes.values() if not mailbox.users]
    for mailbox in ending:
        mailbox.thread.join(max(0.0, deadline - time.monotonic()))


def _forget() -> None:
    """After a fork: the threads are not in this process."""
    global _lock
    _lock = threading.Lock()
    _mailboxes.clear()


atexit.register(_wait_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
