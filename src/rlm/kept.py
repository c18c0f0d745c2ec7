"""A REPL that is kept: load once, ask many times."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from rlm.compaction import History
from rlm.engine import Kept
from rlm.errors import ConfigurationError, SandboxError
from rlm.policy.facts import describe
from rlm.portal import Held, LoopLocal
from rlm.protocols import Environment, Session
from rlm.result import Completion
from rlm.sync import Closing, blocking
from rlm.types import UNSET

Run = Callable[[object, Kept], Awaitable[Completion]]


class _Context:
    """A context, looked at once for all the questions about it."""

    def __init__(self, value: object) -> None:
        self.value = value
        self.described = functools.cache(functools.partial(describe, value))


class _Repl:
    """One live session in one event loop, answering one question at a time."""

    def __init__(self, environment: Environment, context: object) -> None:
        self._environment = environment
        self._held: Held[Session] | None = None
        self._session: Session | None = None
        self._turn = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._context: _Context | None = None
        self._waiting = None if context is UNSET else _Context(context)
        """One that was given and is not bound yet."""
        self._questions = 0
        self._answers: list[str] = []

    async def ask(self, context: object, run: Run) -> Completion:
        """`run` with this session, about `context`; `UNSET` is the context there is."""
        async with self._turn:
            if self._closed:
                raise _is_closed()
            if context is not UNSET:
                self._waiting = _Context(context)
            new, about = self._waiting, self._waiting or self._context
            if about is None:
                raise ConfigurationError("this session has no context yet: give one with the first question")
            session, history = await self._open(), History()
            kept = Kept(
                session=session,
                number=self._questions,
                history=history,
                about=about.described,
                bring=None if new is None else functools.partial(self._bring, session, new),
            )
            self._idle.clear()
            try:
                completion = await run(about.value, kept)
                await self._remember(session, history, completion)
                return completion
            except BaseException as exc:
                partial = getattr(exc, "result", None)
                if isinstance(partial, Completion):
                    await self._remember(session, history, partial)
                raise
            finally:
                self._idle.set()

    async def _open(self) -> Session:
        if self._session is None:
            self._held = Held(self._whole_questions())
            self._session = await self._held.enter()
        return self._session

    @asynccontextmanager
    async def _whole_questions(self) -> AsyncIterator[Session]:
        """The session, which ends when no question is under way."""
        async with self._environment.open() as session:
            try:
                yield session
            finally:
                self._closed = True
                await self._idle.wait()

    async def _bring(self, session: Session, context: _Context) -> None:
        await session.bind("context", context.value)
        self._context, self._waiting = context, None

    async def _remember(self, session: Session, history: History, completion: Completion) -> None:
        """Make the conversation and the answer reachable from the next question."""
        if not history.messages:
            return
        messages, number = history.as_data(), self._questions
        self._questions += 1
        self._answers.append(completion.response)
        with suppress(SandboxError):  # what the run came to is what counts, not that its session is dead
            await session.bind(f"history_{number}", messages)
            await session.bind("history", messages)
            await session.bind("answers", self._answers)

    async def aclose(self) -> None:
        self._closed = True
        if self._held is not None:
            await self._held.leave()


class KeptRepl:
    """The one REPL that several questions are asked in, in the event loop of the first of them."""

    def __init__(self, environment: Environment, context: object = UNSET) -> None:
        self._repls = LoopLocal(functools.partial(_Repl, environment, context), _Repl.aclose)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def ask(self, context: object, run: Run) -> Completion:
        """`run` in the REPL, about `context`; `UNSET` is the context there is.

        Raises:
            ConfigurationError: there is no context yet, or the REPL is in another event loop.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            self._loop = self._loop or loop
            elsewhere = self._loop is not loop
        if elsewhere:
            raise ConfigurationError(
                "a REPL that is kept belongs to one event loop: ask it from there, or close it and begin anew "
                "(completion() and ask() use a loop of the library's own)"
            )
        repl = await self._repls.get()
        return await repl.ask(context, run)

    async def aclose(self) -> None:
        """End it when the question under way is answered; one in another event loop is not waited for. The next
        question begins anew."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is asyncio.get_running_loop():
            await self._repls.aclose()
        else:
            self._repls.close_soon()


class KeptSession(Closing):
    """A REPL that stays: `ask` questions about one context, or bring another; names live on from question to question.

    Made by `RLM.session(context)`. It lives in one event loop: that of the first `aask`, or the library's own for
    `ask`. Questions are answered one at a time. `close` (or `with`) ends it when the question under way is answered;
    not closing it ends it with the loop.
    """

    def __init__(
        self,
        environment: Environment,
        run: Callable[[str | None, Any], Run],
        context: object = UNSET,
        owner: str = "",
    ) -> None:
        self._repl = KeptRepl(environment, context)
        self._run = run
        self._owner = owner
        self._asked = 0
        self._closed = False

    def __repr__(self) -> str:
        asked = f"{self._asked} question{'' if self._asked == 1 else 's'} asked"
        return f"<KeptSession of {self._owner}: {asked}{', closed' if self._closed else ''}>"

    def ask(self, question: str | None = None, *, context: object = UNSET, output: Any = None) -> Completion:
        """Ask about the context there is, or about a new one. See `RLM.completion` for the rest.

        Raises:
            ConfigurationError: there is no context yet, the session is closed, or it belongs to another event loop.
        """
        return blocking(functools.partial(self.aask, question, context=context, output=output))

    async def aask(self, question: str | None = None, *, context: object = UNSET, output: Any = None) -> Completion:
        """`ask` for asynchronous code."""
        run = self._run(question, output)
        if self._closed:
            raise _is_closed()
        self._asked += 1
        return await self._repl.ask(context, run)

    def close(self) -> None:
        """End the session; a question under way is waited for."""
        blocking(self.aclose)

    async def aclose(self) -> None:
        """`close` for asynchronous code."""
        self._closed = True
        await self._repl.aclose()


def _is_closed() -> ConfigurationError:
    return ConfigurationError("this session is closed: open another")
