"""Limits hold: what is booked before it is sent, what waits, what fails, and what a run ends with."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from rlm import (
    RLM,
    BudgetExceededError,
    ConfigurationError,
    ErrorThresholdExceededError,
    LimitError,
    Limits,
    Message,
    ModelInfo,
    Price,
    Reply,
    TokenLimitExceededError,
    Usage,
)
from rlm.limiter import Limiter
from rlm.limits import KEPT, Claim, Ledger
from rlm.testing import ScriptedClient


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


def fan_out(count: int, prompt: str = "p") -> Any:
    """A model whose first turn makes `count` sub-calls, and whose second submits how many came back."""

    def model(messages: Sequence[Message]) -> str:
        if len(messages) == 1:
            return "w" * 400
        if len(messages) == 2:
            return repl(
                f"r = llm_query_batched(['{prompt}' * 400] * {count})\nans = [x for x in r if isinstance(x, str)]"
            )
        return repl("FINAL([len(ans), sorted({type(x).__name__ for x in r})])")

    return model


def test_400_subcalls_under_a_token_limit_overshoot_by_no_more_than_what_is_in_flight() -> None:
    client = ScriptedClient(fan_out(400))
    limit = 20_000
    result = RLM(backend=client, max_tokens=limit, max_concurrent_calls=16).completion("c", "q")
    done, kinds = result.value  # type: ignore[misc]
    assert kinds == ["LMText", "LimitError"]
    assert 20 < done < 60
    assert result.usage_summary.total.total_tokens <= limit + 16 * 100


def test_a_call_that_does_not_fit_waits_while_others_may_settle_for_less() -> None:
    async def main() -> None:
        ledger = Ledger(Limits(max_tokens=1_000))
        info = ModelInfo()
        first = ledger.estimate("m", info, [Message("user", "x" * 100)], 600)
        second = ledger.estimate("m", info, [Message("user", "x" * 100)], 600)
        await ledger.book(first)
        waiting = asyncio.ensure_future(ledger.book(second))
        await asyncio.sleep(0)
        assert not waiting.done()
        ledger.settle(first, Usage(calls=1, input_tokens=25, output_tokens=10))
        await waiting

    asyncio.run(main())


def test_a_waiting_call_fails_when_none_in_flight_can_free_enough() -> None:
    async def main() -> None:
        ledger = Ledger(Limits(max_tokens=1_000))
        booking = [ledger.estimate("m", ModelInfo(), [Message("user", "x" * 100)], 600) for _ in range(2)]
        await ledger.book(booking[0])
        waiting = asyncio.ensure_future(ledger.book(booking[1]))
        await asyncio.sleep(0)
        ledger.settle(booking[0], Usage(calls=1, input_tokens=25, output_tokens=590))
        with pytest.raises(LimitError, match="385 are left") as caught:
            await waiting
        assert caught.value.limit == "max_tokens"

    asyncio.run(main())


def test_cancelling_a_waiting_call_frees_its_place() -> None:
    async def main() -> None:
        ledger = Ledger(Limits(max_tokens=1_000))
        bookings = [ledger.estimate("m", ModelInfo(), [Message("user", "x" * 100)], 600) for _ in range(3)]
        await ledger.book(bookings[0])
        tasks = [asyncio.ensure_future(ledger.book(b)) for b in bookings[1:]]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        ledger.settle(bookings[0], Usage(calls=1, input_tokens=1, output_tokens=1))
        await tasks[1]

    asyncio.run(main())


def test_a_call_cut_off_is_charged_at_its_booking_and_listed_as_unsettled() -> None:
    ledger = Ledger(Limits(max_tokens=10_000))
    booking = ledger.estimate("m", ModelInfo(), [Message("user", "x" * 1_000)], 500)
    asyncio.run(ledger.book(booking))
    ledger.settle(booking, Usage(calls=1, attempts=1, unmetered=1, unpriced=1, unsettled=1))
    assert ledger.tokens == booking.tokens > 500


def test_the_token_limit_raises_with_the_draft_and_what_was_used() -> None:
    replies = [repl("answer['content'] = 'so far'\nprint('x' * 9000)")] * 30
    with pytest.raises(TokenLimitExceededError) as caught:
        RLM(backend=ScriptedClient(replies), max_tokens=20_000).completion("c", "q")
    error = caught.value
    assert error.partial_answer == "so far"
    assert error.result is not None
    assert error.result.usage_summary.total.total_tokens <= 20_000
    assert error.token_limit == 20_000


def test_the_same_limit_can_return_a_forced_result() -> None:
    replies = [repl("answer['content'] = 'so far'\nprint('x' * 9000)")] * 30
    result = RLM(backend=ScriptedClient(replies), max_tokens=20_000, on_limit="return").completion("c", "q")
    assert (result.response, result.status, result.limit) == ("so far", "forced", "max_tokens")


def test_the_reserve_pays_for_one_last_answer() -> None:
    def model(messages: Sequence[Message]) -> str:
        return "the best I have" if "final answer" in messages[-1].content else repl("print('x' * 9000)")

    result = RLM(backend=ScriptedClient(model), max_tokens=20_000, on_limit="return").completion("c", "q")
    assert result.response == "the best I have"
    assert result.usage_summary.total.total_tokens <= 20_000


def test_the_dollar_limit_holds_and_is_reported_in_dollars() -> None:
    client = ScriptedClient(fan_out(200), price=Price(input=10, output=10))
    with_limit = RLM(backend=client, max_budget=0.05, max_concurrent_calls=8)
    result = with_limit.completion("c", "q")
    done, kinds = result.value  # type: ignore[misc]
    assert kinds == ["LMText", "LimitError"]
    assert done > 0
    assert result.usage_summary.total_cost is not None
    assert result.usage_summary.total_cost <= 0.05 + 8 * 0.002


def test_the_dollar_limit_ends_a_run_that_only_turns() -> None:
    client = ScriptedClient([repl("print('x' * 9000)")] * 40, price=Price(input=1, output=1))
    with pytest.raises(BudgetExceededError) as caught:
        RLM(backend=client, max_budget=0.02).completion("c", "q")
    assert caught.value.budget == 0.02
    assert caught.value.spent <= 0.02


def test_a_dollar_limit_without_a_known_price_is_refused_with_the_way_to_give_one() -> None:
    client = ScriptedClient([repl("FINAL(1)")])
    with pytest.raises(ConfigurationError, match="price"):
        RLM(backend=client, max_budget=1).completion("c", "q")
    assert not client.calls


def test_max_subcalls_is_told_in_the_cell_and_the_run_goes_on() -> None:
    client = ScriptedClient(fan_out(10))
    result = RLM(backend=client, max_subcalls=4).completion("c", "q")
    assert result.value == [4, ["LMText", "LimitError"]]
    assert "0 left" in client.calls[-1].text
    assert len(client.calls) == 2 + 4


def test_max_errors_counts_failing_turns_in_a_row() -> None:
    with pytest.raises(ErrorThresholdExceededError) as caught:
        RLM(
            backend=ScriptedClient([repl("1/0"), repl("x = 1"), repl("1/0"), repl("2/0"), "best"]), max_errors=2
        ).completion("c", "q")
    assert caught.value.error_count == 2
    assert "ZeroDivisionError" in str(caught.value)
    assert caught.value.partial_answer == "best"


def test_budget_tells_what_is_left() -> None:
    client = ScriptedClient([repl("FINAL(budget())")], price=Price(input=1, output=1))
    result = RLM(
        backend=client, max_iterations=5, max_subcalls=7, max_tokens=100_000, max_budget=1, max_timeout=60
    ).completion("c", "q")
    left = result.value
    assert isinstance(left, dict)
    assert (left["turns"], left["subcalls"]) == (4, 7)
    assert 90_000 < left["tokens"] < 100_000
    assert 0.9 < left["dollars"] < 1
    assert 30 < left["seconds"] <= 60
    assert RLM(backend=ScriptedClient([repl("FINAL(budget()['tokens'])")])).completion("c", "q").value is None


def test_the_model_is_told_at_half_and_at_four_fifths_of_a_limit_once() -> None:
    client = ScriptedClient(
        [
            repl("r = llm_query_batched(['x'] * 3)"),
            *["y"] * 3,
            repl("llm_query('x')"),
            "y",
            repl("llm_query_batched(['x'] * 2)"),
            "y",
            "y",
            repl("x=1"),
            repl("FINAL(1)"),
        ]
    )
    RLM(backend=client, max_subcalls=7).completion("c", "q")
    shown = [m.content for m in client.calls[-1].messages if m.role == "user"][1:]
    assert ["50%" in text for text in shown] == [False, True, False, False]
    assert ["80%" in text for text in shown] == [False, False, True, False]


def test_the_concurrency_limit_holds() -> None:
    gate = asyncio.Event()

    class Client(ScriptedClient):
        async def complete(self, messages: Sequence[Message], **rest: Any) -> Reply:
            if len(messages) == 1:
                await asyncio.sleep(0.001)
            return await super().complete(messages, **rest)

    client = Client(fan_out(50))
    RLM(backend=client, max_concurrent_calls=5).completion("c", "q")
    assert client.max_in_flight <= 5
    assert not gate.is_set()


def test_the_limiter_gives_way_when_the_provider_pushes_back_and_recovers() -> None:
    limiter = Limiter(64)
    for _ in range(200):
        limiter.report(pushed_back=True)
    low = limiter.size
    assert 1 <= low < 16
    for _ in range(10_000):
        limiter.report(pushed_back=False)
    assert limiter.size == 64


def test_a_burst_of_refusals_counts_once() -> None:
    limiter = Limiter(64)
    for _ in range(64):
        limiter.report(pushed_back=False)
    cuts = [limiter.report(pushed_back=True) for _ in range(40)]
    assert cuts.count(True) == 1


def test_a_cancelled_wait_for_a_place_is_no_place_lost() -> None:
    async def main() -> None:
        limiter = Limiter(1)
        async with limiter.slot():
            waiting = asyncio.ensure_future(_hold(limiter))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        async with limiter.slot():
            assert limiter.in_flight == 1

    asyncio.run(main())


async def _hold(limiter: Limiter) -> None:
    async with limiter.slot():
        await asyncio.Event().wait()


@pytest.mark.parametrize("claim", ["turn", "subcall"])
def test_how_many_tokens_a_character_has_is_learned_from_turns_and_sub_calls_alike(claim: Claim) -> None:
    ledger = Ledger(Limits())
    sent = [Message("user", "x" * 10_000)]
    for _ in range(40):
        booking = ledger.estimate("m", ModelInfo(), sent, 500, claim=claim)
        ledger.charge(booking, Usage(calls=1, input_tokens=2_000, output_tokens=10))
    assert ledger.tokens_per_char("m") == pytest.approx(0.2, rel=0.02)
    for other in KEPT:
        assert ledger.estimate("m", ModelInfo(), sent, 500, claim=other).tokens < 2_700
    assert ledger.tokens_per_char("another") > 0.25
