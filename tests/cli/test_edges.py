"""How the command ends where things are odd: closed streams, full disks, Ctrl-C at any time, wrong values, names."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import DEADLINE, RLM, code, environment, one_line
from command_line import rlm as rlm_process
from rlm.cli.command import cli
from rlm.cli.terminal import Reading
from rlm.testing import LMServer, Scripted
from viewer.logs import MadeUpRun, large, write

Servers = Callable[..., LMServer]
Command = Callable[..., Any]
ANSWER = code("FINAL('the answer')")


def shell(line: str, server: LMServer | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """A line of the shell in which `rlm` is the command."""
    line = f'rlm() {{ "{sys.executable}" -m rlm "$@"; }}; {line}'
    return subprocess.run(
        ["sh", "-c", line],
        cwd=cwd,
        env=environment(server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )


@pytest.mark.parametrize("gone", [">&-", "> /dev/full"])
def test_an_answer_that_stdout_does_not_take_is_on_stderr_and_the_code_is_1(lm_server: Servers, gone: str) -> None:
    done = shell(f"rlm ask '?' {gone}", lm_server(ANSWER))
    assert done.returncode == 1
    said, *answer = done.stderr.decode().splitlines()
    assert "cannot be written to stdout" in said
    assert answer == ["the answer"]


def test_an_answer_that_nobody_takes_is_no_success(lm_server: Servers) -> None:
    assert shell("rlm ask '?' >&- 2>&- <&-", lm_server(ANSWER)).returncode == 1
    assert shell("rlm ask '?' > /dev/full 2> /dev/full", lm_server(ANSWER)).returncode == 1


def test_a_partial_answer_that_stdout_does_not_take_keeps_its_code(lm_server: Servers) -> None:
    server = lm_server(code("answer['content'] = 'so far 12'\nprint('x')"))
    done = shell("rlm ask '?' --max-tokens 4000 > /dev/full", server)
    assert done.returncode == 4
    assert b"so far 12" in done.stderr
    assert b"partial answer on stderr" in done.stderr


def test_without_stderr_the_answer_is_alone_on_stdout(lm_server: Servers, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\0")
    (tmp_path / "a.txt").write_text("A")
    for gone in ("2>&-", "2> /dev/full"):
        done = shell(f"rlm ask '?' . {gone}", lm_server(ANSWER), tmp_path)
        assert (done.returncode, done.stdout) == (0, b"the answer\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("line", "status"), [("ask", 2), ("view /none", 2), ("ask '?' -m openai/m", 5)])
@pytest.mark.parametrize("gone", ["2> /dev/full", "> /dev/full 2> /dev/full", "2>&-"])
def test_an_error_that_stderr_does_not_take_keeps_its_code(line: str, status: int, gone: str, unbuffered: str) -> None:
    assert shell(f"PYTHONUNBUFFERED={unbuffered} rlm {line} {gone}").returncode == status


INTERRUPTED_AT_EXIT = """
import atexit, signal, sys
from rlm.cli import main
atexit.register(signal.raise_signal, signal.SIGINT)
sys.argv = ["rlm", "--version"]
main()
"""


def test_ctrl_c_while_the_interpreter_ends_is_the_end_and_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_AT_EXIT], capture_output=True, timeout=DEADLINE)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


def test_a_closed_standard_input_is_wrong_usage_where_it_is_to_be_read(lm_server: Servers) -> None:
    done = shell("rlm ask '?' - <&-")
    assert (done.returncode, b"standard input is closed" in done.stderr) == (2, True)
    assert b"Traceback" not in done.stderr
    assert shell("rlm ask '?' <&-", lm_server(ANSWER)).stdout == b"the answer\n"


def test_who_reads_the_first_lines_only_has_them_and_the_run_its_code(lm_server: Servers) -> None:
    line = "(rlm ask '?'; echo $? >&2) | head -1"
    done = shell(line, lm_server(code("FINAL('line\\n' * 1_000_000)")))
    assert (done.stdout, done.stderr) == (b"line\n", b"0\n")


@pytest.mark.parametrize("line", ["rlm --help", "rlm ask --help", "rlm doctor local", "rlm stats runs"])
def test_any_output_that_cannot_be_written_is_one_line_and_code_1(line: str, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    write(tmp_path / "runs" / "run.jsonl", [MadeUpRun().started()])
    done = shell(f"{line} > /dev/full", cwd=tmp_path)
    assert done.returncode == 1
    assert "No space left" in one_line(done.stderr)


def interrupted(*arguments: str, after: Callable[[subprocess.Popen[bytes]], object], cwd: Path) -> tuple[int, bytes]:
    """Ctrl-C at a moment; exit code and stderr."""
    with subprocess.Popen(
        [*RLM, *arguments],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        after(process)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=DEADLINE)
    return process.returncode, stderr


def first_line(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    process.stdout.readline()


def reads(name: str) -> Callable[[subprocess.Popen[bytes]], None]:
    """Waits until the process has a file open."""

    def opened(entry: Path) -> bool:
        with contextlib.suppress(OSError):  # closed meanwhile
            return name in os.readlink(entry)
        return False

    def wait(process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not any(map(opened, Path(f"/proc/{process.pid}/fd").iterdir())):
            assert process.poll() is None
            assert time.monotonic() < deadline

    return wait


def takes_input(process: subprocess.Popen[bytes]) -> None:
    """A pipe is full until its reader reads."""
    assert process.stdin is not None
    process.stdin.write(b"x" * 1_000_000)
    process.stdin.flush()


@pytest.mark.parametrize(
    ("arguments", "after"),
    [
        (["ask", "?", "-"], takes_input),
        (["demo"], first_line),
        (["doctor"], first_line),
        (["stats", "large.jsonl"], reads("large.jsonl")),
        (["view", "large.jsonl", "--export", "run.html"], reads("large.jsonl")),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_ctrl_c_before_or_without_a_run_is_130_and_one_line(
    tmp_path: Path, arguments: list[str], after: Callable[[subprocess.Popen[bytes]], object]
) -> None:
    large(tmp_path / "large.jsonl", 60_000)
    ended, stderr = interrupted(*arguments, after=after, cwd=tmp_path)
    assert (ended, one_line(stderr)) == (130, "rlm: cancelled")
    assert not (tmp_path / "run.html").exists()


def test_in_the_background_ctrl_c_is_for_others_and_what_ends_it_ends_it_in_order(lm_server: Servers) -> None:
    """As a shell starts what is followed by `&`."""
    server = lm_server(Scripted(hang=True))
    with subprocess.Popen(
        ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *RLM, "ask", "?"],
        env=environment(server),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        server.wait_until(lambda s: s.in_flight == 1, timeout=DEADLINE)
        ignored = re.search(r"SigIgn:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
        assert ignored is not None
        assert int(ignored[1], 16) & 1 << (signal.SIGINT - 1)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=DEADLINE)
    assert (process.returncode, one_line(stderr)) == (130, "rlm: cancelled")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--max-budget", "-1"),
        ("--max-budget", "nan"),
        ("--max-tokens", "0"),
        ("--max-timeout", "inf"),
        ("--max-iterations", "0"),
        ("--max-subcalls", "-1"),
        ("--max-errors", "0"),
        ("--log", ""),
        ("--checkpoint", ""),
    ],
)
def test_a_wrong_value_is_wrong_usage_and_names_the_option(rlm: Command, option: str, value: str) -> None:
    done = rlm("ask", "?", option, value)
    assert done.returncode == 2
    said = done.stderr.decode().splitlines()[-1]
    assert f"'{option}'" in said
    assert option[2:].replace("-", "_") not in said or "-" not in option[2:]


def test_resume_checks_its_limits_the_same_way(rlm: Command, tmp_path: Path) -> None:
    assert b"'--max-errors'" in rlm("resume", str(tmp_path), "--max-errors", "0").stderr


def test_a_question_that_begins_with_a_dash_goes_after_two(rlm: Command, lm_server: Servers) -> None:
    done = rlm("ask", "-v means what?")
    assert (done.returncode, b"goes after `--`" in done.stderr) == (2, True)
    assert b"goes after" not in rlm("ask", "?", "-v").stderr
    server = lm_server(code("FINAL(context)"))
    assert rlm("ask", "--", "-v means what?", server=server).stdout == b"-v means what?\n"


@pytest.mark.parametrize(("question", "words"), [("-", "standard input"), ("", "empty"), (" \n", "empty")])
def test_what_is_no_question_is_wrong_usage(rlm: Command, question: str, words: str) -> None:
    done = rlm("ask", question)
    assert (done.returncode, words in done.stderr.decode()) == (2, True)


def test_a_misspelt_command_or_option_is_answered_with_the_right_one(rlm: Command) -> None:
    assert b"Did you mean 'ask'?" in rlm("aks").stderr
    assert b"--max-budget" in rlm("ask", "?", "--max-budgte", "1").stderr


def test_every_command_has_help_and_the_command_alone_shows_its_own(rlm: Command) -> None:
    alone = rlm()
    assert alone.returncode == 2
    assert all(name.encode() in alone.stdout + alone.stderr for name in cli.commands)
    assert b"QUESTION" in rlm("ask").stderr


def test_file_names_of_any_kind_are_read_and_cannot_make_lines_of_their_own(
    rlm: Command, lm_server: Servers, tmp_path: Path
) -> None:
    names = [b"a\nb", b"\xff\xfe", b"-", b"--help", b"*", b" ", "\u202ex".encode()]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_text("text")
    (tmp_path / "bin\nrlm: not ours").write_bytes(b"\0")
    server = lm_server(code("FINAL(sorted(context))"))
    done = rlm("ask", "?", ".", server=server, cwd=tmp_path)
    assert done.stdout.decode().strip() == str(sorted(os.fsdecode(name) for name in names))
    assert one_line(done.stderr) == "rlm: skipped 1 binary files: ./bin\\nrlm: not ours"
    whole = lm_server(code("FINAL(context)"))
    assert rlm("ask", "?", "./-", server=whole, cwd=tmp_path).stdout == b"text\n"
    missing = rlm("ask", "?", "no\n\x1bthere", cwd=tmp_path)
    assert missing.returncode == 2
    assert missing.stderr.decode().splitlines()[-1] == "Error: no\\n\\x1bthere does not exist"


def test_a_demo_that_is_not_asked_for_a_log_leaves_nothing(tmp_path: Path) -> None:
    done = rlm_process("demo", "--fast", "-e", "local", TMPDIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(tmp_path.iterdir()) == []
    assert b"rlm demo --log logs" in done.stdout


def test_reading_that_takes_long_shows_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with Reading(shown=True) as step:
        deadline = time.monotonic() + DEADLINE
        while not (drawn := capsys.readouterr().err):
            step(1_000_000)
            assert time.monotonic() < deadline
    assert f"reading: {step.files:,} files" in drawn
    assert capsys.readouterr().err.endswith("\r")
    with Reading(shown=False) as step:
        step(1)
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("rlm st", "stats"),
        ("rlm ask ? -e pr", "process prime"),
        ("rlm ask ? --max-bud", "--max-budget"),
    ],
)
def test_bash_completes_commands_options_and_environments(words: str, found: str) -> None:
    program = (
        'eval "$(_RLM_COMPLETE=bash_source rlm)"\n'
        f"COMP_WORDS=({words.replace('?', 'q')}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))\n"
        '_rlm_completion rlm; echo "${COMPREPLY[@]}"'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", program], env=environment(PATH=path), capture_output=True, timeout=60, check=False
    )
    assert sorted(done.stdout.decode().split()) == sorted(found.split()), done.stderr


def test_paths_are_completed_as_files() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("rlm"))],
        env=environment(_RLM_COMPLETE="bash_complete", COMP_WORDS="rlm ask q src", COMP_CWORD="3"),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == b"file,src\n"
