"""Sessions behind a stream: calls, deaths, cancellations, workers not to be trusted, and the hostile stream."""

# ruff: noqa: ASYNC240 - looking at files is what these scenarios are for

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from rlm.environments import process
from rlm.errors import SandboxError, WireError
from rlm.testing.conformance import ScriptedHost, Traits, check, promises
from rlm.testing.streams import HostileEnvironment
from rlm.types import Query
from session_bench import alive, comes_true, run, value

# Interrupts ---------------------------------------------------------------------------------------------------------

INTERRUPTED_LOOP = """
import asyncio, signal, warnings
class Loop(asyncio.SelectorEventLoop):
    def _make_self_pipe(self):
        signal.raise_signal(signal.SIGINT)
        super()._make_self_pipe()
class Policy(asyncio.DefaultEventLoopPolicy):
    _loop_factory = Loop
async def main():
    pass
warnings.simplefilter("always")
asyncio.set_event_loop_policy(Policy())
asyncio.run(main())
"""


def test_an_interrupt_while_a_loop_is_made_leaves_nothing() -> None:
    async def scenario() -> None:
        async with process.create().open() as session:
            cell = await session.execute(INTERRUPTED_LOOP, ScriptedHost())
            assert cell.error is not None
            assert cell.error.type == "KeyboardInterrupt"
            code = "asyncio.set_event_loop_policy(None)\nimport gc\ngc.collect()\nasyncio.run(main())"
            after = await session.execute(code.replace("del cell\n", ""), ScriptedHost())
            assert (cell.output, after.output, after.error) == ("", "", None)

    run(scenario)


# Calls --------------------------------------------------------------------------------------------------------------


def test_more_calls_than_may_be_open_all_come_back_in_order() -> None:
    async def scenario() -> None:
        async with process.create().open() as session:
            prompts = await value(session, "llm_query_batched([str(i) for i in range(10_000)])")
            assert prompts == [str(i) for i in range(10_000)]

    run(scenario)


def test_the_calls_of_many_threads_with_long_prompts_do_not_mix() -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
def work(i):
    prompts = [chr(97 + i) * (70_000 * j + 1) for j in range(6)]
    return all(reply == prompt for reply, prompt in zip(llm_query_batched(prompts), prompts))
with ThreadPoolExecutor(16) as pool:
    FINAL(list(pool.map(work, range(16))))
"""

    async def scenario() -> None:
        async with process.create().open() as session:
            cell = await session.execute(code, ScriptedHost())
            assert cell.answer == [True] * 16, cell

    run(scenario)


def test_an_interrupt_in_the_middle_of_a_fan_out_leaves_the_wire_whole() -> None:
    async def scenario() -> None:
        async with process.create().open() as session:
            chance = random.Random(5)
            for _ in range(15):
                host = ScriptedHost()
                code = "for n in range(10_000):\n    llm_query_batched(['x' * (n % 7 * 40_000) for n in range(20)])"
                task = asyncio.create_task(session.execute(code, host))
                await host.asked(chance.randrange(1, 60))
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled()
                assert (await session.execute("kept = 1", ScriptedHost())).lost == ()
            assert await value(session, "[kept, llm_query('y')]") == [1, "y"]

    run(scenario)


# Ends ---------------------------------------------------------------------------------------------------------------


def test_a_cell_whose_process_dies_says_how_and_names_what_is_lost() -> None:
    async def scenario() -> None:
        async with process.create(setup_code="import json as prepared").open() as session:
            await session.bind("context", "c")
            await session.execute("mine = 1\n_hidden = 2", ScriptedHost())
            cell = await session.execute("import os\nos.kill(os.getpid(), 9)", ScriptedHost())
            assert cell.error is not None
            assert cell.error.type == "SandboxDied"
            assert "SIGKILL" in cell.error.message
            assert {"mine", "_hidden"} <= set(cell.lost)
            assert "context" not in cell.lost
            cell = await session.execute("print(context, prepared.__name__)", ScriptedHost())
            assert (cell.output, cell.lost) == ("c json\n", ())

    run(scenario)


def test_what_a_crashing_interpreter_says_is_told() -> None:
    async def scenario() -> None:
        async with process.create().open() as session:
            cell = await session.execute("import ctypes\nctypes.string_at(0)", ScriptedHost())
            assert cell.error is not None
            assert "SIGSEGV" in cell.error.message
            assert "Segmentation fault" in cell.error.message
            assert await value(session, "1") == 1

    run(scenario)


def test_a_process_that_died_between_cells_is_replaced_and_the_next_cell_says_so() -> None:
    async def scenario() -> None:
        async with process.create(isolation="none").open() as session:
            await session.bind("context", "c")
            await session.execute("mine = 1", ScriptedHost())
            pid = await value(session, "__import__('os').getpid()")
            os.kill(pid, signal.SIGKILL)
            await comes_true(lambda: not alive(pid))
            cell = await session.execute("print(context)", ScriptedHost())
            assert cell.error is None or cell.error.type == "SandboxDied"
            assert cell.lost == ("mine",)
            assert await value(session, "context") == "c"

    run(scenario)


def test_killed_at_random_moments_a_session_goes_on() -> None:
    async def scenario() -> None:
        chance = random.Random(11)
        async with process.create(isolation="none").open() as session:
            await session.bind("context", "c" * 200_000)
            host = ScriptedHost()
            code = "while True:\n    llm_query_batched(['x' * 100_000] * 9)\n    print('y' * 5_000)"
            for _ in range(12):
                pid = await value(session, "__import__('os').getpid()")
                host.queries.clear()
                running = asyncio.create_task(session.execute(code, host))
                await host.asked(chance.randrange(1, 40))
                os.kill(pid, signal.SIGKILL)
                cell = await running
                assert cell.error is not None
                assert cell.error.type == "SandboxDied"
                assert await value(session, "len(context)") == 200_000

    run(scenario)


def test_twenty_sessions_at_once_keep_apart_and_leave_nothing() -> None:
    async def one(i: int, folders: list[str]) -> None:
        async with process.create().open() as session:
            await session.bind("context", str(i) * 100_000)
            host = ScriptedHost()
            for turn in range(3):
                cell = await session.execute(f"print({i}, {turn}, llm_query_batched([context[:5]] * 9)[8])", host)
                assert cell.output == f"{i} {turn} {(str(i) * 5)[:5]}\n"
            folders.append(await value(session, "__import__('os').getcwd()"))

    async def scenario() -> None:
        folders: list[str] = []
        await asyncio.gather(*(one(i, folders) for i in range(20)))
        assert len(set(folders)) == 20
        assert not any(os.path.exists(folder) for folder in folders)

    run(scenario)


def test_closing_ends_the_processes_that_cells_started() -> None:
    async def scenario() -> None:
        async with process.create(isolation="none").open() as session:
            code = "import subprocess\nchild = subprocess.Popen(['sleep', '1000'])"
            await session.execute(code, ScriptedHost())
            pid = await value(session, "child.pid")
            assert alive(pid)
        await comes_true(lambda: not alive(pid))

    run(scenario)


def test_a_worker_dies_with_a_host_that_is_killed_also_while_a_cell_runs(tmp_path: Path) -> None:
    program = """
import asyncio
from rlm.environments import process
from rlm.testing.conformance import ScriptedHost

CELL = '''
import os, subprocess
child = subprocess.Popen(['sleep', '1000'])
print(os.getpid(), child.pid, os.getcwd(), flush=True)
while True: pass
'''

async def main():
    async with process.create(isolation="none").open() as session:
        host = ScriptedHost()
        host.output = lambda text: print(text, end="", flush=True)
        await session.execute(CELL, host)

asyncio.run(main())
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "TMPDIR": str(tmp_path)}
    host = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environ)
    try:
        assert host.stdout is not None
        worker, child, folder = host.stdout.readline().split(maxsplit=2)
        assert alive(int(worker))
        assert alive(int(child))
    finally:
        host.kill()
        host.communicate()
    run(lambda: comes_true(lambda: not alive(int(worker)) and not alive(int(child))))
    assert folder.startswith(str(tmp_path))


def test_a_cancelled_cell_that_will_not_stop_loses_its_process_and_the_session_goes_on() -> None:
    async def scenario() -> None:
        async with process.create(cell_grace=0.3).open() as session:
            await session.bind("context", "c")
            host = ScriptedHost()
            code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nllm_query('x')\nwhile True: pass"
            task = asyncio.create_task(session.execute(code, host))
            await host.asked(1)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert await value(session, "context") == "c"

    run(scenario)


def test_nothing_is_left_in_the_temporary_directory() -> None:
    async def scenario() -> None:
        before = set(Path(tempfile.gettempdir()).glob("rlm-*"))
        async with process.create(isolation="none").open() as session:
            await session.execute("import os\nopen('x', 'w').close()\nos._exit(0)", ScriptedHost())
            await session.execute("open('y', 'w').close()", ScriptedHost())
            during = set(Path(tempfile.gettempdir()).glob("rlm-*")) - before
            assert during
        await comes_true(lambda: not any(folder.exists() for folder in during))

    run(scenario)


# An untrusted worker ------------------------------------------------------------------------------------------------

FORGERIES = {
    "an answer nobody asked for": "port.write(port.channel.frame(id=10**6, result={'value': {'v': None, 'b': []}}))",
    "a frame too long": "port.write(port.channel.mark + b'x' * (1 << 21) + b'\\n')",
    "deep JSON": "port.write(port.channel.mark + b'[' * 500_000 + b'\\n')",
    "a cell that is none": "port.write(port.channel.frame(id=port.interrupts.cell, result=NONE))",
    "a flood of questions": "for i in range(9_000):\n"
    "    port.write(port.channel.frame(id=i, method='query', params=LLM))",
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_worker_that_breaks_the_protocol_is_ended_and_its_session_over(forgery: str) -> None:
    find = (
        "port = next(c.cell_contents for c in llm_query.__closure__ if hasattr(c.cell_contents, 'channel'))\n"
        "NONE = {'value': {'v': {}, 'b': []}}\n"
        "LLM = {'value': {'v': {'kind': 'llm', 'prompt': 'p', 'model': None, 'batch': None}, 'b': []}}\n"
    )

    async def never(_query: Query) -> str:
        await asyncio.get_running_loop().create_future()
        return ""

    async def scenario() -> None:
        async with process.create(isolation="none").open() as session:
            pid = await value(session, "__import__('os').getpid()")
            with pytest.raises(WireError):
                await session.execute(find + forgery + "\nwhile True: pass", ScriptedHost(never))
            assert not alive(pid)
            with pytest.raises(SandboxError, match="over"):
                await session.execute("1", ScriptedHost())

    run(scenario)


def test_junk_on_the_wire_that_is_not_marked_is_noise() -> None:
    async def scenario() -> None:
        async with process.create().open() as session:
            code = "import contextlib, os\nfor fd in range(3, 200):\n    with contextlib.suppress(OSError):"
            code += "\n        os.write(fd, b'junk\\n')"
            assert (await session.execute(code, ScriptedHost())).error is None
            assert await value(session, "llm_query('x')") == "x"

    run(scenario)


def test_a_cell_that_closes_every_descriptor_loses_its_process_and_no_more() -> None:
    async def scenario() -> None:
        async with process.create().open() as session:
            await session.bind("context", "c")
            cell = await session.execute("import os\nos.closerange(3, 300)", ScriptedHost())
            assert cell.error is not None
            assert cell.error.type == "SandboxDied"
            assert await value(session, "context") == "c"

    run(scenario)


# The hostile stream -------------------------------------------------------------------------------------------------

SLOW = {"megabytes_on_one_line_survive_every_road"}
"""Promises about megabytes, which say nothing more when each of them takes a minute."""


def hostile(**settings: Any) -> HostileEnvironment:
    return HostileEnvironment(inner=process.create(), **settings)


@pytest.mark.parametrize("promise", [p for p in promises(Traits()) if p.check.__name__ not in SLOW], ids=str)
def test_the_promise_is_kept_over_a_hostile_stream(promise: Any) -> None:
    check(promise, hostile, Traits(deadline=100))
