"""Events of real runs over the scripted backend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rlm import RLM, Completion, RLMError
from rlm.errors import LMError
from rlm.events import Event
from rlm.testing import ScriptedClient
from rlm.types import Message, Reply

Answer = str | Reply | BaseException
Script = Callable[[Sequence[Message]], Awaitable[Answer]]


def turns(messages: Sequence[Message]) -> int:
    return sum(message.role == "assistant" for message in messages)


def is_root(messages: Sequence[Message]) -> bool:
    return any(message.role == "system" for message in messages)


def code(source: str) -> str:
    return f"I look first.\n```repl\n{source}\n```"


class Recorder:
    """Keeps what an observer is given."""

    live = True

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)


def events_of(client: ScriptedClient, **options: Any) -> tuple[list[Event], Completion]:
    """A run's events, and its result, also where that is partial."""
    recorder = Recorder()
    options = {"max_concurrent_calls": 1000} | options
    rlm = RLM(backend=client, observers=[recorder], **options)
    try:
        return recorder.events, rlm.completion("x" * 600, "How many?")
    except RLMError as error:
        if error.result is None:
            raise
        return recorder.events, error.result


def fan_out(calls: int = 1000) -> Script:
    """Two turns, the first with that many calls, which are answered when all are made; every tenth fails."""
    waiting: list[asyncio.Future[None]] = []

    async def script(messages: Sequence[Message]) -> Answer:
        if is_root(messages):
            asked = f"print('asking')\nr = llm_query_batched([f'q{{i}} ' for i in range({calls})])"
            return code(asked) if turns(messages) == 0 else code("FINAL('the answer')")
        waiting.append(asyncio.get_running_loop().create_future())
        if len(waiting) == calls:
            for place in waiting:
                place.set_result(None)
        await waiting[-1]
        if messages[-1].content.endswith("0 "):
            return LMError("slow down", kind="rate_limit", hint="ask less", model="scripted")
        return "reply"

    return script


def recursive(width: int, depth: int) -> Script:
    """Each agent asks `width` others, down to `depth`."""

    async def script(messages: Sequence[Message]) -> Answer:
        if turns(messages):
            return code("FINAL(len(rs))")
        level = next((int(m.content.split("level ")[1][0]) for m in messages if "level " in m.content), 0)
        if level >= depth - 1:
            return code("rs = []\nprint('leaf')")
        return code(f"rs = rlm_query_batched(['level {level + 1}'] * {width})")

    return script
