"""Helpers for finding one's way (32): for text, lists and dicts alike, and bounded in what they return."""

from __future__ import annotations

from rlm.testing.conformance._bench import Bench, promise

LINES = [f"2026-11-{i % 28 + 1:02} INFO user {i} logged in from 10.0.0.{i % 250}" for i in range(20_000)]
LINES[12_345] = "PANIC: the needle"
TEXT = "\n".join(LINES)
CONTEXTS: list[object] = [TEXT, LINES, {f"file {i}": line for i, line in enumerate(LINES)}]
BOUND = 20_000
"""Characters that one helper's result may take up when it is shown."""


@promise(32)
async def grep_finds_where_a_pattern_stands_in_text_lists_and_dicts(bench: Bench) -> None:
    async with bench.repl() as repl:
        for context in CONTEXTS:
            await repl.session.bind("context", context)
            output = await repl.show("print(grep('needle', context))")
            assert "PANIC: the needle" in output, output
            assert len(output) < BOUND
            positions = ("12345", "12346", str(TEXT.index("PANIC")), str(TEXT.index("needle")))
            assert any(position in output.replace(",", "") for position in positions), output
            assert await repl.show("grep('needle', context)")


@promise(32)
async def grep_counts_what_is_too_much_to_list(bench: Bench) -> None:
    async with bench.repl() as repl:
        for context in CONTEXTS:
            await repl.session.bind("context", context)
            output = await repl.show("print(grep('user', context))")
            assert len(output) < BOUND
            assert "19999" in output.replace(",", "").replace("_", ""), output[:1000]
            assert len(await repl.show("grep('user', context)")) < BOUND


@promise(32)
async def grep_that_finds_nothing_says_so_and_a_bad_pattern_is_an_error(bench: Bench) -> None:
    async with bench.repl() as repl:
        for context in (*CONTEXTS, "", [], {}):
            await repl.session.bind("context", context)
            assert len(await repl.show("print(grep('not in there', context))")) < 500
        await repl.fails("grep('(', context)")


@promise(32)
async def peek_shows_a_bounded_part_of_anything(bench: Bench) -> None:
    async with bench.repl() as repl:
        for context in (
            *CONTEXTS,
            "x" * 1_000_000,
            ["x" * 1_000_000] * 3,
            "",
            [],
            {},
            None,
            5,
            (1, 2),
            {"a": {"b": 1}},
        ):
            await repl.session.bind("context", context)
            assert len(await repl.show("print(peek(context))")) < BOUND
            assert len(await repl.show("print(peek(context, 0, 10))")) < BOUND
        await repl.session.bind("context", TEXT)
        middle = TEXT[500_000:500_040]
        assert middle in await repl.show("print(peek(context, 500_000, 40))") or middle in await repl.show(
            "print(peek(context, at=499_900, n=400))"
        )


@promise(32)
async def chunks_cut_on_boundaries_and_lose_nothing(bench: Bench) -> None:
    async with bench.repl(context=TEXT) as repl:
        await repl.show("parts = list(chunks(context, 10_000))")
        assert await repl.value("max(map(len, parts)) <= 10_000") is True
        assert (
            await repl.value(
                "len(''.join(p.strip('\\n') for p in parts)) >= len(context) - 2 * len(parts) - context.count('\\n')"
            )
            is True
        )
        assert await repl.value("set(l for p in parts for l in p.splitlines()) == set(context.splitlines())") is True
        await repl.session.bind("context", LINES)
        await repl.show("parts = list(chunks(context, 100))")
        assert await repl.value("[x for p in parts for x in p] == context") is True


@promise(32)
async def shapes_show_what_is_ordinary_and_what_stands_out(bench: Bench) -> None:
    async with bench.repl() as repl:
        for context in CONTEXTS:
            await repl.session.bind("context", context)
            output = await repl.show("print(shapes(context))")
            assert len(output) < BOUND
            assert "19999" in output.replace(",", "").replace("_", ""), output[:1000]
            assert "PANIC" in output or "needle" in output, output[:1000]
            assert output.index("19") < output.index("eedle"), output


@promise(32)
async def the_helpers_are_functions_whose_source_can_be_read(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import inspect")
        for name in ("grep", "chunks", "peek", "shapes"):
            source = await repl.value(f"inspect.getsource({name})")
            assert source.startswith(f"def {name}(")
            assert await repl.value(f"bool(inspect.getdoc({name}))") is True
