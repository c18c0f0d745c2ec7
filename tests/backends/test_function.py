"""Any function as a backend."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from backends.asking import ASK, ask, failing
from rlm import registry
from rlm.errors import ConfigurationError, LMError
from rlm.protocols import Client
from rlm.types import Message, Reply, Usage


async def echo(messages: Sequence[Message]) -> str:
    return messages[-1].content


def test_an_async_function_answers_and_its_use_is_unknown() -> None:
    made = registry.backend(echo)()
    reply = ask(made)
    assert isinstance(made, Client)
    assert (reply.text, reply.model) == ("What is it?", "echo")
    assert reply.usage == Usage(calls=1, attempts=1, unmetered=1, unpriced=1)


def test_a_plain_function_runs_in_a_thread_of_its_own() -> None:
    def where(messages: Sequence[Message]) -> str:
        return threading.current_thread().name

    assert ask(registry.backend(where)()).text != threading.current_thread().name


def test_callable_objects_and_partials_are_awaited() -> None:
    class Model:
        async def __call__(self, messages: Sequence[Message]) -> str:
            return "object"

    async def two(prefix: str, messages: Sequence[Message]) -> str:
        return prefix

    assert ask(registry.backend(Model())()).text == "object"
    assert ask(registry.backend(functools.partial(two, "partial"))()).text == "partial"
    assert ask(registry.backend(lambda messages: echo(messages))()).text == "What is it?"


def test_usage_that_is_told_is_kept_and_priced() -> None:
    async def metered(messages: Sequence[Message]) -> tuple[str, Usage]:
        return "x", Usage(input_tokens=1_000_000, output_tokens=500_000)

    usage = ask(registry.backend(metered)(price={"input": 1, "output": 4})).usage
    assert usage == Usage(calls=1, attempts=1, input_tokens=1_000_000, output_tokens=500_000, dollars=3.0)
    assert ask(registry.backend(metered)()).usage.cost is None


def test_a_whole_reply_is_kept_under_the_name_that_was_asked() -> None:
    told = Reply(
        text="x", model="inner", usage=Usage(calls=1, attempts=3, input_tokens=1, dollars=0.5), finish="length"
    )

    async def whole(messages: Sequence[Message]) -> Reply:
        return told

    reply = ask(registry.backend(whole)(model_name="mine"))
    assert (reply.model, reply.finish, reply.usage) == ("mine", "length", told.usage)


def test_a_function_gets_the_model_and_the_sampling_arguments_it_takes_by_name() -> None:
    got: list[Any] = []

    async def asked(messages: Sequence[Message], *, model: str, temperature: float = 0.0) -> str:
        got.append((model, temperature))
        return "x"

    ask(registry.backend(asked)(sampling_args={"temperature": 0.5}), model="other")
    assert got == [("other", 0.5)]


def test_an_argument_the_function_cannot_take_is_never_dropped() -> None:
    with pytest.raises(ConfigurationError, match="'temperature'"):
        registry.backend(echo)(sampling_args={"temperature": 0.5})
    assert failing(registry.backend(echo)(), top_p=0.5).kind == "bad_request"
    with pytest.raises(ConfigurationError, match="api_key"):
        registry.backend(echo)(api_key="x")
    with pytest.raises(ConfigurationError, match="modelname"):
        registry.backend(echo)(modelname="x")


def test_what_a_function_raises_is_a_failed_call() -> None:
    async def broken(messages: Sequence[Message]) -> str:
        raise ZeroDivisionError("oops")

    async def refused(messages: Sequence[Message]) -> str:
        raise LMError("no", kind="refusal")

    error = failing(registry.backend(broken)())
    assert (error.kind, error.message) == ("server", "ZeroDivisionError: oops")
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert failing(registry.backend(refused)()).kind == "refusal"


def test_an_answer_of_another_type_is_malformed() -> None:
    async def number(messages: Sequence[Message]) -> int:
        return 4

    assert failing(registry.backend(number)()).kind == "malformed"


def test_text_is_shown_and_cancelling_reaches_the_function() -> None:
    pieces: list[str] = []
    ask(registry.backend(echo)(), on_text=pieces.append)
    assert pieces == ["What is it?"]

    async def run() -> bool:
        started, ended = asyncio.Event(), asyncio.Event()

        async def slow(messages: Sequence[Message]) -> str:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return ""

        task = asyncio.create_task(registry.backend(slow)().complete(ASK))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return ended.is_set()

    assert asyncio.run(run())


def test_a_builtin_is_no_backend() -> None:
    with pytest.raises(ConfigurationError, match="no function of the messages"):
        registry.backend(str)()
