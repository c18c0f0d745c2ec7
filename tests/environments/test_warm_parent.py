"""The process from which sessions of `process` are started."""

# ruff: noqa: ASYNC240 - looking at files and processes is what these scenarios are for

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rlm.environments import process
from rlm.errors import SandboxError
from rlm.testing.conformance import ScriptedHost
from session_bench import environ, run, value, with_mark

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: no isolation elsewhere")


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread ended meanwhile
            found += map(int, (task / "children").read_text().split())
    return found


def parents() -> list[int]:
    own = set(children(os.getpid()))
    return [pid for pid in with_mark("_jail") if pid in own]


def test_the_warm_parent_has_one_thread_and_nothing_of_the_hosts() -> None:
    async def scenario() -> None:
        os.environ["SOME_API_KEY"] = "sk-warm"
        try:
            async with process.create(env={"MALLOC_ARENA_MAX": "2"}).open() as session:  # a parent of its own
                assert await value(session, "__import__('os').environ['MALLOC_ARENA_MAX']") == "2"
                for parent in parents():
                    variables = Path(f"/proc/{parent}/environ").read_bytes()
                    assert b"KEY" not in variables
                    assert b"HOME" not in variables
                    assert b"Threads:\t1\n" in Path(f"/proc/{parent}/status").read_bytes()
                    opened = {os.readlink(fd) for fd in Path(f"/proc/{parent}/fd").iterdir()}
                    assert not [path for path in opened if path.startswith("/") and path[:5] not in ("/dev/", "/memf")]
        finally:
            del os.environ["SOME_API_KEY"]

    run(scenario)


def test_a_warm_parent_that_is_killed_takes_its_sessions_along_and_is_replaced() -> None:
    async def scenario() -> None:
        async with process.create().open() as session:
            await session.bind("context", "c")
            for parent in parents():
                os.kill(parent, signal.SIGKILL)
            cell = await session.execute("while True: pass", ScriptedHost())
            assert cell.error is not None
            assert cell.error.type == "SandboxDied"
            assert await value(session, "context") == "c"

    run(scenario)


def test_many_threads_and_loops_start_sessions_at_once() -> None:
    found: list[int] = []

    async def one(n: int) -> None:
        async with process.create().open() as session:
            found.append(await value(session, str(n)))

    async def some(n: int) -> None:
        await asyncio.gather(*(one(10 * n + i) for i in range(4)))

    threads = [threading.Thread(target=lambda n=n: asyncio.run(some(n))) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert sorted(found) == [10 * n + i for n in range(5) for i in range(4)]


def test_a_fork_of_the_host_has_sessions_of_its_own() -> None:
    code = """
import asyncio, os
from rlm.environments import process
from rlm.testing.conformance import ScriptedHost

async def main(where):
    async with process.create().open() as session:
        print(where, (await session.execute("print(6 * 7)", ScriptedHost())).output.strip(), flush=True)

asyncio.run(main("before"))
pid = os.fork()
asyncio.run(main("child" if pid == 0 else "parent"))
if pid:
    assert os.waitpid(pid, 0)[1] == 0
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environ(), capture_output=True, text=True, timeout=100
    )
    assert sorted(done.stdout.split("\n")) == ["", "before 42", "child 42", "parent 42"], done
    assert not done.stderr, done


def test_an_interpreter_that_cannot_run_the_warm_parent_is_told_of_with_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('this interpreter is broken')")

    async def scenario() -> None:
        with pytest.raises(SandboxError, match="this interpreter is broken"):
            async with process.create(python=sys.executable, env={"PYTHONPATH": str(tmp_path)}).open():
                raise AssertionError

    run(scenario)
