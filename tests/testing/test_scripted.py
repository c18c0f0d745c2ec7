"""The scripted backend is a `Client` like any other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import pytest

from rlm import RLM
from rlm.errors import LMError
from rlm.protocols import Client
from rlm.testing import ScriptedClient
from rlm.types import Message, Price, Reply, Usage

QUESTION = (Message("system", "s" * 10), Message("user", "hello there"))


def ask(client: ScriptedClient, **options: object) -> Reply:
    return asyncio.run(client.complete(QUESTION, **options))  # type: ignore[arg-type]


def test_it_is_a_client() -> None:
    client: Client = ScriptedClient()
    assert isinstance(client, Client)


def test_answers_come_in_order_and_every_call_is_recorded() -> None:
    client = ScriptedClient(["one", "two"], model="m")
    assert ask(client).text == "one"
    assert ask(client, model="other", temperature=0.5).text == "two"
    assert [(call.model, dict(call.sampling)) for call in client.calls] == [("m", {}), ("other", {"temperature": 0.5})]
    assert client.calls[0].messages == QUESTION
    assert client.calls[0].text == "hello there"


def test_one_text_answers_every_call() -> None:
    client = ScriptedClient("same")
    assert [ask(client).text for _ in range(3)] == ["same"] * 3


def test_a_script_that_has_run_out_says_so_and_shows_the_call() -> None:
    client = ScriptedClient(["only"])
    ask(client)
    with pytest.raises(LMError, match="no reply left for call 2, which ends with 'hello there'"):
        ask(client)


def test_a_whole_reply_passes_as_it_stands() -> None:
    reply = Reply(text="cut", model="x", usage=Usage(calls=1, attempts=3), finish="length")
    assert ask(ScriptedClient([reply])) is reply


@pytest.mark.parametrize("error", [LMError("too many", kind="rate_limit"), asyncio.CancelledError(), ValueError("odd")])
def test_an_exception_is_raised(error: BaseException) -> None:
    with pytest.raises(type(error)):
        ask(ScriptedClient([error]))


def test_a_function_sees_the_messages_and_may_be_async() -> None:
    def last(messages: Sequence[Message]) -> str:
        return messages[-1].content.upper()

    async def later(messages: Sequence[Message]) -> str:
        await asyncio.sleep(0)
        return last(messages)

    assert ask(ScriptedClient(last)).text == ask(ScriptedClient(later)).text == "HELLO THERE"


def test_a_function_may_answer_with_an_exception() -> None:
    with pytest.raises(LMError):
        ask(ScriptedClient(lambda _: LMError("no", kind="refusal")))


def test_an_answer_of_another_type_is_named() -> None:
    with pytest.raises(LMError, match="gave a int"):
        ask(ScriptedClient([42]))  # type: ignore[list-item]
    with pytest.raises(LMError, match="gave a NoneType"):
        ask(ScriptedClient(lambda _: None))  # type: ignore[arg-type, return-value]


def test_usage_is_a_quarter_of_the_characters_and_unpriced_without_a_price() -> None:
    usage = ask(ScriptedClient("x" * 40)).usage
    assert usage == Usage(calls=1, attempts=1, input_tokens=5, output_tokens=10, unpriced=1)
    assert usage.cost is None


def test_a_price_makes_a_cost() -> None:
    client = ScriptedClient("x" * 40, price=Price(input=1e6, output=2e6))
    assert ask(client).usage.cost == 5 + 20


def test_info_is_what_was_given() -> None:
    info = ScriptedClient(context_window=8000, max_output_tokens=100).info("any")
    assert (info.context_window, info.max_output_tokens, info.price) == (8000, 100, None)


def test_the_pieces_of_a_reply_make_up_its_text() -> None:
    pieces: list[str] = []
    text = ask(ScriptedClient("word " * 50), on_text=pieces.append).text
    assert "".join(pieces) == text
    assert len(pieces) > 1


def test_latency_is_awaited_and_calls_overlap() -> None:
    async def run() -> ScriptedClient:
        arrived = asyncio.Event()

        async def until_all_are_here() -> None:
            if len(client.calls) == 5:
                arrived.set()
            await arrived.wait()

        latency: object = until_all_are_here
        client = ScriptedClient(latency=latency)  # type: ignore[arg-type]
        await asyncio.gather(*(client.complete(QUESTION) for _ in range(5)))
        return client

    assert asyncio.run(run()).max_in_flight == 5


def test_a_cancelled_call_is_no_longer_in_flight() -> None:
    async def run() -> ScriptedClient:
        client = ScriptedClient(["one", "two"], latency=asyncio.Event().wait)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.complete(QUESTION)
        client._latency = 0.0
        assert (await client.complete(QUESTION)).text == "two"
        return client

    assert asyncio.run(run()).max_in_flight == 1


def test_threads_share_a_script_without_losing_or_doubling_an_answer() -> None:
    client = ScriptedClient([str(n) for n in range(200)])

    def some(_: int) -> list[str]:
        async def ten() -> Awaitable[list[Reply]]:
            return await asyncio.gather(*(client.complete(QUESTION) for _ in range(10)))  # type: ignore[return-value]

        return [reply.text for reply in asyncio.run(ten())]  # type: ignore[arg-type, attr-defined]

    async def run() -> list[list[str]]:
        return await asyncio.gather(*(asyncio.to_thread(some, n) for n in range(20)))

    texts = [text for part in asyncio.run(run()) for text in part]
    assert sorted(texts, key=int) == [str(n) for n in range(200)]
    assert len(client.calls) == 200


def test_it_is_passed_straight_to_the_library() -> None:
    client = ScriptedClient(['```repl\nanswer["content"] = len(context)\nanswer["ready"] = True\n```'])
    assert RLM(backend=client).completion("four").value == 4
    assert client.calls[0].messages[0].role == "system"
