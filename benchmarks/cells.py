"""One cell `x = 1`, and how long a session takes to be ready: `python cells.py local|process|reference|interpreter`."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

CELLS = 500
SESSIONS = 9


class Host:
    async def query(self, query: Any) -> Any:
        raise NotImplementedError

    async def call_tool(self, name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        raise NotImplementedError

    def output(self, text: str) -> None:
        pass


async def ours(name: str) -> dict[str, float]:
    from rlm import registry

    environment = registry.environment(name)()
    ready, cells = [], []
    for _ in range(SESSIONS):
        begun = time.perf_counter()
        async with environment.open() as session:
            ready.append(time.perf_counter() - begun)
            host = Host()
            await session.execute("x = 1", host)
            for _ in range(CELLS // SESSIONS):
                begun = time.perf_counter()
                await session.execute("x = 1", host)
                cells.append(time.perf_counter() - begun)
    return figures(ready, cells)


def reference() -> dict[str, float]:
    from rlm.environments.local_repl import LocalREPL  # type: ignore[import-not-found]

    ready, cells = [], []
    for _ in range(SESSIONS):
        begun = time.perf_counter()
        repl = LocalREPL()
        ready.append(time.perf_counter() - begun)
        for _ in range(CELLS // SESSIONS):
            begun = time.perf_counter()
            repl.execute_code("x = 1")
            cells.append(time.perf_counter() - begun)
        repl.cleanup()
    return figures(ready, cells)


def interpreter() -> dict[str, float]:
    """What the least of a process costs."""
    ready = []
    for _ in range(SESSIONS):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-S", "-c", "pass"], check=True)
        ready.append(time.perf_counter() - begun)
    return figures(ready, [0.0])


def figures(ready: list[float], cells: list[float]) -> dict[str, float]:
    ready_seconds = statistics.median(ready)
    return {"ready": ready_seconds, "cell": statistics.median(cells), "seconds": ready_seconds}


if __name__ == "__main__":
    name = sys.argv[1]
    others = {"reference": reference, "interpreter": interpreter}
    print(json.dumps(others[name]() if name in others else asyncio.run(ours(name))))
