"""What the model is told: short, consistent, each number once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rlm.policy.prompt import Briefing, first_message, system_prompt

BRIEFING = Briefing(
    context_type="a str", subcall_chars=300_000, models=("small",), recursion=False, turns=30, cell_timeout=300
)
DOCS = Path(__file__).parents[2] / "docs" / "prompt.md"


def test_the_core_is_short_and_every_place_is_filled() -> None:
    text = system_prompt(BRIEFING)
    assert len(text) < 2_200
    assert "<<" not in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"models": ("a", "b")}, "`model=` may be 'a', 'b'"),
        ({"recursion": True}, "`rlm_query(question, context)`"),
        ({"recursion": False}, "recursion is off"),
        ({"calls": 7}, "30 turns and 7 sub-calls"),
        ({"cell_timeout": 60}, "60 seconds"),
        ({"tools": {"search": (lambda q, n=3: None, "finds")}}, "`search(q, n=3)`: finds"),
        ({"tools": {"limit": (3, "")}}, "`limit`, a int"),
        ({"model": "Qwen/Qwen3-8B"}, "count them"),
    ],
)
def test_what_differs_by_run_is_said(change: dict[str, object], says: str) -> None:
    assert says in system_prompt(replace(BRIEFING, **change))


def test_what_a_tool_says_of_itself_is_taken_literally() -> None:
    text = system_prompt(replace(BRIEFING, tools={"fill": (len, "fills in a <<VARIANT>> or a <<NAME>>")}))
    assert "fills in a <<VARIANT>> or a <<NAME>>" in text


def test_each_number_is_said_once() -> None:
    text = system_prompt(replace(BRIEFING, calls=77, turns=33, cell_timeout=44))
    for number in ("300,000", "10,000", "33 turns", "77 sub-calls", "44 seconds"):
        assert text.count(number) == 1


def test_without_guidance_the_rest_stands() -> None:
    text = system_prompt(replace(BRIEFING, guidance=False))
    assert "Who does what" not in text
    assert "To submit" in text


def test_a_custom_prompt_is_literal_with_the_tools_after_it() -> None:
    text = system_prompt(replace(BRIEFING, tools={"f": (len, "")}), "mine {x} <<MODELS>>")
    assert text.startswith("mine {x} <<MODELS>>\n")
    assert "`f(" in text


def test_a_short_context_without_a_question_is_shown_whole_and_a_long_one_is_not() -> None:
    assert "x" * 2_000 in first_message("x" * 2_000, None)
    assert "x" * 2_000 not in first_message("x" * 2_001, None)
    assert "x" * 300 not in first_message("xy" * 900, "what?")


def test_every_rule_of_the_prompt_is_explained() -> None:
    """The documentation names each bullet and each numbered fact of the prompt."""
    rows = [row for row in DOCS.read_text(encoding="utf-8").splitlines() if row.startswith("| ")][1:]
    assert len(rows) >= 18
    for word in (
        "peek",
        "schema=",
        "LMError",
        "budget()",
        "distinct shapes",
        "different order",
        "at a glance",
        "bare value",
        "_out[n]",
    ):
        assert any(word in row for row in rows), word
        assert word in system_prompt(BRIEFING), word
