"""What a cell prints is its output (6), bounded in what is shown and whole in `_out` (9)."""

from __future__ import annotations

import warnings

from rlm.testing.conformance._bench import Bench, own_process, promise
from rlm.types import Query

MARGIN = 1_000_000
"""Characters of one cell that may leave a session, generously: what the model is shown is the policy's matter."""


@promise(6)
async def what_is_printed_is_the_output(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert await repl.show("print('a', 1)\nprint('b', end='')") == "a 1\nb"
        assert await repl.show("x = 1") == ""
        assert (await repl.run("print('ab')")).output_size == 3


@promise(6)
async def stdout_and_stderr_are_captured_in_order(bench: Bench) -> None:
    async with bench.repl() as repl:
        code = """
            import sys
            print("one")
            print("two", file=sys.stderr)
            sys.stdout.write("three\\n")
            n = sys.stderr.write("4")
            """
        assert await repl.show(code) == "one\ntwo\nthree\n4"


@promise(6)
async def what_is_printed_is_told_while_the_cell_runs(bench: Bench) -> None:
    async with bench.repl() as repl:

        async def answer_when_shown(query: Query) -> str:
            await repl.host.sees(str(query.prompt))
            return "seen"

        repl.host.answer = answer_when_shown
        for i in range(3):
            output = await repl.show(f"print('a{i}')\nprint('b{i}')\nprint(llm_query('a{i}\\nb{i}'))\nprint('c{i}')")
            assert output == f"a{i}\nb{i}\nseen\nc{i}\n"


@promise(6)
async def a_warning_is_output_and_no_error(bench: Bench) -> None:
    with warnings.catch_warnings():
        if bench.traits.in_process:  # the filters are the host's there, and a test runner may have made errors of them
            warnings.simplefilter("default")
        async with bench.repl() as repl:
            assert "careful now" in await repl.show("import warnings\nwarnings.warn('careful now')\nx = 1")
            await repl.show("warnings.warn('old', DeprecationWarning)\nstrange = '\\d'\nx += 1")
            assert await repl.value("x") == 2


@promise(6)
async def a_logger_that_writes_to_stderr_is_captured_in_every_cell(bench: Bench) -> None:
    async with bench.repl() as repl:
        output = await repl.show(
            """
            import logging
            log = logging.getLogger("conformance")
            log.propagate = False
            handler = logging.StreamHandler()
            log.addHandler(handler)
            log.warning("first")
            """
        )
        assert output == "first\n"
        assert await repl.show("log.error('second')") == "second\n"
        await repl.show("log.removeHandler(handler)")


@promise(6, applies=own_process)
async def the_root_logger_is_captured(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert "root speaks" in await repl.show("import logging\nlogging.warning('root speaks')")
        assert "info too" in await repl.show("logging.basicConfig(level=20, force=True)\nlogging.info('info too')")


@promise(6)
async def what_a_thread_prints_is_captured(bench: Bench) -> None:
    async with bench.repl() as repl:
        output = await repl.show(
            """
            import threading
            from concurrent.futures import ThreadPoolExecutor
            thread = threading.Thread(target=print, args=("from a thread",))
            thread.start()
            thread.join()
            with ThreadPoolExecutor(2) as pool:
                done = list(pool.map(lambda i: print("from the pool", i), range(2)))
            """
        )
        assert sorted(output.splitlines()) == ["from a thread", "from the pool 0", "from the pool 1"]


@promise(6)
async def what_is_printed_after_await_and_in_to_thread_is_captured(bench: Bench) -> None:
    async with bench.repl() as repl:
        code = "import asyncio\nawait asyncio.to_thread(print, 'in a thread')\nprint('after')"
        assert await repl.show(code) == "in a thread\nafter\n"
        code = "async def f():\n    print('inside')\n    await asyncio.to_thread(print, 'thread')\nasyncio.run(f())"
        assert await repl.show(code) == "inside\nthread\n"


@promise(6)
async def a_thread_that_outlives_its_cell_prints_into_a_later_one(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            """
            import threading
            go = threading.Event()
            def late():
                go.wait(30)
                print("late")
            thread = threading.Thread(target=late)
            thread.start()
            """
        )
        assert await repl.show("go.set()\nthread.join()") == "late\n"


@promise(6, applies=own_process)
async def what_a_thread_fails_with_is_output(bench: Bench) -> None:
    async with bench.repl() as repl:
        code = "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()"
        assert "ZeroDivisionError" in await repl.show(code)


@promise(6, applies=own_process)
async def the_output_of_child_processes_is_captured(bench: Bench) -> None:
    async with bench.repl() as repl:
        code = "import subprocess, sys, os\nsubprocess.run([sys.executable, '-c', 'print(\"a child\")'])\nx = 1"
        assert await repl.show(code) == "a child\n"
        assert await repl.show("os.system('echo from the shell; echo and its errors >&2')\nx = 1") == (
            "from the shell\nand its errors\n"
        )
        assert await repl.show("subprocess.run(['echo', 'given stdout'], stdout=sys.stdout)\nx = 1") == "given stdout\n"


@promise(6, applies=own_process)
async def what_is_written_to_the_descriptors_is_captured(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert await repl.show("import os\nn = os.write(1, b'one\\n')\nn = os.write(2, b'two\\n')") == "one\ntwo\n"
        code = "import ctypes\nlibc = ctypes.CDLL(None)\nn = libc.puts(b'from C')\nn = libc.fflush(None)"
        assert await repl.show(code) == "from C\n"
        assert await repl.show("n = os.write(1, b'\\xff\\xfe half a character: \\xf0\\x9f')") != ""
        assert await repl.show("import sys\nprint('dunder', file=sys.__stdout__, flush=True)") == "dunder\n"


@promise(6, applies=own_process)
async def a_child_process_can_print_more_than_a_pipe_holds(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.run("import os\nr = os.system(\"head -c 3000000 /dev/zero | tr '\\\\0' x\")")
        assert cell.error is None, cell
        assert cell.output_size == 3_000_000
        assert await repl.value(f"set(_out[{cell.number}])") == {"x"}


@promise(6, applies=own_process)
async def nothing_to_read_is_left_for_child_processes(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert await repl.show("import subprocess\nsubprocess.run(['cat'])\nprint('done')") == "done\n"


@promise(9)
async def very_long_output_is_clipped_with_head_and_tail_kept(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.run("print('HEAD' + 'x' * 5_000_000 + 'TAIL')")
        assert cell.error is None
        assert cell.output_size == 5_000_009
        assert len(cell.output) < MARGIN
        assert cell.output.startswith("HEADxxx")
        assert cell.output.endswith("xxxTAIL\n")
        assert f"_out[{cell.number}]" in cell.output


@promise(9)
async def clipped_output_is_whole_in_out(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.run("for i in range(30_000):\n    print(i, 'x' * 60)")
        n = cell.number
        expected = "".join(f"{i} {'x' * 60}\n" for i in range(30_000))
        assert cell.output_size == len(expected)
        assert await repl.value(f"len(_out[{n}])") == len(expected)
        assert await repl.value(f"_out[{n}][1_000_000:1_000_050]") == expected[1_000_000:1_000_050]
        assert await repl.value(f"_out[{n}].splitlines()[-1]") == "29999 " + "x" * 60


@promise(9)
async def every_output_is_in_out_by_the_number_of_its_cell(bench: Bench) -> None:
    async with bench.repl() as repl:
        cells = [await repl.run(code) for code in ("print('a')", "x = 1", "print('b')\n1 / 0", "'echoed'")]
        numbers = [cell.number for cell in cells]
        assert numbers == list(range(numbers[0], numbers[0] + 4))
        assert await repl.value(f"[_out[n] for n in {numbers}]") == ["a\n", "", "b\n", "'echoed'\n"]
        await repl.show("_out.clear()\n_out[0] = None")  # it is the cell's to spoil
        cell = await repl.run("print('c')")
        assert await repl.value(f"_out[{cell.number}]") == "c\n"


@promise(9)
async def fifty_megabytes_of_output_are_bounded(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.run("print('A' + 'x' * 50_000_000 + 'Z')\nprint('the end')")
        assert cell.error is None
        assert cell.output_size == 50_000_011
        assert len(cell.output) < MARGIN
        assert cell.output.startswith("Axxx")
        assert cell.output.endswith("Z\nthe end\n")
        assert sum(map(len, repl.host.printed)) < 60_000_000
        await repl.still_works()


@promise(9)
async def output_without_end_is_bounded_and_stopped_by_the_limit(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("kept = 1")
        cell = await repl.overruns("while True:\n    print('again ' * 50)")
        assert cell.output.startswith("again again")
        assert len(cell.output) < MARGIN
        assert cell.output_size > 100
        await repl.still_works("kept", 1)


@promise(9, applies=own_process)
async def the_output_without_end_of_a_child_process_is_stopped_by_the_limit(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import subprocess")
        cell = await repl.overruns("subprocess.run(['yes'])")
        assert cell.output.startswith("y\ny\n")
        assert len(cell.output) < MARGIN
        await repl.still_works()
