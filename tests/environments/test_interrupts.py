"""An interrupt from outside is for the cell it was sent to, however long it is on its way."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from rlm.environments import process
from rlm.testing.conformance import ScriptedHost
from rlm.types import Cell
from session_bench import run, value

SWALLOWING = """
import time
try:
    time.sleep(60)
except KeyboardInterrupt:
    pass
time.sleep(60)
"""


def children(pid: int) -> set[int]:
    return {int(c) for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()}


def supervisors() -> set[int]:
    parents = [pid for pid in children(os.getpid()) if b"_jail" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return {child for parent in parents for child in children(parent)}


@pytest.mark.parametrize("isolation", ["default", "none"])
def test_an_interrupt_that_is_late_hits_no_later_cell(isolation: Any) -> None:
    async def scenario() -> None:
        before, host = supervisors(), ScriptedHost()
        async with process.create(isolation=isolation, cell_grace=1.5).open() as session:
            await value(session, "1")
            (supervisor,) = supervisors() - before
            os.kill(supervisor, signal.SIGSTOP)
            first = asyncio.create_task(session.execute(SWALLOWING, ScriptedHost(), timeout=0.2))

            async def then() -> Cell:
                await first
                return await session.execute("llm_query('x')\ntime.sleep(1)", host)

            second = asyncio.create_task(then())
            await asyncio.wait([first], timeout=3)
            if first.done():
                await host.asked(1)
            os.kill(supervisor, signal.SIGCONT)
            assert (await first).timed_out
            assert (await second).error is None

    run(scenario)
