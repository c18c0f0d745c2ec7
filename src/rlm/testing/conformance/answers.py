"""Three spellings of submitting, one path (19); an answer counts only if its cell ended without an error (20)."""

from __future__ import annotations

from rlm.testing.conformance._bench import Bench, promise, same
from rlm.types import UNSET


@promise(19)
async def final_submits_its_value(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert (await repl.run("FINAL('done')")).answer == "done"
        assert (await repl.run("x = {'n': [1, 2]}\nFINAL(x)")).answer == {"n": [1, 2]}
        assert (await repl.run("def finish():\n    FINAL(7)\nfinish()")).answer == 7
        assert (await repl.run("import asyncio\nawait asyncio.sleep(0)\nFINAL(8)")).answer == 8
        assert (await repl.run("x = 1")).answer is UNSET


@promise(19)
async def final_returns_and_the_last_one_wins(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.run("FINAL(1)\nprint('goes on')\nFINAL(2)\nx = 3")
        assert (cell.answer, cell.output) == (2, "goes on\n")
        assert await repl.value("x") == 3


@promise(19)
async def final_var_submits_the_value_of_a_variable(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("result = [1, 'two']\n_hidden = 'h'")
        assert (await repl.run("FINAL_VAR('result')")).answer == [1, "two"]
        assert (await repl.run("FINAL_VAR('_hidden')")).answer == "h"
        assert (await repl.run("late = 5\nFINAL_VAR('late')")).answer == 5


@promise(19)
async def answer_ready_submits_its_content_however_it_is_set(bench: Bench) -> None:
    async with bench.repl() as repl:
        for code in (
            "answer['content'] = 'a'\nanswer['ready'] = True",
            "answer['ready'] = True\nanswer['content'] = 'a'",
            "answer.update(ready=True, content='a')",
            "answer = {'content': 'a', 'ready': True}",
            "answer = dict(ready=True, content='a')",
            "def f():\n    answer['content'] = 'a'\n    answer['ready'] = True\nf()",
            "def f():\n    global answer\n    answer = {'ready': True, 'content': 'a'}\nf()",
            "answer |= {'ready': True, 'content': 'a'}",
        ):
            cell = await repl.run(code)
            assert cell.answer == "a", (code, cell)
            assert await repl.value("[answer['ready'], answer['content']]") == [False, "a"], code
            await repl.run("answer['content'] = ''")


@promise(19)
async def content_without_ready_is_a_draft_and_no_answer(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert (await repl.run("x = 1")).draft is UNSET
        cell = await repl.run("answer['content'] = 'so far'")
        assert cell.answer is UNSET
        assert cell.draft == "so far"
        assert (await repl.run("x = 2")).draft == "so far"
        assert (await repl.run("answer['content'] = {'better': 1}")).draft == {"better": 1}


@promise(19)
async def after_a_submission_ready_is_false_again_and_the_content_stays(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert (await repl.run("answer['content'] = 'a'\nanswer['ready'] = True")).answer == "a"
        assert (await repl.run("x = 1")).answer is UNSET
        assert await repl.value("[answer['ready'], answer['content']]") == [False, "a"]
        assert (await repl.run("answer['ready'] = True")).answer == "a"


@promise(20)
async def an_answer_of_a_cell_that_failed_does_not_count(bench: Bench) -> None:
    async with bench.repl() as repl:
        for code in (
            "FINAL(1)\n1 / 0",
            "answer['content'] = 1\nanswer['ready'] = True\n1 / 0",
            "x = 1\nFINAL_VAR('x')\n1 / 0",
        ):
            assert (await repl.fails(code, "ZeroDivisionError")).answer is UNSET
            assert (await repl.run("x = 2")).answer is UNSET
            assert await repl.value("answer['ready']") is False


@promise(20)
async def the_draft_of_a_cell_that_failed_is_kept(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.fails("answer['content'] = 'so far'\n1 / 0", "ZeroDivisionError")
        assert cell.draft == "so far"


@promise(20)
async def falsy_values_are_answers(bench: Bench) -> None:
    async with bench.repl() as repl:
        falsy: list[object] = [0, "", None, False, [], {}, 0.0, (), set()]
        for value in falsy:
            assert same((await repl.run(f"FINAL({value!r})")).answer, value)
            cell = await repl.run(f"answer['content'] = {value!r}\nanswer['ready'] = True")
            assert same(cell.answer, value), (value, cell)
            cell = await repl.run(f"found = {value!r}\nFINAL_VAR('found')")
            assert same(cell.answer, value), (value, cell)


@promise(20)
async def final_var_of_an_unknown_name_is_an_error(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.fails("FINAL_VAR('missing')")
        assert cell.error is not None
        assert "missing" in cell.error.message
        await repl.fails("FINAL()", "TypeError")
        await repl.still_works()


@promise(20)
async def odd_values_of_ready_harm_nothing(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            "class Odd:\n    def __bool__(self):\n        raise ValueError\n    __eq__ = None\n    __hash__ = None"
        )
        await repl.run("answer['content'] = 'x'\nanswer['ready'] = Odd()")
        await repl.run(
            """
            class Dict(dict):
                def get(self, *args):
                    raise ValueError
                __getitem__ = __contains__ = get
            answer = Dict(ready=True)
            """
        )
        cell = await repl.run("answer = {'content': 'ok', 'ready': True}")
        assert cell.answer == "ok", cell
        await repl.still_works()
