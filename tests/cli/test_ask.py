"""`rlm ask` from outside: answer, exit codes, errors, Ctrl-C, and what the context becomes."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import DEADLINE, RLM, code, environment, is_root, one_line, turns
from command_line import rlm as rlm_process
from rlm.testing import LMServer, Request, Scripted, rate_limit
from rlm.trajectory import read

Servers = Callable[..., LMServer]
Command = Callable[..., Any]


def test_the_answer_is_all_there_is_when_nobody_watches(rlm: Command, lm_server: Servers, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two three")
    server = lm_server(code("FINAL(len(context.split()))"))
    done = rlm("ask", "How many words?", "a.txt", server=server, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"3\n", b"")


def test_several_files_become_a_dict_and_the_question_reaches_the_model(
    rlm: Command, lm_server: Servers, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("A")
    (tmp_path / "b.txt").write_text("B")
    server = lm_server(code("FINAL(sorted(context.items()))"))
    done = rlm("ask", "What is in them, pray?", "a.txt", "b.txt", server=server, cwd=tmp_path)
    assert done.stdout == b"[('a.txt', 'A'), ('b.txt', 'B')]\n"
    assert "What is in them, pray?" in server.requests[0].messages[-1][1]


def test_any_bytes_from_standard_input_come_out_as_they_went_in(lm_server: Servers) -> None:
    data = b"caf\xe9 \xff\r\n\xe2\x82\xac \xf0\x9f\x98\x80 " + b"x" * 300_000 + b"\n"
    done = rlm_process("ask", "Repeat it", "-", server=lm_server(code("FINAL(context)")), stdin=data)
    assert done.returncode == 0
    assert done.stdout == data


def test_without_a_path_the_question_is_all_there_is(rlm: Command, lm_server: Servers) -> None:
    done = rlm("ask", "Calculate 6 times 7", server=lm_server(code("FINAL(context)")))
    assert done.stdout == b"Calculate 6 times 7\n"


def test_models_are_chosen_by_provider_and_name(rlm: Command, lm_server: Servers, tmp_path: Path) -> None:
    def answer(request: Request) -> str:
        return code("FINAL(llm_query('sub'))") if is_root(request) else request.model

    server = lm_server(answer)
    done = rlm("ask", "?", "--model", "anthropic/root-1", "--sub-model", "openai/sub-1", server=server)
    assert done.stdout == b"sub-1\n"
    assert [(r.provider, r.model) for r in server.requests] == [("anthropic", "root-1"), ("openai", "sub-1")]


def test_any_parameter_of_an_rlm_can_be_given(rlm: Command, lm_server: Servers) -> None:
    server = lm_server(code("FINAL(str(budget()))"))
    price = 'backend_kwargs.price={"input": 1e-9, "output": 1e-9}'
    done = rlm("ask", "?", "-o", price, "-o", "sampling_args.temperature=0.25", "--max-budget", "9", server=server)
    assert done.returncode == 0
    assert b"'dollars': 9.0," in done.stdout
    assert server.requests[0].body["temperature"] == 0.25


def test_parameters_are_kept_for_a_resume(rlm: Command, lm_server: Servers, tmp_path: Path) -> None:
    def answer(request: Request) -> str:
        return code("FINAL(context if context == 'deeper' else rlm_query('deeper'))")

    arguments = ("ask", "?", "-o", "max_depth=2", "--checkpoint", "kept", "--max-tokens", "1")
    assert rlm(*arguments, server=lm_server(answer), cwd=tmp_path).returncode == 4
    done = rlm("resume", "kept", "--max-tokens", "100000", server=lm_server(answer), cwd=tmp_path)
    assert done.stdout == b"deeper\n"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("max_depth", "'max_depth' is not NAME=VALUE"),
        ("depht=2", "there is no parameter 'depht'; there are backend_kwargs, "),
        ("max_budget=2", "max_budget has an option of its own: --max-budget"),
        ("max_depth=-1", "max_depth must be a whole number of at least 0"),
        ("backend_kwargs.api_key=sk-1", "set the provider's environment variable"),
        ('backend_kwargs.default_headers={"Authorization": "sk-1"}', "set the provider's environment variable"),
        ('other_backend_kwargs=[{"api_key": "sk-1"}]', "set the provider's environment variable"),
    ],
)
def test_parameters_that_cannot_be_are_told(rlm: Command, lm_server: Servers, option: str, said: str) -> None:
    server = lm_server("never asked")
    done = rlm("ask", "?", "-o", option, server=server)
    assert done.returncode in (2, 5)
    assert said in " ".join(done.stderr.decode().split())
    assert b"sk-1" not in done.stderr
    assert not server.requests


def test_the_code_runs_in_a_process_of_its_own_unless_asked_otherwise(rlm: Command, lm_server: Servers) -> None:
    source = code("import os\nFINAL(os.environ.get('OPENAI_API_KEY', 'no key'))")
    assert rlm("ask", "?", server=lm_server(source)).stdout == b"no key\n"
    assert rlm("ask", "?", "-e", "local", server=lm_server(source)).stdout == b"key-of-the-test\n"


def test_json_is_one_object_with_answer_status_and_usage(rlm: Command, lm_server: Servers, tmp_path: Path) -> None:
    done = rlm("ask", "?", "--json", "--log", str(tmp_path / "runs"), server=lm_server(code("FINAL('\ud83d\ude00')")))
    data = json.loads(done.stdout)
    assert (data["response"], data["status"], data["exit_code"]) == ("😀", "answered", 0)
    assert data["tokens"] > 0
    assert data["model"] == "gpt-5-mini"
    assert read(data["trajectory"]).runs


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("{'names': ['a', None], 'share': 0.5, 'all': True}", {"names": ["a", None], "share": 0.5, "all": True}),
        ("'text'", "text"),
        ("{1: 'a number as a key'}", None),
        ("('a', 'tuple')", None),
        ("[float('nan')]", None),
        ("b'bytes'", None),
    ],
)
def test_json_has_the_value_where_json_can_carry_it(rlm: Command, lm_server: Servers, answer: str, value: Any) -> None:
    data = json.loads(rlm("ask", "?", "--json", server=lm_server(code(f"FINAL({answer})"))).stdout)
    assert data["value"] == value


def test_a_forced_answer_has_an_exit_code_of_its_own(rlm: Command, lm_server: Servers) -> None:
    server = lm_server(lambda request: code("print('looking')") if turns(request) == 0 else "it may be 7")
    done = rlm("ask", "?", "--max-iterations", "1", server=server)
    assert done.returncode == 3
    assert b"7" in done.stdout
    assert "forced" in one_line(done.stderr)


def test_a_limit_before_any_answer_is_told_and_no_empty_line_is_printed(rlm: Command, lm_server: Servers) -> None:
    arguments = ("ask", "?", "-o", "on_limit=return", "--max-tokens", "10")
    done = rlm(*arguments, server=lm_server("unused"))
    assert (done.returncode, done.stdout) == (3, b"")
    assert one_line(done.stderr) == "rlm: forced: max_tokens was reached before there was any answer"
    data = json.loads(rlm(*arguments, "--json", server=lm_server("unused")).stdout)
    assert (data["response"], data["status"]) == ("", "forced")


def test_a_forced_run_with_a_checkpoint_says_how_to_go_on(rlm: Command, lm_server: Servers, tmp_path: Path) -> None:
    server = lm_server(lambda request: code("print('looking')") if turns(request) == 0 else "it may be 7")
    done = rlm("ask", "?", "--max-iterations", "1", "--checkpoint", "kept", server=server, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, b"it may be 7\n")
    forced, resume = done.stderr.decode().splitlines()
    assert forced.startswith("rlm: forced: the turns ran out")
    assert "`rlm resume kept` goes on from there" in resume


def test_a_limit_has_an_exit_code_names_its_option_and_prints_the_draft(rlm: Command, lm_server: Servers) -> None:
    server = lm_server(code("answer['content'] = 'so far 12'\nprint('x')"))
    done = rlm("ask", "?", "--max-tokens", "4000", server=server)
    assert done.returncode == 4, done.stderr
    assert done.stdout == b"so far 12\n"
    assert "--max-tokens" in one_line(done.stderr)


def test_a_missing_key_is_one_line_that_says_what_to_set(rlm: Command) -> None:
    done = rlm("ask", "?")
    assert done.returncode == 5
    assert "OPENAI_API_KEY" in one_line(done.stderr)
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "opneai/gpt-5-mini"], ["opneai", "openai"]),
        (["--environment", "nowhere"], ["nowhere", "process"]),
        (["--log", "/proc/nowhere"], ["--log", "/proc/nowhere"]),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    rlm: Command, lm_server: Servers, arguments: list[str], words: list[str]
) -> None:
    done = rlm("ask", "?", *arguments, server=lm_server("unused"))
    assert done.returncode == 5
    assert all(word in one_line(done.stderr) for word in words)


@pytest.mark.parametrize("arguments", [["nowhere.txt"], ["*.nothing"], ["--no-such-option"], ["--max-tokens", "many"]])
def test_wrong_usage_is_code_2_and_no_traceback(rlm: Command, arguments: list[str], tmp_path: Path) -> None:
    done = rlm("ask", "?", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"Error" in done.stderr


def test_skipped_files_are_said_unless_quiet(rlm: Command, lm_server: Servers, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\0")
    server = lm_server(code("FINAL(list(context))"))
    done = rlm("ask", "?", ".", server=server, cwd=tmp_path)
    assert (done.stdout, one_line(done.stderr)) == (b"['a.txt']\n", "rlm: skipped 1 binary files: ./b.png")
    assert rlm("ask", "?", ".", "--quiet", server=server, cwd=tmp_path).stderr == b""


def test_a_provider_that_refuses_is_one_line_and_code_1(rlm: Command, lm_server: Servers) -> None:
    server = lm_server(Scripted(status=401, error="Incorrect API key provided", code="invalid_api_key"))
    done = rlm("ask", "?", server=server)
    assert done.returncode == 1
    assert "Incorrect API key provided" in one_line(done.stderr)


NO_RETRY = ("-o", "backend_kwargs.max_retries=0")


@pytest.mark.parametrize(
    ("reply", "arguments", "said"),
    [
        (None, (), "set the environment variable OPENAI_API_KEY\n"),
        (
            "unused",
            ("-m", "openai/x", "--max-budget", "1"),
            """-o 'backend_kwargs.price={"input": …, "output": …}' in""",
        ),
        (Scripted(status=401, error="no"), (), "check the key in OPENAI_API_KEY\n"),
        (Scripted(status=429, error="slow"), NO_RETRY, "wait, ask less at once with -o max_concurrent_calls=N, or"),
        (
            Scripted(hang=True),
            (*NO_RETRY, "-o", "backend_kwargs.timeout=0.2"),
            "raise it with -o backend_kwargs.timeout=SECONDS, or",
        ),
    ],
)
def test_what_to_do_is_told_in_options_of_the_command(
    rlm: Command, lm_server: Servers, reply: str | Scripted | None, arguments: tuple[str, ...], said: str
) -> None:
    done = rlm("ask", "?", *arguments, server=None if reply is None else lm_server(reply))
    line = done.stderr.decode()
    assert said in line
    assert "backend_kwargs=" not in line


def test_a_provider_that_answers_garbage_is_one_line_and_code_1(rlm: Command, lm_server: Servers) -> None:
    done = rlm("ask", "?", server=lm_server(Scripted(body=b"<html>")))
    assert done.returncode == 1
    assert "malformed" in one_line(done.stderr)


def test_debug_shows_where_it_failed(rlm: Command) -> None:
    done = rlm("ask", "?", "--debug")
    assert done.returncode == 5
    assert b"Traceback" in done.stderr
    assert b"OPENAI_API_KEY" in done.stderr.splitlines()[-1]


def test_a_reader_that_goes_away_is_no_traceback(lm_server: Servers) -> None:
    with subprocess.Popen(
        [*RLM, "ask", "?"],
        env=environment(lm_server(code("FINAL('line\\n' * 1_000_000)"))),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(5) == b"line\n"
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["process", "local"])
def test_ctrl_c_in_a_fan_out_prints_the_draft_keeps_the_trajectory_and_leaves_nothing(
    lm_server: Servers, tmp_path: Path, place: str, number: int
) -> None:
    def answer(request: Request) -> str | Scripted:
        if is_root(request):
            return (
                code("answer['content'] = 'half way'") if turns(request) == 0 else code("llm_query_batched(['q'] * 20)")
            )
        return Scripted(hang=True)

    server = lm_server(answer)
    log = tmp_path / "runs"
    with subprocess.Popen(
        [*RLM, "ask", "?", "-e", place, "--log", str(log)],
        env=environment(server),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        server.wait_until(lambda s: s.in_flight == 20, timeout=DEADLINE)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert stdout == b"half way\n"
    assert "cancelled" in one_line(stderr)
    trajectory = read(next(log.iterdir()))
    assert len(trajectory.calls()) == 20
    assert trajectory.finished(trajectory.runs[0]) is not None
    assert not members(process.pid), "a process was left behind"


def members(session: int) -> list[str]:
    """Processes of a session, `ps` not being everywhere."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(entry.name)
    return found


def test_a_rate_limit_on_the_way_changes_nothing(rlm: Command, lm_server: Servers) -> None:
    done = rlm("ask", "?", server=lm_server([rate_limit(), code("FINAL('there')")]))
    assert (done.returncode, done.stdout) == (0, b"there\n")
