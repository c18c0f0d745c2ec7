"""The stream objects of a cell behave like streams, whatever a cell does to them (6); there is nothing to read (7)."""

from __future__ import annotations

import os
import sys

from rlm.testing.conformance._bench import Bench, own_process, promise
from rlm.types import Query


@promise(6)
async def stdout_is_an_ordinary_text_stream(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show(
            "import sys\nn = sys.stdout.write('abc')\nsys.stdout.writelines(['d', 'e'])\nsys.stdout.flush()"
        )
        assert await repl.value("[n, sys.stdout.isatty(), sys.stdout.closed, sys.stdout.writable()]") == [
            3,
            False,
            False,
            True,
        ]
        assert await repl.value("sys.stdout.encoding.lower().replace('-', '')") == "utf8"
        cell = await repl.fails("sys.stdout.write(5)", "TypeError")
        assert cell.output == ""
        await repl.show("sys.stdout.reconfigure(encoding='utf-8', errors='replace', line_buffering=True)")


@promise(6)
async def bytes_written_to_stdout_are_captured(bench: Bench) -> None:
    async with bench.repl() as repl:
        code = "import sys\nn = sys.stdout.buffer.write('bytes é\\n'.encode())\nsys.stdout.buffer.flush()"
        assert await repl.show(code) == "bytes é\n"


@promise(6)
async def a_cell_can_redirect_its_own_output(bench: Bench) -> None:
    async with bench.repl() as repl:
        output = await repl.show(
            """
            import contextlib, io
            buffer = io.StringIO()
            with contextlib.redirect_stdout(buffer):
                print("inside")
            print("outside")
            with contextlib.redirect_stderr(buffer):
                import sys
                print("errors", file=sys.stderr)
            """
        )
        assert output == "outside\n"
        assert await repl.value("buffer.getvalue()") == "inside\nerrors\n"


@promise(6)
async def output_that_a_cell_redirected_is_restored_after_it(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import sys, io\nsys.stdout = buffer = io.StringIO()\nsys.stderr = None\nprint('hidden')")
        assert await repl.show("print('seen')\nprint('errors', file=sys.stderr)") == "seen\nerrors\n"
        assert await repl.value("buffer.getvalue()") == "hidden\n"
        await repl.run("sys.stdout = None\nprint('nowhere')")
        assert await repl.show("print('seen again')") == "seen again\n"
        await repl.run("del sys.stdout")
        assert await repl.show("print('and again')") == "and again\n"


@promise(6)
async def a_cell_that_closes_its_streams_harms_no_later_one(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.run("import sys\nsys.stdout.close()\nsys.stderr.close()\nsys.stdin.close()")
        assert await repl.show("print('out')\nprint('err', file=sys.stderr)") == "out\nerr\n"
        await repl.run("with sys.stdout as f:\n    f.write('with')")
        assert await repl.show("print('out')") == "out\n"
        await repl.run("sys.stdout.detach()")
        await repl.run("sys.stdout.buffer.close()")
        assert await repl.show("print('out')") == "out\n"


@promise(6)
async def a_stream_kept_from_an_earlier_cell_prints_into_the_running_one(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import sys\nkept = sys.stdout\nsay = sys.stderr.write")
        assert await repl.show("kept.write('kept\\n')\nn = say('said\\n')") == "kept\nsaid\n"


@promise(6)
async def what_the_host_prints_is_not_the_cells_output(bench: Bench) -> None:
    async with bench.repl() as repl:
        stdout = sys.stdout

        def noisy(_query: Query) -> str:
            sys.stdout.write("")
            print("the host speaks", end=" ")
            assert sys.stdout is stdout or bench.traits.in_process
            return "answer"

        repl.host.answer = noisy
        assert await repl.show("print(llm_query('?'))") == "answer\n"
        assert "the host speaks" not in "".join(repl.host.printed)


@promise(6)
async def the_hosts_streams_and_directory_are_as_before_a_session(bench: Bench) -> None:
    before = (sys.stdout, sys.stderr, sys.stdin, os.getcwd(), dict(os.environ))
    async with bench.repl() as repl:
        assert os.getcwd() == before[3]
        await repl.show("import sys, io\nprint('x')\nsys.stdout = io.StringIO()")
        await repl.fails("1 / 0")
    assert (sys.stdout, sys.stderr, sys.stdin, os.getcwd(), dict(os.environ)) == before


@promise(7)
async def reading_standard_input_never_waits(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import sys\nkept = 1")
        for code in (
            "sys.stdin.read()",
            "sys.stdin.readline()",
            "for line in sys.stdin: pass",
            "sys.stdin.buffer.read()",
            "import fileinput; list(fileinput.input(files=[]))",
            "import code; code.interact()",
            "__import__('builtins').input('? ')",
        ):
            await repl.run(code)
        await repl.still_works("kept", 1)


@promise(7, applies=own_process)
async def reading_the_input_descriptor_never_waits(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.show("import os, sys\nkept = 1")
        for code in (
            "os.read(0, 10)",
            "open(0, closefd=False).read()",
            "import getpass; getpass.getpass()",
            "os.system('read x')",
        ):
            await repl.run(code)
        await repl.still_works("kept", 1)


@promise(6, applies=own_process)
async def a_cell_that_replaces_the_descriptors_harms_no_later_one(bench: Bench) -> None:
    async with bench.repl() as repl:
        await repl.run("import os\nnull = os.open(os.devnull, os.O_RDWR)\nos.dup2(null, 1)\nos.dup2(null, 0)")
        assert await repl.show("print('still seen')") == "still seen\n"
        await repl.still_works()
        await repl.run("os.close(0); os.close(1); os.close(2)")
        await repl.still_works()
