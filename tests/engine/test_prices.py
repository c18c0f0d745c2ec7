"""A dollar limit is refused where it cannot be kept, before anything is paid, for every model a run may use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from rlm import RLM, ConfigurationError, Message, Price
from rlm.testing import LMServer, Scripted, ScriptedClient

PRICED = {"model_name": "root", "price": {"input": 1, "output": 1}}


async def function(messages: Sequence[Message]) -> str:
    return "```repl\nFINAL('done')\n```"


def test_a_sub_model_without_a_price_is_refused_before_the_root_is_asked() -> None:
    with LMServer(Scripted(text="```repl\nFINAL('done')\n```")) as server:
        kwargs = {**PRICED, "base_url": server.openai_base_url, "api_key": "k"}
        rlm = RLM(backend="openai", backend_kwargs=kwargs, sub_model=["openai/a", "openai/b"], max_budget=1.0)
        with pytest.raises(ConfigurationError, match="the price of 'a' is not known"), rlm:
            rlm.completion("c", "q")
        assert not server.requests


@pytest.mark.parametrize("position", [0, 1])
def test_the_same_of_other_backends_at_any_depth(position: int) -> None:
    root = ScriptedClient("```repl\nFINAL('done')\n```", price=Price(input=1, output=1))
    others: list[Any] = [ScriptedClient("x", model="other", price=Price(input=1, output=1)), function]
    if position == 0:
        others.reverse()
    with pytest.raises(ConfigurationError, match="max_budget cannot be kept: the price of 'function' is not known"):
        RLM(backend=root, other_backends=others, max_budget=1.0).completion("c", "q")
    assert not root.calls


@pytest.mark.parametrize("amount", [math.nan, -1.0, math.inf])
def test_a_price_that_is_none_is_refused(amount: float) -> None:
    root = ScriptedClient("```repl\nFINAL('done')\n```", price=Price(input=1, output=amount))
    with pytest.raises(ConfigurationError, match="price of 'scripted'"):
        RLM(backend=root, max_budget=1.0).completion("c", "q")
    assert not root.calls


@pytest.mark.parametrize("amount", [math.nan, -1.0, math.inf, "1", True])
def test_a_price_that_is_given_is_checked_at_once(amount: Any) -> None:
    for price in ({"input": 1, "output": amount}, Price(input=amount, output=1)):
        with pytest.raises(ConfigurationError, match="dollars per million tokens"):
            RLM(backend=function, backend_kwargs={"price": price})
