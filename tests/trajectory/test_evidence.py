"""Through which sub-calls an answer came: the replies that hold its text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rlm import RLM, Message, RLMLogger
from rlm.evidence import Passage, evidence, split
from rlm.testing import ScriptedClient
from rlm.trajectory import read


def replies(*texts: str) -> list[tuple[str, int, str]]:
    return [("run", number, text) for number, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("answer", "said", "how"),
    [
        ("3", ["There are 3 of them.", "1,3 and 13", "x3"], {0: "whole"}),
        ("The Disk was full.", ["they say:\n the disk  was full."], {0: "whole"}),
        ("It is “so”", ['well: it is "so"'], {0: "whole"}),
        ("- The disk was full.\n- Nobody looked at it.", ["The disk was full", "sunny"], {0: "pieces"}),
        ("First it rained, then it stopped, and then it rained", ["then it stopped"], {0: "within"}),
        ("42", ["nothing"], {}),
    ],
)
def test_what_counts_as_evidence(answer: str, said: list[str], how: dict[int, str]) -> None:
    found = evidence(answer, replies(*said))
    assert found is not None
    assert {passage.call: passage.how for passage in found.found} == how
    assert found.calls == len(said)


def test_the_reply_that_holds_most_comes_first() -> None:
    answer = "The disk was full.\nNobody looked at it.\nIt was on fire."
    found = evidence(answer, replies("the disk was full.", f"I say: {answer}", "it was on fire. the disk was full."))
    assert found is not None
    assert [(passage.call, passage.how, passage.pieces) for passage in found.found] == [
        (1, "whole", 3),
        (2, "pieces", 2),
        (0, "pieces", 1),
    ]
    first = "Passage(run='run', call=1, how='whole', pieces=3)"
    assert repr(found).startswith(f"Evidence(3 of 3 replies, {first}, ")


def test_an_answer_without_text_has_no_evidence() -> None:
    assert evidence(" \n", replies("something")) is None


def test_more_passages_than_are_listed_are_counted() -> None:
    found = evidence("yes", replies(*["yes"] * 250))
    assert found is not None
    assert (len(found.found), found.more) == (200, 50)


def test_an_answer_is_looked_for_by_its_lines_and_sentences() -> None:
    assert split("1. It rained all day.  It stopped.\n\n* Then it rained again!") == [
        "it rained all day",
        "then it rained again!",
    ]


def test_a_result_and_its_log_tell_through_which_calls_the_answer_came_at_any_depth(tmp_path: Path) -> None:
    code = ["names = llm_query_batched(['a?', 'b?', 'c?'])\nFINAL(rlm_query('child?', context=names[1]))"]
    inner = ["FINAL(llm_query('who is it? ' + context))"]

    def model(messages: Sequence[Message]) -> str:
        if len(messages) == 1:
            return "It is Ada Lovelace." if "b?" in messages[0].content or "who" in messages[0].content else "Nobody."
        return f"```repl\n{(inner if 'child?' in messages[1].content else code)[0]}\n```"

    logger = RLMLogger(log_dir=tmp_path)
    rlm = RLM(backend=ScriptedClient(model), environment="local", max_depth=2, logger=logger)
    result = rlm.completion("text", "who?")
    assert result.evidence is not None
    root = result.trajectory[0].run
    assert set(result.evidence.found) == {
        Passage(run=root, call=1, how="whole", pieces=1),
        Passage(run=root, call=3, how="whole", pieces=1),
        Passage(run=f"{root}/0", call=0, how="whole", pieces=1),
    }
    assert result.evidence.calls == 5
    (path,) = tmp_path.iterdir()
    assert read(path).evidence == result.evidence
