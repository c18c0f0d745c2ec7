"""What is booked for a call, whoever says how long its reply may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rlm import RLM, Limits, Message, ModelInfo, Price, Usage
from rlm.limits import Ledger

REPLY = 4_000
NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens")
GIVEN: dict[str, Any] = {
    "sampling_args": lambda args: {"sampling_args": args},
    "sub_sampling_args": lambda args: {"sub_sampling_args": args},
    "backend_kwargs": lambda args: {"backend_kwargs": {"sampling_args": args}},
    "extra_body": lambda args: {"sampling_args": {"extra_body": args}},
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", GIVEN)
def test_the_reply_limit_is_booked_under_every_name_and_wherever_it_is_given(name: str, place: str) -> None:
    def model(messages: Sequence[Message], **sampling: Any) -> tuple[str, Usage]:
        if messages[0].role == "system":
            text = "FINAL(sum(isinstance(x, str) for x in llm_query_batched(['p'] * 30)))"
            return f"```repl\n{text}\n```", Usage(calls=1, input_tokens=1_000, output_tokens=50)
        return "said", Usage(calls=1, input_tokens=5, output_tokens=REPLY)

    limit = 40_000
    result = RLM(backend=model, max_tokens=limit, **GIVEN[place]({name: REPLY})).completion("c", "q")
    assert 1 <= int(result.response) <= 8
    assert result.usage_summary.total.total_tokens <= limit


def test_a_conversation_is_booked_at_the_price_of_writing_it_to_the_providers_cache() -> None:
    ledger, info = Ledger(Limits(max_budget=1.0)), ModelInfo(price=Price(input=4, output=20, cached=0.4, cache_write=5))
    once = [Message("user", "x" * 10_000)]
    alone = ledger.estimate("m", info, once, 0)
    assert alone.dollars == pytest.approx(alone.tokens * 4 / 1e6)
    talk = ledger.estimate("m", info, [Message("system", "s"), *once], 0)
    assert talk.dollars == pytest.approx(talk.tokens * 5 / 1e6)
