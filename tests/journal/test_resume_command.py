"""`rlm ask --checkpoint` and `rlm resume`."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import command_line
from rlm.testing import LMServer, Request, Scripted

Start = Callable[..., LMServer]


def model(request: Request) -> str:
    if not command_line.is_root(request):
        return f"reply to {request.text}"
    sources = ["a = llm_query('one')", "b = llm_query('two ' + context[:5])", "FINAL([a, b])"]
    return command_line.code(sources[command_line.turns(request)])


def test_a_killed_command_is_gone_on_with_from_its_directory_alone(tmp_path: Path, lm_server: Start) -> None:
    (tmp_path / "input.txt").write_bytes(b"caf\xe9 and \xff more")
    arguments = ["ask", "what?", "input.txt", "-m", "openai/m", "-e", "local", "--checkpoint", "run"]
    killed: list[subprocess.Popen[bytes]] = []
    asked: list[str] = []

    def script(request: Request) -> str:
        asked.append(request.text)
        if len(asked) == 4:
            killed[0].kill()
        return model(request)

    server = lm_server(script)
    environment = command_line.environment(server)
    with subprocess.Popen([*command_line.RLM, *arguments], cwd=tmp_path, env=environment) as process:
        killed.append(process)
        assert process.wait(command_line.DEADLINE) == -9
    (tmp_path / "input.txt").unlink()
    done = command_line.rlm("resume", "run", "--json", server=server, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["response"] == "['reply to one', 'reply to two caf? ']"
    assert len(asked) == 6  # five calls, the one in flight twice
    again = command_line.rlm("resume", "run", server=server, cwd=tmp_path)
    assert (again.returncode, len(asked)) == (0, 6)


@pytest.mark.parametrize(
    ("limit", "low", "high", "code"), [("--max-iterations", "1", "5", 3), ("--max-tokens", "2300", "90000", 4)]
)
def test_a_run_that_ended_at_a_limit_goes_on_with_a_higher_one(
    limit: str, low: str, high: str, code: int, tmp_path: Path, lm_server: Start
) -> None:
    server = lm_server(lambda r: "forced" if "No more code" in r.text else model(r))
    arguments = ["ask", "what?", "-m", "openai/m", "-e", "local", "--checkpoint", "run", limit, low]
    ended = command_line.rlm(*arguments, server=server, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (code, b"forced\n")
    asked = len(server.requests)
    assert command_line.rlm("resume", "run", server=server, cwd=tmp_path).stdout == b"forced\n"
    assert len(server.requests) == asked
    done = command_line.rlm("resume", "run", limit, high, server=server, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"['reply to one', 'reply to two what?']\n")
    asked = len(server.requests)
    again = command_line.rlm("resume", "run", server=server, cwd=tmp_path)
    assert (again.returncode, again.stdout, len(server.requests)) == (0, done.stdout, asked)


def test_another_question_is_refused_in_one_line(tmp_path: Path, lm_server: Start) -> None:
    server = lm_server(model)
    options = ["-m", "openai/m", "-e", "local", "--checkpoint", "run"]
    assert command_line.rlm("ask", "what?", *options, server=server, cwd=tmp_path).returncode == 0
    done = command_line.rlm("ask", "else?", *options, server=server, cwd=tmp_path)
    assert done.returncode == 5
    assert "another context or question" in command_line.one_line(done.stderr)


def test_a_directory_without_a_run_is_wrong_usage(tmp_path: Path) -> None:
    done = command_line.rlm("resume", "nothing", cwd=tmp_path)
    assert done.returncode == 2
    assert b"there is no run of `rlm ask --checkpoint` in nothing" in done.stderr


@pytest.mark.parametrize("how", ["failed", "interrupted"])
def test_what_ended_a_run_is_followed_by_the_command_that_goes_on_with_it(
    how: str, tmp_path: Path, lm_server: Start
) -> None:
    running: list[subprocess.Popen[bytes]] = []

    def script(request: Request) -> Any:
        if command_line.turns(request) != 1:
            return model(request)
        if how == "interrupted":
            running[0].send_signal(signal.SIGINT)
            return Scripted(hang=True)
        return Scripted(status=400, error="no")

    arguments = ["ask", "what?", "-m", "openai/m", "-e", "local", "--checkpoint", "a run"]
    environment = command_line.environment(lm_server(script))
    with subprocess.Popen(
        [*command_line.RLM, *arguments], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    ) as process:
        running.append(process)
        _, told = process.communicate(timeout=command_line.DEADLINE)
    assert process.returncode == {"failed": 1, "interrupted": 130}[how]
    assert told.splitlines()[-1].endswith(b"`rlm resume 'a run'` goes on from there")
    done = command_line.rlm("resume", "a run", server=lm_server(model), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"['reply to one', 'reply to two what?']\n")


def test_of_a_checkpoint_that_was_deleted_meanwhile_nobody_is_told_that_it_can_be_gone_on_with(
    lm_server: Start, tmp_path: Path
) -> None:
    def script(request: Request) -> str:
        shutil.rmtree(tmp_path / "run")
        return model(request)

    arguments = ["ask", "what?", "-m", "openai/m", "-e", "local", "--checkpoint", "run"]
    done = command_line.rlm(*arguments, server=lm_server(script), cwd=tmp_path)
    assert done.returncode != 0
    assert b"was deleted" in done.stderr
    assert b"rlm resume" not in done.stderr
