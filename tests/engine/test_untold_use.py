"""Providers that do not say what a call used: it is estimated by what is seen of it, never taken for nothing."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import pytest

from rlm import RLM, ConfigurationError, Limits, LMError, Message, ModelInfo, Price, Reply, Usage
from rlm.limits import Ledger
from rlm.testing import LMServer, Request, Scripted, ScriptedClient

LONG = "w" * 20_000
CELL = "r = llm_query_batched(['p'] * 40)\nFINAL([sum(isinstance(x, str) for x in r), type(r[-1]).__name__])"


async def silent(messages: Sequence[Message]) -> str:
    return f"```repl\n{CELL}\n```" if messages[0].role == "system" else LONG


@pytest.mark.parametrize("limit", [{"max_tokens": 40_000}, {"max_budget": 0.04}], ids=str)
def test_a_long_reply_without_counts_is_charged_by_its_length(limit: dict[str, Any]) -> None:
    kwargs = {"price": {"input": 1, "output": 1}}
    result = RLM(backend=silent, backend_kwargs=kwargs, max_concurrent_calls=4, **limit).completion("c", "q")
    done, last = result.value  # type: ignore[misc]
    assert done <= 4 + 4
    assert last == "LimitError"


def test_known_tokens_are_charged_at_the_known_price_where_no_cost_is_told() -> None:
    def model(messages: Sequence[Message]) -> Reply:
        text = f"```repl\n{CELL}\n```" if messages[0].role == "system" else "short"
        usage = Usage(calls=1, input_tokens=500, output_tokens=5_000, unpriced=1)
        return Reply(text=text, model="m", usage=usage)

    client = ScriptedClient(model, price=Price(input=1, output=1))
    result = RLM(backend=client, max_budget=0.04, max_concurrent_calls=4).completion("c", "q")
    done, last = result.value  # type: ignore[misc]
    assert done <= 4 + 4
    assert last == "LimitError"


def test_a_provider_that_should_tell_the_cost_and_does_not_ends_a_run_with_a_dollar_limit() -> None:
    with LMServer(Scripted(text="```repl\nprint(1)\n```")) as server:
        kwargs = {"model_name": "nobody/knows", "base_url": server.openai_base_url, "api_key": "k"}
        with RLM(backend="openrouter", backend_kwargs=kwargs, max_budget=1.0) as rlm:
            with pytest.raises(ConfigurationError, match=r"the cost of 'nobody/knows' is not told.*price") as caught:
                rlm.completion("c", "q")
        assert len(server.requests) == 1
    assert caught.value.result is not None
    assert caught.value.result.usage_summary.total.unpriced == 1


def test_a_call_that_reached_nobody_used_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    cell = "try:\n    llm_query('p', model='gone')\nexcept LMError as error:\n    FINAL(error.kind)"

    def script(request: Request) -> Scripted:
        return Scripted(text=f"```repl\n{cell}\n```")

    with LMServer(script) as server:
        price = {"input": 1, "output": 1}
        root = {"model_name": "m", "base_url": server.openai_base_url, "api_key": "k", "price": price}
        gone = {"model_name": "gone", "base_url": nowhere, "api_key": "k", "price": price, "max_retries": 1}
        rlm = RLM(backend="openai", backend_kwargs=root, other_backends=["openai"], other_backend_kwargs=[gone])
        with rlm:
            result = rlm.completion("c", "q")
    assert result.response == "connection"
    used = result.usage_summary.models["gone"]
    assert (used.attempts, used.unsettled, used.unpriced) == (2, 0, 0)
    assert result.usage_summary.total_cost is not None


TURNED_AWAY = """
for number in range(5):
    try:
        llm_query('p')
    except LMError as error:
        said = error.kind
FINAL(said)
"""


class Priced(ScriptedClient):
    """One whose provider tells the cost of every reply, and of no failure."""

    def info(self, model: str | None = None) -> ModelInfo:
        return ModelInfo(reports_cost=True)


@pytest.mark.parametrize("told", [Usage(attempts=3), Usage(attempts=3, unpriced=1)], ids=["attempts", "unpriced"])
def test_a_call_that_was_turned_away_is_no_reply_whose_use_is_not_told(told: Usage) -> None:
    def model(messages: Sequence[Message]) -> Reply | LMError:
        if messages[0].role != "system":
            return LMError("slow down", kind="rate_limit", usage=told)
        usage = Usage(calls=1, attempts=1, input_tokens=500, output_tokens=50, dollars=0.01)
        return Reply(text=f"```repl\n{TURNED_AWAY}\n```", model="m", usage=usage)

    result = RLM(backend=Priced(model), max_budget=1, max_tokens=20_000).completion("c", "q")
    assert result.value == "rate_limit"
    used = result.usage_summary.total
    assert (used.calls, used.attempts, used.unmetered, used.unpriced) == (6, 16, 0, 5 * told.unpriced)


def test_calls_that_were_turned_away_say_nothing_of_how_long_replies_are() -> None:
    ledger, info = Ledger(Limits(max_tokens=1_000_000)), ModelInfo()

    def reply_tokens() -> int:
        return ledger.estimate("m", info, [Message("user", "p")], None).reply

    before = reply_tokens()
    for _ in range(20):
        ledger.charge(ledger.estimate("m", info, [Message("user", "p")], None), Usage(calls=1, attempts=3), None)
    assert (reply_tokens(), ledger.tokens) == (before, 0)
