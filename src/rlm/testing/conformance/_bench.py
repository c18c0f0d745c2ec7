"""What a promise is checked with: an environment under test, a REPL of it, and a host that answers by script."""

from __future__ import annotations

import asyncio
import inspect
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from rlm.errors import LMError
from rlm.protocols import Environment, Session
from rlm.types import UNSET, Cell, Query, Reply, Usage

QUICK = 0.3
"""Seconds that a cell made to overrun is given."""
PATIENT = 30.0
"""Seconds that a cell is given at most on a machine where it takes long to begin."""
BEGUN = "has it begun?"
USAGE = Usage(calls=1, attempts=1, input_tokens=7, output_tokens=3)

Answer = Callable[[Query], "Reply | str | Awaitable[Reply | str]"]


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What differs between environments by nature.

    `in_process`: cells run in the host's own process. Any object can be bound, by reference; what only a process of
    its own can promise is not asked of it (surviving `os._exit`, capturing C code and children, stopping C code).
    `loop_threads`: what it is built on works in the event loop's own threads, which are there until the loop is closed.
    `deadline`: seconds after which a promise is taken to hang.
    """

    in_process: bool = False
    loop_threads: bool = False
    deadline: float = 60.0


@dataclass(frozen=True)
class Promise:
    """One promise: `number` is its paragraph in the REPL contract; `check` raises where it is broken."""

    number: int
    check: Callable[[Bench], Awaitable[None]]
    applies: Callable[[Traits], bool]

    def __str__(self) -> str:
        return f"{self.number:02}-{self.check.__name__}"


PROMISES: list[Promise] = []


def promise(
    number: int, *, applies: Callable[[Traits], bool] = lambda traits: True
) -> Callable[[Callable[[Bench], Awaitable[None]]], Callable[[Bench], Awaitable[None]]]:
    """Adds a check to `PROMISES`; its name is the sentence that it holds the environment to."""

    def add(check: Callable[[Bench], Awaitable[None]]) -> Callable[[Bench], Awaitable[None]]:
        PROMISES.append(Promise(number, check, applies))
        return check

    return add


def own_process(traits: Traits) -> bool:
    """For `promise(applies=…)`: what only a process apart from the host can promise."""
    return not traits.in_process


def echo(query: Query) -> str:
    return query.prompt if isinstance(query.prompt, str) else query.prompt[-1].content


def reply(text: str, **fields: Any) -> Reply:
    given: dict[str, Any] = {"text": text, "model": "scripted", "usage": USAGE, **fields}
    return Reply(**given)


class Gathering:
    """An answer that waits until `size` queries are in flight: it is given only where they overlap."""

    def __init__(self, size: int) -> None:
        self._missing = size
        self._complete = asyncio.Event()

    async def __call__(self, query: Query) -> str:
        self._missing -= 1
        if self._missing <= 0:
            self._complete.set()
        await self._complete.wait()
        return echo(query)


class ScriptedHost:
    """A `Host` that answers queries by `answer`, calls `tools` by name, and remembers what was asked and printed."""

    def __init__(self, answer: Answer = echo) -> None:
        self.answer = answer
        self.tools: dict[str, Callable[..., Any]] = {}
        self.queries: list[Query] = []
        self.cancelled = 0
        self.printed: list[str] = []
        self.begun = False
        self.begin_by = 0.0
        """When a cell that asks whether it has begun, must have; of the clock `time.monotonic`."""
        self._waiting: list[tuple[str, asyncio.Event]] = []
        self._asked = asyncio.Condition()

    async def query(self, query: Query) -> Reply:
        """The scripted answer, once the query is remembered."""
        if query.prompt == BEGUN:
            self.begun = time.monotonic() < self.begin_by
            if not self.begun:
                raise LMError("it began late", kind="timeout")
            return reply("yes")
        self.queries.append(query)
        async with self._asked:
            self._asked.notify_all()
        try:
            given = self.answer(query)
            if inspect.isawaitable(given):
                given = await given
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return reply(given) if isinstance(given, str) else given

    async def call_tool(self, name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        """What the tool of that name gives, awaited where it has to be."""
        result = self.tools[name](*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    def output(self, text: str) -> None:
        """Remember what was printed, and wake who waits for it in `sees`."""
        self.printed.append(text)
        shown = "".join(self.printed)
        for awaited, event in self._waiting:
            if awaited in shown:
                event.set()

    async def sees(self, text: str) -> None:
        """Returns once the running cell has printed `text`."""
        event = asyncio.Event()
        self._waiting.append((text, event))
        if text not in "".join(self.printed):
            await event.wait()

    async def asked(self, count: int) -> None:
        """Returns once `count` queries have been made in all."""
        async with self._asked:
            await self._asked.wait_for(lambda: len(self.queries) >= count)


class Repl:
    """A session with the host its cells run against."""

    def __init__(self, session: Session, host: ScriptedHost) -> None:
        self.session = session
        self.host = host

    async def run(self, code: str, *, timeout: float | None = None) -> Cell:
        """Runs `code` (dedented, so that it may be written in place), however it ends."""
        return await self.session.execute(textwrap.dedent(code).strip("\n"), self.host, timeout=timeout)

    async def show(self, code: str) -> str:
        """The output of a cell that must not fail."""
        cell = await self.run(code)
        assert cell.error is None, cell
        assert not cell.lost, cell
        return cell.output

    async def value(self, expression: str) -> Any:
        """The value of an expression, by way of an answer."""
        cell = await self.run(f"FINAL({expression})")
        assert cell.error is None, cell
        assert cell.answer is not UNSET, cell
        return cell.answer

    async def fails(self, code: str, error: str = "", *, timeout: float | None = None) -> Cell:
        """A cell that must end with an error, of type `error` where that is given."""
        cell = await self.run(code, timeout=timeout)
        assert cell.error is not None, cell
        assert not error or cell.error.type.rpartition(".")[2] == error, cell
        assert cell.answer is UNSET, cell
        return cell

    async def overruns(self, code: str) -> Cell:
        """A cell that runs into its time limit. Where it takes more than a third of that to begin, `code` is not run,
        and the cell is run again with more: what is not reached in time cannot be interrupted.

        (On 3.11 a `try` whose body begins with a loop may not catch its interrupt.)
        """
        limit, code = QUICK, f"llm_query({BEGUN!r})\n" + textwrap.dedent(code).strip("\n")
        while True:
            self.host.begin_by, self.host.begun = time.monotonic() + limit / 3, False
            cell = await self.run(code, timeout=limit)
            limit *= 3
            if self.host.begun or limit > PATIENT:
                break
        assert cell.error is not None, cell
        assert cell.answer is UNSET, cell
        assert cell.timed_out, cell
        return cell

    async def still_works(self, name: str = "", value: object = None) -> None:
        """That the next cells run as ever, with the context in place and `name` kept where one is given."""
        assert await self.show("print(6 * 7)") == "42\n"
        assert await self.value("context") == "the context"
        assert await self.value("llm_query('still there?')") == "still there?"
        if name:
            assert await self.value(name) == value


@dataclass(frozen=True)
class Bench:
    """An environment under test: `create(**environment_kwargs)` makes it."""

    create: Callable[..., Environment]
    traits: Traits

    @asynccontextmanager
    async def repl(
        self, *, context: object = "the context", answer: Answer = echo, **environment_kwargs: Any
    ) -> AsyncIterator[Repl]:
        """A session of its own with `context` bound, whose host gives `answer` to queries."""
        async with self.create(**environment_kwargs).open() as session:
            await session.bind("context", context)
            yield Repl(session, ScriptedHost(answer))


async def raised(kind: type[Exception] | tuple[type[Exception], ...], attempt: Awaitable[object]) -> str:
    """The text of the error of that kind that `attempt` must end with."""
    try:
        result = await attempt
    except kind as exc:
        return str(exc)
    raise AssertionError(f"{kind} was expected, not {result!r}")


def told(cell: Cell) -> str:
    """All that the model is told of a cell, besides its error."""
    return "\n".join((cell.output, *cell.notices))


def same(left: object, right: object) -> bool:
    """Equal to the letter: types, order, signs of zero and nan included, at any depth."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, dict) and isinstance(right, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, (set, frozenset)) and isinstance(right, (set, frozenset)):
        return len(left) == len(right) and all(any(same(a, b) for b in right) for a in left)
    return left == right
