"""The six questions of the strip, answered from a log, against what really happened."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from rlm import Price
from rlm.events import CallFinished, CallStarted, CellFinished, Compacted, ReplyReceived, TurnStarted
from rlm.types import Reply
from rlm.viewer import Log
from rlm.viewer.coverage import thinned
from rlm.viewer.evidence import evidence_in
from trajectory.runs import USAGE
from viewer.logs import ANSWER, MadeUpRun, real_run, write


def opened(path: Path) -> Log:
    log = Log(path)
    log.update()
    return log


def test_calls_dollars_and_status_are_those_of_the_run(tmp_path: Path) -> None:
    path, result = real_run(tmp_path, price=Price(input=1.0, output=2.0))
    summary = opened(path).summary.to_dict()
    started = [e for e in result.trajectory if isinstance(e, CallStarted)]
    assert summary["calls"]["llm"] == sum(e.kind == "llm" for e in started) == 8
    assert summary["calls"]["rlm"] == 2
    assert summary["calls"]["failed"] == 2
    assert summary["model_calls"] == result.usage_summary.total.calls
    # The calls that failed cost nobody knows what.
    assert summary["dollars"] == result.usage_summary.total_cost
    assert (summary["status"], summary["turns"], summary["runs"]) == ("answered", 5, 2)


def test_dollars_are_unknown_where_a_price_is(tmp_path: Path) -> None:
    path, _ = real_run(tmp_path)
    summary = opened(path).summary.to_dict()
    assert summary["dollars"] is None
    assert summary["unpriced"] == summary["model_calls"]


def test_usage_of_a_run_that_has_not_ended_is_the_sum_of_its_replies(tmp_path: Path) -> None:
    path, result = real_run(tmp_path, price=Price(input=1.0, output=2.0))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    summary = opened(path).summary
    assert summary.status == "running"
    total = result.usage_summary.total
    assert (summary.total.calls, summary.total.input_tokens) == (total.calls, total.input_tokens)
    assert summary.total.dollars == pytest.approx(total.dollars)


def test_the_slowest_part_is_the_longest_step_and_the_longest_call_in_it(tmp_path: Path) -> None:
    path, result = real_run(tmp_path)
    slowest = opened(path).summary.slowest()
    root = [event for event in result.trajectory if event.depth == 0]
    begun = next(event for event in root if isinstance(event, TurnStarted))
    steps = [(begun.time - root[0].time, "start", 0)]
    steps += [(e.cell.seconds, "code", e.turn) for e in root if isinstance(e, CellFinished)]
    steps += [(e.seconds, "model", e.turn) for e in root if isinstance(e, ReplyReceived)]
    assert (slowest[0].seconds, slowest[0].kind, slowest[0].turn) == max(steps)
    if slowest[0].calls:
        calls = [e for e in result.trajectory if isinstance(e, CallFinished) and e.depth == 0]
        assert slowest[1].seconds in {e.seconds for e in calls}


def test_the_slowest_part_leads_down_into_a_child(tmp_path: Path) -> None:
    root, child = MadeUpRun("a"), MadeUpRun("a/0", depth=1)
    started, finished = root.call("look", "seen", turn=1, child="a/0")
    assert isinstance(finished, CallFinished)
    inner = [child.started(), *child.turn(1), child.finished("seen")]
    events = list(root.turn(1, calls=(started, *inner, replace(finished, seconds=99.0))))
    (place,) = [n for n, e in enumerate(events) if isinstance(e, CellFinished) and e.run == "a"]
    cell = events[place]
    assert isinstance(cell, CellFinished)
    events[place] = replace(cell, cell=replace(cell.cell, seconds=100.0))
    path = write(tmp_path / "run.jsonl", [root.started(), *events, root.finished()])
    slowest = opened(path).summary.slowest()
    assert [(s.kind, s.run, s.seconds) for s in slowest[:2]] == [("code", "a", 100.0), ("call", "a", 99.0)]
    assert (slowest[2].run, slowest[2].kind) == ("a/0", "model")


def test_a_start_that_took_longer_than_all_else_is_the_slowest_part(tmp_path: Path) -> None:
    made = MadeUpRun()
    started, turn, *rest = made.started(), *made.turn(0)
    late = [replace(event, time=started.time + 60.0) for event in (turn, *rest)]
    slowest = opened(write(tmp_path / "run.jsonl", [started, *late])).summary.slowest()
    assert [(step.kind, step.seconds, step.turn) for step in slowest] == [("start", 60.0, 0)]


@pytest.mark.parametrize(("events", "kind"), [(1, "model"), (4, "code")])
def test_what_was_cut_off_counts_with_the_time_it_had_taken(tmp_path: Path, events: int, kind: str) -> None:
    made = MadeUpRun()
    begun = [made.started(), *list(made.turn(0))[:events]]
    end = replace(made.finished(None, error=("TimeoutExceededError", "60 s")), time=begun[-1].time + 60.0)
    slowest = opened(write(tmp_path / "run.jsonl", [*begun, end])).summary.slowest()
    assert [(step.kind, step.seconds) for step in slowest] == [(kind, 60.0)]


def test_a_summary_of_the_history_counts_as_the_call_it_is(tmp_path: Path) -> None:
    made = MadeUpRun()
    turn = list(made.turn(0))
    reply = Reply(text="so far: 3", model="root-2026", usage=USAGE)
    compacted = Compacted(run=made.run, depth=0, time=turn[-1].time, turn=1, reply=reply, seconds=50.0)
    log = opened(write(tmp_path / "run.jsonl", [made.started(), *turn, compacted]))
    assert log.summary.total == USAGE + USAGE
    assert [(step.kind, step.seconds) for step in log.summary.slowest()] == [("summary", 50.0)]
    assert log.unknown == 0


def test_the_first_failing_turn_is_the_first_whose_code_raised(tmp_path: Path) -> None:
    path, _ = real_run(tmp_path)
    log = opened(path)
    failed = log.summary.first_failure
    assert failed is not None
    assert (failed["run"], failed["turn"]) == (log.summary.run, 1)
    assert failed["text"] == "NameError: name 'lnes' is not defined"
    assert log.record(failed["line"])["cell"]["error"]["type"] == "NameError"


def test_a_run_that_ends_without_its_code_failing_failed_in_its_last_turn(tmp_path: Path) -> None:
    made = MadeUpRun()
    events = [made.started(), *made.turn(0), *made.turn(1), made.finished(None, error=("LMError", "no key"))]
    failed = opened(write(tmp_path / "run.jsonl", events)).summary.first_failure
    assert failed is not None
    assert (failed["turn"], failed["text"]) == (1, "LMError: no key")


def test_what_was_read_is_what_the_result_says(tmp_path: Path) -> None:
    path, result = real_run(tmp_path)
    shown = opened(path).summary.to_dict()["coverage"]
    assert (shown["size"], shown["read"], shown["other"]) == (
        result.coverage.size,
        result.coverage.read,
        result.coverage.other,
    )
    assert shown["unread"] == [1 - result.coverage.most, 1 - result.coverage.share]
    assert sum(end - begin for begin, end in shown["ranges"]) == result.coverage.read
    assert shown["gaps"] == [[s.at, s.length, []] for s in result.coverage.unread]


def test_the_texts_through_which_most_was_read_come_first(tmp_path: Path) -> None:
    path, result = real_run(tmp_path)
    sources = opened(path).summary.to_dict()["coverage"]["sources"]
    reads = Counter((r.run, r.turn, r.call) for r in result.coverage.readings for _ in range(r.length))
    assert {(s["run"], s["turn"], s["call"]): s["read"] for s in sources} == reads
    assert [s["read"] for s in sources] == sorted(reads.values(), reverse=True)


def test_nothing_is_claimed_where_nothing_can_be_told(tmp_path: Path) -> None:
    made = MadeUpRun()
    events = [made.started(size=5_000), *made.turn(0, output="x" * 9_000), made.finished()]
    assert opened(write(tmp_path / "run.jsonl", events)).summary.to_dict()["coverage"] is None


def test_the_input_drawn_in_few_ranges_is_the_input() -> None:
    ranges = [(at, at + 3) for at in range(0, 10_000, 10)] + [(20_000, 20_010)]
    drawn = thinned(ranges, 400)
    assert len(drawn) <= 400
    assert all(any(b <= begin and end <= e for b, e in drawn) for begin, end in ranges)
    assert drawn[-1] == (20_000, 20_010)


def test_the_evidence_is_the_replies_that_hold_the_answer(tmp_path: Path) -> None:
    path, _ = real_run(tmp_path)
    log = opened(path)
    found = evidence_in(log)
    assert found["found"]
    for item in found["found"]:
        assert ANSWER in log.record(item["line"])["reply"]["text"]
        assert item["how"] == "whole"
    held = [
        n
        for n in range(2, log.line_count + 1)
        if (r := log.record(n))["type"] == "CallFinished" and r.get("reply") and ANSWER in r["reply"]["text"]
    ]
    assert sorted(item["line"] for item in found["found"]) == held
