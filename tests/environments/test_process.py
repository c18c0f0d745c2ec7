"""The process environment: what a cell finds there, what values survive, how sessions start."""

# ruff: noqa: ASYNC240 - looking at files is what these scenarios are for

from __future__ import annotations

import glob
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from rlm.environments import process
from rlm.errors import ConfigurationError, SandboxError
from rlm.testing.conformance import ScriptedHost
from rlm.testing.conformance._bench import same
from rlm.types import Query
from session_bench import Measured, Shell, run, value

# What a cell finds --------------------------------------------------------------------------------------------------


def test_the_environment_of_a_cell_has_what_is_allowed_and_no_key() -> None:
    async def scenario() -> None:
        os.environ["OPENAI_API_KEY"] = "sk-not-for-cells"
        try:
            async with process.create(env={"EXTRA": "é"}).open() as session:
                found = await value(session, "dict(__import__('os').environ)")
        finally:
            del os.environ["OPENAI_API_KEY"]
        assert found.keys() <= {*process.ALLOWED, "HOME", "TMPDIR", "PYTHONHASHSEED", "EXTRA", "LC_CTYPE"}
        assert (found["EXTRA"], found["PYTHONHASHSEED"]) == ("é", "0")

    run(scenario)


def test_hashes_are_the_same_in_every_session() -> None:
    async def scenario() -> None:
        seen = set()
        for _ in range(3):
            async with process.create().open() as session:
                seen.add(await value(session, "hash('text')"))
        assert len(seen) == 1

    run(scenario)


def test_a_cell_works_in_a_directory_of_its_own_that_is_removed() -> None:
    async def scenario() -> None:
        async with process.create(isolation="none").open() as session:
            await session.execute(
                "import os, tempfile\nos.makedirs('a/b')\nopen('a/b/c', 'w').write('x' * 9)", ScriptedHost()
            )
            await session.execute("open('own.py', 'w').write('x = 5')", ScriptedHost())
            folder = await value(session, "os.getcwd()")
            assert await value(session, "__import__('own').x") == 5
            assert await value(session, "[os.path.expanduser('~'), tempfile.gettempdir()]") == [folder, folder]
            assert folder != os.getcwd()
            assert os.path.isdir(folder)
        assert not os.path.exists(folder)

    run(scenario)


def test_the_hosts_packages_can_be_imported() -> None:
    async def scenario() -> None:
        async with process.create().open() as session:
            assert await value(session, "__import__('hypothesis').__file__") == __import__("hypothesis").__file__

    run(scenario)


def test_main_is_the_namespace_of_the_cells() -> None:
    async def scenario() -> None:
        async with process.create().open() as session:
            host = ScriptedHost()
            await session.execute("import sys, pickle\nclass A:\n    pass\nx = pickle.loads(pickle.dumps(A()))", host)
            assert await value(session, "sys.modules['__main__'].__dict__ is globals() and type(x) is A") is True

    run(scenario)


def test_the_source_of_helpers_can_be_read() -> None:
    async def scenario() -> None:
        async with process.create().open() as session:
            source = await value(session, "__import__('inspect').getsource(grep)")
        assert source.startswith("def grep(")

    run(scenario)


def test_a_forked_child_prints_like_any_child_and_cannot_ask_the_host() -> None:
    code = """
import os
print("before")
pid = os.fork()
if pid == 0:
    print("child", flush=True)
    try:
        llm_query("no")
    except RuntimeError as e:
        print(type(e).__name__, flush=True)
else:
    os.waitpid(pid, 0)
    print("parent")
"""

    async def scenario() -> None:
        async with process.create().open() as session:
            cell = await session.execute(code, ScriptedHost())
            assert cell.error is None, cell
            assert cell.output == "before\nchild\nRuntimeError\nparent\n"
            assert await value(session, "llm_query('still')") == "still"

    run(scenario)


# Values -------------------------------------------------------------------------------------------------------------

AWKWARD: dict[Any, Any] = {
    (1, None): [float("nan"), float("-inf"), -0.0, True, 10**60],
    "$": {"v": b"\x00\xff", "set": {1, (2, "x")}},
    "\ud83d\ude00": "\ud800 \r\n\0 \u2028 😀",
    "long": ["é" * 100_000, b"\n" * 100_000, "\ud83d\ude00" * 50_000],
}


def pythons() -> list[str]:
    """Other interpreters of this machine, the oldest that is supported among them where it is there."""
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    versions = ("3.8", "3.9", "3.10", "3.12", "3.13", "3.14")
    places = {v: [*glob.glob(f"{root}/versions/{v}.*/bin/python"), shutil.which(f"python{v}")] for v in versions}
    return [place for found in places.values() if (place := found[0]) and "shims" not in place]


@pytest.mark.parametrize("python", pythons() or [sys.executable], ids=lambda p: p.split("versions/")[-1].split("/")[0])
def test_values_survive_both_ways_whatever_python_is_inside(python: str) -> None:
    async def scenario() -> None:
        async with process.create(python=python).open() as session:
            await session.bind("context", AWKWARD)
            assert same(await value(session, "context"), AWKWARD)
            sent: list[Query] = []
            host = ScriptedHost(lambda query: sent.append(query) or "reply")
            await session.execute("rlm_query('q', context=context)", host)
            assert same(sent[0].context, AWKWARD)

    run(scenario)


@pytest.mark.parametrize("byte_clean", [True, False])
def test_what_the_host_holds_already_is_not_transferred_again(byte_clean: bool) -> None:
    async def scenario() -> None:
        environment = Measured(byte_clean=byte_clean)
        async with environment.open() as session:
            text = "".join(f"line {i}\n" for i in range(400_000))
            texts = [text, {"second": text[::-1]}]
            await session.bind("context", texts)
            sent: list[Query] = []
            host = ScriptedHost(lambda query: sent.append(query) or "reply")
            before = environment.counts["out"]
            code = "rlm_query('q', context)\nrlm_query('q', context[0][1_000:2_000_000])\nrlm_query(context[0])"
            cell = await session.execute(code, host)
            assert cell.error is None, cell
            assert environment.counts["out"] - before < 10_000
        assert sent[0].context == texts
        assert sent[0].context[0] is text  # type: ignore[index]
        assert sent[1].context == text[1_000:2_000_000]
        assert sent[2].prompt == text

    run(scenario)


def test_long_values_take_the_fast_way_in_where_there_is_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        environment = Measured(folder=str(tmp_path), inner=process.create(allow_read=[tmp_path]))
        async with environment.open() as session:
            text = "é\ud800" * 2_000_000
            await session.bind("context", {"a": text, "b": b"\xff" * 2_000_000, "short": "x" * 100_000})
            assert environment.counts["put"] > 6_000_000
            assert environment.counts["in"] < 1_000_000
            assert await value(session, "[context['a'] == 'é\\ud800' * 2_000_000, len(context['b'])]") == [
                True,
                2_000_000,
            ]

    run(scenario)


def test_where_the_fast_way_fails_long_values_take_the_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        environment = Measured(folder=str(tmp_path / "gone"))
        async with environment.open() as session:
            await session.bind("context", "é" * 3_000_000)
            host = ScriptedHost()
            host.tools["give"] = lambda: b"x" * 3_000_000
            await session.bind("give", host.tools["give"])
            assert await value(session, "[len(context), len(give())]", host) == [3_000_000, 3_000_000]
            assert environment.counts["in"] > 9_000_000

    run(scenario)
    assert "a value goes by the slow way: FileNotFoundError" in caplog.text


def test_a_tool_may_return_what_is_long_and_a_prompt_may_be_long() -> None:
    async def scenario() -> None:
        async with process.create().open() as session:
            host = ScriptedHost(lambda query: str(len(query.prompt)))
            host.tools["give"] = lambda n: ["x" * n, b"y" * n]
            await session.bind("give", host.tools["give"])
            assert await value(session, "[len(part) for part in give(20_000_000)]", host) == [20_000_000, 20_000_000]
            assert await value(session, "llm_query_batched(['x' * 5_000_000] * 8)", host) == ["5000000"] * 8

    run(scenario)


def test_an_answer_larger_than_a_session_may_send_fails_the_cell_and_says_so() -> None:
    async def scenario() -> None:
        async with process.create().open() as session:
            cell = await session.execute("big = 'x' * 300_000_000\nFINAL(big)", ScriptedHost())
            assert cell.error is not None
            assert "300,000,000 bytes" in cell.error.message
            cell = await session.execute("llm_query(big)", ScriptedHost())
            assert cell.error is not None
            assert "more than a call can carry" in cell.error.message
            assert await value(session, "len(big)") == 300_000_000

    run(scenario)


# Starts -------------------------------------------------------------------------------------------------------------


def test_what_was_said_instead_of_starting_is_in_the_error() -> None:
    async def scenario() -> None:
        with pytest.raises(SandboxError, match=r"(?s)3 times in a row.*status 127.*python3: not found"):
            async with Shell(script="echo 'sh: python3: not found' >&2; exit 127").open():
                raise AssertionError

    run(scenario)


def test_a_place_that_never_gets_ready_is_given_up() -> None:
    async def scenario() -> None:
        with pytest.raises(SandboxError, match=r"(?s)not ready within 0\.3 seconds.*please wait"):
            async with Shell(script="echo please wait; sleep 1000", startup_timeout=0.3).open():
                raise AssertionError

    run(scenario)


def test_an_interpreter_that_is_not_there_is_named() -> None:
    async def scenario() -> None:
        with pytest.raises(SandboxError, match="no-such-python"):
            async with process.create(python="no-such-python").open():
                raise AssertionError

    run(scenario)


def test_setup_code_runs_first_and_its_failure_shows_the_traceback() -> None:
    async def scenario() -> None:
        async with process.create(setup_code="import math\nready = math.pi").open() as session:
            assert await value(session, "round(ready, 2)") == 3.14
        with pytest.raises(SandboxError, match=r"(?s)line 2.*ZeroDivisionError"):
            async with process.create(setup_code="x = 1\nx / 0").open():
                raise AssertionError

    run(scenario)


@pytest.mark.parametrize(
    "settings",
    [{"cell_timeout": 0}, {"cell_timeout": "5"}, {"cell_grace": -1}, {"cell_grace": None}, {"setup_code": 5}],
    ids=repr,
)
def test_wrong_settings_are_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        process.create(**settings)
