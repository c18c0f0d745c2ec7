"""A failed call is never a string: it is raised, or stands in its place in the batch, and the model is told (14)."""

from __future__ import annotations

from typing import get_args

from rlm.errors import LimitError, LMError, LMErrorKind
from rlm.testing.conformance._bench import Bench, promise, told
from rlm.types import UNSET, Query


def fails_where_told(query: Query) -> str:
    """Prompts that begin with `fail` fail with the rest of the prompt as message."""
    prompt = str(query.prompt)
    if prompt.startswith("fail"):
        raise LMError(prompt, kind="rate_limit", hint="wait a little", model="scripted")
    if prompt.startswith("limit"):
        raise LimitError("no room for this call", hint="submit what you have")
    return prompt


@promise(14)
async def a_failed_call_raises_lmerror_with_kind_message_and_hint(bench: Bench) -> None:
    def answer(query: Query) -> str:
        raise LMError("the provider's words", kind=query.prompt, hint="what to do")  # type: ignore[arg-type]

    async with bench.repl(answer=answer) as repl:
        for kind in get_args(LMErrorKind):
            for function in ("llm_query", "rlm_query"):
                code = f"try:\n    {function}({kind!r})\nexcept LMError as e:\n    caught = e"
                await repl.show(code)
                assert await repl.value("[caught.kind, caught.message, caught.hint]") == [
                    kind,
                    "the provider's words",
                    "what to do",
                ]
                text = await repl.value("str(caught)")
                for part in (kind, "the provider's words", "what to do"):
                    assert part in text


@promise(14)
async def a_failed_call_that_nobody_catches_is_the_cells_error(bench: Bench) -> None:
    async with bench.repl(answer=fails_where_told) as repl:
        cell = await repl.fails("x = 1\nFINAL('wrong')\nreply = llm_query('fail: overloaded')\nFINAL(reply)", "LMError")
        assert cell.error is not None
        for part in ("fail: overloaded", "rate_limit", "wait a little"):
            assert part in cell.error.message
        assert "reply = llm_query('fail: overloaded')" in cell.error.traceback
        assert "calls.py" not in cell.error.traceback
        assert await repl.value("'reply' in globals()") is False
        await repl.still_works("x", 1)


@promise(14)
async def an_exhausted_limit_is_a_limiterror_which_is_an_lmerror(bench: Bench) -> None:
    async with bench.repl(answer=fails_where_told) as repl:
        assert await repl.value("[issubclass(LimitError, LMError), issubclass(LMError, Exception)]") == [True, True]
        await repl.fails("llm_query('limit')", "LimitError")
        await repl.show(
            "try:\n    llm_query('limit')\nexcept LMError as e:\n    seen = [type(e) is LimitError, e.kind, e.hint]"
        )
        assert await repl.value("seen") == [True, "limit", "submit what you have"]
        await repl.show("r = llm_query_batched(['a', 'limit'])")
        assert await repl.value("[r[0], isinstance(r[1], LimitError)]") == ["a", True]


@promise(14)
async def failed_entries_of_a_batch_are_lmerror_objects_in_place(bench: Bench) -> None:
    async with bench.repl(answer=fails_where_told) as repl:
        for function in ("llm_query_batched", "rlm_query_batched"):
            await repl.show(f"r = {function}(['a', 'fail one', 'b', 'fail two'])")
            assert await repl.value("[r[0], r[2], len(r)]") == ["a", "b", 4]
            assert await repl.value("[isinstance(x, LMError) for x in r]") == [False, True, False, True]
            assert await repl.value("[isinstance(x, str) for x in r]") == [True, False, True, False]
            assert await repl.value("[r[1].kind, r[1].message, r[3].message]") == ["rate_limit", "fail one", "fail two"]


@promise(14)
async def the_model_is_told_which_entries_of_a_batch_failed_and_why(bench: Bench) -> None:
    async with bench.repl(answer=fails_where_told) as repl:
        cell = await repl.run("r = llm_query_batched(['a', 'b', 'fail: overloaded', 'c'])")
        assert cell.error is None, cell
        assert "2" in told(cell)
        assert "fail: overloaded" in told(cell)
        assert "rate_limit" in told(cell)
        assert not told(await repl.run("r = llm_query_batched(['a', 'b'])"))


@promise(14)
async def what_is_told_of_a_batch_that_failed_altogether_is_bounded(bench: Bench) -> None:
    async with bench.repl(answer=fails_where_told) as repl:
        cell = await repl.run("r = llm_query_batched([f'fail {i} ' + 'x' * 5000 for i in range(300)])")
        assert cell.error is None, cell
        assert "300" in told(cell)
        assert len(told(cell)) < 20_000
        assert await repl.value("[len(r), all(isinstance(x, LMError) for x in r)]") == [300, True]


@promise(14)
async def an_lmerror_is_not_taken_for_text_by_accident(bench: Bench) -> None:
    async with bench.repl(answer=fails_where_told) as repl:
        await repl.show("r = llm_query_batched(['a', 'fail'])")
        await repl.fails("''.join(r)", "TypeError")
        await repl.fails("r[0] + r[1]", "TypeError")
        await repl.fails("for e in r:\n    if isinstance(e, LMError): raise e", "LMError")
        assert "rate_limit" in await repl.show("r[1]")


@promise(14)
async def a_failed_entry_cannot_be_submitted_as_if_it_were_text(bench: Bench) -> None:
    async with bench.repl(answer=fails_where_told) as repl:
        await repl.show("r = llm_query_batched(['fail'])")
        cell = await repl.run("FINAL(r[0])")
        assert cell.answer is UNSET or isinstance(cell.answer, Exception), cell


@promise(14)
async def a_failure_that_is_no_lmerror_reaches_the_cell_as_one(bench: Bench) -> None:
    def answer(query: Query) -> str:
        raise RuntimeError("the host stumbled")

    async with bench.repl(answer=answer) as repl:
        cell = await repl.fails("llm_query('x')", "LMError")
        assert cell.error is not None
        assert "the host stumbled" in cell.error.message
        assert await repl.value("isinstance(llm_query_batched(['x', 'y'])[1], LMError)") is True


@promise(14)
async def failures_in_threads_are_raised_there(bench: Bench) -> None:
    async with bench.repl(answer=fails_where_told) as repl:
        await repl.show(
            """
            from concurrent.futures import ThreadPoolExecutor
            def ask(p):
                try:
                    return llm_query(p)
                except LMError as e:
                    return [e.kind, e.message]
            with ThreadPoolExecutor(4) as pool:
                seen = list(pool.map(ask, ["a", "fail 1", "b", "fail 2"]))
            """
        )
        assert await repl.value("seen") == ["a", ["rate_limit", "fail 1"], "b", ["rate_limit", "fail 2"]]
