"""How far over a limit a run can go: by one reply for each call in flight, however many calls stand in line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from rlm import RLM, Limits, Message, ModelInfo, Price, Usage
from rlm.limits import Ledger

REPLY, AT_ONCE, LIMIT = 5_000, 4, 300_000


@pytest.mark.parametrize("in_dollars", [False, True])
def test_calls_that_stand_in_line_are_booked_by_what_replies_have_shown_by_then(in_dollars: bool) -> None:
    async def model(messages: Sequence[Message]) -> tuple[str, Usage]:
        if messages[0].role == "system":
            cell = "FINAL(sum(isinstance(x, str) for x in llm_query_batched(['p'] * 400)))"
            return f"```repl\n{cell}\n```", Usage(calls=1, input_tokens=1_000, output_tokens=50)
        await asyncio.sleep(0.01)
        return "said", Usage(calls=1, input_tokens=5, output_tokens=REPLY)

    kwargs = {"price": {"input": 1, "output": 1}}
    limit = {"max_budget": LIMIT / 1e6} if in_dollars else {"max_tokens": LIMIT}
    rlm = RLM(backend=model, backend_kwargs=kwargs, max_concurrent_calls=AT_ONCE, **limit)  # type: ignore[arg-type]
    result = rlm.completion("c", "q")
    assert int(result.response) > 40
    assert result.usage_summary.total.total_tokens <= LIMIT + AT_ONCE * REPLY


def test_nothing_is_left_of_bookings_that_are_settled_which_a_call_would_wait_for() -> None:
    async def main() -> None:
        info, ledger = ModelInfo(price=Price(input=0.1, output=0.3)), Ledger(Limits(max_budget=1.0))
        for size in range(1, 200):
            bookings = [ledger.estimate("m", info, [Message("user", "x" * size * n)], n) for n in (1, 7, 31)]
            for booking in bookings:
                await ledger.book(booking)
            for booking in bookings:
                ledger.settle(booking, Usage(calls=1))
            assert ledger.booked("max_budget") == 0

    asyncio.run(main())
