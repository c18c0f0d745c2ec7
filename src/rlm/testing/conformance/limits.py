"""A cell has a time limit whose clock stands while it waits for the host; past it the session goes on (8)."""

from __future__ import annotations

import asyncio

from rlm.testing.conformance._bench import QUICK, Bench, own_process, promise
from rlm.types import UNSET, Query


async def waits(bench: Bench, code: str, *, prepare: str = "") -> None:
    """A cell that waits, in `code`, for a model that takes longer than the cell may. On a machine where a cell needs
    long for itself, both are given more."""
    for limit in (0.4, 2.0, 10.0):

        async def slow(query: Query, seconds: float = 1.5 * limit) -> str:
            await asyncio.sleep(seconds)
            return "late"

        async with bench.repl(answer=slow) as repl:
            await repl.show(prepare)
            cell = await repl.run(code, timeout=limit)
            if not cell.timed_out:
                break
    assert cell.error is None, cell
    assert cell.answer == "late", cell


@promise(8)
async def a_loop_past_the_limit_is_interrupted_and_the_namespace_kept(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.overruns("kept = 1\nprint('before')\nwhile True:\n    pass")
        assert not cell.lost
        assert cell.output == "before\n"
        assert cell.error is not None
        assert "line 4" in cell.error.traceback or "line 5" in cell.error.traceback
        await repl.still_works("kept", 1)


@promise(8)
async def except_exception_does_not_swallow_the_interrupt(bench: Bench) -> None:
    async with bench.repl() as repl:
        code = "kept = 1\nwhile True:\n    try:\n        sum(range(100))\n    except Exception:\n        pass"
        assert not (await repl.overruns(code)).lost
        await repl.still_works("kept", 1)


@promise(8)
async def an_interrupted_cell_runs_its_finally_clauses(bench: Bench) -> None:
    async with bench.repl(cell_grace=60) as repl:  # the next interrupt, a part of it later, would end them
        cell = await repl.overruns(
            """
            done = []
            try:
                n = 0
                while True: n += 1
            finally:
                done.append(1)
                print("cleaned")
            """
        )
        assert cell.output == "cleaned\n"
        await repl.still_works("done", [1])


@promise(8)
async def a_cell_that_swallows_every_exception_is_stopped(bench: Bench) -> None:
    async with bench.repl(cell_grace=QUICK) as repl:
        await repl.show("mine = 1")
        cell = await repl.overruns(
            """
            print("before", flush=True)
            while True:
                try:
                    n = 0
                    while True: n += 1
                except BaseException:
                    pass
            """,
        )
        assert cell.output.startswith("before\n")
        if cell.lost:
            assert "mine" in cell.lost
            await repl.fails("mine", "NameError")
        await repl.still_works()


@promise(8)
async def a_cell_that_catches_the_interrupt_and_ends_has_still_overrun(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.overruns("try:\n    n = 0\n    while True: n += 1\nexcept BaseException:\n    kept = 'caught'")
        await repl.still_works("kept", "caught")


@promise(8)
async def an_awaited_sleep_is_interrupted_and_the_namespace_kept(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import asyncio\nkept = 1")
        for code in (
            "await asyncio.sleep(600)",
            "asyncio.run(asyncio.sleep(600))",
            "await asyncio.gather(asyncio.sleep(600), asyncio.Event().wait())",
            "async def f():\n    while True: pass\nawait f()",
            "async def f():\n    while True: pass\nasyncio.run(f())",
            "while True: await asyncio.sleep(0)",
        ):
            cell = await repl.overruns(code)
            assert not cell.lost, (code, cell)
            assert await repl.show("await asyncio.sleep(0)\nprint('awaits')") == "awaits\n"
        await repl.still_works("kept", 1)


@promise(8)
async def a_blocking_call_is_cut_off_at_the_limit(bench: Bench) -> None:
    async with bench.repl(cell_grace=QUICK) as repl:
        await repl.show("import time, threading\nmine = 1")
        for code in ("time.sleep(3)", "threading.Event().wait(3)"):
            cell = await repl.overruns(code)
            if bench.traits.in_process:
                assert cell.notices or not cell.lost, f"a thread left behind must be named: {cell}"
                await repl.still_works()
                await repl.show("import time, threading\nmine = 1")
            else:
                assert not cell.lost, cell
                await repl.still_works("mine", 1)


@promise(8)
async def a_finalizer_that_does_not_end_is_interrupted_and_the_namespace_kept(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("kept = 1\nclass Endless:\n    def __del__(self):\n        n = 0\n        while True: n += 1")
        cell = await repl.overruns("endless = Endless()\ndel endless")
        assert not cell.lost, cell
        await repl.still_works("kept", 1)


@promise(8)
async def a_loop_that_starts_threads_is_interrupted_and_the_namespace_kept(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import threading\nkept = 1")
        code = "while True:\n    thread = threading.Thread(target=int)\n    thread.start()\n    thread.join()"
        for _ in range(8 if bench.traits.in_process else 1):
            cell = await repl.overruns(code)
            assert not cell.lost, cell
        await repl.still_works("kept", 1)


@promise(8, applies=own_process)
async def waiting_for_locks_threads_and_children_is_interrupted_and_the_namespace_kept(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import threading, queue, subprocess, time\nkept = 1")
        for code in (
            "threading.Lock().acquire() and threading.Event().wait()",
            "queue.Queue().get()",
            "subprocess.run(['sleep', '600'])",
            "t = threading.Thread(target=time.sleep, args=(600,), daemon=True)\nt.start()\nt.join()",
            "subprocess.check_output('sleep 600', shell=True)",
        ):
            cell = await repl.overruns(code)
            assert not cell.lost, (code, cell)
        await repl.still_works("kept", 1)


@promise(8, applies=own_process)
async def c_code_that_cannot_be_interrupted_costs_the_namespace_and_nothing_else(bench: Bench) -> None:
    async with bench.repl(cell_grace=QUICK) as repl:
        for code in (
            "sum(range(10 ** 13))",
            "import os\nos.system('sleep 600')",
            "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        ):
            await repl.show("mine = 1\ndef work(): pass")
            cell = await repl.overruns(code)
            assert not cell.lost or {"mine", "work"} <= set(cell.lost), (code, cell)
            assert not {"context", "llm_query", "answer"} & set(cell.lost), (code, cell)
            await repl.still_works()


@promise(8, applies=own_process)
async def a_bad_regular_expression_is_stopped(bench: Bench) -> None:
    async with bench.repl(cell_grace=QUICK) as repl:
        await repl.overruns("import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')")
        await repl.still_works()


@promise(8, applies=own_process)
async def a_stopped_worker_is_stopped_for_good(bench: Bench) -> None:
    async with bench.repl(cell_grace=QUICK) as repl:
        await repl.overruns("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)")
        await repl.still_works()


@promise(8)
async def an_answer_set_in_a_cell_that_overran_does_not_count(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.overruns("FINAL(1)\nanswer['content'] = 'draft'\nanswer['ready'] = True\nwhile True: pass")
        assert (await repl.run("x = 1")).answer is UNSET
        assert await repl.value("answer['ready']") is False


@promise(8)
async def the_clock_stands_while_a_request_is_outstanding(bench: Bench) -> None:
    await waits(bench, "FINAL(llm_query('?'))")
    await waits(bench, "FINAL(llm_query_batched(['a', 'b'])[1])")


@promise(8)
async def the_clock_stands_while_a_thread_waits_for_the_host(bench: Bench) -> None:
    prepare = "import asyncio\nawait asyncio.to_thread(len, '')"  # importing takes time of its own
    await waits(bench, "FINAL(await asyncio.to_thread(llm_query, '?'))", prepare=prepare)


@promise(8)
async def the_clock_goes_on_after_a_request(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.overruns("kept = llm_query('quick')\nllm_query_batched(['a', 'b'])\nwhile True: pass")
        assert not cell.lost
        await repl.still_works("kept", "quick")


@promise(8)
async def many_short_requests_do_not_add_up_to_a_limit(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.run("kept = [llm_query(str(i)) for i in range(50)][-1]", timeout=20)
        assert cell.error is None, cell
        await repl.still_works("kept", "49")


@promise(8)
async def the_environments_own_limit_holds_where_none_is_given(bench: Bench) -> None:
    async with bench.repl(cell_timeout=QUICK) as repl:
        cell = await repl.fails("while True: pass")
        assert cell.timed_out, cell
        assert not cell.lost, cell


@promise(8)
async def no_limit_is_a_limit_one_can_ask_for(bench: Bench) -> None:
    async with bench.repl(cell_timeout=None) as repl:
        assert await repl.show("print(sum(range(1000)))") == "499500\n"
        await repl.overruns("while True: pass")


@promise(8)
async def each_cell_has_a_clock_of_its_own(bench: Bench) -> None:
    async with bench.repl() as repl:
        for _ in range(3):
            assert not (await repl.overruns("while True: pass")).lost
            cell = await repl.run("kept = 1", timeout=20)
            assert cell.error is None, cell
        await repl.still_works("kept", 1)


@promise(8)
async def a_replaced_session_runs_the_setup_code_again(bench: Bench) -> None:
    async with bench.repl(setup_code="import math\nprepared = [math.floor(2.5)]", cell_grace=QUICK) as repl:
        assert await repl.value("prepared + [math.ceil(0.5)]") == [2, 1]
        stuck = "import time\ntime.sleep(3)" if bench.traits.in_process else "__import__('os')._exit(0)"
        cell = await repl.run(stuck, timeout=QUICK)
        assert await repl.value("prepared + [math.ceil(0.5)]") == [2, 1], cell
