"""The pytest fixture: a program's runs recorded once, then replayed without a provider."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

import command_line
import warm
from rlm import RLM, JournalError, Message
from rlm.recording import Tape, using
from rlm.testing import LMServer, Request

Start = Callable[..., LMServer]

CONFTEST = 'pytest_plugins = ["rlm.testing.cassette"]\n'
PROGRAM = """
from concurrent.futures import ThreadPoolExecutor
from rlm import RLM, RLMError

PLURAL = "s"

def summaries(texts):
    rlm = RLM(backend="openai", backend_kwargs={"model_name": "m", "max_retries": 0})
    with ThreadPoolExecutor(2) as pool, rlm:
        return list(pool.map(lambda text: rlm.completion(text, f"the word{PLURAL}?").response, texts))

def safe(text):
    try:
        return summaries([text])[0]
    except RLMError:
        return "nothing"
"""
TESTS = """
import program

def test_summaries(rlm_cassette):
    assert program.summaries(["one", "two", "two"]) == ["about one", "about two", "about two"]

def test_a_program_that_swallows_errors(rlm_cassette):
    program.safe("one")
"""


def model(request: Request) -> str:
    if not command_line.is_root(request):
        return f"about {request.text}"
    return command_line.code("FINAL(llm_query(context))")


def pytest_in(
    folder: Path, *arguments: str, server: LMServer | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    env = {
        **command_line.environment(server, **variables),
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # a second of each run
    }
    done = start(command, folder, env)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def start(command: list[str], folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    if "--rlm-record" in command:
        return warm.run(*command, cwd=folder, env=env, timeout=command_line.DEADLINE)
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=env,
        capture_output=True,
        timeout=command_line.DEADLINE,
        check=False,
    )


def project(folder: Path, tests: str = TESTS) -> Path:
    for name, text in (("conftest.py", CONFTEST), ("program.py", PROGRAM), ("test_it.py", tests)):
        (folder / name).write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


def test_a_programs_runs_are_recorded_once_and_replayed_without_network_or_key(
    tmp_path: Path, lm_server: Start
) -> None:
    folder = project(tmp_path)
    server = lm_server(model)
    missing = pytest_in(folder)
    assert missing.returncode == 1
    assert "run this test once with --rlm-record" in missing.stdout
    recorded = pytest_in(folder, "--rlm-record", server=server)
    assert recorded.returncode == 0, recorded.stdout
    asked = len(server.requests)
    assert asked == 8
    files = sorted((folder / "cassettes" / "test_it").iterdir())
    assert [file.name for file in files] == ["test_a_program_that_swallows_errors.jsonl", "test_summaries.jsonl"]
    assert b"key-of-the-test" not in b"".join(file.read_bytes() for file in files)
    replayed = pytest_in(folder)
    assert replayed.returncode == 0, replayed.stdout
    assert len(server.requests) == asked


def test_a_run_that_asks_something_else_fails_showing_the_difference_even_if_it_is_swallowed(
    tmp_path: Path, lm_server: Start
) -> None:
    folder = project(tmp_path)
    assert pytest_in(folder, "--rlm-record", server=lm_server(model)).returncode == 0
    program = folder / "program.py"
    program.write_text(program.read_text().replace('"model_name": "m"', '"model_name": "another"'))
    done = pytest_in(folder)
    assert done.returncode == 1
    assert "- recorded: m\n" in done.stdout
    assert "+ asked:    another\n" in done.stdout
    assert "2 failed" in done.stdout or "1 failed, 1 passed, 1 error" in done.stdout
    program.write_text(PROGRAM.replace('PLURAL = "s"', 'PLURAL = ""'))
    done = pytest_in(folder)
    assert "holds no run with the question 'the word?'" in done.stdout
    assert "it holds runs with the questions: 'the words?'" in done.stdout


def test_a_recording_that_fails_leaves_the_one_there_was(tmp_path: Path, lm_server: Start) -> None:
    folder = project(tmp_path)
    assert pytest_in(folder, "--rlm-record", server=lm_server(model)).returncode == 0
    path = folder / "cassettes" / "test_it" / "test_summaries.jsonl"
    before = path.read_bytes()
    assert pytest_in(folder, "--rlm-record", "-k", "summaries", server=lm_server("FINAL(0)")).returncode == 1
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 2


MANY = """
import pytest
import program

class TestOne:
    def test_same(self, rlm_cassette):
        assert program.summaries(["one"]) == ["about one"]

class TestTwo:
    def test_same(self, rlm_cassette):
        assert program.summaries(["two"]) == ["about two"]

@pytest.mark.parametrize("text", ["x/y", "x y", "x-y", "long " * 60])
def test_texts(text, rlm_cassette):
    assert program.summaries([text]) == [f"about {text}"]

def test_that_makes_no_run(rlm_cassette):
    assert True
"""


def test_every_test_has_a_file_of_its_own_also_one_that_makes_no_run(tmp_path: Path, lm_server: Start) -> None:
    folder = project(tmp_path, MANY)
    recorded = pytest_in(folder, "--rlm-record", server=lm_server(model))
    assert recorded.returncode == 0, recorded.stdout
    names = sorted(file.name for file in (folder / "cassettes" / "test_it").iterdir())
    assert len(names) == 7
    plain = ["TestOne.test_same.jsonl", "TestTwo.test_same.jsonl", "test_texts-x-y.jsonl"]
    assert {*plain, "test_that_makes_no_run.jsonl"} <= set(names)
    replayed = pytest_in(folder, "-n", "2", "-p", "xdist")
    assert replayed.returncode == 0, replayed.stdout


EQUAL = """
import program

def test_equal_runs(rlm_cassette):
    program.summaries(["one", "same", "same"])
"""


def test_a_run_more_or_fewer_than_was_recorded_fails_the_test(tmp_path: Path, lm_server: Start) -> None:
    folder = project(tmp_path, EQUAL)
    assert pytest_in(folder, "--rlm-record", server=lm_server(model)).returncode == 0
    (folder / "test_it.py").write_text(EQUAL.replace('"same"]', '"same", "same"]'))
    more = pytest_in(folder)
    assert more.returncode == 1
    assert "holds 2 runs with the question 'the words?' about this context, and this is one more" in more.stdout
    (folder / "test_it.py").write_text(EQUAL.replace('"same", "same"', '"same"'))
    fewer = pytest_in(folder)
    assert fewer.returncode == 1
    assert "holds a run with the question 'the words?' that was not made" in fewer.stdout


OUTLIVED = """
import asyncio, threading
from rlm import RLM

def test_that_does_not_wait(rlm_cassette):
    begun = threading.Event()
    async def never(messages):
        begun.set()
        await asyncio.Event().wait()
    threading.Thread(target=RLM(backend=never).completion, args=("c",), daemon=True).start()
    assert begun.wait(60)
"""


def test_a_recording_of_half_a_run_is_not_kept(tmp_path: Path) -> None:
    done = pytest_in(project(tmp_path, OUTLIVED), "--rlm-record")
    assert done.returncode == 1
    assert "a run went on when the test was over" in done.stdout
    assert list((tmp_path / "cassettes" / "test_it").iterdir()) == []


def test_a_run_that_outlives_its_recording_writes_into_no_other_file(tmp_path: Path) -> None:
    asked, go, failures = threading.Event(), threading.Event(), list[Exception]()

    async def provider(messages: Sequence[Message]) -> str:
        asked.set()
        await asyncio.to_thread(go.wait, command_line.DEADLINE)
        return command_line.code("FINAL(1)")

    def run() -> None:
        try:
            RLM(backend=provider).completion("c", "q")
        except JournalError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    with using(Tape(tmp_path / "tape.jsonl", record=True)):
        thread.start()
        assert asked.wait(command_line.DEADLINE)
    with ExitStack() as stack:  # the descriptors that the program opens now have numbers that were the recording's
        files = [tmp_path / f"file {number}" for number in range(8)]
        for file in files:
            stack.enter_context(open(file, "wb"))
        go.set()
        thread.join(command_line.DEADLINE)
    assert ["is closed" in str(failure) for failure in failures] == [True]
    assert [file.read_bytes() for file in files] == [b""] * len(files)


WORD = "postgres-database"
NAMED = f"""
import program

def test_of_the_database(rlm_cassette):
    [answer] = program.summaries(["the {WORD} and its tables"])
    assert answer.startswith("about the ") and len(answer) == {len(f"about the {WORD} and its tables")}
"""


@pytest.mark.parametrize("recording", [True, False], ids=["recorded", "replayed"])
def test_a_key_that_is_set_only_when_a_run_is_recorded_or_only_when_it_is_replayed(
    recording: bool, tmp_path: Path, lm_server: Start
) -> None:
    folder = project(tmp_path, NAMED)
    key = {"PGPASSWORD": WORD}
    recorded = pytest_in(folder, "--rlm-record", server=lm_server(model), **(key if recording else {}))
    assert recorded.returncode == 0, recorded.stdout
    [file] = (folder / "cassettes" / "test_it").iterdir()
    assert (WORD in file.read_text()) is not recording
    replayed = pytest_in(folder, **({} if recording else key))
    assert replayed.returncode == 0, replayed.stdout
