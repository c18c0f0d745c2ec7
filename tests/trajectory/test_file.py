"""A trajectory file: what goes in comes out, whatever it is and however the writer ended."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm.events import CellFinished, Event, RunFinished, TurnFinished, Warned
from rlm.trajectory import Shown, Trajectory, TrajectoryWriter, read
from rlm.types import UNSET, Cell
from trajectory.runs import MadeUpRun, kept, log_lines, small_run

HOSTILE = "a\u2028b\u2029\x00\r\n\x1b[31m\x85\ud800x\udc00 \ud83d\ude00 😀 \"\\' ```"


def write(path: Path, events: list[Event], **options: object) -> Trajectory:
    with TrajectoryWriter(path, **options) as writer:  # type: ignore[arg-type]
        for event in events:
            writer(event)
    return read(path)


def with_answers(*values: object) -> list[Event]:
    made = MadeUpRun()
    turns = [event for n, value in enumerate(values) for event in made.turn(n, answer=value, draft=value)]
    return [made.started(), *turns]


def answers(trajectory: Trajectory) -> list[tuple[object, object]]:
    return [(e.cell.answer, e.cell.draft) for e in trajectory.events if isinstance(e, CellFinished)]


def test_events_read_back_equal_the_events_written(tmp_path: Path) -> None:
    events = small_run()
    trajectory = write(tmp_path / "t.jsonl", events)
    assert trajectory.events == kept(events)
    assert (trajectory.torn, trajectory.unknown) == (None, 0)


def test_every_kind_of_event_is_kept(tmp_path: Path) -> None:
    warned = Warned(run="a", depth=0, time=1.0, text="slow observer")
    failed = MadeUpRun().finished(None, error=("BudgetExceededError", "spent"))
    assert write(tmp_path / "t.jsonl", [warned, failed]).events == (warned, failed)


def test_hostile_text_survives_exactly_in_one_ascii_line_per_event(tmp_path: Path) -> None:
    made = MadeUpRun()
    events = [
        made.started(HOSTILE),
        *made.turn(1, code=HOSTILE * 20, output=HOSTILE * 30, calls=tuple(made.call(HOSTILE * 40, HOSTILE))),
        *made.turn(2, answer=HOSTILE, draft=HOSTILE),
        made.finished(HOSTILE),
    ]
    assert write(tmp_path / "t.jsonl", events).events == kept(events)
    lines = (tmp_path / "t.jsonl").read_bytes().split(b"\n")
    assert len(lines) == 1 + len(kept(events)) + 1
    assert all(32 <= byte < 127 for line in lines for byte in line)


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(codec=None), max_size=400), again=st.integers(1, 30))
def test_any_text_reads_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, text: str, again: int) -> None:
    made = MadeUpRun()
    long = text * again
    events = [made.started(text), *made.turn(1, code=long, output=long[:16_000], answer=long), made.finished(long)]
    path = tmp_path_factory.mktemp("any") / "t.jsonl"
    trajectory = write(path, events, context="before " + long)
    expanded = [trajectory.expand(e.response or "", "before " + long) for e in trajectory.events[-1:]]  # type: ignore[attr-defined]
    assert expanded == [long]
    assert trajectory.events[:-1] == kept(events)[:-1] or len(long) >= 10_000


def test_plain_values_submitted_are_exact(tmp_path: Path) -> None:
    values = (0, False, "", None, -1.5, 10**300, [], {}, [1, [2, {"k": None}]], {"ä": ["\ud800", 1e-300]}, "x" * 5_000)
    assert answers(write(tmp_path / "t.jsonl", with_answers(*values))) == [(v, v) for v in values]


def test_other_values_submitted_are_kept_as_a_clipped_repr(tmp_path: Path) -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    itself: list[object] = []
    itself.append(itself)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    values = (
        {1, 2},
        (1,),
        float("nan"),
        b"x",
        {1: 2},
        Rude(),
        itself,
        deep,
        10**10_000,
        "\ud83d\ude00",
        ["\ud83d\ude00"],
    )
    got = [answer for answer, _ in answers(write(tmp_path / "t.jsonl", with_answers(*values)))]
    assert [repr(v) for v in got[:5]] == ["{1, 2}", "(1,)", "nan", "b'x'", "{1: 2}"]
    assert got[1] == Shown("tuple", "(1,)")
    assert repr(got[5]).startswith("<Rude ")
    assert got[9] == "\ud83d\ude00"
    assert all(isinstance(v, Shown) for v in (*got[:9], got[10]))
    assert (tmp_path / "t.jsonl").stat().st_size < 50_000


def test_a_value_too_large_for_the_log_is_kept_clipped(tmp_path: Path) -> None:
    trajectory = write(tmp_path / "t.jsonl", with_answers(list(range(1_000_000)), ["x" * 5_000_000], set(range(10**6))))
    assert all(isinstance(answer, Shown) for answer, _ in answers(trajectory))
    assert (tmp_path / "t.jsonl").stat().st_size < 50_000


def test_a_draft_changed_in_place_is_written_again_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    made = MadeUpRun()
    draft = ["x" * 1_000]
    written = []
    with TrajectoryWriter(tmp_path / "t.jsonl") as writer:
        writer(made.started())
        for turn in range(1, 60):
            if turn == 30:
                draft.append("y")
            written.append(list(draft))
            for event in made.turn(turn, draft=draft):
                writer(event)
    assert [d for _, d in answers(read(tmp_path / "t.jsonl"))] == written
    assert (tmp_path / "t.jsonl").read_text().count("x" * 1_000) == 2


def test_a_long_output_keeps_its_ends_and_its_size(tmp_path: Path) -> None:
    made = MadeUpRun()
    output = "start" + "x" * 5_000_000 + "end"
    cell = next(
        e for e in write(tmp_path / "t.jsonl", [*made.turn(1, output=output)]).events if isinstance(e, CellFinished)
    ).cell
    assert cell.output_size == len(output)
    assert cell.output.startswith("startxxx")
    assert cell.output.endswith("xxxend")
    assert "4,984,008 characters are not in the log" in cell.output
    assert len(cell.output) < 16_100


def test_what_the_model_is_shown_is_not_written_a_second_time(tmp_path: Path) -> None:
    made = MadeUpRun()
    output, code = log_lines(9_000), "\n".join(f"x{n} = {n * n}" for n in range(500))
    events = [*made.turn(1, code=code, output=output)]
    assert write(tmp_path / "t.jsonl", events).events == kept(events)
    text = (tmp_path / "t.jsonl").read_text()
    assert (text.count("x77 = 5929"), text.count(output[4_001:4_200].split("\n")[1])) == (1, 1)


def test_the_head_and_tail_shown_of_a_long_output_are_references_too(tmp_path: Path) -> None:
    output = log_lines(40_000)
    shown = f"Output:\n{output[:5_000]}\n… cut …\n{output[-5_000:]}\nGo on."
    events = [replace(e, shown=shown) if isinstance(e, TurnFinished) else e for e in MadeUpRun().turn(1, output=output)]
    assert write(tmp_path / "t.jsonl", events).events[-1] == events[-1]
    assert (tmp_path / "t.jsonl").stat().st_size < 18_000


def test_a_str_of_a_subclass_is_kept_as_its_text(tmp_path: Path) -> None:
    class ReplyStr(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "something else"

    assert answers(write(tmp_path / "t.jsonl", with_answers(ReplyStr("exact"), [ReplyStr("in a list")]))) == [
        ("exact", "exact"),
        (["in a list"], ["in a list"]),
    ]


def test_the_file_is_private_to_its_owner(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", [])
    assert (tmp_path / "t.jsonl").stat().st_mode & 0o077 == 0


def test_no_secret_reaches_the_file_by_any_way(tmp_path: Path) -> None:
    key = 'sk-proj-ABC123/def"456'
    made = MadeUpRun()
    options = {
        "backend_kwargs": {"model_name": "m", "api_key": "sk-other-key-nobody-named", "max_tokens": 5},
        "other_backend_kwargs": [{"default_headers": {"Authorization": "Bearer sk-in-a-header"}}],
    }
    events = [
        made.started(f"my key is {key}", **options),
        *made.turn(1, code=f"print({key!r}) # " + "x" * 300, output=key * 50, calls=tuple(made.call(key, key))),
        made.finished(None, error=("LMError", f"Incorrect key {key}")),
    ]
    trajectory = write(tmp_path / "t.jsonl", events, secrets=(key, "", "x"))
    text = (tmp_path / "t.jsonl").read_text()
    for secret in (key, json.dumps(key)[1:-1], "sk-other-key-nobody-named", "sk-in-a-header"):
        assert secret not in text
        assert secret not in repr(trajectory.events)
    assert '"max_tokens":5' in text
    assert "Incorrect key ****" in text
    assert [turn.cells[0][0].code.count("*") for turn in trajectory.turns(made.run)] == [len(key)]


def test_runs_interleaved_in_one_file_keep_their_references_apart(tmp_path: Path) -> None:
    ours, theirs = MadeUpRun("aaaa"), MadeUpRun("aaaa/0", depth=1)
    events: list[Event] = []
    for turn in range(1, 20):
        pairs = [
            made.turn(turn, code=f"# {made.run} {turn}\n" * 40, output=f"{made.run} {turn} " * 60)
            for made in (ours, theirs)
        ]
        events += [event for pair in zip(*pairs, strict=True) for event in pair]
    assert write(tmp_path / "t.jsonl", events).events == kept(events)


def test_a_child_s_question_and_answer_stand_once_in_the_file(tmp_path: Path) -> None:
    parent, child = MadeUpRun("aaaa"), MadeUpRun("aaaa/0", depth=1)
    question, answer = "Summarise this. " + log_lines(4_000), "It says: " + log_lines(3_000, seed=3)
    begun, ended = parent.call(question, answer, child="aaaa/0")
    events = [
        begun,
        child.started(question),
        *child.turn(1, answer=answer, draft=answer),
        child.finished(answer),
        ended,
    ]
    assert write(tmp_path / "t.jsonl", events).events == kept(events)
    assert (tmp_path / "t.jsonl").stat().st_size < 9_500


def test_the_cell_limits_of_this_process_are_untouched() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_unset_answers_stay_unset(tmp_path: Path) -> None:
    (finished,) = (e for e in write(tmp_path / "t.jsonl", [*MadeUpRun().turn(1)]).events if isinstance(e, CellFinished))
    assert finished.cell.answer is UNSET
    assert finished.cell.draft is UNSET
    assert isinstance(finished.cell, Cell)


def test_helpers_tell_runs_turns_and_calls(tmp_path: Path) -> None:
    trajectory = write(tmp_path / "t.jsonl", small_run("abcd"))
    assert trajectory.runs == ("abcd",)
    first, second, third = trajectory.turns("abcd")
    assert [first.number, second.number, third.number] == [1, 2, 3]
    assert first.reply is not None
    assert "print(len(context))" in first.reply.reply.text
    ((started, finished, calls),) = first.cells
    assert started.code == "print(len(context))"
    assert finished is not None
    assert finished.cell.output == "3\n"
    assert [(c.started.prompt, c.finished.reply.text) for c in calls if c.finished and c.finished.reply] == [
        ("count these", "three")
    ]
    assert second.cells[0][2] == ()
    assert [call.finished.error for call in trajectory.calls("abcd") if call.finished] == [
        None,
        ("rate_limit", "slow down"),
    ]
    end = trajectory.finished("abcd")
    assert isinstance(end, RunFinished)
    assert end.response == "3"
