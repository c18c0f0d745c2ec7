"""The walls around a process: what is asked for, what is there, what a user may allow, and that all of it ends."""

# ruff: noqa: ASYNC240 - looking at files and processes is what these scenarios are for

from __future__ import annotations

import ast
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import rlm.environments
from rlm.environments import process
from rlm.environments._isolation import STRICT, readable
from rlm.environments._jail import seccomp
from rlm.environments._plain import plain_process
from rlm.errors import ConfigurationError
from rlm.protocols import ByteStream
from rlm.testing.conformance import Promise, ScriptedHost, Traits, check, promises
from session_bench import comes_true, environ, run, value, with_mark

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: no isolation elsewhere")
JAIL = Path(rlm.environments.__file__).parent / "_jail"


def program(code: str) -> list[str]:
    return [sys.executable, "-c", code]


# What is asked for --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(JAIL.glob("*.py")), ids=lambda p: p.name)
def test_what_runs_in_the_interpreter_of_the_cells_parses_on_python_3_8_and_imports_nothing_else(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"), feature_version=(3, 8))
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names), names


@pytest.mark.parametrize(
    "settings",
    [
        {"isolation": "some"},
        {"allow_read": "/etc"},
        {"allow_read": ["/"]},
        {"allow_write": ["/no/such/place"]},
        {"memory": "much"},
        {"memory": 0},
        {"disk": True},
        {"processes": 0},
        {"cpu_seconds": 1.5},
        {"files": None},
    ],
    ids=repr,
)
def test_wrong_settings_of_the_walls_are_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        process.create(**settings)


def test_none_asks_for_none_and_strict_has_all_that_it_says_or_names_what_is_missing() -> None:
    async def scenario() -> None:
        assert (await process.create(isolation="none").protections()).layers == frozenset()
        here = await process.create().protections()
        assert here.layers
        assert all(protection.active or protection.why_not for protection in here.all())
        if not here.missing:
            assert set(STRICT) <= (await process.create(isolation="strict").protections()).layers

    run(scenario)


IN_A_CONTAINER = """
import asyncio
from rlm.environments import process
from rlm.environments._jail import seccomp, system
from rlm.errors import SetupError
from rlm.testing.conformance import ScriptedHost

system.prctl(system.PR_SET_NO_NEW_PRIVS, 1)
seccomp.install(seccomp.Allowed(*[True] * 5))  # as in a container: no namespaces can be made

CELL = '''
def tried(f, *a):
    try:
        f(*a)
    except OSError as e:
        print(type(e).__name__)
    else:
        print("done")
import os, socket
tried(open, "/etc/passwd"); tried(socket.socket); tried(os.listdir, "/"); tried(open, "own", "w")
tried(os.kill, os.getppid(), 0)
'''

async def main():
    try:
        async with process.create(isolation="strict").open():
            print("started")
    except SetupError as exc:
        print("pid: " in str(exc) and "docker" in str(exc))
    async with process.create().open() as session:
        print((await session.execute(CELL, ScriptedHost())).output)
    print(*sorted((await process.create().protections()).missing))

asyncio.run(main())
"""


def test_where_no_namespaces_can_be_had_strict_refuses_and_the_default_uses_what_there_is() -> None:
    done = subprocess.run(program(IN_A_CONTAINER), env=environ(), capture_output=True, text=True, timeout=100)
    lines = done.stdout.split("\n")
    assert lines[0] == "True", done
    if "landlock" not in lines[-2]:
        assert lines[1:5] == ["PermissionError", "PermissionError", "PermissionError", "done"], done
    assert "network" in lines[-2]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("allowed", [True, False])
def test_the_filter_is_a_program_the_kernel_takes(machine: str, allowed: bool) -> None:
    code = seccomp.assemble(machine, seccomp.Allowed(*[allowed] * 5))
    assert len(code) % 8 == 0
    assert len(code) // 8 < 4096
    for at in range(0, len(code), 8):  # no jump leaves it
        if code[at] & 7 == 5:
            assert at // 8 + 1 + max(code[at + 2], code[at + 3]) < len(code) // 8


def test_of_the_path_only_what_holds_packages_is_readable(tmp_path: Path) -> None:
    packages = str(tmp_path / "lib" / "site-packages")
    assert readable(["/usr/x"], [str(tmp_path), packages]) == sorted([packages, "/usr/x"])


def test_a_cell_is_not_told_the_name_of_the_machine() -> None:
    async def scenario() -> None:
        here = process.create()
        if "names" not in (await here.protections()).layers:
            pytest.skip("needs a namespace for names: none can be had here")
        async with here.open() as session:
            assert await value(session, "__import__('os').uname().nodename") == "cell"

    run(scenario)


# What a user allows -------------------------------------------------------------------------------------------------


def test_a_path_that_is_allowed_can_be_read_and_not_written(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("some data")
    os.chmod(tmp_path, 0o755)

    async def scenario() -> None:
        attempt = f"open({str(tmp_path / 'data')!r}).read()"
        async with process.create().open() as session:
            assert (await session.execute(attempt, ScriptedHost())).error is not None
        async with process.create(allow_read=[tmp_path]).open() as session:
            assert await value(session, attempt) == "some data"
            cell = await session.execute(f"open({str(tmp_path / 'new')!r}, 'w')", ScriptedHost())
            assert cell.error is not None
            assert cell.error.type in ("OSError", "PermissionError")

    run(scenario)


def test_a_path_that_is_allowed_for_writing_takes_what_cells_write(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with process.create(allow_write=[tmp_path]).open() as session:
            assert await value(session, f"open({str(tmp_path / 'new')!r}, 'w').write('12345')") == 5
            await session.execute(f"open({str(tmp_path.parent / 'new')!r}, 'w').write('no')", ScriptedHost())
        assert (tmp_path / "new").read_text() == "12345"
        assert not (tmp_path.parent / "new").exists()

    run(scenario)


def test_the_network_is_there_when_it_is_allowed_and_only_then() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            connect = f"__import__('socket').create_connection(('127.0.0.1', {port}), 5).getpeername()[1]"
            async with process.create(allow_network=True).open() as session:
                assert await value(session, connect) == port
            async with process.create().open() as session:
                assert (await session.execute(connect, ScriptedHost())).error is not None

    run(scenario)


def test_more_memory_than_is_allowed_ends_the_cell_and_says_so() -> None:
    async def scenario() -> None:
        async with process.create(memory="300m").open() as session:
            await session.bind("context", "c")
            cell = await session.execute("import time\nx = b'x' * 600_000_000\ntime.sleep(60)", ScriptedHost())
            assert cell.error is not None
            assert "memory=314,572,800" in cell.error.message or cell.error.type == "MemoryError"
            assert await value(session, "context") == "c"

    run(scenario)


# The end of it ------------------------------------------------------------------------------------------------------

OUTLIVING = """
import os, signal, subprocess, sys
code = "import signal, time\\nfor n in (1, 2, 3, 15): signal.signal(n, signal.SIG_IGN)\\ntime.sleep(600)"
subprocess.Popen([sys.executable, "-c", code, {mark!r}], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", code, {mark!r}])
    os._exit(0)
print("started", flush=True)
while True:
    pass
"""
HOST = """
import asyncio, os, sys, time
from rlm.environments import process
from rlm.testing.conformance import ScriptedHost

async def main():
    async with process.create(isolation={isolation!r}).open() as session:
        host = ScriptedHost()
        def output(text):
            if os.fork() == 0:  # holds all that the host has open
                os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(8)"])
            print(text, flush=True)
        host.output = output
        await session.execute({cell!r}, host)

asyncio.run(main())
"""


@pytest.mark.parametrize("isolation", ["default", "none"])
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_nothing_of_a_session_outlives_its_host(isolation: str, way: signal.Signals, tmp_path: Path) -> None:
    mark = f"walls-{uuid.uuid4().hex}"
    code = HOST.format(isolation=isolation, cell=OUTLIVING.format(mark=mark))
    host = subprocess.Popen(program(code), stdout=subprocess.PIPE, env=environ(TMPDIR=str(tmp_path)))
    try:
        assert host.stdout is not None
        assert host.stdout.readline() == b"started\n"
        run(lambda: comes_true(lambda: len(with_mark(mark)) >= 2))
    finally:
        host.send_signal(way)
        host.wait(30)
        host.kill()
        host.stdout.close()
    run(lambda: comes_true(lambda: not with_mark(mark)))
    run(lambda: comes_true(lambda: not any(tmp_path.iterdir())))


@pytest.mark.parametrize("isolation", ["default", "none"])
def test_closing_a_session_ends_what_left_its_group(isolation: Any) -> None:
    mark = f"walls-{uuid.uuid4().hex}"

    async def scenario() -> None:
        async with process.create(isolation=isolation, cell_grace=0.5).open() as session:
            await session.execute(OUTLIVING.format(mark=mark), ScriptedHost(), timeout=1)
            await comes_true(lambda: len(with_mark(mark)) >= 2)
        assert not with_mark(mark)

    run(scenario)


def test_what_a_cell_made_unreadable_is_removed_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with process.create(isolation="none").open() as session:
            folder = await value(session, "__import__('os').getcwd()")
            code = "import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').close()\nos.chmod('a/b', 0)\nos.chmod('a', 0)"
            await session.execute(code + "\nos.symlink('/', 'link')", ScriptedHost())
        assert not os.path.exists(folder)

    run(scenario)


@pytest.mark.parametrize(
    "create", [lambda: process.create(isolation="none"), lambda: Plain()], ids=["warm", "portable"]
)
def test_a_link_in_the_place_of_its_folder_is_removed_and_not_followed(create: Any, tmp_path: Path) -> None:
    inside = tmp_path / "outside" / "inside"
    inside.mkdir(parents=True)
    for folder in (inside, inside.parent):
        folder.chmod(0o750)

    async def scenario() -> None:
        async with create().open() as session:
            folder = await value(session, "__import__('os').getcwd()")
            code = f"import os\nos.rename({folder!r}, {str(tmp_path / 'moved')!r})\n"
            await session.execute(f"{code}os.symlink({str(inside.parent)!r}, {folder!r})", ScriptedHost())
            assert os.path.islink(folder)
        assert not os.path.lexists(folder)

    run(scenario)
    assert {folder.stat().st_mode & 0o777 for folder in (inside, inside.parent)} == {0o750}


# Where there is no warm parent -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Plain(process.ProcessEnvironment):
    """As on macOS."""

    def connect(self, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        return plain_process(argv, lambda folder: process.variables(folder, self.env))


@pytest.mark.parametrize("promise", [p for p in promises(Traits()) if p.number in (7, 8)], ids=str)
def test_a_process_that_is_started_the_portable_way_ends_as_it_should(promise: Promise) -> None:
    check(promise, Plain, Traits())


def test_a_process_that_is_started_the_portable_way_leaves_nothing() -> None:
    async def scenario() -> None:
        async with Plain().open() as session:
            folder = await value(session, "__import__('os').getcwd()")
            await session.execute("open('x', 'w').close()", ScriptedHost())
            assert os.path.isdir(folder)
        assert not os.path.exists(folder)

    run(scenario)
