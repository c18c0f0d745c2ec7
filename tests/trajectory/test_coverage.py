"""What a result and its log say that models have seen of the context, against what they were really sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, LMError, Message, RLMError, RLMLogger
from rlm.coverage import Coverage, Reading
from rlm.errors import TrajectoryError
from rlm.testing import ScriptedClient
from rlm.trajectory import read
from rlm.viewer import Log
from trajectory.runs import log_lines

CONTEXT = log_lines(100_000)
LINES = CONTEXT.splitlines()


def run(
    folder: Path, code: Sequence[str], context: object = CONTEXT, question: str | None = "root?", **options: Any
) -> Any:
    """A result of a run whose root says one block after the other, and every sub-call `seen`, but a child `child?`."""

    def model(messages: Sequence[Message]) -> str:
        if len(messages) == 1 and "fail" in messages[0].content:
            raise LMError("slow down", kind="rate_limit")
        if len(messages) == 1:
            return "seen"
        if "child?" in messages[1].content:
            return "```repl\nprint(context[100:400])\nFINAL(llm_query('«' + context[1_000:2_000]))\n```"
        turn = sum(message.role == "assistant" for message in messages)
        return f"```repl\n{code[turn]}\n```" if turn < len(code) else "nothing"

    rlm = RLM(backend=ScriptedClient(model), environment="local", logger=RLMLogger(log_dir=folder), **options)
    return rlm.completion(context, question)


def places(coverage: Coverage | None, chosen: Callable[[Reading], bool]) -> list[str]:
    assert coverage is not None
    return [str(reading) for reading in coverage.readings if chosen(reading)]


def in_prompts(reading: Reading) -> bool:
    return reading.call is not None


def printed(reading: Reading) -> bool:
    return reading.call is None and reading.turn is not None


def test_slices_in_prompts_are_told_with_the_call_they_were_in(tmp_path: Path) -> None:
    result = run(
        tmp_path, ["for at in (5_000, 0, 90_000):\n    llm_query('say «' + context[at:at + 3_001] + '»')", "FINAL(1)"]
    )
    found = [reading for reading in result.coverage.readings if in_prompts(reading)]
    assert [(reading.call, reading.turn, reading.at, reading.length) for reading in found] == [
        (0, 0, 5_000, 3_001),
        (1, 0, 0, 3_001),
        (2, 0, 90_000, 3_001),
    ]


def test_what_was_printed_is_told_with_the_turn_that_printed_it(tmp_path: Path) -> None:
    code = [
        "print(context[700:1_900])",
        f"print('the line: ' + context.splitlines()[500])\nprint(grep({LINES[321][30:45]!r}, context))",
        "print(peek(context, 60_000, 500))",
        "FINAL('done')",
    ]
    coverage = run(tmp_path, code).coverage
    assert str(Reading(at=700, length=1_200, run="", turn=0)) in places(coverage, lambda r: printed(r) and r.turn == 0)
    in_lines = {CONTEXT[r.at : r.at + r.length].strip() for r in coverage.readings if r.turn == 1}
    assert {LINES[500], LINES[321]} <= in_lines
    assert places(coverage, lambda r: r.turn == 2) == ["context[60000:60500]"]


def test_the_first_message_shows_lines_of_the_context(tmp_path: Path) -> None:
    coverage = run(tmp_path, ["FINAL(1)"]).coverage
    first = [reading for reading in coverage.readings if reading.turn is None and reading.call is None]
    assert {CONTEXT[r.at : r.at + r.length].strip() for r in first} == {*LINES[:4], *LINES[-3:]}
    assert {r.at // 1_000 for r in first} == {0, 99}


def test_of_an_output_that_was_cut_only_what_was_shown_counts(tmp_path: Path) -> None:
    coverage = run(tmp_path, ["print(context[20_000:80_000])", "FINAL(1)"]).coverage
    head, tail = (reading for reading in coverage.readings if printed(reading))
    assert (head.at, tail.at + tail.length) == (20_000, 80_000)
    assert 9_800 < head.length + tail.length < 10_000


def test_what_a_model_would_have_been_shown_counts_only_if_it_was_asked_again(tmp_path: Path) -> None:
    code = ["answer['content'] = 'draft'\nprint(context[30_000:31_000])"]
    assert places(run(tmp_path / "a", code, max_iterations=1).coverage, printed) == []
    code = [*code, "FINAL(1)"]
    assert places(run(tmp_path / "b", code, max_iterations=2).coverage, printed) == ["context[30000:31000]"]


def test_a_prompt_that_was_not_answered_was_read_by_nobody(tmp_path: Path) -> None:
    code = ["try:\n    llm_query('fail ' + context[:5_000])\nexcept LMError as error:\n    print(error)", "FINAL(1)"]
    assert places(run(tmp_path, code).coverage, in_prompts) == []


def test_what_children_of_any_depth_were_given_is_found_in_the_root_s_context(tmp_path: Path) -> None:
    code = ["rlm_query('child? «' + context[30_000:30_500], context=context[40_000:50_000])", "FINAL(1)"]
    coverage = run(tmp_path, code, max_depth=2).coverage
    child = [reading for reading in coverage.readings if "/" in reading.run]
    assert {(r.at, r.length) for r in child if r.call == 0} == {(41_000, 1_000)}
    # Its first message holds the question, and the first and last lines of its context.
    assert {r.at // 1_000 for r in child if r.call is None} == {30, 40, 49}
    assert {reading.call for reading in coverage.readings if "/" not in reading.run} == {None}


def test_a_child_s_context_that_is_no_slice_is_found_by_its_pieces(tmp_path: Path) -> None:
    code = ["rlm_query('child?', context='\\n'.join(reversed(context.splitlines()[100:200])))", "FINAL(1)"]
    coverage = run(tmp_path, code, max_depth=2).coverage
    asked = [CONTEXT[r.at : r.at + r.length] for r in coverage.readings if r.call is not None and "/" in r.run]
    lines = "\n".join(reversed(LINES[100:200]))[1_000:2_000].splitlines()
    assert [line for line in lines if len(line) >= 40 and not any(line in piece for piece in asked)] == []


def test_an_rlm_at_the_depth_limit_reads_as_much_of_its_context_as_fits(tmp_path: Path) -> None:
    code = ["rlm_query('child?', context=context)", "FINAL(1)"]
    client = ScriptedClient(
        lambda messages: "seen" if len(messages) == 1 else f"```repl\n{code[len(messages) // 2 - 1]}\n```",
        context_window=8_000,
    )
    result = RLM(backend=client, environment="local").completion(CONTEXT, "q")
    ((first, last),) = [[r for r in result.coverage.readings if r.call == 0]]
    (prompt,) = [call.text for call in client.calls if len(call.messages) == 1]
    assert CONTEXT[: first.length] in prompt
    assert CONTEXT[last.at :] in prompt
    assert (first.at, last.at + last.length) == (0, len(CONTEXT))
    assert 16_000 < first.length + last.length < 18_000


@pytest.mark.parametrize("request_", ["Two?", "What is one? " * 100])
def test_a_short_request_is_shown_whole(tmp_path: Path, request_: str) -> None:
    coverage = run(tmp_path, ["FINAL(1)"], request_, None).coverage
    assert (coverage.share, coverage.unread) == (1.0, ())


def test_a_short_context_beside_a_question_is_not_taken_for_read(tmp_path: Path) -> None:
    coverage = run(tmp_path, ["FINAL(1)"], "Two?").coverage
    assert (coverage.share, coverage.most) == (0.0, 1.0)


def test_items_of_lists_and_dicts_are_told_by_their_path(tmp_path: Path) -> None:
    context = {"a": [line * 3 for line in LINES[:40]], 7: {"text": CONTEXT[50_000:60_000], "n": 3}, "none": None}
    code = [
        "print(context['a'][17])\nllm_query('say ' + context['a'][3] + '«' + context[7]['text'][2_000:3_000])",
        "FINAL(1)",
    ]
    coverage = run(tmp_path, code, context).coverage
    assert coverage.size == sum(len(line) * 3 for line in LINES[:40]) + 10_000
    assert places(coverage, printed) == ["context['a'][17][0:177]"]
    assert places(coverage, in_prompts) == ["context['a'][3][0:177]", "context[7]['text'][2000:3000]"]
    assert str(coverage.unread[0]) == "context[7]['text'][3000:10000]"


def test_text_that_stands_in_many_places_counts_once_and_prompts_in_order_take_them_in_order(tmp_path: Path) -> None:
    context = "INFO all is well on this host, nothing to report\n" * 2_000
    coverage = run(tmp_path / "a", ["print(context[:49])", "FINAL(1)"], context).coverage
    assert coverage.read <= 49 * (7 + 1)  # seven lines in the first message, and the one that was printed
    code = ["for at in range(0, 98_000, 9_800):\n    llm_query('say: ' + context[at:at + 9_800])", "FINAL(1)"]
    assert run(tmp_path / "b", code, context).coverage.share == 1.0


def test_a_piece_that_ends_in_text_of_which_there_is_more_elsewhere_is_one_piece(tmp_path: Path) -> None:
    dull = "INFO all is well on this host, nothing to report\n" * 40
    context = dull + LINES[0] + dull + LINES[1] + dull
    coverage = run(tmp_path, ["llm_query('«' + context[3_000:4_900])", "FINAL(1)"], context).coverage
    assert places(coverage, in_prompts) == ["context[3000:4900]"]


def test_pieces_that_are_too_short_are_neither_read_nor_surely_unread(tmp_path: Path) -> None:
    context = [f"ticket {number:04d} is open" for number in range(400)]
    coverage = run(tmp_path, ["print('\\n'.join(context))", "FINAL(1)"], context).coverage
    assert (coverage.share, coverage.most) == (0.0, 1.0)


@pytest.mark.parametrize("context", [None, 7, [], {}, [1, 2.5, None], b"bytes" * 100, {1, 2}], ids=repr)
def test_a_context_without_text_has_no_coverage(tmp_path: Path, context: object) -> None:
    result = run(tmp_path, ["print(context)", "FINAL(1)"], context)
    assert result.coverage is None
    assert read(next(tmp_path.iterdir())).coverage is None


def test_too_many_texts_to_look_at_are_no_coverage(tmp_path: Path) -> None:
    assert run(tmp_path, ["FINAL(1)"], [LINES[0]] * 200_001).coverage is None


def test_a_failed_run_has_the_coverage_of_what_it_did(tmp_path: Path) -> None:
    with pytest.raises(RLMError) as caught:
        run(tmp_path, ["print(context[4_000:5_000])", "print(context[6_000:7_000])"], max_errors=1, max_tokens=3_000)
    coverage = caught.value.result.coverage  # type: ignore[union-attr]
    assert "context[4000:5000]" in places(coverage, printed)
    assert read(next(tmp_path.iterdir())).coverage == coverage


def test_a_log_that_breaks_off_tells_what_was_seen_until_then(tmp_path: Path) -> None:
    context = [*LINES[:100], CONTEXT[50_000:60_000]]
    result = run(tmp_path, ["print(context[40])", "print(context[-1][:500])", "FINAL(1)"], context)
    (path,) = tmp_path.iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    (end,) = [number for number, line in enumerate(lines) if line.startswith(b'{"type":"Coverage"')]
    path.write_bytes(b"".join(lines[:end]))
    coverage = read(path).coverage
    assert coverage is not None
    assert (coverage.readings, coverage.read) == (result.coverage.readings, result.coverage.read)
    assert coverage.unread is None


@pytest.mark.parametrize(
    "seen",
    [
        7,
        [],
        {},
        {"other": -1},
        {"other": True},
        {"other": 1, "turn": "first"},
        {"other": 1, "spans": {}},
        {"other": 1, "spans": [[0]]},
        {"other": 1, "spans": [[0, 100_001]]},
        {"other": 1, "spans": [[-5, 10]]},
        {"other": 1, "spans": [[0, 10, 0, 1.5]]},
        {"other": 1, "spans": [[10**40, 10**40]]},
    ],
    ids=repr,
)
def test_what_cannot_have_been_seen_is_damage(tmp_path: Path, seen: object) -> None:
    run(tmp_path, ["print(context[1_000:2_000])", "FINAL(1)"])
    (path,) = tmp_path.iterdir()
    lines = path.read_text().splitlines()
    (number, *_) = [number for number, line in enumerate(lines) if '"seen"' in line]
    lines[number] = json.dumps({**json.loads(lines[number]), "seen": seen})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(TrajectoryError, match=f"line {number + 1}"):
        read(path)
    log = Log(path)
    log.update()
    assert [line for line, _ in log.damaged] == [number + 1]
    assert log.summary.to_dict()["coverage"]["read"] > 0


def test_a_log_without_what_was_seen_has_no_coverage(tmp_path: Path) -> None:
    run(tmp_path, ["print(context[1_000:2_000])", "FINAL(1)"])
    (path,) = tmp_path.iterdir()
    lines = [line for line in path.read_text().splitlines() if not line.startswith('{"type":"Context"')]
    path.write_text("\n".join(lines) + "\n")
    assert read(path).coverage is None


def test_a_log_of_five_turns_over_twenty_megabytes_is_small_and_holds_no_copy(tmp_path: Path) -> None:
    context = log_lines(20_000_000)
    code = [
        f"print(context[{turn}_000_000:][:10_000])\n"
        f"llm_query_batched(['is it slow? «' + context[{turn}_100_000 + n * 10_000:][:950] for n in range(10)])"
        for turn in range(1, 6)
    ]
    result = run(tmp_path, [*code, "FINAL(1)"], context)
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size < 100_000
    assert read(path).coverage == result.coverage
    assert result.coverage.read > 5 * (9_800 + 9_500)


def test_a_session_s_later_question_has_the_coverage_of_its_own_run(tmp_path: Path) -> None:
    turns = iter(["print(context[1_000:2_000])", "FINAL(1)", "print(context[3_000:4_000])", "FINAL(2)"])
    client = ScriptedClient(lambda _: f"```repl\n{next(turns)}\n```")
    with RLM(backend=client, environment="local").session(CONTEXT) as session:
        one, two = session.ask("one?"), session.ask("two?")
    assert places(one.coverage, printed) == ["context[1000:2000]"]
    assert places(two.coverage, printed) == ["context[3000:4000]"]


def test_a_history_that_is_summarised_was_read_before(tmp_path: Path) -> None:
    code = ["print(context[1_000:9_000])", "print(context[20_000:28_000])", "FINAL(1)"]

    def model(messages: Sequence[Message]) -> str:
        if "Write a summary for yourself" in messages[-1].content:
            return "it is about hosts"
        turn = sum("[turn " in message.content.splitlines()[-1] for message in messages)
        return (
            f"```repl\n{code[min(turn, 2)]}\n```" if "hosts" not in messages[-1].content else "```repl\nFINAL(1)\n```"
        )

    client = ScriptedClient(model, context_window=8_000)
    rlm = RLM(backend=client, environment="local", compaction=True, compaction_threshold_pct=0.3)
    result = rlm.completion(CONTEXT, "q")
    assert "context[1000:9000]" in places(result.coverage, printed)
    assert any("Write a summary" in call.text for call in client.calls)


def test_reprs_say_the_share_and_what_came_through_what(tmp_path: Path) -> None:
    coverage = run(tmp_path, ["print(context[1_000:2_000])\nllm_query(context[5_000:6_000])", "FINAL(1)"]).coverage
    assert repr(coverage).startswith("Coverage(share=0.0240, most=0.0")
    assert "longest unread context[6000:99840]" in repr(coverage)
    run_ = coverage.readings[0].run
    assert repr(coverage.readings[0]) == f"<context[0:60] in the first message of {run_}>"
    assert f"<context[1000:2000] shown after turn=0 of {run_}>" in map(repr, coverage.readings)
    assert f"<context[5000:6000] in the prompt of call=0 of {run_}, turn=0>" in map(repr, coverage.readings)
