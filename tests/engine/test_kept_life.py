"""How kept sessions begin and end: first questions that fail, closing, event loops, and programs that just stop."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from rlm import MCP, RLM, ConfigurationError, LMError
from rlm.testing import ScriptedClient

ENVIRONMENTS = ["local", "process"]
CONTEXT = "```repl\nFINAL(context)\n```"


def test_a_context_is_not_lost_when_a_tool_is_not_there_at_the_first_question(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    server = tmp_path / "server"
    with RLM(backend=ScriptedClient(CONTEXT), tools=[MCP(str(server))]) as rlm, rlm.session("the context") as session:
        with pytest.raises(Exception, match="MCP server"):
            session.ask("q")
        server.write_text(
            f"#!{sys.executable}\nfrom mcp.server.mcpserver import MCPServer\nMCPServer('empty').run('stdio')\n"
        )
        server.chmod(0o755)
        assert session.ask("q").value == "the context"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_context_that_cannot_be_carried_fails_each_question_until_another_is_given(environment: str) -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    with RLM(backend=ScriptedClient(CONTEXT), environment=environment).session(deep) as session:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="deep"):
                session.ask("q")
        assert session.ask("q", context="another").value == "another"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_new_context_that_cannot_be_carried_leaves_the_one_there_is(environment: str) -> None:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    with RLM(backend=ScriptedClient(CONTEXT), environment=environment).session("first") as session:
        session.ask("q")
        with pytest.raises(ConfigurationError, match="contains itself"):
            session.ask("q", context=cyclic)
        assert session.ask("q", context="second").value == "second"


def test_a_context_is_described_once_for_all_questions_about_it() -> None:
    class Counted(dict[str, int]):
        asked = 0

        def __len__(self) -> int:
            Counted.asked += 1
            return super().__len__()

    with RLM(backend=ScriptedClient("```repl\nFINAL(1)\n```")).session(Counted(a=1)) as session:
        session.ask("q")
        once = Counted.asked
        session.ask("q")
        assert once == Counted.asked > 0


def test_the_history_of_a_question_that_was_ended_by_a_limit_has_what_was_asked_last() -> None:
    client = ScriptedClient(["```repl\nx = 1\n```", "the best", "```repl\nFINAL(history_0)\n```"])
    with RLM(backend=client, max_iterations=1).session("c") as session:
        session.ask("q")
        history: Any = session.ask("q").value
    assert [message["role"] for message in history] == ["system", "user", "assistant", "user", "user", "assistant"]
    assert "No more code" in history[-2]["content"]
    assert history[-1]["content"] == "the best"


@pytest.mark.parametrize("asked", [True, False])
def test_a_closed_session_says_that_it_is_closed(asked: bool) -> None:
    session = RLM(backend=ScriptedClient(CONTEXT)).session("c")
    if asked:
        session.ask("q")
    session.close()
    for context in ({}, {"context": "another"}):
        with pytest.raises(ConfigurationError, match="closed"):
            session.ask("q", **context)
    session.close()


def test_closing_waits_for_the_question_under_way_and_lets_no_other_begin() -> None:
    async def main() -> None:
        entered, go = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            entered.set()
            await go.wait()

        client = ScriptedClient(CONTEXT, latency=hold)
        session = RLM(backend=client).session("c")
        first, second = (asyncio.create_task(session.aask("q")) for _ in range(2))
        await entered.wait()
        closing = asyncio.create_task(session.aclose())
        await asyncio.sleep(0)
        go.set()
        assert (await first).value == "c"
        with pytest.raises(ConfigurationError, match="closed"):
            await second
        await closing
        assert len(client.calls) == 1

    asyncio.run(main())


def test_an_opening_that_is_cancelled_can_be_tried_again() -> None:
    async def main() -> None:
        async with RLM(backend=ScriptedClient(CONTEXT), environment="process").session("c") as session:
            for steps in range(0, 20, 4):
                asking = asyncio.create_task(session.aask("q"))
                for _ in range(steps):
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.wait([asking])
            assert (await session.aask("q")).value == "c"

    asyncio.run(main())


def test_a_persistent_rlm_refuses_another_event_loop_until_it_is_closed() -> None:
    rlm = RLM(backend=ScriptedClient(CONTEXT), persistent=True)
    asyncio.run(rlm.acompletion("one", "q"))
    with pytest.raises(ConfigurationError, match="one event loop"):
        rlm.completion("two", "q")
    rlm.close()
    assert rlm.completion("three", "q").value == "three"
    with pytest.raises(ConfigurationError, match="one event loop"):
        asyncio.run(rlm.acompletion("four", "q"))
    rlm.close()


def test_threads_that_ask_first_at_once_share_one_repl() -> None:
    client = ScriptedClient("```repl\nn = globals().get('n', 0) + 1\nFINAL(n)\n```")
    seen: list[Any] = []
    with RLM(backend=client, persistent=True) as rlm:
        threads = [threading.Thread(target=lambda: seen.append(rlm.completion("c", "q").value)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(seen) == list(range(1, 9))


def test_a_session_of_a_running_loop_is_closed_there_when_another_thread_closes_it() -> None:
    async def main() -> None:
        session = RLM(backend=ScriptedClient(CONTEXT)).session("c")
        await session.aask("q")
        before = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
        await asyncio.to_thread(session.close)
        async with asyncio.timeout(30):
            await asyncio.wait(before)
        with pytest.raises(ConfigurationError, match="closed"):
            await session.aask("q")

    asyncio.run(main())


def test_a_session_that_nobody_has_any_more_is_closed() -> None:
    async def main() -> None:
        session = RLM(backend=ScriptedClient(CONTEXT)).session("c")
        await session.aask("q")
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert tasks
        del session
        gc.collect()
        async with asyncio.timeout(30):
            await asyncio.wait(tasks)

    asyncio.run(main())


def test_sessions_and_scripted_clients_show_what_they_are() -> None:
    client = ScriptedClient(CONTEXT, model="small")
    with RLM(backend=client).session("c") as session:
        session.ask("q")
        assert repr(session).startswith("<KeptSession of RLM('ScriptedClient/small', environment='local'")
        assert repr(session).endswith(": 1 question asked>")
    assert repr(session).endswith(", closed>")
    assert repr(client) == "<ScriptedClient 'small': 1 call made>"


PROGRAM = """
import asyncio, sys
from rlm import RLM
from rlm.testing import ScriptedClient

code = '''
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", {mark!r}])
FINAL(child.pid)
''' if {environment!r} == "process" else "FINAL(1)"
client = ScriptedClient("```repl\\n" + code + "\\n```")
rlm = RLM(backend=client, environment={environment!r}, persistent={persistent})
session = rlm.session("c")

async def main():
    await (rlm.acompletion("c", "q") if {persistent} else session.aask("q"))

if {asynchronous}:
    asyncio.run(main())
elif {persistent}:
    rlm.completion("c", "q")
else:
    session.ask("q")
print("done")
"""


@pytest.mark.parametrize("persistent", [False, True], ids=["session", "persistent"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_program_may_stop_without_closing(environment: str, asynchronous: bool, persistent: bool) -> None:
    mark = uuid.uuid4().hex
    program = textwrap.dedent(PROGRAM).format(
        mark=mark, environment=environment, asynchronous=asynchronous, persistent=persistent
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    if sys.platform == "linux":
        assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if mark in _text(path)]


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it ended while we looked
        return ""


def test_a_failed_question_does_not_hide_what_failed() -> None:
    client = ScriptedClient([LMError("down", kind="server"), CONTEXT])
    with RLM(backend=client).session("c") as session:
        with pytest.raises(LMError, match="down"):
            session.ask("q")
        assert session.ask("q").value == "c"
