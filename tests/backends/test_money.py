"""Dollars and windows: as the provider tells them, as the user does, by the table, or unknown; that is never zero."""

from __future__ import annotations

import json

import pytest

from backends.asking import ask, client, every_protocol
from rlm import registry
from rlm.backends import _pricing
from rlm.testing import LMServer, Scripted
from rlm.types import ModelInfo, Price, Usage

USED = Scripted(text="x", input_tokens=1_000_000, cached_tokens=400_000, output_tokens=100_000)


@pytest.mark.parametrize("streamed", [False, True])
def test_the_cost_a_router_reports_is_the_cost(streamed: bool) -> None:
    with LMServer(Scripted(text="x", cost=0.0125)) as server:
        made = client("openrouter", server, price={"input": 1, "output": 1})
        usage = ask(made, on_text=(lambda _: None) if streamed else None).usage
    assert (usage.dollars, usage.unpriced) == (0.0125, 0)
    assert made.info().reports_cost


def test_the_cost_a_gateway_reports_beside_the_message_is_the_cost() -> None:
    message = {"content": "x", "provider_metadata": {"gateway": {"cost": "0.0006"}}}
    usage = {"prompt_tokens": 5, "completion_tokens": 5}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}).encode()
    with LMServer(Scripted(body=body)) as server:
        assert ask(client("portkey", server)).usage.cost == 0.0006


def test_a_reported_cost_of_zero_is_known() -> None:
    with LMServer(Scripted(text="x", cost=0.0)) as server:
        assert ask(client("openrouter", server)).usage.cost == 0.0


@every_protocol
def test_the_price_given_is_used_and_cached_tokens_have_their_own(name: str) -> None:
    price = {"input": 2.0, "output": 10.0, "cached": 0.5}
    with LMServer(USED) as server:
        usage = ask(client(name, server, model_name="mine", price=price)).usage
    assert usage.cost == pytest.approx(0.6 * 2.0 + 0.4 * 0.5 + 0.1 * 10.0)


def test_a_price_given_is_not_that_of_another_model() -> None:
    with LMServer(USED) as server:
        made = client("openai", server, model_name="mine", price={"input": 1, "output": 1}, context_window=9)
        assert ask(made, model="someone-elses").usage.cost is None
    assert made.info("someone-elses") == ModelInfo()
    assert made.info().context_window == 9
    assert made.info().price == Price(input=1, output=1)


def test_the_table_prices_known_models_with_their_cached_tokens() -> None:
    info = _pricing.lookup("openai", "gpt-5-mini")
    assert info.price is not None
    assert info.price.cached is not None
    with LMServer(USED) as server:
        usage = ask(client("openai", server)).usage
    expected = 0.6 * info.price.input + 0.4 * info.price.cached + 0.1 * info.price.output
    assert usage.cost == pytest.approx(expected)


def test_a_long_prompt_costs_what_the_table_says_of_long_prompts() -> None:
    short = _pricing.dollars("gemini", "gemini-2.5-pro", Usage(input_tokens=100_000))
    long = _pricing.dollars("gemini", "gemini-2.5-pro", Usage(input_tokens=400_000))
    assert short is not None
    assert long is not None
    assert long > 4 * short


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "openrouter", "no-such-provider", "vllm"])
def test_an_unknown_model_is_unknown(provider: str) -> None:
    info = _pricing.lookup(provider, "no-such-model")
    assert (info.context_window, info.price) == (None, None)
    assert _pricing.dollars(provider, "no-such-model", Usage(input_tokens=5)) is None


def test_a_model_on_a_server_of_ones_own_has_no_table_price() -> None:
    with LMServer(USED) as server:
        usage = ask(client("vllm", server, model_name="gpt-5-mini")).usage
    assert (usage.cost, usage.unpriced, usage.unmetered) == (None, 1, 0)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-5-mini"),
        ("azure_openai", "gpt-4o"),
        ("anthropic", "claude-sonnet-4-20250514"),
        ("gemini", "gemini-2.5-flash"),
        ("gemini", "models/gemini-2.5-flash"),
        ("openrouter", "openai/gpt-5-mini"),
        ("portkey", "@openai/gpt-5-mini"),
        ("vercel", "anthropic/claude-sonnet-4-5"),
    ],
)
def test_common_models_are_known_by_every_provider_that_has_them(provider: str, model: str) -> None:
    info = _pricing.lookup(provider, model)
    assert info.context_window is not None
    assert info.context_window > 100_000
    assert info.max_output_tokens is not None
    assert info.price is not None


def test_the_window_is_of_the_input() -> None:
    assert _pricing.lookup("openai", "gpt-5-mini").context_window == 272_000


def test_more_cached_tokens_than_input_do_not_make_a_price_negative() -> None:
    odd = Usage(input_tokens=5, cached_tokens=500_000, output_tokens=1)
    assert _pricing.cost(Price(input=1, output=1, cached=0.1), odd) > 0
    assert (_pricing.dollars("gemini", "gemini-2.5-pro", odd) or 0) > 0


def test_what_is_known_of_a_model_costs_no_request() -> None:
    made = registry.backend("anthropic")(model_name="claude-sonnet-4-20250514")
    assert made.info().context_window == 200_000
    assert made.info("claude-opus-4-20250514").max_output_tokens == 32_000
