"""The echo of a last expression (3); `await` at top level and `asyncio.run` (4)."""

from __future__ import annotations

from rlm.testing.conformance._bench import Bench, Gathering, promise


@promise(3)
async def the_value_of_a_last_expression_is_echoed(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert await repl.show("1 + 1") == "2\n"
        assert await repl.show("'text'") == "'text'\n"
        assert await repl.show("x = 3\nx") == "3\n"
        assert await repl.show("def f():\n    return {'a': 1}\nf()") == "{'a': 1}\n"
        assert await repl.show("print('printed')\n0") == "printed\n0\n"
        assert await repl.show("[\n  1,\n  2,\n]  # a comment after it\n\n") == "[1, 2]\n"
        assert await repl.show("''") == "''\n"
        assert await repl.show("False") == "False\n"


@promise(3)
async def none_is_not_echoed(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert await repl.show("None") == ""
        assert await repl.show("print('once')") == "once\n"
        assert await repl.show("[].append(1)") == ""


@promise(3)
async def only_a_bare_last_expression_is_echoed(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert await repl.show("5\nx = 6") == ""
        assert await repl.show("5\n6") == "6\n"
        assert await repl.show("if True:\n    7") == ""
        assert await repl.show("def f():\n    8") == ""
        assert await repl.show("for i in range(3):\n    i") == ""


@promise(3)
async def an_awaited_last_expression_is_echoed(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 'awaited'")
        assert await repl.show("await f()") == "'awaited'\n"
        assert await repl.show("x = await f()\nx.upper()") == "'AWAITED'\n"
        assert await repl.show("await asyncio.sleep(0)") == ""


@promise(3)
async def an_exception_in_the_echo_fails_the_cell_only(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("class Bad:\n    def __repr__(self):\n        raise ValueError('no repr')\nkept = 1")
        cell = await repl.fails("Bad()", "ValueError")
        assert cell.error is not None
        assert cell.error.message == "no repr"
        await repl.still_works("kept", 1)


@promise(3)
async def the_echo_of_something_huge_is_bounded(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.run("list(range(1_000_000))")
        assert cell.error is None
        assert cell.output.startswith("[0, 1, 2,")
        assert cell.output.rstrip().endswith("999999]")
        assert len(cell.output) < 1_000_000


@promise(4)
async def await_works_at_top_level(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            """
            import asyncio
            async def double(n):
                await asyncio.sleep(0)
                return n * 2
            values = [await double(i) for i in range(3)]
            if await double(1):
                both = await asyncio.gather(double(5), double(6))
            def later():
                return values
            """
        )
        assert await repl.value("[values, both, later()]") == [[0, 2, 4], [10, 12], [0, 2, 4]]


@promise(4)
async def async_for_and_async_with_work_at_top_level(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            """
            import contextlib
            log = []
            async def numbers():
                for i in range(3):
                    yield i
            @contextlib.asynccontextmanager
            async def manager():
                log.append("enter")
                yield "inside"
                log.append("exit")
            async for n in numbers():
                log.append(n)
            async with manager() as value:
                log.append(value)
            squares = [n * n async for n in numbers()]
            """
        )
        assert await repl.value("[log, squares]") == [[0, 1, 2, "enter", "inside", "exit"], [0, 1, 4]]


@promise(4)
async def asyncio_run_works_again_and_again(bench: Bench) -> None:
    async with bench.repl() as repl:
        code = """
            import asyncio
            async def main(n):
                await asyncio.sleep(0)
                return n + 1
            x = asyncio.run(main(1))
            y = asyncio.run(main(2))
            """
        await repl.show(code)
        await repl.show(code)
        assert await repl.value("[x, y]") == [2, 3]
        assert await repl.value("await main(3)") == 4
        assert await repl.value("asyncio.run(main(4))") == 5


@promise(4)
async def asyncio_run_works_in_a_cell_that_also_awaits(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            """
            import asyncio
            async def main(n):
                await asyncio.sleep(0)
                return n + 1
            first = await main(1)
            second = asyncio.run(main(2))
            third = await main(3)
            """
        )
        assert await repl.value("[first, second, third]") == [2, 3, 4]


@promise(4)
async def a_task_started_in_one_cell_can_be_awaited_in_a_later_one(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            """
            import asyncio
            gate = asyncio.Event()
            async def work():
                await gate.wait()
                return "done"
            task = asyncio.create_task(work())
            await asyncio.sleep(0)
            """
        )
        assert await repl.value("task.done()") is False
        await repl.show("gate.set()\nresult = await task")
        assert await repl.value("result") == "done"


@promise(4)
async def tasks_groups_and_timeouts_of_asyncio_work(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            """
            import asyncio
            async def give(x):
                await asyncio.sleep(0)
                return x
            tasks = [asyncio.create_task(give(i)) for i in range(5)]
            done = [await t for t in asyncio.as_completed(tasks)]
            try:
                await asyncio.wait_for(asyncio.Event().wait(), 0.01)
            except asyncio.TimeoutError:
                late = True
            """
        )
        assert await repl.value("[sorted(done), late]") == [[0, 1, 2, 3, 4], True]


@promise(4)
async def an_exception_after_an_await_is_the_cells_error(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.fails("import asyncio\nawait asyncio.sleep(0)\nraise KeyError('k')", "KeyError")
        assert cell.error is not None
        assert "line 3" in cell.error.traceback
        cell = await repl.fails("async def f():\n    raise ValueError('v')\nasyncio.run(f())", "ValueError")
        assert cell.error is not None
        assert "raise ValueError('v')" in cell.error.traceback


@promise(4)
async def a_return_or_yield_outside_a_function_is_a_syntax_error(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.fails("return 5", "SyntaxError")
        await repl.fails("yield 5", "SyntaxError")
        await repl.fails("import asyncio\nawait asyncio.sleep(0)\nreturn 5", "SyntaxError")
        await repl.still_works()


@promise(15)
async def calls_from_asyncio_to_thread_overlap(bench: Bench) -> None:
    async with bench.repl(answer=Gathering(5)) as repl:
        await repl.show(
            """
            import asyncio
            replies = await asyncio.gather(*(asyncio.to_thread(llm_query, str(i)) for i in range(5)))
            """
        )
        assert await repl.value("replies") == [str(i) for i in range(5)]


@promise(15)
async def calls_from_asyncio_run_overlap_through_to_thread(bench: Bench) -> None:
    async with bench.repl(answer=Gathering(4)) as repl:
        await repl.show(
            """
            import asyncio
            async def main():
                return await asyncio.gather(*(asyncio.to_thread(llm_query, str(i)) for i in range(4)))
            replies = asyncio.run(main())
            """
        )
        assert await repl.value("replies") == ["0", "1", "2", "3"]


@promise(15)
async def calls_from_threads_overlap(bench: Bench) -> None:
    async with bench.repl(answer=Gathering(8)) as repl:
        await repl.show(
            """
            from concurrent.futures import ThreadPoolExecutor
            with ThreadPoolExecutor(8) as pool:
                replies = list(pool.map(llm_query, [str(i) for i in range(8)]))
            """
        )
        assert await repl.value("replies") == [str(i) for i in range(8)]


@promise(15)
async def batches_from_threads_overlap(bench: Bench) -> None:
    async with bench.repl(answer=Gathering(20)) as repl:
        await repl.show(
            """
            from concurrent.futures import ThreadPoolExecutor
            with ThreadPoolExecutor(4) as pool:
                replies = list(pool.map(llm_query_batched, [[f"{i}{j}" for j in range(5)] for i in range(4)]))
            """
        )
        assert await repl.value("replies") == [[f"{i}{j}" for j in range(5)] for i in range(4)]
        numbers = {query.batch[0] for query in repl.host.queries if query.batch}
        assert len(numbers) == 4
