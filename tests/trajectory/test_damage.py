"""Trajectory files that were cut off, damaged or made up, and disks that are full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rlm
from rlm.errors import ConfigurationError, TrajectoryError
from rlm.events import Event
from rlm.trajectory import TrajectoryWriter, read
from trajectory.runs import MadeUpRun, kept, small_run


def write(path: Path, events: list[Event]) -> None:
    with TrajectoryWriter(path) as writer:
        for event in events:
            writer(event)


WRITE_FOR_EVER = """
import sys
from trajectory.runs import MadeUpRun
from rlm.trajectory import TrajectoryWriter
writer, made, turn = TrajectoryWriter(sys.argv[1]), MadeUpRun(), 0
writer(made.started())
while True:
    turn += 1
    for event in made.turn(turn, output="x" * 3_000):
        writer(event)
    print(turn, flush=True)
"""


def python(code: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    here = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(rlm.__file__).parents[1]), str(here / "tests")])}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, **options)  # type: ignore[call-overload,no-any-return]


def test_a_killed_writer_leaves_every_event_up_to_the_last_line(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with python(WRITE_FOR_EVER, str(path)) as process:
        assert process.stdout is not None
        told = 0
        while told < 40:
            told = int(process.stdout.readline())
        process.kill()
    trajectory = read(path)
    assert len(trajectory.turns("a1b2c3d4")) >= 40
    assert [turn.number for turn in trajectory.turns("a1b2c3d4")][:40] == list(range(1, 41))
    assert trajectory.finished("a1b2c3d4") is None


def test_a_file_cut_anywhere_in_its_last_line_reads_back_without_it(tmp_path: Path) -> None:
    events = small_run()
    write(tmp_path / "t.jsonl", events)
    data = (tmp_path / "t.jsonl").read_bytes()
    last = data.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(data)):
        (tmp_path / "torn.jsonl").write_bytes(data[:end])
        trajectory = read(tmp_path / "torn.jsonl")
        whole = end == len(data) - 1
        assert trajectory.events == kept(events)[: None if whole else -1]
        assert (trajectory.torn is None) == (whole or end == last)


def test_a_run_can_be_read_while_it_goes_on(tmp_path: Path) -> None:
    events = small_run()
    with TrajectoryWriter(tmp_path / "t.jsonl") as writer:
        for number, event in enumerate(kept(events), 1):
            writer(event)
            assert read(tmp_path / "t.jsonl").events == kept(events)[:number]


def test_records_and_fields_of_a_later_library_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    event = MadeUpRun().finished()
    write(path, [event])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["mood"] = "fine"
    path.write_text("\n".join(map(json.dumps, [lines[0], {"type": "Dreamt", "run": "a"}, lines[1]])) + "\n")
    assert (read(path).events, read(path).unknown) == ((event,), 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not a line of JSON"),
        ("[" * 200_000, "line 2: not a line of JSON"),
        ("[]", "not a JSON object"),
        ('{"type":"TurnStarted","run":"a","depth":0,"time":NaN,"turn":1}', "a time that is none"),
        ('{"type":"TurnStarted","run":"a","depth":0,"time":1e99,"turn":1}', "a time that is none"),
        ('{"type":"TurnStarted","run":"a","depth":9999999999,"time":1,"turn":1}', "deeper than any run"),
        (
            '{"type":"CallStarted","run":"a","depth":0,"time":1,"call":0,"turn":1,"kind":"rlm","model":"m","prompt":"",'
            '"child":"a"}',
            "a child that is not the run's own",
        ),
        ('{"type":"TurnStarted","depth":0,"time":1.0,"turn":1}', "names no run"),
        ('{"type":"TurnStarted","run":"a","depth":0,"time":1.0}', "TurnStarted has no 'turn'"),
        (
            '{"type":"TurnStarted","run":"a","depth":0,"time":1.0,"turn":true}',
            "TurnStarted.turn: expected int, found bool",
        ),
        ('{"type":"TurnStarted","run":"a","depth":0,"time":"x","turn":1}', "expected float, found str"),
        (
            '{"type":"TurnFinished","run":"a","depth":0,"time":1,"turn":1,"shown":{"same":"reply"},"seconds":1}',
            "does not hold",
        ),
        (
            '{"type":"TurnFinished","run":"a","depth":0,"time":1,"turn":1,"shown":{"parts":[{"of":"reply","at":0,"n":1}]}}',
            "hold",
        ),
        (
            '{"type":"Warned","run":"a","depth":0,"time":1,"text":{"parts":[{"at":-1,"n":1,"sha":"x"}]}}',
            "before its text",
        ),
        ('{"type":"Warned","run":"a","depth":0,"time":1,"text":{"parts":7}}', "expected list, found int"),
        ('{"type":"Context","run":"a/0","text":5}', "expected a text, found int"),
        ('{"type":["x"],"run":"a"}', "has no type"),
        ('{"type":"RunFinished","run":"a","depth":0,"time":1,"status":"won"}', "expected one of answered, forced"),
        (
            '{"type":"RunFinished","run":"a","depth":0,"time":1,"status":null,"response":null,"limit":null,"error":["x"]}',
            "2 items",
        ),
    ],
)
def test_a_damaged_line_is_named_by_its_number_and_fault(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "t.jsonl"
    write(path, [])
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(TrajectoryError, match=r"line 2: .*") as caught:
        read(path)
    assert message in str(caught.value)


def test_a_file_that_is_no_trajectory_is_refused(tmp_path: Path) -> None:
    for text, message in (
        ("", "is empty"),
        ("hello\n", "not a line of JSON"),
        ('{"a": 1}\n', "not a trajectory"),
        ('{"format": "rlm-trajectory", "version": 2}\n', "format version 2"),
    ):
        (tmp_path / "t").write_text(text)
        with pytest.raises(TrajectoryError, match=message):
            read(tmp_path / "t")


def test_a_file_whose_references_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    made = MadeUpRun()
    events = [*made.turn(1, code="x = 1\n" * 20_000)]
    path = tmp_path / "t.jsonl"
    write(path, events)
    bomb = {"run": made.run, "depth": 0, "time": 1.0, "type": "CellStarted", "turn": 1, "block": 1}
    code = {"parts": [{"of": "reply", "at": 0, "n": 100_000}] * 50}
    with path.open("a") as file:
        file.writelines(json.dumps({**bomb, "code": code}) + "\n" for _ in range(10))
    with pytest.raises(TrajectoryError, match="repeat far more text"):
        read(path)


def test_a_context_said_to_be_made_of_itself_is_refused(tmp_path: Path) -> None:
    path, who = tmp_path / "t.jsonl", {"depth": 0, "time": 1.0}
    span = {"parts": [{"at": 0, "n": 1, "sha": "x"}]}
    end = {"type": "RunFinished", "run": "a/0", **who, "status": None, "limit": None, "error": None, "usage": []}
    call = {"type": "CallStarted", "run": "a", **who, "call": 0, "turn": 1, "kind": "rlm", "model": "m", "child": "a/0"}
    write(path, [MadeUpRun("a").started()])
    with path.open("a") as file:
        for record in (
            {**end, "response": span, "seconds": 1},
            {**call, "prompt": {"same": "response a/0"}},
            {"type": "Context", "run": "a/0", "text": {"same": "prompt"}},
        ):
            file.write(json.dumps(record) + "\n")
    with pytest.raises(TrajectoryError, match="was made from that of a/0"):
        read(path).context("a/0", "the root's")


def test_an_existing_file_is_never_written_to(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("mine")
    with pytest.raises(ConfigurationError, match="log_dir: cannot create"):
        TrajectoryWriter(tmp_path / "t")
    assert (tmp_path / "t").read_text() == "mine"


FILL_THE_DISK = """
import resource, sys
from trajectory.runs import MadeUpRun, small_run
from rlm.trajectory import TrajectoryWriter, read
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
writer, raised, made = TrajectoryWriter(sys.argv[1]), [], MadeUpRun()
for turn in range(50):
    for event in made.turn(turn, output=f"{turn} " + "x" * 3_000):
        try:
            writer(event)
        except OSError as error:
            raised.append(error)
writer.open_run("a1b2c3d4/0", "child")
writer(made.finished())
assert len(raised) == 1, raised
assert "could not be written any further" in str(raised[0]) and sys.argv[1] in str(raised[0])
trajectory = read(sys.argv[1])
assert trajectory.torn and len(trajectory.events) > 10, trajectory
"""


RUN_ON_A_FULL_DISK = """
import resource, sys
from rlm import RLM
from rlm.events import Warned
from rlm.logger import RLMLogger
from rlm.testing import LMServer
reply = "```repl\\nprint('x' * 3_000)\\nanswer['content'] = 7\\nanswer['ready'] = True\\n```"
with LMServer(reply) as server:
    kwargs = {"api_key": "sk-none", "model_name": "m", "base_url": server.openai_base_url}
    with RLM(backend="openai", backend_kwargs=kwargs, logger=RLMLogger(log_dir=sys.argv[1])) as rlm:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, 1_500))
        result = rlm.completion("context", "question")
assert result.response == "7", result
(warned,) = [event for event in result.trajectory if isinstance(event, Warned)]
assert "could not be written any further: File too large" in warned.text, warned
assert len(result.metadata["iterations"]) == 1
"""


def test_a_run_goes_on_with_a_warning_when_its_log_cannot(tmp_path: Path) -> None:
    with python(RUN_ON_A_FULL_DISK, str(tmp_path / "logs")) as process:
        pass
    assert process.returncode == 0


def test_a_full_disk_is_told_once_and_what_was_written_stays_readable(tmp_path: Path) -> None:
    with python(FILL_THE_DISK, str(tmp_path / "t.jsonl")) as process:
        pass
    assert process.returncode == 0
