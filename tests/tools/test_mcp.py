"""MCP servers as tools: a real one from PyPI, and what goes wrong."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from rlm import MCP, RLM, ConfigurationError, ReplayMismatchError, RLMLogger, SetupError
from rlm.mcp import IDLE
from rlm.testing import ScriptedClient

pytest.importorskip("mcp")
TIME = f"{sys.executable} -m mcp_server_time --local-timezone UTC"
OWN = '''
import sys
from mcp.server.mcpserver import MCPServer
server = MCPServer("own")
@server.tool()
def add(a: int, b: int = 10) -> int:
    """Adds two numbers."""
    return a + b
@server.tool()
def fail(why: str) -> str:
    """Fails."""
    raise ValueError(why)
@server.tool()
def echo(value: dict[str, list]) -> dict[str, list]:
    """Gives back what it gets."""
    return value
@server.tool()
def die() -> None:
    """Ends the server."""
    import os
    os._exit(1)
@server.tool()
def pid() -> int:
    """The server's number."""
    import os
    return os.getpid()
server.run("stdio")
'''
PLAIN = """
import json, os, sys

TOOLS = {"add": lambda a, b=10: a + b, "die": lambda: os._exit(1), "pid": os.getpid}
OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 10}}}

def answer(method, params):
    if method == "initialize":
        about = {"name": "plain", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": about}
    if method == "tools/list":
        schemas = {"add": {**OBJECT, "required": ["a"]}}
        empty = {"type": "object", "properties": {}}
        return {"tools": [{"name": name, "inputSchema": schemas.get(name, empty)} for name in TOOLS]}
    if method == "tools/call":
        result = TOOLS[params["name"]](**params.get("arguments") or {})
        return {"content": [{"type": "text", "text": str(result)}], "structuredContent": {"result": result}}

for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        result = answer(asked["method"], asked.get("params", {}))
        failed = {"error": {"code": -32601, "message": "there is no such method"}}
        said = {"result": result} if result is not None else failed
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **said}), flush=True)
"""
NAMED = '''
from mcp.server.mcpserver import MCPServer
server = MCPServer("named")
@server.tool(name={name!r})
def tool() -> int:
    """A tool of that name."""
    return 1
@server.tool()
def other() -> int:
    """Another."""
    return 2
server.run("stdio")
'''
PAGED = """
import anyio
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

async def listed(context, params):
    at = int(params.cursor) if params is not None and params.cursor else 0
    tools = [types.Tool(name=f"tool_{at}", input_schema={"type": "object"})]
    return types.ListToolsResult(tools=tools, next_cursor=str(at + 1) if at < 4 else None)

server = Server("paged", on_list_tools=listed)

async def main():
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())

anyio.run(main)
"""


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


def server_of(program: str, tmp_path: Path, **options: Any) -> MCP:
    path = tmp_path / "program.py"
    path.write_text(program)
    return MCP(f"{sys.executable} {path}", **options)


@pytest.fixture
def own(tmp_path: Path) -> MCP:
    program = tmp_path / "server.py"
    program.write_text(OWN)
    return MCP(f"{sys.executable} {program}")


@pytest.fixture
def plain(tmp_path: Path) -> MCP:
    """A server that needs no SDK: where one is started again and again, importing it would be all there is."""
    return server_of(PLAIN, tmp_path)


@pytest.mark.parametrize("environment", ["local", "process"])
def test_a_server_from_pypi_is_a_tool(environment: str) -> None:
    code = (
        "r = convert_time(source_timezone='Europe/Berlin', time='12:00', target_timezone='Asia/Tokyo')\n"
        "import json\nFINAL(json.loads(r)['time_difference'] if isinstance(r, str) else r['time_difference'])"
    )
    client = ScriptedClient([repl(code)])
    with RLM(backend=client, environment=environment, tools=[MCP(TIME)]) as rlm:
        assert rlm.completion("c", "q").response in ("+7.0h", "+8.0h")
    system = client.calls[0].messages[0].content
    assert "`convert_time(source_timezone, time, target_timezone)`" in system


def test_values_go_and_come_back(own: MCP) -> None:
    code = "FINAL([add(1), add(1, 2), add(a=3, b=4), echo({'x': [1, None, 'é']})])"
    with RLM(backend=ScriptedClient([repl(code)]), tools=[own]) as rlm:
        assert rlm.completion("c", "q").value == [11, 3, 7, {"x": [1, None, "é"]}]


def test_a_tool_that_fails_is_an_error_in_the_cell(own: MCP) -> None:
    client = ScriptedClient([repl("fail('no luck')"), repl("FINAL('told')")])
    with RLM(backend=client, tools=[own]) as rlm:
        assert rlm.completion("c", "q").response == "told"
    assert "RuntimeError" in client.calls[-1].text
    assert "no luck" in client.calls[-1].text


def test_one_connection_serves_many_runs_and_a_server_that_ended_is_started_again(own: MCP) -> None:
    client = ScriptedClient([repl("FINAL(add(1))"), repl("die()"), repl("FINAL('gone')"), repl("FINAL(add(2))")])
    with RLM(backend=client, tools=[own]) as rlm:
        assert rlm.completion("c", "q").value == 11
        assert rlm.completion("c", "q").value == "gone"
        assert rlm.completion("c", "q").value == 12


@pytest.mark.parametrize("environment", ["local", "process"])
def test_a_server_that_ends_is_there_again_at_the_next_call_of_the_same_run(plain: MCP, environment: str) -> None:
    cells = ["first = pid()", "die()", "FINAL([add(1), pid() != first])"]
    client = ScriptedClient([repl(cell) for cell in cells])
    with RLM(backend=client, environment=environment, tools=[plain]) as rlm:
        assert rlm.completion("c", "q").value == [11, True]
    assert "Connection closed" in client.calls[2].text


def test_a_server_that_was_killed_while_nobody_called_it_is_there_again_at_the_next_call(plain: MCP) -> None:
    def kill(number: int) -> None:
        os.kill(number, signal.SIGKILL)

    cells = ["first = pid()\nkill(first)\nimport time\ntime.sleep(IDLE)", "FINAL([add(1), pid() != first])"]
    client = ScriptedClient([repl(cell) for cell in cells])
    tools = {"kill": kill, "IDLE": 1.1 * IDLE}
    with RLM(backend=client, tools=[plain], custom_tools=tools) as rlm:
        assert rlm.completion("c", "q").value == [11, True]


def test_a_server_that_ends_with_every_call_is_started_again_a_few_times_only(plain: MCP) -> None:
    code = "seen = []\nfor _ in range(9):\n    try: die()\n    except Exception as e: seen.append(str(e))\nFINAL(seen)"
    with RLM(backend=ScriptedClient([repl(code), repl("FINAL(add(1))")]), tools=[plain]) as rlm:
        seen: Any = rlm.completion("c", "q").value
        assert [("times in a row" in text) for text in seen] == [False] * 4 + [True] * 5
        assert rlm.completion("c", "q").value == 11


def test_calls_at_once_that_end_the_server_count_as_one_end(plain: MCP) -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def attempt(_):\n    try: die()\n    except Exception as e: return str(e)\n"
        "seen = list(ThreadPoolExecutor(8).map(attempt, range(8)))\nFINAL([len(seen), add(1)])"
    )
    with RLM(backend=ScriptedClient([repl(code)]), tools=[plain]) as rlm:
        assert rlm.completion("c", "q").value == [8, 11]


def test_a_tool_with_a_name_of_the_repl_is_refused(tmp_path: Path) -> None:
    server = server_of(NAMED.format(name="grep"), tmp_path)
    with RLM(backend=ScriptedClient([]), tools=[server]) as rlm:
        with pytest.raises(ConfigurationError, match="'grep', an MCP tool, is a name of the REPL"):
            rlm.completion("c", "q")
    client = ScriptedClient([repl("FINAL(other())")])
    with RLM(backend=client, tools=[MCP(server.command, only=["other"])]) as rlm:
        assert rlm.completion("c", "q").value == 2


def test_tools_that_are_asked_for_and_not_there_are_an_error_that_says_which_there_are(own: MCP) -> None:
    with RLM(backend=ScriptedClient([]), tools=[MCP(own.command, only=["add", "nosuch"])]) as rlm:
        with pytest.raises(ConfigurationError, match="no tool 'nosuch'; it has 'add', 'fail', 'echo'"):
            rlm.completion("c", "q")
    with pytest.raises(ConfigurationError, match="list of tools' names"):
        MCP(own.command, only="add")


def test_tools_on_later_pages_of_a_servers_list_are_offered_too(tmp_path: Path) -> None:
    client = ScriptedClient([repl("FINAL([callable(globals()[f'tool_{n}']) for n in range(5)])")])
    with RLM(backend=client, tools=[server_of(PAGED, tmp_path)]) as rlm:
        assert rlm.completion("c", "q").value == [True] * 5


def test_only_the_tools_named_are_offered(own: MCP) -> None:
    client = ScriptedClient([repl("FINAL('fail' in globals())")])
    with RLM(backend=client, tools=[MCP(own.command, only=["add"])]) as rlm:
        assert rlm.completion("c", "q").value is False


@pytest.mark.parametrize("command", ["/nowhere/at/all", f"{sys.executable} -c pass"])
def test_a_server_that_does_not_start_says_which(command: str) -> None:
    with RLM(backend=ScriptedClient([]), tools=[MCP(command)]) as rlm:
        with pytest.raises(SetupError, match="MCP server"):
            rlm.completion("c", "q")


def test_two_tools_of_one_name_are_refused(plain: MCP) -> None:
    with RLM(backend=ScriptedClient([]), tools=[plain, plain]) as rlm:
        with pytest.raises(ConfigurationError, match="two MCP tools"):
            rlm.completion("c", "q")


def test_a_server_needs_a_command() -> None:
    with pytest.raises(ConfigurationError):
        MCP(" ")


@pytest.mark.parametrize("sub_tools", [None, {}, {"own": 1}])
def test_child_rlms_have_the_tools_too(plain: MCP, sub_tools: dict[str, Any] | None) -> None:
    def model(messages: Any) -> str:
        child = "inner" in messages[1].content
        mine = "['own' in globals(), 'parent' in globals(), add(40, 2)]"
        return repl(f"FINAL({mine})" if child else "FINAL(rlm_query('inner'))")

    given = {"custom_tools": {"parent": 1}, "custom_sub_tools": sub_tools}
    with RLM(backend=ScriptedClient(model), tools=[plain], max_depth=2, **given) as rlm:
        expected = f"[{bool(sub_tools)}, {sub_tools is None}, 42]"
        assert rlm.completion("c", "outer").response == expected


ADDING = [repl("n = add(1)\nprint(n)"), repl("FINAL(n + add(2, b=3))")]


def journalled(own: MCP, folder: Path, script: Any = None, **options: Any) -> Any:
    client = ScriptedClient(ADDING if script is None else script)
    with RLM(backend=client, tools=[own], **{"checkpoint": folder, **options}) as rlm:
        return rlm.completion("c", "q")


def program_of(own: MCP) -> Path:
    return Path(own.command.split()[-1])


def test_a_finished_run_and_a_replay_need_no_server(plain: MCP, tmp_path: Path) -> None:
    assert journalled(plain, tmp_path / "run").value == 16
    program_of(plain).unlink()
    again = journalled(plain, tmp_path / "run", [])
    assert (again.value, again.divergences) == (16, ())
    elsewhere = MCP("/another/machine/python /another/server.py")
    replayed = journalled(elsewhere, tmp_path / "run", [], checkpoint=None, replay=tmp_path / "run")
    assert replayed.value == 16


def killed(folder: Path) -> None:
    """As if before its second turn was answered."""
    journal = folder / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    replies = [number for number, line in enumerate(lines) if b'"type":"reply"' in line]
    journal.write_bytes(b"".join(lines[: replies[1]]))


def test_a_run_that_is_resumed_connects_when_it_goes_on(plain: MCP, tmp_path: Path) -> None:
    journalled(plain, tmp_path / "run")
    killed(tmp_path / "run")
    again = journalled(plain, tmp_path / "run", ADDING[1:])
    assert (again.value, again.divergences) == (16, ())


def test_a_server_that_is_gone_when_it_is_needed_ends_the_run_and_not_what_is_written_of_it(
    plain: MCP, tmp_path: Path
) -> None:
    journalled(plain, tmp_path / "run")
    killed(tmp_path / "run")
    source = program_of(plain).read_text()
    program_of(plain).unlink()
    with pytest.raises(SetupError, match="MCP server"):
        journalled(plain, tmp_path / "run", ADDING[1:])
    with RLM(backend=ScriptedClient(ADDING[1:]), checkpoint=tmp_path / "run", tools=[plain, plain]) as rlm:
        with pytest.raises(SetupError, match="MCP server"):
            rlm.completion("c", "q")
    program_of(plain).write_text(source)
    assert journalled(plain, tmp_path / "run", ADDING[1:]).value == 16


def test_a_recording_of_a_run_without_servers_is_another_runs(plain: MCP, tmp_path: Path) -> None:
    RLM(backend=ScriptedClient([repl("FINAL(1)")]), checkpoint=tmp_path / "run").completion("c", "q")
    with pytest.raises(ReplayMismatchError, match="MCP servers, and its recording none"):
        journalled(plain, tmp_path, [], checkpoint=None, replay=tmp_path / "run")


def test_no_key_of_a_server_is_told_or_written(own: MCP, tmp_path: Path) -> None:
    server = MCP(f"{own.command} --token first-key-123", env={"SEARCH_TOKEN": "second-key-123"}, only=["add"])
    assert repr(server).endswith("server.py --token …', only=['add'])")
    script = [repl("print('first-key-123 and second-key-123')"), repl("FINAL(add(1))")]
    log = RLMLogger(log_dir=tmp_path / "log")
    assert journalled(server, tmp_path / "run", script, logger=log).value == 11
    written = [path.read_text() for path in tmp_path.rglob("*.jsonl")]
    assert [["-key-123" in text, "*************" in text] for text in written] == [[False, True]] * 2
    program_of(own).unlink()
    with pytest.raises(SetupError, match="MCP server") as caught:
        journalled(server, tmp_path / "other", script)
    assert "-key-123" not in str(caught.value)
