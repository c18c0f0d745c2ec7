"""Slices of the context are kept as spans, exact to the character, and only the right context gives the text back."""

from __future__ import annotations

import hashlib
import pickle
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm._finder import SliceFinder
from rlm.errors import TrajectoryError
from rlm.events import CallStarted, CellStarted, Event, ReplyReceived, RunFinished
from rlm.trajectory import CutText, Span, Trajectory, TrajectoryWriter, expand, read
from rlm.types import Reply, Usage
from trajectory.runs import MadeUpRun, log_lines

HEAD = "Say for each line whether it is slow.\n» "
MEGABYTE = log_lines(1_000_000)


def cut(text: str, context: object) -> tuple[str | Span, ...]:
    return SliceFinder(context).cut(text)


def literal(parts: tuple[str | Span, ...]) -> int:
    return sum(len(part) for part in parts if isinstance(part, str))


def run_over(path: Path, context: object, prompts: list[str], **options: object) -> Trajectory:
    made = MadeUpRun()
    calls = tuple(event for prompt in prompts for event in made.call(prompt, "fast"))
    with TrajectoryWriter(path, context=context, **options) as writer:  # type: ignore[arg-type]
        for event in [made.started(), *made.turn(1, calls=calls), made.finished()]:
            writer(event)
    return read(path)


def prompts_of(trajectory: Trajectory) -> list[str]:
    return [call.started.prompt for call in trajectory.calls()]


def test_a_slice_in_a_prompt_becomes_one_span_between_its_literal_text() -> None:
    assert cut(HEAD + MEGABYTE[7_777:57_777] + "\n\nGo.", MEGABYTE) == (
        HEAD,
        Span(at=7_777, length=50_000, digest=expand_digest(MEGABYTE[7_777:57_777])),
        "\n\nGo.",
    )


def expand_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_slices_in_any_order_and_number_are_all_recognised() -> None:
    rng = random.Random(1)
    places = [rng.randrange(len(MEGABYTE) - 5_000) for _ in range(12)]
    prompt = "\n===\n".join(MEGABYTE[at : at + 5_000] for at in places)
    parts = cut(prompt, MEGABYTE)
    spans = [part for part in parts if isinstance(part, Span)]
    assert [span.at for span in spans] == pytest.approx(places, abs=2)
    assert literal(parts) < 100


@pytest.mark.parametrize(
    "context",
    [
        "x" * 500_000,
        "INFO all is well here\n" * 30_000,
        "ab" * 100_000 + MEGABYTE[:1_000] + "ab" * 100_000,
        MEGABYTE * 2,
    ],
    ids=["one character", "one line", "a needle", "twice the same"],
)
def test_a_context_that_repeats_itself_is_recognised_too(context: str) -> None:
    for at in (0, 1_234, 199_900, 300_001):
        prompt = HEAD + context[at : at + 20_000]
        parts = cut(prompt, context)
        assert literal(parts) < len(HEAD) + 600
        assert expand(CutText(parts, "r"), context) == prompt


def test_items_of_lists_and_dicts_are_named_by_their_path() -> None:
    page = log_lines(9_000)
    context = {
        "a.txt": page[:3_000],
        "b": [{"role": "user", "content": page[3_000:6_000]}],
        3: (page[6_000:],),
        2.5: page,
    }
    parts = cut("one\n" + page[6_000:] + "\ntwo\n" + page[3_000:6_000], context)
    assert [part.path for part in parts if isinstance(part, Span)] == [(3, 0), ("b", 0, "content")]
    assert literal(parts) == len("one\n\ntwo\n")
    assert expand(CutText(parts, "r"), context) == "one\n" + page[6_000:] + "\ntwo\n" + page[3_000:6_000]


def test_a_context_that_holds_itself_or_no_text_at_all_is_harmless() -> None:
    itself: list[object] = [1, None, object()]
    itself.append(itself)
    for context in (itself, None, 7, "", [], {}, b"bytes"):
        assert cut(MEGABYTE[:5_000], context) == (MEGABYTE[:5_000],)


def test_text_that_is_not_in_the_context_stays_literal() -> None:
    finder = SliceFinder(MEGABYTE)
    for seed in range(5):
        other = log_lines(20_000, seed=100 + seed)
        assert literal(finder.cut(other)) > 19_000


def test_a_slice_is_still_found_after_many_texts_that_held_none() -> None:
    finder = SliceFinder(MEGABYTE)
    for seed in range(20):
        finder.cut("".join(random.Random(seed).choices("abcdef ", k=5_000)))
    assert literal(finder.cut(HEAD + MEGABYTE[600_000:640_000])) == len(HEAD)


@settings(max_examples=80, deadline=None)
@given(
    context=st.text(st.characters(codec=None), max_size=300).map(lambda s: s * 9),
    pieces=st.lists(st.tuples(st.integers(0, 2_700), st.integers(0, 2_700), st.text(max_size=30)), max_size=5),
)
def test_whatever_is_cut_expands_to_the_same_text(context: str, pieces: list[tuple[int, int, str]]) -> None:
    prompt = "".join(context[min(a, b) : max(a, b)] + between for a, b, between in pieces)
    assert expand(CutText(cut(prompt, context), "r"), context) == prompt


def test_prompts_read_back_show_the_place_and_expand_exactly(tmp_path: Path) -> None:
    prompts = [HEAD + MEGABYTE[at : at + 30_000] for at in range(0, 300_000, 30_000)]
    trajectory = run_over(tmp_path / "t.jsonl", MEGABYTE, prompts)
    assert prompts_of(trajectory)[3] == HEAD + "⟦context[90000:120000]⟧"
    assert [trajectory.expand(prompt, MEGABYTE) for prompt in prompts_of(trajectory)] == prompts
    first = prompts_of(trajectory)[0]
    assert isinstance(first, CutText)
    assert first.size == len(prompts[0])
    again = pickle.loads(pickle.dumps(first))
    assert (again, again.parts, again.run) == (first, first.parts, first.run)


def test_another_context_is_refused_instead_of_giving_other_text(tmp_path: Path) -> None:
    (prompt,) = prompts_of(trajectory := run_over(tmp_path / "t.jsonl", MEGABYTE, [HEAD + MEGABYTE[5_000:9_000]]))
    changed = MEGABYTE[:6_000] + "?" + MEGABYTE[6_001:]
    for context in (changed, MEGABYTE[:7_000], "", None, [MEGABYTE], {"a": MEGABYTE}):
        with pytest.raises(TrajectoryError, match="not the one of this run"):
            trajectory.expand(prompt, context)
    with pytest.raises(TrajectoryError, match="give the context"):
        trajectory.expand(prompt)
    assert trajectory.expand("a plain text") == "a plain text"


def test_a_path_that_a_log_invents_is_refused() -> None:
    for path in ((0,), ("k", 0), (-1,), ("__class__",), (10**30,)):
        with pytest.raises(TrajectoryError, match="not the one of this run"):
            expand(CutText((Span(at=0, length=1, digest="x", path=path),), "r"), ["a"] if path != (0,) else {"k": "v"})


def test_full_prompts_keeps_them_verbatim(tmp_path: Path) -> None:
    prompts = [HEAD + MEGABYTE[:30_000]]
    trajectory = run_over(tmp_path / "t.jsonl", MEGABYTE, prompts, full_prompts=True)
    assert prompts_of(trajectory) == prompts
    assert not isinstance(prompts_of(trajectory)[0], CutText)


def test_five_turns_over_twenty_megabytes_cost_under_a_hundred_kilobytes(tmp_path: Path) -> None:
    context = log_lines(20_000_000)
    made = MadeUpRun()
    path = tmp_path / "t.jsonl"
    with TrajectoryWriter(path, context=context) as writer:
        writer(made.started(size=len(context)))
        for turn in range(1, 6):
            # Each turn prints as much as a model is shown, asks about 9,500 characters and drafts a piece of it.
            asked = [HEAD + context[n * 10**6 : n * 10**6 + 950] for n in range(10)]
            calls = [event for prompt in asked for event in made.call(prompt, "one is slow, line 7", turn)]
            output = context[turn * 10**6 :][:10_000]
            for event in made.turn(
                turn, code="x = 1\n" * 100, output=output, calls=tuple(calls), draft=context[:20_000]
            ):
                writer(event)
        writer(made.finished(context))
    assert path.stat().st_size < 100_000
    trajectory = read(path)
    end = trajectory.events[-1]
    assert isinstance(end, RunFinished)
    assert trajectory.expand(end.response or "", context) == context


def test_a_child_over_a_slice_of_the_context_can_be_expanded_from_the_root_s(tmp_path: Path) -> None:
    parent, child, grandchild = MadeUpRun("aaaa"), MadeUpRun("aaaa/0", depth=1), MadeUpRun("aaaa/0/0", depth=2)
    slice_, question = MEGABYTE[100_000:400_000], HEAD + MEGABYTE[500_000:520_000]
    deeper = slice_[50_000:150_000]
    ask_child, child_told = parent.call(question, "fine", child="aaaa/0")
    ask_deeper, deeper_told = child.call(deeper, "good", child="aaaa/0/0")
    sub_prompt, deepest = HEAD + slice_[1_000:30_000], HEAD + deeper[60_000:90_000]
    events: list[Event] = [
        *(ask_child, child.started(question), *child.call(sub_prompt, "ok"), ask_deeper, grandchild.started(deeper)),
        *(
            *grandchild.call(deepest, "ok"),
            grandchild.finished("good"),
            deeper_told,
            child.finished("fine"),
            child_told,
        ),
    ]
    with TrajectoryWriter(tmp_path / "t.jsonl", context=MEGABYTE) as writer:
        for event in events:
            if event is events[1]:
                writer.open_run("aaaa/0", slice_)
            if event is events[5]:
                writer.open_run("aaaa/0/0", deeper)
            writer(event)
    trajectory = read(tmp_path / "t.jsonl")
    asked = [event.prompt for event in trajectory.events if isinstance(event, CallStarted)]
    assert [trajectory.expand(prompt, MEGABYTE) for prompt in asked] == [question, sub_prompt, deeper, deepest]
    questions = [trajectory.expand(trajectory.started(run).question or "", MEGABYTE) for run in trajectory.runs]  # type: ignore[union-attr]
    assert questions == [question, deeper]
    assert trajectory.context("aaaa/0/0", MEGABYTE) == deeper
    assert (tmp_path / "t.jsonl").stat().st_size < 6_000


def test_a_child_over_a_context_of_its_own_says_what_is_needed(tmp_path: Path) -> None:
    own = log_lines(50_000, seed=9)
    child = MadeUpRun("aaaa/0", depth=1)
    with TrajectoryWriter(tmp_path / "t.jsonl", context=MEGABYTE) as writer:
        writer.open_run("aaaa/0", own)
        for event in child.call(HEAD + own[10_000:40_000], "ok"):
            writer(event)
    assert (tmp_path / "t.jsonl").stat().st_size < 2_000
    trajectory = read(tmp_path / "t.jsonl")
    (prompt,) = prompts_of(trajectory)
    with pytest.raises(TrajectoryError, match="does not hold the context of aaaa/0"):
        trajectory.expand(prompt, MEGABYTE)
    assert expand(prompt, own) == HEAD + own[10_000:40_000]


def test_code_in_a_reply_that_quotes_the_context_at_length_reads_back_exactly(tmp_path: Path) -> None:
    context = log_lines(60_000)
    code = "\n".join(f"print({number}, 'a line of code')" for number in range(30))
    reply = Reply(text=f"It says:\n{context[1_000:12_000]}\n```repl\n{code}\n```\n", model="m", usage=Usage(calls=1))
    with TrajectoryWriter(tmp_path / "run.jsonl", context=context) as writer:
        writer(ReplyReceived(run="a", depth=0, time=1.0, turn=0, reply=reply, seconds=1.0))
        writer(CellStarted(run="a", depth=0, time=2.0, turn=0, block=0, code=code))
    received, started = read(tmp_path / "run.jsonl").events
    assert isinstance(received, ReplyReceived)
    assert isinstance(started, CellStarted)
    assert started.code == code
    assert expand(received.reply.text, context) == reply.text
