"""Many calls at once, calls cut short, and what is left behind."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from typing import Any

import pytest

from backends.asking import ASK, KEY, MODELS, client, every_protocol, using
from rlm import registry
from rlm.errors import RLMError
from rlm.protocols import Client
from rlm.testing import LiveRequestRefused, LMServer, Scripted, rate_limit, refuse_live_requests
from rlm.types import Message


@every_protocol
def test_a_hundred_calls_are_in_flight_at_once_and_get_their_own_replies(name: str) -> None:
    with LMServer(lambda request: Scripted(text=request.text, latency=0.5)) as server:

        async def work(made: Client) -> list[str]:
            calls = (made.complete([Message("user", f"number {i}")]) for i in range(100))
            return [reply.text for reply in await asyncio.gather(*calls)]

        texts = using(client(name, server), work)
        assert server.max_in_flight >= 65
    assert texts == [f"number {i}" for i in range(100)]


@every_protocol
def test_attempts_of_calls_that_run_at_once_are_not_mixed(name: str) -> None:
    failed: set[str] = set()

    def script(request: Any) -> Scripted:
        if request.text.startswith("unlucky") and request.text not in failed:
            failed.add(request.text)
            return rate_limit()
        return Scripted(text="fine")

    with LMServer(script) as server:

        async def work(made: Client) -> list[int]:
            prompts = [f"{'unlucky' if i % 2 else 'lucky'} {i}" for i in range(20)]
            replies = await asyncio.gather(*(made.complete([Message("user", p)]) for p in prompts))
            return [reply.usage.attempts for reply in replies]

        assert using(client(name, server), work) == [1, 2] * 10


@every_protocol
def test_a_call_cancelled_while_its_sdk_is_loaded_sent_nothing_and_says_so(name: str) -> None:
    with LMServer("never asked") as server:

        async def work(made: Client) -> int:
            task = asyncio.create_task(made.complete(ASK))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as raised:
                await task
            return int(raised.value.attempts)  # type: ignore[attr-defined]

        assert using(client(name, server), work) == 0
        assert not server.requests


@every_protocol
@pytest.mark.parametrize("streamed", [False, True])
def test_cancelling_a_call_ends_its_request(name: str, streamed: bool) -> None:
    with LMServer(Scripted(hang=True)) as server:

        async def work(made: Client) -> None:
            task = asyncio.create_task(made.complete(ASK, on_text=(lambda _: None) if streamed else None))
            await asyncio.to_thread(server.wait_until, lambda s: s.in_flight == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(server.wait_until, lambda s: s.in_flight == 0)

        using(client(name, server), work)
        assert server.exchanges[0].dropped


@every_protocol
def test_cancelling_in_the_middle_of_a_stream_ends_its_request(name: str) -> None:
    with LMServer(Scripted(text="word " * 100, pace=0.2)) as server:

        async def work(made: Client) -> None:
            begun = asyncio.Event()
            task = asyncio.create_task(made.complete(ASK, on_text=lambda _: begun.set()))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(server.wait_until, lambda s: s.in_flight == 0)

        using(client(name, server), work)
        assert server.exchanges[0].dropped


@every_protocol
def test_cancelling_while_a_retry_is_awaited_sends_no_more(name: str) -> None:
    with LMServer(rate_limit(60)) as server:

        async def work(made: Client) -> None:
            task = asyncio.create_task(made.complete(ASK))
            await asyncio.to_thread(server.wait_until, lambda s: len(s.exchanges) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert caught.value.attempts == 1  # type: ignore[attr-defined]

        using(client(name, server), work)
        assert len(server.requests) == 1


@every_protocol
def test_a_call_after_a_cancelled_one_works(name: str) -> None:
    with LMServer(lambda request: Scripted(hang=True) if request.number == 1 else "fine") as server:

        async def work(made: Client) -> str:
            task = asyncio.create_task(made.complete(ASK))
            await asyncio.to_thread(server.wait_until, lambda s: s.in_flight == 1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return (await made.complete(ASK)).text

        assert using(client(name, server), work) == "fine"


@every_protocol
def test_nothing_is_left_open(name: str) -> None:
    code = f"""
import asyncio, gc, sys
from rlm import registry
from rlm.types import Message
async def main():
    made = registry.backend({name!r})(model_name="m", api_key="k", base_url=sys.argv[1])
    await made.complete([Message("user", "hi")])
    await made.complete([Message("user", "hi")], on_text=lambda text: None)
    await made.aclose()
    await made.aclose()
for _ in range(2):
    asyncio.run(main())
    gc.collect()
print("closed")
"""
    with LMServer() as server:
        url = server.openai_base_url if name == "openai" else server.url
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", code, url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    errors = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.stdout, errors) == ("closed\n", [])


def test_a_client_that_was_never_used_leaves_nothing() -> None:
    made = registry.backend("openai")(model_name="m", api_key=KEY)
    asyncio.run(made.aclose())
    del made
    gc.collect()


@every_protocol
def test_the_switch_that_refuses_live_requests_is_told_as_what_it_is(name: str) -> None:
    made = registry.backend(name)(
        model_name=MODELS[name], api_key=KEY, base_url="https://models.example.com/v1", max_retries=0
    )
    with refuse_live_requests(), pytest.raises(RLMError) as caught:
        using(made, lambda c: c.complete(ASK))
    assert isinstance(caught.value, LiveRequestRefused)
