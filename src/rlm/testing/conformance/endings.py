"""Whatever ends a cell, it ends the cell, never the host, and never hangs (7)."""

from __future__ import annotations

from rlm.testing.conformance._bench import QUICK, Bench, own_process, promise
from rlm.types import UNSET


@promise(7)
async def sys_exit_ends_the_cell_and_nothing_else(bench: Bench) -> None:
    async with bench.repl() as repl:
        for code in ("sys.exit()", "sys.exit(3)", "sys.exit('a message')", "raise SystemExit(3)", "raise SystemExit"):
            cell = await repl.run(f"import sys\nkept = 1\n{code}\nkept = 2")
            assert not cell.lost
            assert not cell.timed_out
            await repl.still_works("kept", 1)
        await repl.fails("import sys\nsys.exit('a message')", "SystemExit")


@promise(7)
async def exceptions_that_are_no_exception_class_end_the_cell_and_nothing_else(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import asyncio\nkept = 1")
        for error in ("KeyboardInterrupt", "GeneratorExit", "BaseException", "asyncio.CancelledError", "StopIteration"):
            await repl.fails(f"raise {error}('mine')", error.rpartition(".")[2])
            cell = await repl.fails(f"await asyncio.sleep(0)\nraise {error}('mine')")
            assert not cell.timed_out
            assert not cell.lost
        cell = await repl.fails("class Odd(BaseException):\n    pass\nraise Odd('odd')", "Odd")
        await repl.still_works("kept", 1)


@promise(7)
async def sys_exit_in_a_coroutine_or_a_thread_ends_no_session(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import asyncio, sys, threading\nkept = 1")
        await repl.run("async def f():\n    sys.exit(4)\nawait f()")
        await repl.still_works("kept", 1)
        await repl.run("async def f():\n    sys.exit(4)\nasyncio.run(f())")
        await repl.run("await asyncio.gather(f(), asyncio.sleep(0))")
        if not bench.traits.in_process:  # there, what a thread ends with is the host's matter
            await repl.show("t = threading.Thread(target=sys.exit)\nt.start()\nt.join()")
        await repl.still_works("kept", 1)


@promise(7)
async def a_cell_that_cancels_its_own_tasks_does_not_cancel_the_host(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import asyncio\nkept = 1")
        await repl.fails("asyncio.current_task().cancel()\nawait asyncio.sleep(0)", "CancelledError")
        await repl.run("for task in asyncio.all_tasks(): task.cancel()\nawait asyncio.sleep(0)")
        await repl.still_works("kept", 1)


@promise(7)
async def a_cell_that_stops_or_closes_the_loop_harms_no_later_one(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import asyncio\nkept = 1")
        await repl.run("asyncio.get_running_loop().stop()\nawait asyncio.sleep(0)")
        await repl.run("asyncio.get_event_loop().close()")
        assert await repl.show("await asyncio.sleep(0)\nprint('awaited')") == "awaited\n"
        await repl.run("asyncio.set_event_loop(None)")
        assert await repl.show("await asyncio.sleep(0)\nprint('awaited')") == "awaited\n"
        await repl.still_works("kept", 1)


@promise(7)
async def the_debugger_never_waits(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import pdb\nkept = 1")
        for code in (
            "pdb.Pdb().set_trace()\nx = 1",
            "breakpoint()",
            "pdb.run('1 + 1')",
            "import sys; sys.breakpointhook()\nx = 1",
        ):
            await repl.run(code)
            assert await repl.show("def f(n):\n    return n + 1\nprint(f(1))") == "2\n"
        await repl.run("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    pdb.post_mortem(e.__traceback__)")
        await repl.still_works("kept", 1)


@promise(7)
async def a_debugger_works_after_a_cell_was_interrupted(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.overruns("n = 0\nwhile True: n += 1")
        await repl.show("import sys\nlines = []\nsys.settrace(lambda *a: lines.append(1))")
        code = "def f():\n    x = 1\n    return x\nsys.settrace(lambda *a: None)\nfor i in range(10): f()\nprint(i)"
        assert await repl.show(code) == "9\n"


@promise(7)
async def a_trace_function_that_a_cell_sets_does_not_outlive_it(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            "import sys\nseen = []\nsys.settrace(lambda *a: seen.append(1))\nsys.setprofile(lambda *a: None)"
        )
        assert await repl.value("[sys.gettrace() is None, sys.getprofile() is None]") == [True, True] or (
            bench.traits.in_process  # a coverage tool of the host may stand there
        )
        size = await repl.value("len(seen)")
        await repl.show("def f(): pass\nf(); f()")
        assert await repl.value("len(seen)") == size


@promise(7)
async def a_cell_that_runs_out_of_stack_fails_alone(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("kept = 1")
        await repl.fails("def f():\n    try:\n        f()\n    finally:\n        pass\nf()", "RecursionError")
        await repl.fails("x = []\nfor _ in range(100_000): x = [x]\nrepr(x)", "RecursionError")
        await repl.show("del x")
        await repl.still_works("kept", 1)


@promise(7)
async def a_cell_that_asks_for_too_much_memory_fails_alone(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("kept = 1")
        await repl.fails("x = bytearray(1 << 62)", "MemoryError")
        await repl.fails("x = 'a' * (1 << 62)", "MemoryError")
        await repl.still_works("kept", 1)


DEATHS = {
    "os._exit(0)": "exits at once",
    "os._exit(7)": "exits at once with a status",
    "os.abort()": "aborts",
    "os.kill(os.getpid(), 9)": "is killed",
    "os.kill(os.getpid(), 15)": "is terminated",
    "__import__('ctypes').string_at(0)": "reads address 0",
}


@promise(7, applies=own_process)
async def a_worker_that_dies_is_replaced_and_the_model_is_told_what_is_gone(bench: Bench) -> None:
    async with bench.repl() as repl:
        for code, how in DEATHS.items():
            await repl.show("import os\nmine = [1]\ndef function(): pass")
            cell = await repl.run(f"print('last words', flush=True)\nFINAL(1)\nlater = 2\n{code}\nprint('never')")
            assert cell.error is not None, (how, cell)
            assert cell.answer is UNSET, (how, cell)
            assert not cell.timed_out, (how, cell)
            assert {"mine", "function"} <= set(cell.lost), (how, cell)
            assert not {"context", "llm_query", "answer", "FINAL"} & set(cell.lost), (how, cell)
            assert not [name for name in cell.lost if name.startswith("__")], (how, cell)
            assert "never" not in cell.output, (how, cell)
            await repl.fails("mine", "NameError")
            await repl.still_works()


@promise(7, applies=own_process)
async def what_was_printed_before_a_death_is_shown(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.run("import os\nprint('last words', flush=True)\nos._exit(0)")
        assert cell.output.startswith("last words\n")


@promise(7, applies=own_process)
async def a_worker_that_died_leaves_calls_and_tools_working_after_it(bench: Bench) -> None:
    async with bench.repl() as repl:
        repl.host.tools["double"] = lambda x: 2 * x
        await repl.session.bind("double", repl.host.tools["double"])
        await repl.session.bind("more", {"deep": [1, 2]})
        await repl.run(
            "import os, threading\nthreading.Thread(target=llm_query_batched, args=(['a'] * 9,)).start()\nos._exit(1)"
        )
        assert await repl.value("[double(21), more]") == [42, {"deep": [1, 2]}]
        await repl.still_works()


@promise(7, applies=own_process)
async def closing_every_descriptor_ends_no_session_for_good(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.run("import os\nos.closerange(0, 1024)", timeout=5)
        await repl.still_works()


@promise(7, applies=own_process)
async def a_cell_may_fork(bench: Bench) -> None:
    async with bench.repl() as repl:
        code = (
            "import os, warnings\nwarnings.simplefilter('ignore')\nkept = 1\npid = os.fork()\nif not pid: os._exit(0)\n"
        )
        await repl.show(code + "status = os.waitpid(pid, 0)[1]")
        assert await repl.value("status") == 0
        await repl.still_works("kept", 1)


@promise(7, applies=own_process)
async def a_forked_child_that_runs_on_is_not_a_second_worker(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.run(
            "import os, warnings\nwarnings.simplefilter('ignore')\nkept = 1\npid = os.fork()\n"
            "'parent' if pid else 'child'"
        )
        assert cell.error is None, cell
        assert "parent" in cell.output
        assert await repl.value("bool(pid)") is True
        await repl.still_works("kept", 1)


@promise(7, applies=own_process)
async def multiprocessing_over_functions_of_the_session_works(bench: Bench) -> None:
    async with bench.repl() as repl:
        output = await repl.show(
            """
            import multiprocessing, warnings
            warnings.simplefilter("ignore")
            def square(n):
                return n * n
            with multiprocessing.get_context("fork").Pool(2) as pool:
                print(pool.map(square, range(5)))
            """
        )
        assert output == "[0, 1, 4, 9, 16]\n"


@promise(7, applies=own_process)
async def breaking_builtins_breaks_no_session_for_good(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.run(
            "import builtins\nbuiltins.print = builtins.len = builtins.isinstance = None", timeout=QUICK * 10
        )
        cell = await repl.run("x = 1", timeout=QUICK * 10)
        assert cell.number or cell.error
        cell = await repl.run("import os\nos._exit(0)")
        await repl.still_works()
