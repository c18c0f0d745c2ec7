"""What `local` does that no other environment has to: stop a thread of this program."""

from __future__ import annotations

import sys
import uuid

import pytest

from rlm.environments import local
from rlm.testing.conformance import ScriptedHost
from session_bench import comes_true, run, value, with_mark


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell the processes of a thread")
@pytest.mark.parametrize(
    "call", ["subprocess.run(command)", "os.system(' '.join(map(shlex.quote, command)) + '; true')"]
)
def test_a_process_that_a_stopped_cell_waits_for_is_ended_and_those_of_earlier_cells_are_not(call: str) -> None:
    mark = uuid.uuid4().hex
    code = """
import os, shlex, subprocess, sys
def waiting(*more):
    return [sys.executable, "-c", "import time; time.sleep(600)", *more]
"""

    async def scenario() -> None:
        async with local.create(cell_grace=30).open() as session:
            await session.execute(f"{code}\nearlier = subprocess.Popen(waiting())\nkept = 1", ScriptedHost())
            cell = await session.execute(f"command = waiting({mark!r})\n{call}", ScriptedHost(), timeout=0.5)
            assert cell.error is not None
            assert cell.error.type == "CellTimeout"
            assert not cell.lost
            await comes_true(lambda: not with_mark(mark))
            assert await value(session, "(earlier.poll(), kept)") == (None, 1)
            await session.execute("earlier.kill(); earlier.wait()", ScriptedHost())

    run(scenario)
