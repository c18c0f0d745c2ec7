"""The event stream over real HTTP: pieces as they arrive, who each event is of, and an end that leaves nothing."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import rlm as rlm_module
from rlm import RLM, ConfigurationError
from rlm.events import (
    CallFinished,
    CallStarted,
    CellFinished,
    CellOutput,
    Event,
    ReplyReceived,
    ReplyText,
    RunFinished,
    RunStarted,
    TurnFinished,
    TurnStarted,
)
from rlm.testing import LMServer, Request, Scripted, ScriptedClient

THOUGHT = "I shall look at the context first, and then count what is in it, line by line. "


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


def over(server: LMServer, provider: str, **options: Any) -> RLM:
    url = server.openai_base_url if provider == "openai" else server.anthropic_base_url
    kwargs = {"model_name": "m", "api_key": "none-needed", "base_url": url}
    return RLM(backend=provider, backend_kwargs=kwargs, **options)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_reply_text_is_told_while_the_reply_is_being_written(lm_server: Callable[..., LMServer], provider: str) -> None:
    text = THOUGHT + repl("FINAL(len(context))")
    server = lm_server(Scripted(text=text, pace=0.05))

    async def main() -> tuple[list[Event], list[int]]:
        events, under_way = [], []
        async for event in over(server, provider).stream("abc", "how long?"):
            events.append(event)
            if isinstance(event, ReplyText):
                under_way.append(server.in_flight)
        return events, under_way

    events, under_way = asyncio.run(main())
    pieces = [event.text for event in events if isinstance(event, ReplyText)]
    assert len(pieces) > 5
    assert "".join(pieces) == text
    assert under_way[0] == 1
    (whole,) = [event for event in events if isinstance(event, ReplyReceived)]
    assert whole.reply.text == text
    assert events.index(whole) > max(n for n, event in enumerate(events) if isinstance(event, ReplyText))
    assert isinstance(events[-1], RunFinished)
    assert events[-1].response == "3"


@pytest.mark.parametrize("environment", ["local", "process"])
def test_output_is_told_while_its_cell_runs(environment: str) -> None:
    seen = threading.Event()

    def until_seen() -> str:
        return "in time" if seen.wait(60) else "too late"

    async def main() -> list[Event]:
        code = "print('looking', flush=True)\nFINAL(until_seen())"
        tools = {"until_seen": until_seen}
        events = []
        rlm = RLM(backend=ScriptedClient([repl(code)]), environment=environment, custom_tools=tools)
        async for event in rlm.stream("abc", "q"):
            events.append(event)
            if isinstance(event, CellOutput) and "looking" in event.text:
                seen.set()
        return events

    events = asyncio.run(main())
    assert events[-1].response == "in time"  # type: ignore[attr-defined]
    kinds = [type(event) for event in events]
    assert kinds.index(CellOutput) < kinds.index(CellFinished)


CHILDREN = {
    0: ["a = llm_query('leaf a')\nb = rlm_query('depth 1')", "FINAL(rlm_query_batched(['depth 1', 'depth 1']))"],
    1: ["FINAL(rlm_query('depth 2') + llm_query('leaf b'))"],
    2: ["FINAL(llm_query('leaf c'))"],
}


async def tree(messages: Any) -> str:
    await asyncio.sleep(0)
    if messages[0].role == "user":
        return "leaf"
    text = messages[1].content
    depth = next((n for n in (1, 2) if f"depth {n}" in text), 0)
    return repl(CHILDREN[depth][sum(message.role == "assistant" for message in messages)])


def test_every_event_tells_whose_it_is_how_deep_and_when() -> None:
    async def main() -> list[Event]:
        return [event async for event in RLM(backend=tree, max_depth=3).stream("the context", "q")]

    events = asyncio.run(main())
    root = events[0].run
    assert [event.time for event in events] == sorted(event.time for event in events)
    runs = {event.run: [e for e in events if e.run == event.run] for event in events}
    assert set(runs) == {root, *(f"{root}/{n}" for n in range(3)), *(f"{root}/{n}/0" for n in range(3))}
    for path, own in runs.items():
        assert isinstance(own[0], RunStarted)
        assert isinstance(own[-1], RunFinished)
        assert {event.depth for event in own} == {path.count("/")}
        assert {event.parent for event in own} == {path.rpartition("/")[0] or None}
        begun = [event.call for event in own if isinstance(event, CallStarted)]
        ended = [event.call for event in own if isinstance(event, CallFinished)]
        assert begun == list(range(len(begun)))
        assert sorted(ended) == begun
        turns = [event.turn for event in own if isinstance(event, TurnStarted)]
        assert turns == [event.turn for event in own if isinstance(event, TurnFinished)] == list(range(len(turns)))
    calls = {event.child: event for event in events if isinstance(event, CallStarted) and event.child is not None}
    assert set(calls) == set(runs) - {root}
    for child, call in calls.items():
        assert runs[child][0].parent == call.run
        ended = next(e for e in runs[call.run] if isinstance(e, CallFinished) and e.call == call.call)
        assert call.time <= runs[child][0].time <= runs[child][-1].time <= ended.time
        assert ended.usage == sum((used for _, used in runs[child][-1].usage), type(ended.usage)())  # type: ignore[attr-defined]
    batch = [event.batch for event in events if isinstance(event, CallStarted) and event.batch is not None]
    assert [(index, size) for _, index, size in batch] == [(0, 2), (1, 2)]


async def to_the_first(stream: AsyncIterator[Event], kind: type[Event]) -> None:
    async for event in stream:
        if isinstance(event, kind):
            return
    raise AssertionError(f"no {kind.__name__}")


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_leaving_a_stream_early_cancels_the_run_and_leaves_nothing(
    lm_server: Callable[..., LMServer], how: str
) -> None:
    def model(request: Request) -> Scripted:
        if "leaf" in request.text:
            return Scripted(hang=True)
        return Scripted(text=repl("llm_query_batched(['leaf'] * 5)"))

    server = lm_server(model)
    before = set(threading.enumerate())

    async def main() -> None:
        async with over(server, "openai", observers=[lambda event: None]) as rlm:
            stream = rlm.stream("abc", "q")
            await to_the_first(stream, CallStarted)
            await asyncio.to_thread(server.wait_until, lambda server: server.in_flight == 5)
            if how == "closed":
                await stream.aclose()  # type: ignore[attr-defined]
            else:
                del stream
                gc.collect()
            await asyncio.to_thread(server.wait_until, lambda server: server.in_flight == 0)
            async with asyncio.timeout(30):
                others = asyncio.all_tasks() - {asyncio.current_task()}
                await asyncio.gather(*others, return_exceptions=True)

    asyncio.run(main())
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive(), thread.name
    assert [exchange.dropped for exchange in server.exchanges] == [False] + [True] * 5


def test_a_function_streams_too() -> None:
    async def main() -> list[Event]:
        return [event async for event in rlm_module.stream("abc", "nobody/model")]

    with pytest.raises(ConfigurationError, match="unknown backend 'nobody'"):
        asyncio.run(main())
