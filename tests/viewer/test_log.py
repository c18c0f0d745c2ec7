"""Reading a trajectory file for the viewer: texts as the library reads them, as it grows, and where it is broken."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from rlm.errors import TrajectoryError
from rlm.events import CallStarted
from rlm.trajectory import CutText, TrajectoryWriter, read
from rlm.types import UNSET
from rlm.viewer import Log
from rlm.viewer.evidence import evidence_in
from rlm.viewer.texts import Damaged, plain
from viewer.logs import MadeUpRun, log_lines, real_run, write


def texts(value: Any) -> Iterator[str]:
    """Every text of an event."""
    if isinstance(value, str):
        yield str(value)
    elif isinstance(value, tuple):
        for item in value:
            yield from texts(item)
    elif is_dataclass(value):
        for field in fields(value):
            if field.name not in ("options", "run", "usage"):
                yield from texts(getattr(value, field.name))


def record_texts(value: Any) -> Iterator[str]:
    """Every text of a resolved record, parts joined as the library shows them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and any(isinstance(item, dict) and "at" in item for item in value):
        yield plain(value)
    elif isinstance(value, list):
        for item in value:
            yield from record_texts(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in ("options", "run", "usage", "type"):
                yield from record_texts(item)


def opened(path: Path) -> Log:
    log = Log(path)
    log.update()
    return log


def assert_reads_as_the_library(path: Path) -> None:
    log = opened(path)
    records = [log.record(number) for number in range(2, log.line_count + 1)]
    ours = [record for record in records if record["type"] != "Context"]
    theirs = read(path).events
    assert len(ours) == len(theirs)
    for record, event in zip(ours, theirs, strict=True):
        # Texts at their default are not in the file.
        assert set(record_texts(record)) <= set(texts(event)), record["type"]
        assert {t for t in texts(event) if len(t) > 20} <= set(record_texts(record)), record["type"]


def test_every_text_reads_as_the_library_reads_it(tmp_path: Path) -> None:
    path, _ = real_run(tmp_path)
    assert '"same"' in path.read_text()
    assert '"of"' in path.read_text()
    assert_reads_as_the_library(path)


def test_drafts_and_answers_that_refer_to_each_other_read_as_the_library_reads_them(tmp_path: Path) -> None:
    made = MadeUpRun()
    long, other = "a draft " * 50, "another " * 50
    turns = [
        made.turn(1, draft=long),
        made.turn(2, draft=long),
        made.turn(3, draft=other),
        made.turn(4, answer=other, draft=other),
        made.turn(5, answer=long, draft=long),
        made.turn(6, output="o" * 500, draft="o" * 500),
    ]
    events = [made.started(), *(event for turn in turns for event in turn), made.finished(long)]
    assert_reads_as_the_library(write(tmp_path / "run.jsonl", events))


def test_spans_of_the_context_are_shown_as_places_and_slices_of_cut_texts_are_right(tmp_path: Path) -> None:
    context = log_lines(60_000)
    made = MadeUpRun()
    prompt = f"Read <{context[20_000:45_000]}> and say."
    with TrajectoryWriter(tmp_path / "run.jsonl", context=context) as writer:
        writer(made.started(size=len(context)))
        for event in made.turn(1, calls=tuple(made.call(prompt, "yes"))):
            writer(event)
    log = opened(tmp_path / "run.jsonl")
    started = next(r for n in range(2, log.line_count + 1) if (r := log.record(n))["type"] == "CallStarted")
    span = {"at": 20_000, "n": 25_000, "path": []}
    assert started["prompt"] == ["Read <", span, "> and say."]
    event = next(e for e in read(tmp_path / "run.jsonl").events if isinstance(e, CallStarted))
    assert isinstance(event.prompt, CutText)
    assert plain(started["prompt"]) == event.prompt


def test_a_file_is_read_on_as_it_grows_and_half_a_line_waits(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.jsonl", list(MadeUpRun().turn(1))).read_bytes()
    path = tmp_path / "run.jsonl"
    lines = whole.splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1] + lines[2][:20])
    log = Log(path)
    assert log.update()
    assert (log.line_count, log.torn) == (2, True)
    assert not log.update()
    with path.open("ab") as file:
        file.write(lines[2][20:] + b"".join(lines[3:]))
    assert log.update()
    assert (log.line_count, log.torn) == (len(lines), False)
    assert log.damaged == []


def test_damage_is_counted_and_the_rest_is_shown(tmp_path: Path) -> None:
    lines = write(tmp_path / "whole.jsonl", list(MadeUpRun().turn(1))).read_bytes().splitlines(keepends=True)
    broken = [
        b"no json\n",
        b"[1, 2]\n",
        b'{"type":"TurnStarted","run":5}\n',
        b'{"type":"CellFinished","run":"a","depth":0,"time":1.0,"turn":1,"block":0,"cell":[]}\n',
        b'{"type":"CellStarted","run":"a","depth":0,"time":1.0,"turn":1,"block":0,"code":{"same":"reply"}}\n',
        b'{"type":"Warned","run":"a","depth":0,"time":1.0,"text":{"parts":[{"at":-1,"n":5}]}}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n",
    ]
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join([lines[0], lines[1], *broken, *lines[2:]]))
    log = opened(path)
    assert [number for number, _ in log.damaged] == list(range(3, 3 + len(broken)))
    assert len(log.rows) == len(lines) - 1


def test_references_that_would_repeat_far_more_than_the_file_holds_are_damage(tmp_path: Path) -> None:
    head = {"run": "a", "depth": 0, "time": 1.0}
    reply = {"text": "x" * 1_000_000, "model": "m", "usage": {}}
    bomb = {"parts": [{"of": "reply", "at": 0, "n": 1_000_000}] * 1_000}
    records = [
        {"type": "ReplyReceived", **head, "turn": 0, "reply": reply, "seconds": 1.0},
        {"type": "CellStarted", **head, "turn": 0, "block": 0, "code": bomb},
    ]
    header = {"format": "rlm-trajectory", "version": 1, "created": 1.0}
    path = tmp_path / "run.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in [header, *records]))
    log = opened(path)
    assert [number for number, _ in log.damaged] == [3]
    with pytest.raises((Damaged, KeyError)):
        log.record(3)


@pytest.mark.parametrize(
    "line", ["", "hello\n", "[]\n", '{"format":"other"}\n', '{"format":"rlm-trajectory","version":2}\n']
)
def test_a_file_that_is_no_trajectory_of_this_version_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(line)
    with pytest.raises(TrajectoryError):
        Log(path)


@pytest.mark.parametrize("most", [1_000, 2_500, 10_000])
def test_rows_come_in_pages_that_join(tmp_path: Path, most: int) -> None:
    events = [event for turn in range(600) for event in MadeUpRun().turn(turn, draft=UNSET)]
    log = opened(write(tmp_path / "run.jsonl", events))
    rows: list[Any] = []
    while len(rows) < len(log.rows):
        text, after = log.rows.json(len(rows), most)
        page = json.loads(text)
        assert page
        rows += page
        assert after == len(rows)
    assert [row[1] for row in rows] == list(range(2, log.line_count + 1))
    assert log.rows.json(len(rows), most) == ("[]", len(rows))
    assert json.loads(log.rows.json(1_234, most)[0])[0] == rows[1_234]


HEAD = '"run":"a","depth":0,"time":1.0'
USAGE = '"usage":{}'


@pytest.mark.parametrize(
    "line",
    [
        '{"type":"TurnStarted","run":"a","depth":0,"time":1e999,"turn":0}',
        '{"type":"TurnStarted","run":"a","depth":0,"time":NaN,"turn":0}',
        '{"type":"TurnStarted","run":"a","depth":0,"time":-5,"turn":0}',
        f'{{"type":"TurnStarted",{HEAD},"turn":"<b>"}}',
        f'{{"type":"TurnStarted",{HEAD},"turn":true}}',
        f'{{"type":"TurnFinished",{HEAD},"turn":0,"seconds":[1]}}',
        f'{{"type":"CallStarted",{HEAD},"call":0,"turn":0,"kind":"rlm","model":"m","prompt":"p","child":"a"}}',
        f'{{"type":"CallStarted",{HEAD},"call":0,"turn":0,"kind":"<b>","model":"m","prompt":"p"}}',
        f'{{"type":"CallFinished",{HEAD},"call":0,"reply":null,"error":["x","y"],"usage":{{"calls":"1"}},"seconds":1.0}}',
        f'{{"type":"RunFinished",{HEAD},"status":"<b>","response":null,"limit":null,"error":null,{USAGE},"seconds":1}}',
        f'{{"type":"TurnStarted","run":"{"a/" * 500}0","depth":0,"time":1.0,"turn":0}}',
    ],
)
def test_what_the_page_could_not_bear_is_damage(tmp_path: Path, line: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text('{"format":"rlm-trajectory","version":1,"created":1.0}\n' + line + "\n")
    log = opened(path)
    assert [number for number, _ in log.damaged] == [2]
    assert len(log.rows) == 0


@pytest.mark.parametrize("usage", ["5", '{"m":1}', '[["m",{"calls":"1"}]]', '[["m"]]', '[["m",[]]]'])
def test_an_end_whose_usage_is_none_is_damage_and_ends_nothing(tmp_path: Path, usage: str) -> None:
    path = write(tmp_path / "run.jsonl", [MadeUpRun("a").started()])
    with path.open("a") as file:
        end = '"status":"answered","response":"x","limit":null,"error":null,"seconds":1.0'
        file.write(f'{{"type":"RunFinished",{HEAD},{end},"usage":{usage}}}\n')
    log = opened(path)
    assert len(log.damaged) == 1
    assert log.summary.to_dict()["status"] == "running"


def test_records_of_an_unknown_kind_are_counted_and_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", list(MadeUpRun().turn(1)))
    rows = len(opened(path).rows)
    with path.open("a") as file:
        file.write(f'{{"type":"Dreamt",{HEAD},"of":"sheep"}}\n')
    log = opened(path)
    assert (log.unknown, log.damaged, len(log.rows)) == (1, [], rows)


def test_a_log_that_was_bent_anywhere_is_still_read(tmp_path: Path) -> None:
    whole = real_run(tmp_path)[0].read_bytes()
    header, body = whole.split(b"\n", 1)
    rng = random.Random(11)
    for number in range(150):
        bent = bytearray(body)
        for _ in range(rng.randrange(1, 30)):
            place = rng.randrange(len(bent))
            bent[place : place + rng.randrange(3)] = rng.choice([b"", b'"', b"{", b"0", b"\n", b"null", b"[]", b"\xff"])
        path = tmp_path / f"bent-{number}.jsonl"
        path.write_bytes(header + b"\n" + bytes(bent))
        log = opened(path)
        json.dumps(log.summary.to_dict(), allow_nan=False)
        json.loads(log.rows.json(0, 10_000)[0])
        evidence_in(log)
