"""What the live view knows of a run, from the events of real ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from rlm.errors import LMError
from rlm.events import CallFinished, CellStarted, Event, LimitApproached, RunFinished, RunStarted, Warned
from rlm.live import summary
from rlm.live.figures import Past
from rlm.live.fold import Run
from rlm.live.picture import Picture, look
from rlm.live.record import Ended, Item, Note, Ran, Said
from rlm.testing import ScriptedClient
from rlm.types import Message, Price, Reply, Usage
from view.runs import Answer, code, events_of, fan_out, is_root, recursive, turns

PRICE = Price(input=1.0, output=2.0)


def fold(events: Iterable[Event]) -> tuple[Run, list[Item]]:
    """The run after all the events but its last, and the record."""
    events = iter(events)
    first = next(events)
    assert isinstance(first, RunStarted)
    run = Run(first)
    return run, [item for event in events for item in run.add(event)]


def until(events: Sequence[Event], kind: type[Event], number: int = 1) -> Sequence[Event]:
    """The events up to and with the `number`-th of that kind."""
    places = [i for i, event in enumerate(events) if isinstance(event, kind)]
    return events[: places[number - 1] + 1]


def picture(run: Run, rows: int = 8) -> Picture:
    return look([run], run.started + 1, rows)


def words(parts: Iterable[tuple[str, object]]) -> list[str]:
    return [text for text, _ in parts]


def test_a_fan_out_is_counted_call_by_call() -> None:
    events, _ = events_of(ScriptedClient(fan_out(), price=PRICE), max_subcalls=1500, max_budget=3.0)
    run, _ = fold(until(events, CallFinished, 400))
    shown = picture(run)
    assert words(shown.calls) == ["360 done", "600 in flight", "40 failed"]
    assert shown.lines[0].state == "waiting for 600 calls"
    assert shown.lines[0].turn == "turn 1/30"
    assert shown.focus.progress == (400, 1000)
    assert shown.focus.code.startswith("print('asking')")
    assert shown.focus.tail == "asking\n"
    (failure,) = shown.failures
    assert failure == "calls 1, 11, 21, 31, … 40 in all: [rate_limit] (scripted) slow down — ask less"
    assert "500 sub-calls" in words(shown.left)


def test_the_record_has_each_cell_of_the_root_with_its_calls() -> None:
    events, _ = events_of(ScriptedClient(fan_out(30)))
    _, items = fold(events)
    asked, answered, ended = items
    assert isinstance(asked, Ran)
    assert (asked.turn, asked.said, asked.calls, asked.failed, asked.cut) == (1, "I look first.", 30, 3, 0)
    assert asked.cell.output == "asking\n"
    assert asked.failures == ("calls 1, 11, 21: [rate_limit] (scripted) slow down — ask less",)
    assert isinstance(answered, Ran)
    assert (answered.turn, answered.calls, answered.failures) == (2, 0, ())
    assert isinstance(ended, Ended)
    assert ended.event.response == "the answer"
    assert ended.summary.startswith("2 turns · 30 sub-calls (3 failed) · ")


def test_a_turn_without_code_is_in_the_record() -> None:
    client = ScriptedClient(["I would rather talk.", code("FINAL(1)")])
    _, items = fold(events_of(client)[0])
    assert items[0] == Said(run=items[0].run, turn=1, text="I would rather talk.")


def test_warnings_are_in_the_record() -> None:
    run, _ = fold(events_of(ScriptedClient(code("FINAL(1)")))[0][:1])
    (note,) = run.add(Warned(run=f"{run.path}/0", depth=1, time=1.0, text="careful"))
    assert note == Note(run=run.path, text="careful")


def test_that_calls_wait_for_room_in_a_limit_is_in_the_record_once() -> None:
    run, _ = fold(events_of(ScriptedClient(code("FINAL(1)")))[0][:1])
    near = LimitApproached(run=run.path, depth=0, time=1.0, limit="max_tokens", used=900, allowed=1000, booked=100)
    full = replace(near, waiting=True)
    assert [item for event in (near, full, near, full) for item in run.add(event)] == [
        Note(run=run.path, text="max_tokens has no room for now: calls wait for those in flight")
    ]


@pytest.mark.parametrize(("width", "depth", "agents"), [(4, 3, 21), (6, 5, 1555)])
def test_what_a_tree_used_and_how_many_it_was_agree_with_the_result(width: int, depth: int, agents: int) -> None:
    client = ScriptedClient(recursive(width, depth), price=PRICE)
    events, completion = events_of(client, max_depth=depth, max_concurrent_subcalls=200)
    total = completion.usage_summary.total
    most_live, most_kept = 0, 0
    run = None
    for event in events:
        if run is None:
            assert isinstance(event, RunStarted)
            run = Run(event)
        elif isinstance(event, RunFinished) and event.depth == 0:
            break
        list(run.add(event))
        most_live = max(most_live, len(run.agents))
        most_kept = max(most_kept, len(run._settling))
    assert run is not None
    assert run.agents_begun == agents
    assert (run.spent.tokens, run.spent.unpriced) == (total.total_tokens, 0)
    assert run.spent.dollars == pytest.approx(total.dollars)
    assert list(run.agents) == [run.path], "agents that ended are forgotten"
    assert not run._open
    assert most_kept <= most_live
    assert words(picture(run).agents) == [f"{agents - 1:,} done"]


def test_of_many_agents_some_have_a_line_and_all_are_counted() -> None:
    events, _ = events_of(ScriptedClient(recursive(6, 4)), max_depth=4, max_concurrent_subcalls=500)
    starts = [i for i, event in enumerate(events) if isinstance(event, RunStarted)]
    for at in (starts[-1], starts[len(starts) // 2], len(events) // 2):
        run, _ = fold(events[: at + 1])
        for rows in (1, 5, 12, 400):
            shown = picture(run, rows)
            assert len(shown.lines) <= rows
            more = sum(int(line.split()[1].replace(",", "")) for line in shown.more)
            lines = sum(not line.ended for line in shown.lines)
            assert lines + more == len(run.agents)


def test_a_limit_is_told_as_what_is_left_of_it() -> None:
    events, _ = events_of(
        ScriptedClient(fan_out(30), price=PRICE), max_budget=1.0, max_tokens=90_000, max_timeout=60, max_subcalls=36
    )
    run, _ = fold(until(events, CellStarted, 2))
    left = dict(picture(run).left)
    used = run.spent
    assert left == {
        f"${1 - used.dollars:.4f}": False,
        f"{90_000 - used.tokens:,} tokens": False,
        "59 s": False,
        "6 sub-calls": True,
        "28 turns": False,
    }


def test_what_is_not_known_is_said() -> None:
    def script(messages: Sequence[Message]) -> Answer:
        usage = Usage(calls=1, attempts=3, unmetered=1, unpriced=1)
        if is_root(messages):
            return code("llm_query('q')") if turns(messages) == 0 else code("FINAL(1)")
        return Reply(text="r", model="scripted", usage=usage)

    events, _ = events_of(ScriptedClient(script, price=PRICE), max_tokens=100_000)
    run, _ = fold(until(events, CellStarted, 2))
    shown = picture(run)
    assert shown.used[0].endswith(" tokens + 1 call unmetered")
    assert shown.used[1].endswith(" + 1 call of unknown cost")
    assert shown.left[0][0].startswith("at most ")
    assert "2 sent again" in words(shown.calls)

    unpriced, _ = fold(until(events_of(ScriptedClient(fan_out(3)))[0], CellStarted, 2))
    assert picture(unpriced).used[1] == "cost unknown"
    untold, _ = fold(events[:1])
    assert picture(untold).used[:2] == ("0 tokens", "$0")


def test_a_failed_rlm_is_named_by_its_call_and_counted() -> None:
    def script(messages: Sequence[Message]) -> Answer:
        if "child" in messages[-1].content:
            raise LMError("no such key", kind="authentication", model="scripted")
        return code("rlm_query_batched(['child'] * 2)") if turns(messages) == 0 else code("FINAL(1)")

    events, completion = events_of(ScriptedClient(script), max_depth=2)
    run, items = fold(events)
    assert run.agents_failed == 2
    assert isinstance(items[0], Ran)
    assert items[0].failures[0].startswith("calls 1, 2: [authentication] (scripted) no such key")
    assert summary(completion.trajectory).startswith("2 turns · 2 sub-calls (2 failed) · 3 agents · ")


def test_a_cell_that_the_end_cut_off_is_in_the_record() -> None:
    endless = ScriptedClient(code("print('so far')\nwhile True: pass"))
    events, _ = events_of(endless, max_timeout=2, environment="process")
    _, items = fold(events)
    assert isinstance(items[0], Ran)
    assert items[0].stopped
    assert items[0].cell.output == "so far\n"
    assert isinstance(items[-1], Ended)


def test_a_summary_needs_no_end() -> None:
    events, completion = events_of(ScriptedClient(fan_out(30)))
    assert summary(completion.trajectory) == summary(events)
    assert summary(events[:5]).startswith("1 turn · 0 sub-calls · ")
    assert summary([]) == ""


def test_many_runs_make_one_picture() -> None:
    runs = []
    for number in range(20):
        events, _ = events_of(ScriptedClient(fan_out(30), price=PRICE), max_subcalls=31)
        runs.append(fold(until(events, CallFinished, number + 1))[0])
    past = Past()
    events, completion = events_of(ScriptedClient(fan_out(30), price=PRICE))
    for _ in range(5):
        past.add(fold(events)[0])
    shown = look(runs, max(run.started for run in runs) + 1, 8, past)
    assert shown.used[0] == "20 runs going on, 5 ended"
    tokens = 5 * completion.usage_summary.total.total_tokens + sum(run.spent.tokens for run in runs)
    assert shown.used[1] == f"{tokens:,} tokens"
    assert [line.name for line in shown.lines] == [run.path for run in runs[:8]]
    assert all("1 sub-call left" in line.low for line in shown.lines)
    assert shown.more == ("… 12 more at depth 0: 12 waiting for calls",)
    done, open_ = (int(text.split()[0]) for text in words(shown.calls)[:2])
    assert done + open_ == 600 - sum(run.calls.failed for run in runs) + 5 * 27
    assert shown.left == ()
    failed = sum(run.calls.failed for run in runs)
    assert shown.failures == (f"{failed} calls: [rate_limit] (scripted) slow down — ask less",)
