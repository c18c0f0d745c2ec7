"""`rlm doctor`: tries every backend up to the point of sending, and every environment by running a cell in it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from rlm import registry
from rlm.cli import exits
from rlm.cli.terminal import say, write
from rlm.errors import ConfigurationError, LMError, RLMError, SandboxError
from rlm.logger import printable
from rlm.testing import LiveRequestRefused, refuse_live_requests
from rlm.types import Message, Query, Reply

# These run somewhere else for money, so only a person who names one starts it.
PAID = frozenset({"modal", "e2b", "daytona", "prime"})
REMARKS = {
    "local": "no sandbox: same process, same keys; C code that holds the interpreter lock stalls it",
}
DEADLINE = 60.0
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`works` is None where it was not tried."""

    name: str
    works: bool | None
    text: str
    details: tuple[str, ...] = ()


def examine(names: Sequence[str]) -> int:
    """Print what works, and give the exit code."""
    backends, environments = registry.backend_names(), registry.environment_names()
    if unknown := [name for name in names if name not in backends + environments]:
        known = ", ".join(backends + environments)
        say(f"rlm: there is no backend and no environment {', '.join(unknown)}; there are: {known}")
        return exits.USAGE
    failed = False
    sections: tuple[tuple[str, Sequence[str], Callable[[str], Finding]], ...] = (
        ("Backends", backends, backend),
        ("Environments", environments, lambda name: environment(name, name in names)),
    )
    for title, known_names, look in sections:
        wanted = [name for name in known_names if not names or name in names]
        if wanted:
            write(title)
        for name in wanted:
            finding = look(name)
            mark = {True: "ok  ", False: "--  ", None: "?   "}[finding.works]
            write(hanging(f"  {mark}{name:<14}", printable(finding.text)))
            for detail in finding.details if names else ():
                write(hanging(" " * 8, printable(detail)))
            failed = failed or (bool(names) and finding.works is not True)
    return exits.SETUP if failed else exits.ANSWERED


def hanging(label: str, text: str) -> str:
    if not sys.stdout.isatty():
        return label + text
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(text, width, initial_indent=label, subsequent_indent=" " * len(label))


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """`asyncio.run`, in which Ctrl-C waits while the loop is made: half a loop cannot be closed, and says so."""
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    runner = asyncio.Runner()
    try:
        try:
            runner.get_loop()
        finally:
            signal.signal(signal.SIGINT, before)
        if came:
            raise KeyboardInterrupt
        return runner.run(main())
    except asyncio.CancelledError:  # Ctrl-C before `Runner` counts them
        raise KeyboardInterrupt from None
    finally:
        runner.close()


def backend(name: str) -> Finding:
    """A backend works when its next step would be a request to its provider."""
    try:
        with refuse_live_requests(), without_proxies():
            run(lambda: first_call(name))
    except LiveRequestRefused:
        return Finding(name=name, works=True, text="key and SDK are here")
    except LMError as error:
        if error.kind == "connection":
            where = error.message.partition(" ssl:")[0]
            return Finding(name=name, works=False, text=f"no server answers: start it, or set its address ({where})")
        return Finding(name=name, works=True, text="a server on this machine answers")
    except RLMError as error:
        return Finding(name=name, works=False, text=exits.error_line(error))
    return Finding(name=name, works=True, text="a server on this machine answers")


async def first_call(name: str) -> None:
    create = registry.backend(name)
    try:
        client = create(model_name="doctor", max_retries=0, timeout=5)
    except (ConfigurationError, TypeError):
        # A backend in a package of somebody else's need not take more than a model's name.
        client = create(model_name="doctor")
    try:
        await client.complete([Message("user", "Say: here.")])
    finally:
        await client.aclose()


@contextmanager
def without_proxies() -> Iterator[None]:
    """A proxy on this machine would carry the request to the provider after all."""
    names = [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]
    kept = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(kept)


def environment(name: str, named: bool) -> Finding:
    """An environment works when a cell that ran in it printed what it should."""
    if name in PAID and not named:
        return Finding(
            name=name, works=None, text=f"costs money, not tried: `rlm doctor {name}` starts one for a moment"
        )
    started = time.perf_counter()
    try:
        seconds, walls = run(lambda: asyncio.wait_for(first_cell(name), DEADLINE))
    except TimeoutError:
        return Finding(name=name, works=False, text=f"did not answer within {DEADLINE:.0f} s")
    except (RLMError, OSError) as error:
        return Finding(name=name, works=False, text=exits.error_line(error))
    took = f"a cell ran {1000 * (time.perf_counter() - started):.0f} ms after the start, in {1000 * seconds:.1f} ms"
    open_sides = [wall.name for wall in walls if not wall.active]
    remark = REMARKS.get(name) or (f"not kept from: {', '.join(open_sides)}" if open_sides else "")
    text = took + (f" ({remark})" if remark else "")
    return Finding(name=name, works=True, text=text, details=tuple(map(str, walls)))


class Wall(Protocol):
    """One thing that a sandbox keeps its cells from; its text says by what, or why not."""

    @property
    def name(self) -> str: ...
    @property
    def active(self) -> bool: ...


async def first_cell(name: str) -> tuple[float, Sequence[Wall]]:
    """Run a cell; gives the seconds a second one took, and what keeps it in, from environments that tell."""
    made = registry.environment(name)()
    protections = getattr(made, "protections", None)
    walls: Sequence[Wall] = (await protections()).all() if protections is not None else ()
    async with made.open() as session:
        cell = await session.execute("print(6 * 7)", NoHost())
        if cell.output.strip() != "42":
            raise SandboxError(f"the cell `print(6 * 7)` printed {cell.output!r}")
        return (await session.execute("x = 1", NoHost())).seconds, walls


class NoHost:
    """A `Host` for cells that ask nothing."""

    async def query(self, query: Query) -> Reply:
        raise LMError("no model is at hand", kind="cancelled")

    async def call_tool(self, name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        raise LookupError(name)

    def output(self, text: str) -> None:
        """Nobody watches."""
