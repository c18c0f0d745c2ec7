"""What the model is shown after a turn: bounded whatever the cells did, and what matters is in it."""

from __future__ import annotations

from typing import Any

import pytest

from rlm.policy.showing import CAP, show_cell, show_turn
from rlm.types import Cell, CellError

MOST = CAP + 1_000
FOOTER = "[turn 1 of 30 done]"


def printed(text: str, number: int = 1, **more: Any) -> Cell:
    return Cell(output=text, output_size=len(text), number=number, **more)


def failed(traceback: str) -> CellError:
    return CellError(type="ValueError", message="m", traceback=traceback)


HUGE = [
    [printed("x" * 200_000)],
    [printed("", error=failed("Traceback: head\n" + "y" * 100_000 + "\nValueError: tail"))],
    [printed("x" * 50_000, error=failed("y" * 50_000), notices=("n" * 50_000,), lost=("a" * 90,) * 20_000)],
    [printed("x", notices=("something is so",) * 5_000)],
    [printed("x", lost=tuple(f"name_{i}" for i in range(20_000)))],
    [printed("b" * 3_000, i) for i in range(100)],
    [printed("", i) for i in range(3_000)],
    [*(printed("", i) for i in range(3_000)), printed("x" * 9_000, error=failed("y" * 9_000))],
]


@pytest.mark.parametrize("cells", HUGE, ids=range(len(HUGE)))
def test_a_turn_is_shown_in_about_ten_thousand_characters(cells: list[Cell]) -> None:
    text = show_turn(cells, ["e" * 50_000], len(cells), FOOTER)
    assert len(text) <= MOST + CAP // 4
    assert text.endswith(FOOTER)


def test_short_outputs_leave_their_share_to_the_long_ones() -> None:
    text = show_turn([printed("short", 1), printed("x" * 9_500, 2), printed("", 3)], [], 3, FOOTER)
    assert "x" * 9_500 in text
    assert "omitted" not in text
    assert "[block 1 of 3]\nshort\n[block 2 of 3]" in text


def test_many_blocks_that_print_little_are_all_shown() -> None:
    text = show_turn([printed(f"out {i}\n", i) for i in range(150)], [], 150, FOOTER)
    assert all(f"out {i}\n" in text for i in range(150))


def test_of_too_many_blocks_the_first_and_the_last_are_shown_and_the_rest_is_named() -> None:
    cells = [printed(f"<{i}>" + "b" * 3_000 + f"</{i}>", i) for i in range(1, 101)]
    cells[49] = printed("", 50, notices=("`context` has been restored",))
    text = show_turn(cells, [], 100, FOOTER)
    assert "<1>" in text
    assert "</100>" in text
    assert (
        "[blocks 17 to 83 of 100 ran; what they printed is in _out[17] to _out[83]]\nnote: `context` has been" in text
    )


def test_an_error_is_shown_beside_a_long_output_with_its_first_and_last_lines() -> None:
    error = failed("Traceback: head\n" + "y" * 100_000 + "\nValueError: tail")
    text = show_cell(printed("first " + "x" * 100_000 + " last", error=error))
    for word in ("first ", " last", "Traceback: head", "ValueError: tail", "slice _out[1]"):
        assert word in text
    assert len(text) <= MOST


def test_what_was_omitted_is_counted() -> None:
    text = show_cell(printed("x" * 20_000), 5_000)
    left_out = 20_000 - text.partition("… [")[0].count("x") - text.rpartition("] …")[2].count("x")
    assert f"[{left_out:,} of 20,000 characters omitted; slice _out[1]" in text


def test_names_that_were_lost_are_named_up_to_a_number() -> None:
    text = show_cell(printed("", lost=tuple(f"name_{i}" for i in range(100))))
    assert "name_39 and 60 more" in text
    assert show_cell(printed("", lost=("a", "b"))).endswith("these names are gone: a, b")


def test_a_cell_that_printed_nothing_says_so() -> None:
    assert show_turn([printed("")], [], 1, FOOTER) == f"(no output)\n{FOOTER}"
