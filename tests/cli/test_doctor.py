"""`rlm doctor` and the help: what works here, and what to do about what does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from command_line import environment
from rlm import __version__ as version
from rlm import registry
from rlm.cli.command import cli
from rlm.testing import LMServer

Command = Callable[..., Any]
Servers = Callable[..., LMServer]


def lines(stdout: bytes) -> dict[str, str]:
    rows = (line.split(None, 2) for line in stdout.decode().splitlines() if line.startswith("  "))
    return {name: f"{mark} {text}" for mark, name, text in rows}


def test_doctor_names_every_backend_and_environment_and_what_each_lacks(rlm: Command) -> None:
    done = rlm("doctor")
    found = lines(done.stdout)
    assert done.returncode == 0
    assert set(found) == {*registry.backend_names(), *registry.environment_names()}
    for name, variable in (
        ("openai", "OPENAI_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("portkey", "PORTKEY_API_KEY"),
    ):
        assert found[name].startswith("--")
        assert variable in found[name]
    assert found["local"].startswith("ok")
    assert "no sandbox" in found["local"]
    assert found["process"].startswith("ok")


def test_doctor_asks_a_real_provider_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rlm", "doctor", "openai"],
        env=environment(OPENAI_API_KEY="key-of-nobody", HTTPS_PROXY="http://127.0.0.1:9"),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok  openai" in done.stdout
    assert "key-of-nobody" not in done.stdout


def test_doctor_finds_a_server_on_this_machine(rlm: Command, lm_server: Servers) -> None:
    done = rlm("doctor", "openai", server=lm_server("here"))
    assert done.returncode == 0
    assert "a server on this machine answers" in lines(done.stdout)["openai"]


def test_a_named_thing_that_does_not_work_fails_the_command(rlm: Command) -> None:
    assert rlm("doctor", "anthropic").returncode == 5


def test_an_unknown_name_is_wrong_usage_and_lists_what_there_is(rlm: Command) -> None:
    done = rlm("doctor", "nobody")
    assert done.returncode == 2
    assert b"openai" in done.stdout + done.stderr


def test_help_says_what_each_command_does_its_exit_codes_and_that_local_is_no_sandbox(rlm: Command) -> None:
    assert rlm("--help").returncode == 0
    for name in cli.commands:
        done = rlm(name, "--help")
        assert done.returncode == 0
        assert name.encode() in done.stdout
    text = " ".join(rlm("ask", "--help").stdout.decode().split())
    for words in ("130", "forced", "no sandbox", "standard input", "--max-budget"):
        assert words in text, words


def test_help_tells_the_default_number_of_turns_where_it_holds(rlm: Command) -> None:
    assert b"[default: 30]" in rlm("ask", "--help").stdout
    resume = rlm("resume", "--help").stdout
    assert b"[default: 30]" not in resume
    assert b"[default: as it was begun]" in resume


def test_the_version_is_the_same_wherever_it_is_told(rlm: Command) -> None:
    assert rlm("--version").stdout.decode().split()[-1] == version


def test_help_imports_no_sdk_and_no_terminal_library() -> None:
    program = (
        "import sys, atexit; from rlm.cli import main; sys.argv = ['rlm', 'ask', '--help']\n"
        "heavy = {'openai', 'anthropic', 'aiohttp', 'rich', 'pydantic'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules))))\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "[]"


def test_doctor_says_what_keeps_a_process_in(rlm: Command) -> None:
    done = rlm("doctor", "process")
    assert done.returncode == 0
    for subject in ("the network", "other processes", "new privileges", "outliving the session"):
        assert f"\n        {subject}: " in done.stdout.decode()
