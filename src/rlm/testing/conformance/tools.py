"""Functions of the host called from code (18), and the values that go there and come back exactly."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

from rlm.testing.conformance._bench import Bench, Repl, own_process, promise, raised, same

# fmt: off
VALUES: list[object] = [
    None, True, False, 0, 1, -1, 2**63, -(2**200),
    0.0, -0.0, 1.5, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"),
    "", "0", "None", "text", b"", b"\x00\xff", [], [[]], (), (1,), ((), []), {}, {"": None},
    set(), frozenset(), {1, "a", (2, 3)}, frozenset({frozenset({1}), None}),
    {1: "int", "1": "str", (1, 2): "tuple", None: "none", 2.5: "float", b"b": "bytes"},
    {True: "yes"}, {frozenset({1}): {2: [3, (4, {5})]}}, {"b": 1, "a": 2}, [None, False, 0, "", [], {}, float("nan")],
    dt.date(2026, 11, 22), dt.time(1, 2, 3, 4), dt.datetime(2026, 11, 22, 1, 2, 3, 456789),
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.timedelta(days=-1, microseconds=5),
    dt.time(1, 2, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=45))),
    Decimal("0.10"), Decimal("-0"), Decimal("1E+400"), Decimal("Infinity"), {"__type__": "set", "$": [1], "blob": 0},
    ["x" * 70_000, {"k" * 70_000: b"y" * 70_000}],
]
# fmt: on


async def give(repl: Repl, **tools: Callable[..., Any]) -> None:
    for name, tool in tools.items():
        repl.host.tools[name] = tool
        await repl.session.bind(name, tool)


@promise(18)
async def a_tool_is_called_as_a_function(bench: Bench) -> None:
    async with bench.repl() as repl:
        await give(repl, add=lambda a, b=10, *rest, key="k", **more: [a, b, list(rest), key, more])
        assert await repl.value("add(1)") == [1, 10, [], "k", {}]
        assert await repl.value("add(1, 2, 3, 4, key='z', x=5)") == [1, 2, [3, 4], "z", {"x": 5}]
        assert await repl.value("add(a=1, b='')") == [1, "", [], "k", {}]
        assert await repl.value("[callable(add), list(map(add, 'a'))]") == [True, [["a", 10, [], "k", {}]]]


@promise(18)
async def an_async_tool_is_awaited_for_the_cell(bench: Bench) -> None:
    gathering = asyncio.Event()
    waiting = 0

    async def slow(x: int) -> int:
        nonlocal waiting
        waiting += 1
        if waiting == 3:
            gathering.set()
        await gathering.wait()
        return x * 2

    async def quick() -> str:
        await asyncio.sleep(0)
        return "quick"

    async with bench.repl() as repl:
        await give(repl, slow=slow, quick=quick)
        assert await repl.value("quick()") == "quick"
        await repl.show("from concurrent.futures import ThreadPoolExecutor")
        await repl.show("with ThreadPoolExecutor(3) as pool: r = list(pool.map(slow, [1, 2, 3]))")
        assert await repl.value("r") == [2, 4, 6]


@promise(18)
async def what_a_tool_gives_to_be_awaited_is_awaited_for_the_cell(bench: Bench) -> None:
    async def double(x: int) -> int:
        await asyncio.sleep(0)
        if x < 0:
            raise ValueError("it is negative")
        return 2 * x

    class Doubler:
        async def __call__(self, x: int) -> int:
            return await double(x)

        def later(self, x: int) -> Coroutine[None, None, int]:
            return double(x)

    tools: dict[str, Callable[..., Any]] = {
        "plain": lambda x: double(x),
        "bound": Doubler().later,
        "partial": functools.partial(double),
        "partly": functools.partial(Doubler().later),
        "called": Doubler(),
    }
    async with bench.repl() as repl:
        await give(repl, **tools)
        for name in tools:
            assert await repl.value(f"[{name}(2), list(map({name}, [3]))]") == [4, [6]], name
        assert await repl.show("try: plain(-1)\nexcept ValueError as error: print(error)") == "it is negative\n"


@promise(18)
async def values_come_from_a_tool_exactly(bench: Bench) -> None:
    async with bench.repl() as repl:
        await give(repl, value_at=lambda i: VALUES[i])
        for i, value in enumerate(VALUES):
            got = await repl.value(f"value_at({i})")
            assert same(got, value), (value, got)
            assert await repl.value(f"type(value_at({i})).__name__") == type(value).__name__


@promise(18)
async def values_go_to_a_tool_exactly(bench: Bench) -> None:
    seen: list[object] = []
    async with bench.repl(context=VALUES) as repl:
        await give(repl, keep=lambda *args, **named: seen.append((args, named)))
        await repl.show("for value in context:\n    keep(value, [value], named=value)")
        assert len(seen) == len(VALUES)
        for value, got in zip(VALUES, seen, strict=True):
            assert same(got, ((value, [value]), {"named": value})), (value, got)


@promise(18)
async def values_go_in_as_context_and_out_as_answer_exactly(bench: Bench) -> None:
    async with bench.repl() as repl:
        for value in VALUES:
            await repl.session.bind("context", value)
            got = await repl.value("context")
            assert same(got, value), (value, got)


@promise(18)
async def values_go_to_a_child_as_its_context_exactly(bench: Bench) -> None:
    async with bench.repl(context=VALUES) as repl:
        await repl.show("r = rlm_query_batched(['?'] * len(context), contexts=context)")
        assert len(repl.host.queries) == len(VALUES)
        for query in repl.host.queries:
            assert query.batch is not None
            value = VALUES[query.batch[1]]
            assert value is None or same(query.context, value), (value, query)


@promise(18)
async def the_exception_of_a_tool_is_raised_where_it_was_called(bench: Bench) -> None:
    class Custom(Exception):
        pass

    def fail(kind: str) -> None:
        raise {"value": ValueError("bad value"), "key": KeyError("k"), "own": Custom("mine"), "none": ValueError()}[
            kind
        ]

    async def fail_later() -> None:
        raise ValueError("bad later")

    async with bench.repl() as repl:
        await give(repl, fail=fail, fail_later=fail_later)
        await repl.show("try:\n    fail('value')\nexcept ValueError as e:\n    seen = str(e)")
        assert await repl.value("seen") == "bad value"
        await repl.show("try:\n    fail_later()\nexcept ValueError as e:\n    seen = str(e)")
        assert await repl.value("seen") == "bad later"
        await repl.show("try:\n    fail('key')\nexcept KeyError as e:\n    seen = str(e)")
        assert await repl.value("seen") == "'k'"
        cell = await repl.fails("x = 1\nfail('own')")
        assert cell.error is not None
        assert "Custom" in cell.error.traceback
        assert "mine" in cell.error.traceback
        assert "fail('own')" in cell.error.traceback
        await repl.fails("fail('none')", "ValueError")
        await repl.fails("fail(nonsense=1)", "TypeError")
        await repl.still_works("x", 1)


@promise(18)
async def a_tool_may_be_called_thousands_of_times_and_from_many_threads(bench: Bench) -> None:
    async with bench.repl() as repl:
        await give(repl, double=lambda x: 2 * x)
        assert await repl.value("sum(double(i) for i in range(500))") == 249_500
        await repl.show("from concurrent.futures import ThreadPoolExecutor")
        await repl.show("with ThreadPoolExecutor(8) as pool: r = list(pool.map(double, range(200)))")
        assert await repl.value("r") == [2 * i for i in range(200)]


@promise(18)
async def a_tool_that_takes_its_time_stops_the_clock(bench: Bench) -> None:
    async def slow(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "late"

    async with bench.repl() as repl:
        await give(repl, slow=slow)
        for limit in (0.4, 2.0, 10.0):  # more on a machine where a cell needs long for itself
            cell = await repl.run(f"kept = slow({1.5 * limit})", timeout=limit)
            if not cell.timed_out:
                break
        assert cell.error is None, cell
        await repl.still_works("kept", "late")


@promise(18)
async def a_cell_that_changes_its_context_does_not_change_the_hosts(bench: Bench) -> None:
    def make() -> Any:
        return {
            "list": [1, [2]],
            "dict": {"a": {"b": []}},
            "set": {1},
            "tuple": ([1], {"x": []}),
            "bytes": bytearray(b"ab"),
        }

    mine = make()
    if not bench.traits.in_process:
        del mine["bytes"]
    async with bench.repl(context=mine) as repl:
        await repl.show(
            """
            context["list"].append(3); context["list"][1].append(4)
            context["dict"]["a"]["b"].append(5); context["dict"]["new"] = 1
            context["set"].add(2); context["tuple"][0].append(6); context["tuple"][1]["x"].append(7)
            if "bytes" in context: context["bytes"].extend(b"c")
            context["added"] = True
            """
        )
        assert await repl.value("[context['list'], context['added'], context['tuple']]") == [
            [1, [2, 4], 3],
            True,
            ([1, 6], {"x": [7]}),
        ]
    expected = make()
    assert {**expected, "bytes": mine.get("bytes", expected["bytes"])} == {"bytes": bytearray(b"ab"), **mine}


@promise(18)
async def a_host_that_changes_what_it_bound_does_not_change_the_cells(bench: Bench) -> None:
    mine: Any = {"list": [1], "dict": {"a": [1]}}
    async with bench.repl(context=mine) as repl:
        mine["list"].append(2)
        mine["dict"]["a"].append(2)
        mine["more"] = 1
        assert await repl.value("context") == {"list": [1], "dict": {"a": [1]}}


@promise(18)
async def what_is_cyclic_or_very_deep_is_carried_or_refused_and_harms_nothing(bench: Bench) -> None:
    cyclic: list[Any] = [1]
    cyclic.append(cyclic)
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    async with bench.repl() as repl:
        for value in (cyclic, deep):
            with contextlib.suppress(TypeError):
                await repl.session.bind("extra", value)
        await give(repl, tool=lambda *args: len(args))
        for code in ("x = []; x.append(x)", "x = []\nfor _ in range(50_000): x = [x]"):
            await repl.show(code)
            await repl.run("FINAL(x)")
            await repl.run("tool(x)")
            await repl.run("rlm_query('?', context=x)")
            await repl.run("answer['content'] = x")
            await repl.run("answer['content'] = ''\ndel x")
        await repl.still_works()


@promise(18, applies=lambda traits: traits.in_process)
async def any_object_may_be_bound_submitted_and_given_by_reference(bench: Bench) -> None:
    class Thing:
        pass

    thing = Thing()
    seen: list[object] = []
    async with bench.repl(context=[thing]) as repl:
        await give(repl, keep=seen.append)
        await repl.session.bind("thing", thing)
        assert await repl.value("thing") is thing
        assert await repl.value("context[0]") is thing
        await repl.show("keep(thing)")
        assert seen[0] is thing


@promise(18, applies=own_process)
async def what_cannot_be_carried_is_refused_with_its_path_and_type(bench: Bench) -> None:
    class Thing:
        pass

    async with bench.repl() as repl:
        for value, path in (({"rows": [1, Thing()]}, "rows"), (Thing(), ""), ([{Thing(): 1}], "")):
            why = await raised(TypeError, repl.session.bind("extra", value))
            assert "Thing" in why
            assert path in why
        await give(repl, back=lambda: {"rows": [Thing()]}, keep=lambda x: x)
        cell = await repl.fails("back()")
        assert cell.error is not None
        assert "Thing" in cell.error.message
        assert "rows" in cell.error.message
        cell = await repl.fails("class Mine: pass\nkeep({'deep': [Mine()]})")
        assert cell.error is not None
        assert "Mine" in cell.error.message
        assert "deep" in cell.error.message
        await repl.fails("rlm_query('?', context=[Mine()])")
        assert not repl.host.queries
        await repl.still_works()


@promise(18, applies=own_process)
async def an_answer_that_cannot_be_carried_fails_its_cell_saying_why(bench: Bench) -> None:
    async with bench.repl() as repl:
        for code in (
            "FINAL({'deep': [object()]})",
            "answer['content'] = [print]\nanswer['ready'] = True",
            "FINAL(x for x in [1])",
        ):
            cell = await repl.fails(code)
            assert cell.error is not None
            assert any(name in cell.error.message for name in ("object", "builtin", "function", "generator")), cell
            assert (await repl.run("x = 1")).answer.__class__.__name__ == "Unset"
        await repl.run("answer['content'] = ''")
        await repl.still_works()


@promise(18)
async def a_draft_that_cannot_be_carried_does_not_fail_its_cell(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.run("answer['content'] = object()\nprint('done')")
        assert cell.error is None, cell
        assert cell.output == "done\n"
