"""A run that reached a limit goes on when the limit is raised, ends as it ended when it is not, and what was told of a
limit stays told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from journal.test_durable import cut_before, texts, turns
from rlm import RLM, BudgetExceededError, LimitExceededError, Message, Price
from rlm.testing import ScriptedClient

CALLS = [
    "got = [llm_query('one')]",
    "1 / 0",
    "1 / 0",
    "got.append(llm_query('two'))",
    "got.append(llm_query('three'))",
    "FINAL(got)",
]
SAID = ["reply to one", "reply to two", "reply to three"]
TEXT = [*["print('many words ' * 300)"] * 6, "FINAL('done')"]
LIMITS: list[tuple[str, float, float, list[str], object]] = [
    ("max_iterations", 3, 30, CALLS, SAID),
    ("max_errors", 2, 30, CALLS, SAID),
    ("max_timeout", 0.5, 60.0, CALLS, SAID),
    ("max_tokens", 20_000, 1_000_000, TEXT, "done"),
    ("max_budget", 20.0, 1_000.0, TEXT, "done"),
]


@pytest.mark.parametrize("on_limit", ["raise", "return"])
@pytest.mark.parametrize(("limit", "low", "high", "sources", "value"), LIMITS, ids=[limit for limit, *_ in LIMITS])
def test_a_run_that_ended_at_a_limit_goes_on_when_it_is_raised_and_else_ends_alike_for_nothing(
    limit: str, low: float, high: float, sources: list[str], value: object, on_limit: Any, tmp_path: Path
) -> None:
    def whole(messages: Sequence[Message]) -> str:
        return "forced" if "No more code" in messages[-1].content else str(turns(*sources)(messages))

    async def stuck(messages: Sequence[Message]) -> str:
        """From the fourth turn on."""
        if sum(message.role == "assistant" for message in messages) == 3 and "The time is" not in messages[-1].content:
            await asyncio.Event().wait()
        return whole(messages)

    def life(script: Any, allowed: float, **options: Any) -> tuple[ScriptedClient, Any]:
        client = ScriptedClient(script, price=Price(input=1000.0, output=1000.0))
        rlm = RLM(backend=client, on_limit=on_limit, **{limit: allowed}, **options)
        try:
            return client, rlm.completion("c", "q")
        except LimitExceededError as error:
            assert on_limit == "raise"
            return client, error.result

    first, ended = life(stuck if limit == "max_timeout" else whole, low, checkpoint=tmp_path)
    assert (ended.status, ended.response) == ("forced", "forced")
    made = len(first.calls) - 1 - (limit == "max_timeout")  # the last answer, and what was cut off
    assert made >= 3
    if limit != "max_timeout":  # which is the time of each attempt
        again, ended = life(whole, low, checkpoint=tmp_path)
        assert (ended.response, ended.divergences, again.calls) == ("forced", (), [])
    client, result = life(whole, high, checkpoint=tmp_path)
    assert (result.status, result.value, result.divergences) == ("answered", value, ())
    assert made + len(client.calls) == len(sources) + (3 if sources is CALLS else 0)
    again, result = life(whole, low, checkpoint=tmp_path)
    replayed, same = life(whole, low, replay=tmp_path)
    assert result.value == same.value == value, "an answered run is over, whatever the limits"
    assert (again.calls, replayed.calls) == ([], [])


CAUGHT = """got = []
for n in range(4):
    try:
        got.append(llm_query(str(n)))
    except LimitError:
        got.append('refused')"""


def subcalls(messages: Sequence[Message]) -> str:
    return (
        "forced" if "No more code" in messages[-1].content else str(turns(CAUGHT, "print(got)", "FINAL(got)")(messages))
    )


ANSWERED = [f"reply to {n}" for n in range(4)]
REFUSED = ["reply to 0", "reply to 1", "refused", "refused"]


@pytest.mark.parametrize("turns_made", [1, None], ids=["forced", "killed"])
def test_calls_that_were_refused_are_made_when_no_turn_was_told_of_it(turns_made: int | None, tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint": tmp_path, "max_iterations": turns_made or 30}
    RLM(backend=ScriptedClient(subcalls), max_subcalls=2, **options).completion("c", "q")
    if turns_made is None:
        cut_before(tmp_path, "reply", 3)
    client = ScriptedClient(subcalls)
    result = RLM(backend=client, checkpoint=tmp_path, max_subcalls=50).completion("c", "q")
    assert (result.value, texts(client), result.divergences) == (ANSWERED, ["2", "3"], ())


def test_calls_that_were_refused_stay_refused_when_a_turn_was_told_of_it(tmp_path: Path) -> None:
    RLM(backend=ScriptedClient(subcalls), checkpoint=tmp_path, max_subcalls=2, max_iterations=2).completion("c", "q")
    client = ScriptedClient(subcalls)
    result = RLM(backend=client, checkpoint=tmp_path, max_subcalls=50).completion("c", "q")
    assert (result.value, texts(client), result.divergences) == (REFUSED, [], ())


def parent_and_child(messages: Sequence[Message]) -> str:
    if messages[0].role != "system":
        return f"reply to {messages[-1].content}"
    if "No more code" in messages[-1].content:
        return "the child's best" if "inner" in messages[1].content else "forced"
    if "inner" in messages[1].content:
        return str(
            turns("try:\n    x = llm_query('a')\nexcept LimitError:\n    x = 0", "1 / 0", "1 / 0", "FINAL(x)")(messages)
        )
    return str(turns("a = rlm_query('inner')", "print(a)", "b = llm_query('b')", "print(b)", "FINAL([a, b])")(messages))


def test_what_a_child_said_at_its_limit_stays_said_when_limits_are_raised(tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint": tmp_path, "max_depth": 2}
    first = ScriptedClient(parent_and_child)
    ended = RLM(backend=first, max_iterations=3, **options).completion("c", "q")
    assert (ended.status, ended.limit) == ("forced", "max_iterations")
    client = ScriptedClient(parent_and_child)
    result = RLM(backend=client, max_iterations=30, max_errors=9, **options).completion("c", "q")
    assert (result.value, result.divergences) == (["the child's best", "reply to b"], ())
    assert len(client.calls) == 2


def test_turns_may_be_raised(tmp_path: Path) -> None:
    script = turns("a = llm_query('one')", "b = llm_query('two')", "FINAL([a, b])")
    first = ScriptedClient(lambda m: "forced" if "No more code" in m[-1].content else script(m))
    result = RLM(backend=first, checkpoint=tmp_path, max_iterations=2).completion("c", "q")
    assert (result.status, result.response) == ("forced", "forced")
    client = ScriptedClient(script)
    result = RLM(backend=client, checkpoint=tmp_path, max_iterations=9).completion("c", "q")
    assert (result.status, result.value) == ("answered", ["reply to one", "reply to two"])
    assert (len(client.calls), result.divergences) == (1, ())
    assert "[turn 2 of 2 done" in client.calls[0].text


def test_a_budget_may_be_raised(tmp_path: Path) -> None:
    script = turns("a = llm_query('one')", "b = llm_query('two')", "FINAL([a, b])")
    price = Price(input=1000.0, output=1000.0)
    paid = ScriptedClient(script, price=price)
    RLM(backend=paid, checkpoint=tmp_path / "whole", max_budget=100).completion("c", "q")
    spent = RLM(backend=paid, checkpoint=tmp_path / "whole", max_budget=100).completion("c", "q").usage_summary
    first = ScriptedClient(script, price=price)
    with pytest.raises(BudgetExceededError) as caught:
        RLM(backend=first, checkpoint=tmp_path / "run", max_budget=spent.total_cost * 0.7).completion("c", "q")
    assert caught.value.spent > 0
    client = ScriptedClient(script, price=price)
    result = RLM(backend=client, checkpoint=tmp_path / "run", max_budget=100).completion("c", "q")
    assert result.value == ["reply to one", "reply to two"]
    assert result.usage_summary.total_cost == pytest.approx(spent.total_cost)
    assert len(first.calls) + len(client.calls) == 5


def test_what_was_paid_for_counts_against_the_limits_again(tmp_path: Path) -> None:
    script = turns(*(f"x{n} = llm_query('{n}')" for n in range(6)), "FINAL(1)")
    price = Price(input=1000.0, output=1000.0)
    whole = RLM(backend=ScriptedClient(script, price=price), checkpoint=tmp_path).completion("c", "q")
    cut_before(tmp_path, "reply", 8)
    client = ScriptedClient(script, price=price)
    budget = whole.usage_summary.total_cost * 0.5
    with pytest.raises(BudgetExceededError):
        RLM(backend=client, checkpoint=tmp_path, max_budget=budget).completion("c", "q")
    assert client.calls == []


def test_calls_that_were_refused_are_made_when_only_a_shortened_last_answer_came_after(tmp_path: Path) -> None:
    script = turns(f"# {'w ' * 8_000}\n{CAUGHT}\nprint('x' * 15_000)", "FINAL(got)")

    def model(messages: Sequence[Message]) -> str:
        return "forced" if "No more code" in messages[-1].content else str(script(messages))

    first = ScriptedClient(model)
    ended = RLM(backend=first, checkpoint=tmp_path, max_tokens=11_000, on_limit="return").completion("c", "q")
    assert (ended.status, len(first.calls)) == ("forced", 2)
    assert "left out here" in "".join(message.content for message in first.calls[-1].messages)
    client = ScriptedClient(model)
    result = RLM(backend=client, checkpoint=tmp_path).completion("c", "q")
    assert (result.value, texts(client), result.divergences) == (ANSWERED, ["0", "1", "2", "3"], ())
