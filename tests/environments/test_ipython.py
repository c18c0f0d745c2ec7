"""The ipython environment: what IPython adds to a cell, under the promises that hold everywhere."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import rlm
from rlm.environments import ipython
from rlm.errors import ConfigurationError
from rlm.testing.conformance import Bench, Traits
from rlm.testing.conformance._bench import Repl

DEADLINE = 60


def run(use: Callable[[Repl], Awaitable[None]], **environment_kwargs: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE), opened(**environment_kwargs) as repl:
            await use(repl)

    asyncio.run(main())


@asynccontextmanager
async def opened(**environment_kwargs: Any) -> AsyncIterator[Repl]:
    async with Bench(ipython.create, Traits()).repl(**environment_kwargs) as repl:
        yield repl


def test_magics_run() -> None:
    async def use(repl: Repl) -> None:
        assert "per loop" in await repl.show("%timeit -n 2 -r 1 sum(range(10))")
        output = await repl.show("%%time\nx = 20\nx + 1")
        assert "Wall time" in output
        assert output.endswith("21\n")
        assert await repl.show("%%capture out\nprint('inside')\n!echo shell\n6 * 7") == ""
        assert await repl.value("out.stdout") == "inside\nshell\n"
        assert await repl.show("out.outputs[0]") == "42\n"
        assert await repl.show("%%writefile hello.py\nprint('from a file')\ny = 5") == "Writing hello.py\n"
        assert await repl.show("%run hello.py") == "from a file\n"
        assert await repl.value("[x, y]") == [20, 5]
        assert await repl.value("__import__('os').getcwd()") == (
            await repl.value("get_ipython().run_line_magic('pwd', '')")
        )

    run(use)


def test_lines_of_a_magic_cell_that_are_python_behave_as_python() -> None:
    async def use(repl: Repl) -> None:
        code = "import asyncio\nif True:\n    %timeit -n1 -r1 1\nawait asyncio.sleep(0)\nn = llm_query('asked')\nn"
        assert (await repl.show(code)).endswith("'asked'\n")
        assert await repl.show("%%capture\nn = await llm_query('awaited')") == ""
        assert await repl.value("n") == "awaited"
        assert (await repl.run("%%time\nFINAL(n)")).answer == "awaited"

    run(use)


def test_commands_of_the_shell_print_into_the_cell_and_into_variables() -> None:
    async def use(repl: Repl) -> None:
        await repl.show("word = 'here'")
        assert await repl.show("!echo $word {1 + 1}; echo wrong >&2\nprint('after')") == "here 2\nwrong\nafter\n"
        assert await repl.show("lines = !printf 'a\\nb'\nprint(lines, _exit_code)") == "['a', 'b'] 0\n"
        assert await repl.show("def f(local):\n    !echo $local\nf('inside')") == "inside\n"
        assert await repl.show("%%bash\necho from bash\nx=1\necho $x") == "from bash\n1\n"
        assert await repl.show("!printf '\\303'; printf '\\251\\377'") == "é\\xff"
        await repl.show("!false")
        assert await repl.value("_exit_code") == 1
        assert await repl.show("!cat") == "", "there is no input to wait for"

    run(use)


def test_inputs_and_outputs_are_kept_under_the_number_of_their_cell() -> None:
    async def use(repl: Repl) -> None:
        await repl.show("40 + 1")
        await repl.fails("1 / 0", "ZeroDivisionError")
        await repl.show("")
        cell = await repl.run("_ + 1")
        assert (cell.output, cell.number) == ("42\n", 4)
        assert await repl.value("[Out[1], Out[4], _4, __, In[1], _i2, _out[4]]") == [
            *[41, 42, 42, 41],
            *["40 + 1", "1 / 0", "42\n"],
        ]

    run(use)


def test_the_last_expression_is_shown_as_ipython_shows_it() -> None:
    async def use(repl: Repl) -> None:
        await repl.show(
            """
            class Pretty:
                def _repr_pretty_(self, printer, cycle): printer.text("pretty!")
            class Web:
                def _repr_html_(self): return "<b>bold</b>"
            class Itself:
                def _ipython_display_(self): print("displayed itself")
            class Broken:
                def _repr_pretty_(self, printer, cycle): raise ValueError("no display")
            from IPython.display import Markdown
            """
        )
        assert await repl.show("Pretty()") == "pretty!\n"
        assert await repl.show("Web()") == "<b>bold</b>\n"
        assert await repl.show("Itself()") == "displayed itself\n"
        assert await repl.show("Markdown('# Title')") == "# Title\n"
        assert await repl.show("display(Web(), {'a': 1})\n5;") == "<b>bold</b>\n{'a': 1}\n"
        assert await repl.show("{'key': list(range(30)), 'other': 'x' * 40}") == (
            "{'key': [" + ",\n  ".join(map(str, range(30))) + "],\n 'other': '" + "x" * 40 + "'}\n"
        )
        await repl.fails("Broken()", "ValueError")
        assert "number of items" in await repl.show("len?")

    run(use)


def test_what_fails_in_a_magic_fails_the_cell_and_shows_where() -> None:
    async def use(repl: Repl) -> None:
        for magic in ("%%time", "%%capture"):
            error = (await repl.fails(f"{magic}\na = 1\nb = 2\n1 / 0  # here", "ZeroDivisionError")).error
            assert error is not None
            assert "line 3" in error.traceback
            assert "1 / 0  # here" in error.traceback
            assert "site-packages" not in error.traceback
        await repl.fails("%no_such_magic", "UsageError")
        await repl.fails("%%bash\nexit 3", "CalledProcessError")
        await repl.show("%%writefile bad.py\n1 / 0")
        await repl.fails("%run bad.py", "ZeroDivisionError")
        cell = await repl.session.execute("\n\n%time x = 1\n1 / 0", repl.host)
        assert cell.error is not None
        assert "line 4" in cell.error.traceback
        error = (await repl.fails("x = 1\ny = = 2", "SyntaxError")).error
        assert error is not None
        assert error.traceback.count("SyntaxError") == 1
        await repl.show("get_ipython().displayhook = None")
        assert await repl.show("1 + 1") == "2\n"
        cell = await repl.run("%%capture\nFINAL(1)\n1 / 0")
        assert cell.error is not None
        await repl.still_works()

    run(use)


def test_what_asks_a_person_fails_and_never_waits() -> None:
    async def use(repl: Repl) -> None:
        await repl.show("%%writefile x.py\nx = 1")
        await repl.fails("1 / 0", "ZeroDivisionError")
        for code in ("%debug", "%edit x.py", "input()", "exit()", "%%debug\nx = 1", "%run -d x.py"):
            cell = await repl.run(code, timeout=20)
            assert cell.error is not None, code
            assert not cell.timed_out, code
        for code in ("exit", "%reset"):
            assert not (await repl.run(code, timeout=20)).timed_out
        await repl.run("%pdb on", timeout=20)
        assert not (await repl.fails("1 / 0", "ZeroDivisionError")).timed_out
        assert "Quick Reference" in await repl.show("%quickref")
        await repl.still_works()

    run(use)


def test_a_magic_or_a_command_that_overruns_is_stopped_and_the_namespace_kept() -> None:
    async def use(repl: Repl) -> None:
        await repl.show("kept = 1")
        for code in (
            "!sleep 600",
            "x = !sleep 600",
            "!yes",
            "%%bash\nsleep 600",
            "%timeit -n1 -r1 while True: pass",
            "%%capture\nwhile True: pass",
            "%%time\nwhile True: pass",
            "%%capture\nimport asyncio\nawait asyncio.sleep(600)",
            "get_ipython().run_cell('while True: pass')",
        ):
            cell = await repl.run(code, timeout=0.5)
            assert cell.timed_out, code
            assert not cell.lost, code
            assert await repl.value("kept") == 1, code
        await repl.still_works()

    run(use)


def test_ipythons_names_are_not_the_models() -> None:
    async def use(repl: Repl) -> None:
        await repl.show("mine = 1\n2 + 2\n'text'")
        shown = await repl.show("SHOW_VARS()")
        assert {row.partition(":")[0] for row in shown.splitlines()} == {"mine", "answer", "context", "context_0"}
        assert await repl.value("get_ipython().run_line_magic('who_ls', '')") == [
            *["answer", "context", "context_0", "mine"]
        ]
        assert "get_ipython" in (await repl.run("get_ipython = 5")).notices[0]
        await repl.show("In = Out = _ = 'mine too'")
        assert (await repl.show("%time 1\nOut")).endswith("'mine too'\n")
        cell = await repl.run("import os\nos._exit(1)")
        assert {"mine", "In", "Out"} <= set(cell.lost)
        assert not {"_oh", "_ih", "_i", "_i1", "get_ipython", "__"} & set(cell.lost)

    run(use)


def test_resetting_the_session_leaves_what_the_host_gave() -> None:
    async def use(repl: Repl) -> None:
        await repl.show("mine = 1")
        cell = await repl.run("%reset -f")
        assert (cell.error, cell.notices) == (None, ())
        await repl.fails("mine", "NameError")
        await repl.still_works()

    run(use)


def test_extensions_and_hooks_see_the_cells() -> None:
    async def use(repl: Repl) -> None:
        await repl.show(
            "seen = []\nshell = get_ipython()\n"
            "shell.events.register('pre_run_cell', lambda i: seen.append(i.raw_cell))\n"
            "shell.events.register('post_run_cell', lambda r: seen.append(r.success))\nseen.clear()"
        )
        await repl.show("x = 1")
        await repl.fails("1 / 0")
        assert await repl.value("seen[1:5]") == ["x = 1", True, "1 / 0", False]
        assert await repl.show("%load_ext autoreload\n%autoreload 2") == ""

    run(use)


def test_no_configuration_is_read_and_nothing_is_written(tmp_path: Path) -> None:
    profile = tmp_path / ".ipython" / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "startup" / "first.py").write_text("started = 1", "utf-8")
    (profile / "ipython_config.py").write_text("c.InteractiveShellApp.exec_lines = ['configured = 1']", "utf-8")
    before = sorted(tmp_path.rglob("*"))

    async def use(repl: Repl) -> None:
        assert await repl.value("[n for n in ('started', 'configured') if n in globals()]") == []
        await repl.show("%cd -q .\n%time 1")
        assert await repl.value("'sqlite3' in __import__('sys').modules") is False

    run(use, env={"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / ".ipython")})
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_port_is_open() -> None:
    async def use(repl: Repl) -> None:
        code = """
            import os
            links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
            mine = {os.readlink(link) for link in links if os.path.exists(link)}
            files = [f"/proc/self/net/{kind}" for kind in ("tcp", "tcp6", "udp", "udp6")]
            rows = [row.split() for name in files if os.path.exists(name) for row in open(name).readlines()[1:]]
            listening = [row for row in rows if f"socket:[{row[9]}]" in mine]
            """
        await repl.show(code)
        assert await repl.value("listening") == []

    run(use)


def test_twenty_sessions_at_once_do_not_mix() -> None:
    async def one(i: int) -> None:
        async with opened() as repl:
            await repl.show(f"%time mine = {i}")
            assert await repl.show("!echo $mine") == f"{i}\n"
            assert await repl.value("[mine, In[1]]") == [i, f"get_ipython().run_line_magic('time', 'mine = {i}')"]

    async def main() -> None:
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
            for i in range(20):
                group.create_task(one(i))

    asyncio.run(main())


def test_both_kernel_modes_are_accepted_and_no_other() -> None:
    for mode in ("in_process", "subprocess"):
        assert ipython.create(kernel_mode=mode, startup_timeout=5, cell_timeout=7).startup_timeout == 5
    with pytest.raises(ConfigurationError, match="kernel_mode"):
        ipython.create(kernel_mode="elsewhere")
    with pytest.raises(ConfigurationError, match="cell_timeout"):
        ipython.create(cell_timeout=-1)


def test_where_ipython_is_missing_the_error_says_what_to_install() -> None:
    code = (
        "import asyncio\nfrom rlm.environments import ipython\nfrom rlm.errors import SetupError\n"
        "try:\n    asyncio.run(ipython.create().open().__aenter__())\n"
        "except SetupError as error:\n    print(error)"
    )
    source = str(Path(rlm.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert 'pip install "rlm[ipython]"' in done.stdout
