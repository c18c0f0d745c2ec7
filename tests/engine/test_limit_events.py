"""What a watcher is told of limits: how near they came, what waits, what pushed back, and which one ended the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rlm import RLM, Completion, LimitExceededError, Message, Price, Reply, RLMError, Usage
from rlm.events import CallFinished, LimitApproached, ReplyReceived, RunFinished, Warned
from rlm.testing import LMServer, Request, Scripted, ScriptedClient, rate_limit


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


def approached(result: Completion | None) -> list[LimitApproached]:
    assert result is not None
    return [event for event in result.trajectory if isinstance(event, LimitApproached)]


def spending(tokens: int, dollars: float) -> Callable[[Sequence[Message]], Reply]:
    """A model that makes nine sub-calls, one by one, each of which costs that much."""

    def model(messages: Sequence[Message]) -> Reply:
        leaf = len(messages) == 1
        usage = Usage(calls=1, attempts=1, input_tokens=leaf * tokens, dollars=leaf * dollars)
        code = "for n in range(9):\n    llm_query('x')\nFINAL(1)"
        return Reply(text="leaf" if leaf else repl(code), model="m", usage=usage)

    return model


@pytest.mark.parametrize(("limit", "allowed"), [("max_subcalls", 10), ("max_tokens", 1_000_000), ("max_budget", 1.25)])
def test_half_and_four_fifths_of_a_limit_are_told_once_each(limit: str, allowed: float) -> None:
    client = ScriptedClient(spending(100_000, 0.125), price=Price(input=0.01, output=0.01))
    result = RLM(backend=client, **{limit: allowed}).completion("c", "q")
    told = approached(result)
    assert [event.limit for event in told] == [limit, limit]
    assert [event.used / event.allowed for event in told] == pytest.approx([0.5, 0.8])
    assert [event.left for event in told] == pytest.approx([0.5 * allowed, 0.2 * allowed])
    assert {(event.run, event.depth, event.waiting) for event in told} == {(result.trajectory[0].run, 0, False)}


def test_of_two_shares_passed_at_once_one_is_told() -> None:
    def model(messages: Sequence[Message]) -> Reply:
        leaf = len(messages) == 1
        usage = Usage(calls=1, attempts=1, input_tokens=9_000 * leaf)
        return Reply(text="leaf" if leaf else repl("llm_query('x')\nFINAL(1)"), model="m", usage=usage)

    result = RLM(backend=ScriptedClient(model), max_tokens=20_000).completion("c", "q")
    assert approached(result) == []
    result = RLM(backend=ScriptedClient(model), max_tokens=10_000).completion("c", "q")
    assert [event.used for event in approached(result)] == [9_000]


def test_time_is_told_while_nothing_else_happens() -> None:
    async def hangs(messages: Any) -> str:
        await asyncio.Event().wait()
        return ""

    with pytest.raises(RLMError) as caught:
        RLM(backend=hangs, max_timeout=0.5).completion("c", "q")
    told = approached(caught.value.result)
    assert [(event.limit, event.used, event.allowed) for event in told] == [
        ("max_timeout", 0.25, 0.5),
        ("max_timeout", 0.4, 0.5),
    ]
    assert told[0].time <= told[1].time


def test_calls_that_wait_for_room_in_a_limit_are_told_once() -> None:
    def model(messages: Sequence[Message]) -> str:
        return "leaf" if len(messages) == 1 else repl("print(llm_query_batched(['x' * 4_000] * 20))\nFINAL(1)")

    result = RLM(backend=ScriptedClient(model, latency=0.001), max_tokens=30_000).completion("c", "q")
    (waiting,) = [event for event in approached(result) if event.waiting]
    assert waiting.limit == "max_tokens"
    assert waiting.used < waiting.allowed / 2
    assert waiting.used + waiting.booked <= waiting.allowed
    assert waiting.booked > waiting.allowed / 2
    assert any(event.waited > 0 for event in result.trajectory if isinstance(event, CallFinished))


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"max_tokens": 3_000}, "max_tokens"),
        ({"max_errors": 2}, "max_errors"),
        ({"max_timeout": 0.3}, "max_timeout"),
        ({"max_iterations": 2}, "max_iterations"),
    ],
)
@pytest.mark.parametrize("on_limit", ["raise", "return"])
def test_the_end_names_the_limit_that_ended_the_run(options: dict[str, Any], limit: str, on_limit: Any) -> None:
    def model(messages: Sequence[Message]) -> str:
        return repl("while True: pass" if "max_timeout" in options else "print('x' * 4_000)\n1 / 0")

    rlm = RLM(backend=ScriptedClient(model), on_limit=on_limit, **options)
    try:
        result: Completion | None = rlm.completion("c", "q")
    except LimitExceededError as exc:
        result = exc.result
        assert on_limit == "raise"
    assert result is not None
    end = result.trajectory[-1]
    assert isinstance(end, RunFinished)
    assert end.limit == limit


def test_what_a_call_stood_in_line_for_is_told_with_its_end() -> None:
    async def model(messages: Sequence[Message]) -> str:
        if len(messages) == 1:
            await asyncio.sleep(0.01)
            return "leaf"
        return repl("llm_query_batched(['a', 'b', 'c'])\nFINAL(1)")

    result = RLM(backend=model, max_concurrent_calls=1).completion("c", "q")
    first, second, third = [event for event in result.trajectory if isinstance(event, CallFinished)]
    assert first.waited < second.waited < third.waited < third.seconds
    # Sent when the one before had ended, on clocks that are read one after the other.
    for before, after in ((first, second), (second, third)):
        assert after.time - after.seconds + after.waited >= before.time - 0.005
    (reply, *_) = [event for event in result.trajectory if isinstance(event, ReplyReceived)]
    assert 0 <= reply.waited < reply.seconds


def test_a_provider_that_pushes_back_is_a_warning(lm_server: Callable[..., LMServer]) -> None:
    refused = set()

    def model(request: Request) -> Scripted:
        if len(request.messages) > 1:
            return Scripted(text=repl("llm_query_batched([str(n) for n in range(40)])\nFINAL(1)"))
        if request.text not in refused:
            refused.add(request.text)
            return rate_limit()
        return Scripted(text="leaf")

    server = lm_server(model)
    kwargs = {"model_name": "m", "api_key": "none-needed", "base_url": server.openai_base_url}
    result = RLM(backend="openai", backend_kwargs=kwargs, max_concurrent_calls=10).completion("c", "q")
    warnings = [event.text for event in result.trajectory if isinstance(event, Warned)]
    assert warnings[0] == "m pushed back: for a while at most 7 calls are made at once"
    assert len(warnings) <= 3
