"""Sessions apart from each other, cancelled at any point, and gone without a trace when they are closed (7, 24)."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from rlm.errors import RLMError
from rlm.testing.conformance._bench import QUICK, Bench, Repl, ScriptedHost, own_process, promise, raised
from rlm.types import Query


async def cancelled(repl: Repl, code: str, calls: int = 1) -> None:
    """Cancels a cell once it has made `calls` more calls."""
    made = len(repl.host.queries) + calls
    running = asyncio.create_task(repl.run(code))
    await repl.host.asked(made)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled(), running


@promise(24)
async def a_cancelled_cell_stops_and_the_session_goes_on(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import asyncio, time\nkept = 1")
        for code in (
            "while True: n = 1",
            "await asyncio.sleep(600)",
            "asyncio.run(asyncio.sleep(600))",
            "while True: llm_query('again')",
            "while True: llm_query_batched(['again'] * 5)",
            "await asyncio.gather(*(asyncio.to_thread(llm_query, 'again') for _ in range(9)))\nwhile True: n = 1",
        ):
            await cancelled(repl, f"llm_query('begun')\n{code}")
            await repl.still_works("kept", 1)


@promise(24)
async def a_cancelled_cell_that_will_not_stop_does_and_what_it_costs_is_told(bench: Bench) -> None:
    swallows = """
        while True:
            try:
                n = 0
                while True: n += 1
            except BaseException:
                pass
        """
    async with bench.repl(cell_grace=QUICK) as repl:
        for code in (swallows, "time.sleep(2)"):
            await repl.show("import time\nmine = 1")
            repl.host.printed.clear()
            running = asyncio.create_task(repl.run(f"print('begun', flush=True)\n{textwrap.dedent(code)}"))
            await repl.host.sees("begun")
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled(), running
            cell = await repl.run("mine")
            assert cell.error is None or "mine" in cell.lost, f"the session was replaced and nobody is told: {cell}"
            await repl.still_works()


@promise(24)
async def cancelling_a_cell_cancels_the_calls_it_waits_for(bench: Bench) -> None:
    async def never(query: Query) -> str:
        if str(query.prompt).startswith("hang"):
            await asyncio.Event().wait()
        return str(query.prompt)

    async with bench.repl(answer=never) as repl:
        for code, count in (("llm_query('hang')", 1), ("llm_query_batched(['hang'] * 20)", 20)):
            before = repl.host.cancelled
            await cancelled(repl, code, count)
            assert repl.host.cancelled == before + count
        await repl.still_works()


@promise(24)
async def a_cell_left_running_is_stopped_when_its_session_closes(bench: Bench) -> None:
    async def use() -> None:
        async with bench.repl(cell_grace=QUICK) as repl:
            running = asyncio.create_task(repl.run("llm_query('begun')\nwhile True: n = 1"))
            tasks.append(running)
            await repl.host.asked(1)
            raise KeyError("the host failed")

    tasks: list[asyncio.Task[object]] = []
    try:
        await use()
    except KeyError:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    else:
        raise AssertionError("the exception was lost")


@promise(24)
async def a_thread_that_calls_after_its_cell_ended_harms_nothing(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            """
            import threading
            go, seen = threading.Event(), []
            def late():
                go.wait(30)
                try:
                    seen.append(str(llm_query("late")))
                except BaseException as e:
                    seen.append(type(e).__name__)
            thread = threading.Thread(target=late, daemon=True)
            thread.start()
            """
        )
        await repl.show("go.set()\nthread.join()")
        assert await repl.value("seen") == ["late"]
        await repl.show(
            """
            def many():
                try:
                    for i in range(50): llm_query(str(i))
                except LMError:
                    pass
            timer = threading.Timer(0, many)
            timer.daemon = True
            timer.start()
            """
        )
        await repl.still_works()


@promise(1)
async def two_sessions_share_nothing(bench: Bench) -> None:
    async with bench.repl(context="first") as one, bench.repl(context="second") as two:
        await one.show("x = 1\nclass A: pass")
        await two.show("x = 2")
        assert await one.value("[x, context, 'A' in globals()]") == [1, "first", True]
        assert await two.value("[x, context, 'A' in globals()]") == [2, "second", False]
        one_cell, two_cell = await asyncio.gather(one.run("print('one')\nFINAL(1)"), two.run("print('two')\nFINAL(2)"))
        assert (one_cell.output, one_cell.answer, two_cell.output, two_cell.answer) == ("one\n", 1, "two\n", 2)


@promise(6)
async def sessions_opened_from_one_environment_at_once_do_not_mix(bench: Bench) -> None:
    """Twenty sessions meet in the middle of their cells, where each has printed and will print again."""
    environment = bench.create()
    met = asyncio.Event()
    arrived = 0

    async def meet(query: Query) -> str:
        nonlocal arrived
        arrived += 1
        if arrived == 20:
            met.set()
        await met.wait()
        return str(query.prompt)

    async def use(i: int) -> None:
        async with environment.open() as session:
            repl = Repl(session, ScriptedHost(meet))
            await session.bind("context", f"context {i}")
            cell = await repl.run(
                f"""
                import sys, threading
                print("{i} begins")
                print(llm_query("{i} asks"), file=sys.stderr)
                t = threading.Thread(target=print, args=("{i} in a thread",))
                t.start(); t.join()
                for n in range(50): print("{i}:", n)
                print(context)
                """
            )
            numbers = "".join(f"{i}: {n}\n" for n in range(50))
            assert cell.output == f"{i} begins\n{i} asks\n{i} in a thread\n{numbers}context {i}\n"
            assert {q.prompt for q in repl.host.queries} == {f"{i} asks"}
            cell = await repl.run(f"1 / 0  # in {i}")
            assert cell.error is not None
            assert f"# in {i}" in cell.error.traceback

    async with asyncio.TaskGroup() as group:
        for i in range(20):
            group.create_task(use(i))


@promise(7)
async def a_session_serves_one_host_after_another(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("x = llm_query('a')")
        second = Repl(repl.session, ScriptedHost(lambda query: "from the second host"))
        assert await second.value("llm_query('b')") == "from the second host"
        assert await second.value("x") == "a"
        assert [q.prompt for q in repl.host.queries] == ["a"]
        await second.show("print('to the second')")
        assert "to the second" not in "".join(repl.host.printed)


@promise(1)
async def setup_code_runs_before_the_first_cell(bench: Bench) -> None:
    async with bench.repl(setup_code="import math\ndef prepared():\n    return math.floor(2.5)") as repl:
        assert await repl.value("prepared()") == 2
        assert not (await repl.run("x = 1")).output


@promise(1)
async def setup_code_that_fails_is_an_error_that_shows_why(bench: Bench) -> None:
    opening = bench.create(setup_code="import nothing_of_this_name").open()
    assert "nothing_of_this_name" in await raised(RLMError, opening.__aenter__())


@promise(7, applies=own_process)
async def cells_do_not_see_the_hosts_environment_variables(bench: Bench) -> None:
    name = f"CONFORMANCE_{uuid.uuid4().hex}_API_KEY"
    os.environ[name] = "a secret"
    try:
        async with bench.repl() as repl:
            await repl.show("import os, subprocess")
            assert await repl.value(f"{name!r} in os.environ") is False
            assert (
                await repl.value(
                    "'a secret' in subprocess.check_output('env; cat /proc/$PPID/environ', shell=True, text=True)"
                )
                is False
            )
    finally:
        del os.environ[name]


@promise(7, applies=own_process)
async def what_a_cell_does_to_its_process_is_not_done_to_the_hosts(bench: Bench) -> None:
    before = os.getcwd()
    async with bench.repl() as repl:
        await repl.show("import os, sys\nos.chdir('/')\nos.umask(0)\nsys.setrecursionlimit(5000)\nsys.path.append('x')")
        assert os.getcwd() == before
        await repl.still_works()


def traces() -> tuple[int, set[int], set[str]]:
    """Open descriptors, child processes and threads of this process, where the system tells them."""
    descriptors = Path("/proc/self/fd")
    children: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat") if sys.platform == "linux" else ():
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            children.add(int(path.parent.name))
    count = len(os.listdir(descriptors)) if descriptors.exists() else 0
    return count, children, {thread.name for thread in threading.enumerate()}


async def settle(bench: Bench) -> None:
    """No threads of the event loop's own from here on, where the environment can do without."""
    if not bench.traits.loop_threads:
        await asyncio.get_running_loop().shutdown_default_executor()


def running(mark: str) -> bool:
    """Whether a process of this machine has `mark` among its arguments."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                return True
        except OSError:  # it ended while we looked
            continue
    return False


async def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether `condition` holds before long: what is closed may take the system a moment to clear away."""
    for _ in range(300):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


@promise(24)
async def a_closed_session_leaves_no_process_thread_or_descriptor_behind(bench: Bench) -> None:
    async def use(code: str, cell_grace: float = 5) -> None:
        async with bench.repl(context="x" * 100_000, cell_grace=cell_grace) as repl:
            await repl.run(code, timeout=QUICK if "while" in code else None)

    await use("print(llm_query('warm up'))\nimport asyncio\nawait asyncio.sleep(0)")
    await settle(bench)
    before = traces()
    for code in (
        "x = llm_query_batched(['a'] * 20)",
        "1 / 0",
        "import asyncio\nawait asyncio.to_thread(print, 'x')",
        "while True:\n    try:\n        n = 0\n        while True: n += 1\n    except BaseException: pass",
    ):
        await use(code, cell_grace=QUICK)
    await asyncio.gather(*(use("print(llm_query('x'))") for _ in range(5)))

    def clean() -> bool:
        count, children, threads = traces()
        own = {name for name in threads - before[2] if not name.startswith("asyncio_")}
        return count <= before[0] and children <= before[1] and not own

    assert await comes_true(clean), (before, traces())


@promise(24, applies=own_process)
async def a_closed_session_ends_the_processes_that_its_cells_started(bench: Bench) -> None:
    mark = uuid.uuid4().hex
    child = f"[sys.executable, '-c', 'import time; time.sleep(600)', {mark!r}]"
    start = f"import subprocess, sys\nchild = subprocess.Popen({child})"
    async with bench.repl(cell_grace=QUICK) as repl:
        await repl.show(start)
        await repl.overruns("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass")
        await repl.show(start)
    assert await comes_true(lambda: not running(mark))


@promise(24, applies=own_process)
async def a_closed_session_leaves_no_temporary_files_behind(bench: Bench) -> None:
    async with bench.repl() as repl:
        path = await repl.value(
            "(lambda d: [open(d + '/file', 'w').write('x'), d][1])(__import__('tempfile').mkdtemp())"
        )
        assert await repl.value(f"__import__('os').path.exists({path!r} + '/file')") is True
    assert await comes_true(lambda: not os.path.exists(path))


@promise(24)
async def opening_that_is_cancelled_leaves_nothing_behind(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.still_works()
    await settle(bench)
    before = traces()
    for steps in range(0, 60, 5):

        async def use() -> None:
            async with bench.repl() as repl:
                await repl.run("print('x')")

        task = asyncio.create_task(use())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.exception() is None

    def clean() -> bool:
        count, children, threads = traces()
        own = {name for name in threads - before[2] if not (bench.traits.loop_threads and name.startswith("asyncio_"))}
        return count <= before[0] and children <= before[1] and not own

    assert await comes_true(clean), (before, traces())
