"""A backend that answers from a script, without HTTP: pass it as `RLM(backend=ScriptedClient([...]))`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any

from rlm.errors import LMError
from rlm.testing._dialect import split
from rlm.types import Message, ModelInfo, Price, Reply, Usage

Answer = str | Reply | BaseException
Answers = str | Iterable[Answer] | Callable[[Sequence[Message]], Answer | Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that a `ScriptedClient` was asked for."""

    messages: tuple[Message, ...]
    model: str
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Text of the last message."""
        return self.messages[-1].content if self.messages else ""


class ScriptedClient:
    """An `rlm.protocols.Client` that says what it is told to, from any loop and any thread.

    `script` is a text for every call, answers in order, or a function (sync or async) of the messages. An answer is a
    text, a whole `Reply`, or an exception, which is raised. A text's tokens are a quarter of its characters, its cost
    what `price` makes of them (unknown without one). `latency` is seconds, or an async function, awaited before each
    answer.
    """

    def __init__(
        self,
        script: Answers = "ok",
        *,
        model: str = "scripted",
        price: Price | None = None,
        context_window: int | None = None,
        max_output_tokens: int | None = None,
        latency: float | Callable[[], Awaitable[object]] = 0.0,
    ) -> None:
        self.calls: list[Call] = []
        """Every call, in the order they were made."""
        self.max_in_flight = 0
        self.closed = False
        self._in_flight = 0
        self._lock = threading.Lock()
        self._model = model
        self._info = ModelInfo(context_window=context_window, max_output_tokens=max_output_tokens, price=price)
        self._latency = latency
        self._text = script if isinstance(script, str) else None
        self._function = script if callable(script) else None
        self._items = iter(()) if isinstance(script, str) or callable(script) else iter(script)

    def __repr__(self) -> str:
        return f"<ScriptedClient {self._model!r}: {len(self.calls)} call{'' if len(self.calls) == 1 else 's'} made>"

    @property
    def model(self) -> str:
        """The name it was given."""
        return self._model

    def info(self, model: str | None = None) -> ModelInfo:
        """What it was given as window, output limit and price, for any model."""
        return self._info

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        model: str | None = None,
        on_text: Callable[[str], None] | None = None,
        **sampling: Any,
    ) -> Reply:
        """The script's next answer.

        Raises:
            LMError: the script has none left; or whatever exception the script gave.
        """
        call = Call(messages=tuple(messages), model=model or self._model, sampling=sampling)
        with self._lock:
            self.calls.append(call)
            number = len(self.calls)
            answer = None if self._text is not None or self._function is not None else next(self._items, None)
            self._in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self._in_flight)
        try:
            if callable(self._latency):
                await self._latency()
            elif self._latency:
                await asyncio.sleep(self._latency)
            reply = self._reply(call, number, await self._ask(call, answer))
        finally:
            with self._lock:
                self._in_flight -= 1
        if on_text is not None:
            for piece in split(reply.text):
                on_text(piece)
        return reply

    async def aclose(self) -> None:
        """Sets `closed`; it can be called on."""
        self.closed = True

    async def _ask(self, call: Call, answer: object) -> object:
        if self._text is not None:
            return self._text
        if self._function is not None:
            answer = self._function(call.messages)
            return await answer if isawaitable(answer) else answer
        return answer

    def _reply(self, call: Call, number: int, answer: object) -> Reply:
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Reply):
            return answer
        if isinstance(answer, str):
            return Reply(text=answer, model=call.model, usage=self._usage(call, answer))
        if answer is None and self._function is None:
            problem = f"the script has no reply left for call {number}, which ends with {call.text[-200:]!r}"
        else:
            problem = f"the script gave a {type(answer).__name__}, not a str, Reply or exception"
        hint = "give ScriptedClient more replies, or a function of the messages"
        raise LMError(problem, kind="bad_request", hint=hint, model=call.model)

    def _usage(self, call: Call, text: str) -> Usage:
        read, written = sum(len(message.content) for message in call.messages) // 4, len(text) // 4
        price = self._info.price
        dollars = 0.0 if price is None else (read * price.input + written * price.output) / 1e6
        return Usage(
            calls=1,
            attempts=1,
            input_tokens=read,
            output_tokens=written,
            dollars=dollars,
            unpriced=1 if price is None else 0,
        )
