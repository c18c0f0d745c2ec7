"""What a failing cell shows: the model's own frames, with line numbers and source lines (5)."""

from __future__ import annotations

from rlm.testing.conformance._bench import Bench, Repl, promise
from rlm.types import CellError

FOREIGN = (
    "kernel.py",
    "worker.py",
    "local.py",
    "asyncio",
    "site-packages",
    "runpy",
    "threading.py",
    "_bootstrap",
    "rlm/",
)


async def error_of(repl: Repl, code: str, kind: str) -> CellError:
    error = (await repl.fails(code, kind)).error
    assert error is not None
    for foreign in FOREIGN:
        assert foreign not in error.traceback, error.traceback
    return error


@promise(5)
async def an_error_names_its_type_and_message(bench: Bench) -> None:
    async with bench.repl() as repl:
        error = await error_of(repl, "x = 1\n\nraise ValueError('went wrong', 7)", "ValueError")
        assert error.message == "('went wrong', 7)"
        assert error.traceback.rstrip().endswith("ValueError: ('went wrong', 7)")


@promise(5)
async def a_traceback_has_line_numbers_and_source_lines(bench: Bench) -> None:
    async with bench.repl() as repl:
        error = await error_of(repl, "x = 1\n\ny = x / 0  # here", "ZeroDivisionError")
        assert "line 3" in error.traceback
        assert "y = x / 0" in error.traceback


@promise(5)
async def a_traceback_through_functions_of_earlier_cells_shows_their_lines(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("# first\n# second\ndef inner(d):\n    return d['missing']")
        await repl.show("def outer(d):\n    # a comment\n    return inner(d)")
        await repl.show("filler = 1\n" * 10)
        error = await error_of(repl, "data = {}\nouter(data)", "KeyError")
        shown = [line.strip() for line in error.traceback.splitlines()]
        for line in ("outer(data)", "return inner(d)", "return d['missing']"):
            assert line in shown, error.traceback
        at = [error.traceback.index(text) for text in ("line 2", "line 3", "line 4")]
        assert at == sorted(at), error.traceback


@promise(5)
async def a_function_redefined_later_shows_the_lines_it_was_compiled_from(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("def f():\n    return 1 / 0  # old")
        await repl.show("old = f")
        await repl.show("def f():\n    return 2 / 0  # new")
        assert "# old" in (await error_of(repl, "old()", "ZeroDivisionError")).traceback
        assert "# new" in (await error_of(repl, "f()", "ZeroDivisionError")).traceback


@promise(5)
async def frames_of_libraries_are_left_out(bench: Bench) -> None:
    async with bench.repl() as repl:
        error = await error_of(repl, "import json\njson.loads('{')", "JSONDecodeError")
        assert "json.loads('{')" in error.traceback
        assert "decoder.py" not in error.traceback
        assert "Expecting property name" in error.traceback


@promise(5)
async def a_callback_called_by_a_library_is_shown(bench: Bench) -> None:
    async with bench.repl() as repl:
        code = "import functools\ndef step(a, b):\n    raise ValueError(b)\nfunctools.reduce(step, [1, 2])"
        error = await error_of(repl, code, "ValueError")
        assert "line 3" in error.traceback
        assert "functools.reduce(step, [1, 2])" in error.traceback


@promise(5)
async def chained_exceptions_are_all_shown(bench: Bench) -> None:
    async with bench.repl() as repl:
        code = "try:\n    {}['first']\nexcept KeyError as e:\n    raise ValueError('second') from e"
        error = await error_of(repl, code, "ValueError")
        assert "KeyError: 'first'" in error.traceback
        assert "direct cause" in error.traceback
        error = await error_of(repl, "try:\n    {}['first']\nexcept KeyError:\n    [][1]", "IndexError")
        assert "KeyError: 'first'" in error.traceback
        assert "During handling" in error.traceback
        error = await error_of(repl, "try:\n    {}['first']\nexcept KeyError:\n    raise OSError from None", "OSError")
        assert "KeyError" not in error.traceback


@promise(5)
async def a_syntax_error_shows_its_line(bench: Bench) -> None:
    async with bench.repl() as repl:
        error = await error_of(repl, "x = 1\ny = (2 +\nz = = 3", "SyntaxError")
        assert "line 3" in error.traceback or "line 2" in error.traceback
        error = await error_of(repl, "a = 1\nfor x in range(3)\n    print(x)", "SyntaxError")
        assert "line 2" in error.traceback
        assert "for x in range(3)" in error.traceback
        error = await error_of(repl, "if True:\nprint(1)", "IndentationError")
        assert "line 2" in error.traceback


@promise(5)
async def code_that_cannot_be_compiled_fails_its_cell_only(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("kept = 1")
        for code in (
            "x = '\0'",
            "\0",
            "x = '\ud800'",
            "(" * 300 + ")" * 300,
            "x = 0777",
            "é = 1\n‽ = 2",
            "1 +",
            "'open",
        ):
            cell = await repl.session.execute(code, repl.host)
            assert cell.error is None or cell.error.type, cell
        await repl.session.execute("-" * 20_000 + "1", repl.host)
        await repl.still_works("kept", 1)


@promise(5)
async def a_recursion_error_is_bounded(bench: Bench) -> None:
    async with bench.repl() as repl:
        error = await error_of(repl, "def f(n):\n    return f(n + 1)\nf(0)", "RecursionError")
        assert "return f(n + 1)" in error.traceback
        assert len(error.traceback) < 20_000
        code = "def a(n):\n    return b(n)\ndef b(n):\n    return a(n)\na(0)"
        assert len((await error_of(repl, code, "RecursionError")).traceback) < 20_000
        await repl.still_works()


@promise(5)
async def an_error_with_a_huge_message_is_bounded(bench: Bench) -> None:
    async with bench.repl() as repl:
        error = await error_of(repl, "raise ValueError('<' + 'x' * 5_000_000 + '>')", "ValueError")
        assert len(error.message) + len(error.traceback) < 100_000
        assert error.message.startswith("<xxx")
        error = await error_of(
            repl,
            "e = None\nfor i in range(3000):\n    try:\n        raise ValueError(i) from e\n"
            "    except ValueError as x:\n        e = x\nraise e",
            "ValueError",
        )
        assert len(error.traceback) < 100_000


@promise(5)
async def an_exception_that_cannot_show_itself_is_still_the_cells_error(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            """
            kept = 1
            class NoText(Exception):
                def __str__(self):
                    raise RuntimeError("no text")
                __repr__ = __str__
            class NotText(Exception):
                def __str__(self):
                    return 5
            class Exits(Exception):
                def __str__(self):
                    raise SystemExit(3)
            """
        )
        for name in ("NoText", "NotText", "Exits"):
            error = await error_of(repl, f"raise {name}()", name)
            assert name in error.traceback
        await repl.still_works("kept", 1)


@promise(5)
async def an_exception_class_of_the_session_is_named(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("class MyError(Exception):\n    pass")
        assert "MyError: mine" in (await error_of(repl, "raise MyError('mine')", "MyError")).traceback


@promise(5)
async def an_exception_group_shows_its_parts(bench: Bench) -> None:
    async with bench.repl() as repl:
        if not await repl.value("'ExceptionGroup' in dir(__import__('builtins'))"):
            return
        code = "raise ExceptionGroup('both', [ValueError('one part'), KeyError('other part')])"
        error = await error_of(repl, code, "ExceptionGroup")
        for text in ("both", "one part", "other part"):
            assert text in error.traceback


@promise(5)
async def output_before_an_error_is_kept(bench: Bench) -> None:
    async with bench.repl() as repl:
        cell = await repl.fails("print('before')\n1 / 0", "ZeroDivisionError")
        assert cell.output == "before\n"


@promise(5)
async def the_source_of_what_the_model_wrote_can_be_read_back(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("x = 1\n\ndef f():\n    return 1  # the body")
        assert (await repl.value("__import__('inspect').getsource(f)")).strip() == "def f():\n    return 1  # the body"
