"""Sessions of each environment, side by side: `python benchmarks/environments.py [NAME …]`. Prints a table in Markdown.

Containers are measured where an engine answers: `python tools/engine.py while -- python benchmarks/environments.py`
starts one for as long as it takes. The clouds are not here: what their fakes in tests/clouds cost says nothing of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE.parent / "tests")]

import containers  # noqa: E402
from rlm.environments import ipython, local, process  # noqa: E402
from rlm.errors import SandboxError, SetupError  # noqa: E402
from rlm.protocols import Environment, Session  # noqa: E402
from rlm.types import Query, Reply, Usage  # noqa: E402

BASE = "process"
CELLS = 200
CONTEXT = 100_000_000
AT_ONCE = 50

Figures = dict[str, float]


class Host:
    """A model that answers at once: what is left is the way there and back."""

    async def query(self, query: Query) -> Reply:
        return Reply(text="yes", model="m", usage=Usage())

    async def call_tool(self, name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        raise NotImplementedError

    def output(self, text: str) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Row:
    what: str
    show: Callable[[float], str]


def ms(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


ROWS = {
    "ready": Row(what="session ready, the median", show=ms),
    "cell": Row(what="one cell `x = 1`", show=ms),
    "call": Row(what="`llm_query` and back, in a cell", show=ms),
    "context": Row(what="100 MB of text bound", show=ms),
    "many": Row(what=f"{AT_ONCE} sessions at once, each ready and with one cell run", show=ms),
    "processes": Row(what="processes of this machine more, with those", show=lambda n: f"{n:.0f}"),
    "memory": Row(what="memory of this machine less, with those", show=lambda n: f"{n / 1e6:.0f} MB"),
}


async def measure(environment: Environment, starts: int) -> Figures:
    host, ready = Host(), []
    async with environment.open() as session:  # the first one may start what the others share
        await ran(session, "x = 1", host)
    for _ in range(starts):
        began = time.perf_counter()
        async with environment.open() as session:
            ready.append(time.perf_counter() - began)
    async with environment.open() as session:
        await ran(session, "x = 1", host)
        cell = [await ran(session, "x = 1", host) for _ in range(CELLS)]
        await ran(session, "llm_query('p')", host)
        call = [await ran(session, "llm_query('p')", host) for _ in range(CELLS)]
        text = "0123456789abcde\n" * (CONTEXT // 16)
        began = time.perf_counter()
        await session.bind("context", text)
        await ran(session, f"assert len(context) == {CONTEXT} and context[-2] == 'e'", host)
        context = time.perf_counter() - began
    figures = {"ready": statistics.median(ready), "cell": statistics.median(cell)}
    return figures | {"call": statistics.median(call), "context": context} | await at_once(environment)


async def ran(session: Session, code: str, host: Host) -> float:
    began = time.perf_counter()
    cell = await session.execute(code, host)
    took = time.perf_counter() - began
    if cell.error is not None or cell.lost:
        raise RuntimeError(f"{code}: {cell}")
    return took


async def at_once(environment: Environment) -> Figures:
    """What the machine has more and less while all of them are there; others work on it too, so these two are rough."""
    host, ready, seen = Host(), asyncio.Semaphore(0), asyncio.Event()

    async def one() -> None:
        async with environment.open() as session:
            await ran(session, "x = 1", host)
            ready.release()
            await seen.wait()

    processes, free = machine()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one())
        for _ in range(AT_ONCE):
            await ready.acquire()
        took = time.perf_counter() - began
        more, less = machine()
        seen.set()
    return {"many": took, "processes": more - processes, "memory": free - less}


def machine() -> tuple[int, int]:
    """(processes, bytes that are available)."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(name.isdigit() for name in os.listdir("/proc")), int(lines["MemAvailable"].split()[0]) * 1024


def environments() -> Iterator[tuple[str, Callable[..., Environment], str | None]]:
    """(name, how it is made, why it cannot be)."""
    yield BASE, process.create, None
    yield "process, strict", partial(process.create, isolation="strict"), None
    yield "process, none", partial(process.create, isolation="none"), None
    yield "local", local.create, None
    yield "ipython", ipython.create, None
    for engine in ("docker", "podman"):
        missing = containers.missing(engine)
        yield engine, process.create if missing else containers.create(engine), missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="environments, beside process (default: all)")
    parser.add_argument("--starts", type=int, default=9, help="sessions whose median is the start (default 9)")
    options = parser.parse_args()
    about = f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs"
    print(f"{date.today()}, {about}, Python {platform.python_version()}, load average {os.getloadavg()[0]:.1f}\n")
    found: dict[str, Figures] = {}
    for name, create, missing in environments():
        if options.names and name not in (BASE, *options.names):
            continue
        try:
            if missing:
                raise SetupError(missing)
            found[name] = asyncio.run(measure(create(), options.starts))
        except (SandboxError, SetupError) as error:
            print(f"{name}: not run: {error}", file=sys.stderr)
    print(table(found))


def table(found: dict[str, Figures]) -> str:
    lines = [["", *(f"`{name}`" for name in found)], ["---"] * (len(found) + 1)]
    for key, row in ROWS.items():
        base = found[BASE][key]
        cells = [row.show(figures[key]) + against(figures[key], base, name) for name, figures in found.items()]
        lines.append([row.what, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def against(figure: float, base: float, name: str) -> str:
    if name == BASE or base <= 0 or figure <= 0:
        return ""
    ratio = figure / base
    return f" ({ratio:.2g}×)" if ratio < 10 else f" ({ratio:.0f}×)"


if __name__ == "__main__":
    main()
