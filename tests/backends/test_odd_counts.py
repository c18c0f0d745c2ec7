"""Counts and costs that cannot be: they are unknown, and never lower a total."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from backends.asking import ask, client, every_protocol
from rlm import RLM, Message, Price, Reply, Usage
from rlm.testing import LMServer, Scripted, ScriptedClient

ODD = ("-5", "NaN", "Infinity", "-Infinity", "1e999", "true", '"many"', "null", "2.5")
GIVEN = {
    "openai": ("usage", "prompt_tokens", "completion_tokens"),
    "anthropic": ("usage", "input_tokens", "output_tokens"),
    "gemini": ("usageMetadata", "promptTokenCount", "candidatesTokenCount"),
}
WHOLE: dict[str, Any] = {
    "openai": {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]},
    "anthropic": {"content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn"},
    "gemini": {"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]},
}


def body(name: str, told: dict[str, str], **more: str) -> bytes:
    usage = ", ".join(f'"{key}": {value}' for key, value in {**told, **more}.items())
    return f'{json.dumps(WHOLE[name])[:-1]}, "{GIVEN[name][0]}": {{{usage}}}}}'.encode()


@every_protocol
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("which", [1, 2])
def test_a_count_that_cannot_be_is_unknown(name: str, odd: str, which: int) -> None:
    told = {GIVEN[name][1]: "7", GIVEN[name][2]: "3"} | {GIVEN[name][which]: odd}
    with LMServer(Scripted(body=body(name, told))) as server:
        usage = ask(client(name, server)).usage
    assert usage == Usage(calls=1, attempts=1, unmetered=1, unpriced=1)


@pytest.mark.parametrize("odd", ["-0.5", "NaN", "Infinity", '"-1"', '"nan"', "true", "[]"])
def test_a_cost_that_cannot_be_is_unknown(odd: str) -> None:
    told = {"prompt_tokens": "7", "completion_tokens": "3"}
    with LMServer(Scripted(body=body("openai", told, cost=odd))) as server:
        usage = ask(client("openrouter", server, model_name="nobody/knows")).usage
    assert (usage.cost, usage.dollars, usage.unpriced, usage.input_tokens) == (None, 0.0, 1, 7)


ODD_USAGES = [
    Usage(calls=1, input_tokens=-1_000, output_tokens=5, dollars=0.1),
    Usage(calls=1, input_tokens=10, output_tokens=5, dollars=float("nan")),
    Usage(calls=1, input_tokens=10, output_tokens=5, dollars=float("-inf")),
    Usage(calls=1, input_tokens=10, output_tokens=5, dollars=-1.0),
    Usage(calls=-1, input_tokens=10, output_tokens=5),
    Usage(calls=1, input_tokens=float("nan"), output_tokens=5),  # type: ignore[arg-type]
    Usage(calls=1, input_tokens="10", output_tokens=None),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("odd", ODD_USAGES, ids=str)
@pytest.mark.parametrize("function", [False, True])
def test_what_a_backend_of_the_users_says_that_cannot_be_lowers_no_total(odd: Usage, function: bool) -> None:
    def model(messages: Sequence[Message]) -> Reply:
        if messages[0].role == "system":
            text = "```repl\nFINAL(llm_query('p'))\n```"
            return Reply(text=text, model="m", usage=Usage(calls=1, input_tokens=50, output_tokens=10, dollars=0.25))
        return Reply(text="said", model="m", usage=odd)

    price = Price(input=1, output=1)
    kwargs: dict[str, Any] = {"backend_kwargs": {"price": price}} if function else {}
    backend: Any = model if function else ScriptedClient(model, price=price)
    result = RLM(backend=backend, max_budget=9.0, max_tokens=90_000, **kwargs).completion("c", "q")
    assert result.response == "said"
    total = result.usage_summary.total
    assert total.dollars >= 0.25
    assert total.total_tokens >= 60
    assert total.calls == 2
    assert total.cost is None
