"""The names a session begins with: they cannot be lost (10), and show what there is and what is left (17)."""

from __future__ import annotations

from rlm.testing.conformance._bench import Bench, Repl, promise, told

# fmt: off
NAMES = [
    "context", "llm_query", "llm_query_batched", "rlm_query", "rlm_query_batched", "SHOW_VARS", "budget", "answer",
    "FINAL", "FINAL_VAR", "LMError", "LimitError", "grep", "chunks", "peek", "shapes", "_out",
]
# fmt: on


async def restored(repl: Repl, code: str, *names: str) -> None:
    """Runs a cell that rebinds `names`; they must be back after it, and the model told."""
    cell = await repl.run(code)
    assert not cell.lost, cell
    for name in names:
        assert name in told(cell), f"the model is not told that `{name}` was restored: {cell}"
    await repl.still_works()
    assert not (await repl.run("x = 1")).notices


@promise(10)
async def every_name_of_the_contract_is_there_from_the_start(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert await repl.value(f"[n for n in {NAMES} if n not in globals()]") == []


@promise(10)
async def a_rebound_name_is_restored_after_the_cell_and_told(bench: Bench) -> None:
    async with bench.repl() as repl:
        await restored(repl, "context = 5", "context")
        await restored(repl, "llm_query = lambda p: 'fake'", "llm_query")
        await restored(repl, "def FINAL(x): pass", "FINAL")
        await restored(repl, "for context in range(3): pass", "context")
        await restored(repl, "import json as llm_query, os as SHOW_VARS", "llm_query", "SHOW_VARS")
        await restored(repl, "class LMError(Exception): pass\ngrep = chunks = peek = shapes = None", "LMError", "grep")


@promise(10)
async def a_deleted_name_is_restored_and_told(bench: Bench) -> None:
    async with bench.repl() as repl:
        await restored(repl, "del context", "context")
        await restored(repl, "del llm_query, FINAL", "llm_query", "FINAL")


@promise(10)
async def a_name_rebound_inside_a_function_or_by_a_star_import_is_restored_and_told(bench: Bench) -> None:
    async with bench.repl() as repl:
        await restored(repl, "def f():\n    global context\n    context = 5\nf()", "context")
        await restored(
            repl,
            "import sys, types\nm = types.ModuleType('shadow')\nm.context = 7\nsys.modules['shadow'] = m\n"
            "from shadow import *\ndel sys.modules['shadow']",
            "context",
        )
        await restored(repl, "globals().update(context=1, budget=2)", "context", "budget")
        await restored(repl, "exec('context = 9')", "context")


@promise(10)
async def a_name_rebound_in_a_cell_that_fails_or_overruns_is_restored(bench: Bench) -> None:
    async with bench.repl() as repl:
        await restored(repl, "context = 5\n1 / 0", "context")
        await repl.overruns("context = 5\nwhile True: pass")
        await repl.still_works()


@promise(10)
async def inside_the_cell_a_rebound_name_has_the_value_it_was_given(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert await repl.show("context = 'mine'\nprint(context)") == "mine\n"
        assert await repl.show("print(context)") == "the context\n"


@promise(10)
async def clearing_the_namespace_leaves_a_working_session(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.run("globals().clear()")
        await repl.still_works()
        assert await repl.value(f"[n for n in {NAMES} if n not in globals()]") == []
        await repl.run("del __builtins__")
        await repl.still_works()
        await repl.run("__builtins__ = {}")
        await repl.still_works()
        await repl.run("__name__ = 'other'")
        assert await repl.value("__name__") == "__main__"


@promise(10)
async def answer_rebound_to_anything_can_be_used_again(bench: Bench) -> None:
    async with bench.repl() as repl:
        for code in (
            "answer = 'text'",
            "del answer",
            "answer = None",
            "answer.clear()",
            "answer = []",
            "answer['ready'] = []",
        ):
            await repl.run(code)
            cell = await repl.run("answer['content'] = 'again'\nanswer['ready'] = True")
            assert cell.answer == "again", (code, cell)


@promise(10)
async def a_name_the_host_binds_replaces_the_one_before(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.session.bind("context", ["new"])
        await repl.session.bind("extra", 7)
        assert await repl.value("[context, extra]") == [["new"], 7]
        cell = await repl.run("extra = 8")
        assert "extra" in told(cell)
        assert await repl.value("[context, extra]") == [["new"], 7]


@promise(10)
async def rebinding_a_name_to_the_same_value_is_nothing_to_tell(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.run("context = context\nglobal llm_query\nx = context.upper()")
        assert not cell.notices, cell


@promise(17)
async def show_vars_lists_name_type_and_size(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            "words = ['a'] * 1234\ntext = 'x' * 56789\ndef helper(): pass\nclass Bad:\n    __repr__ = None\nbad = Bad()"
        )
        for code in ("SHOW_VARS()", "print(SHOW_VARS())"):
            output = await repl.show(code)
            rows = {row.split()[0].strip("'\":,"): row for row in output.splitlines() if row.strip()}
            for name, kind, size in (
                ("words", "list", "1234"),
                ("text", "str", "56789"),
                ("helper", "function", ""),
                ("bad", "Bad", ""),
            ):
                assert name in rows, output
                assert kind in rows[name], output
                assert size in rows[name].replace(",", "").replace("_", ""), output
            assert "context" in rows, output


@promise(17)
async def show_vars_works_with_nothing_and_with_very_much(bench: Bench) -> None:
    async with bench.repl() as repl:
        assert await repl.show("SHOW_VARS()")
        await repl.show("for i in range(5000): globals()[f'v{i}'] = i")
        await repl.show(
            "class Hostile:\n    def __len__(self): raise ValueError\n"
            "    __class__ = property(lambda s: 1 / 0)\nh = Hostile()"
        )
        cell = await repl.run("SHOW_VARS()")
        assert cell.error is None, cell
        assert len(cell.output) < 1_000_000


@promise(17)
async def budget_tells_what_the_host_says_is_left(bench: Bench) -> None:
    left = {"turns": 5, "tokens": None, "dollars": 0.25, "seconds": 12.5, "calls": 0}
    async with bench.repl() as repl:
        repl.host.tools["budget"] = lambda: dict(left)
        assert await repl.value("budget()") == left
        left["turns"] = 4
        assert await repl.value("budget()['turns']") == 4
