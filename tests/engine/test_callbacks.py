"""The reference library's callbacks: each with its arguments, for the root and for children, all before the call
returns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rlm import RLM, LMError
from rlm.testing import ScriptedClient

NAMES = ("on_subcall_start", "on_subcall_complete", "on_iteration_start", "on_iteration_complete")
Seen = list[tuple[Any, ...]]

CODE = {
    0: ["llm_query('leaf ' + 'x' * 200)\nrlm_query('depth 1')", "FINAL(1)"],
    1: ["try:\n    llm_query('fail')\nexcept LMError as error:\n    print(error)", "FINAL(2)"],
}


def model(messages: Any) -> str:
    if messages[0].role == "user":
        if messages[0].content == "fail":
            raise LMError("slow down", kind="rate_limit")
        return "leaf"
    depth = int("depth 1" in messages[1].content)
    return f"```repl\n{CODE[depth][sum(message.role == 'assistant' for message in messages)]}\n```"


def noting(seen: Seen) -> dict[str, Callable[..., None]]:
    return {name: lambda *args, name=name: seen.append((name, *args)) for name in NAMES}


def asked(seen: Seen, **options: Any) -> Any:
    root, sub = ScriptedClient(model, model="root"), ScriptedClient(model, model="sub")
    rlm = RLM(backend=root, other_backends=[sub], max_depth=2, **noting(seen), **options)
    return rlm.completion("c", "q")


def test_each_callback_has_the_arguments_of_the_reference_in_children_too() -> None:
    seen: Seen = []
    assert asked(seen).value == 1
    shapes = [tuple("seconds" if isinstance(arg, float) else arg for arg in call) for call in seen]
    failure = "[rate_limit] slow down"
    assert shapes == [
        ("on_iteration_start", 0, 0),
        ("on_subcall_start", 1, "sub", "leaf " + "x" * 95),
        ("on_subcall_complete", 1, "sub", "seconds", None),
        ("on_subcall_start", 1, "sub", "depth 1"),
        ("on_iteration_start", 1, 0),
        ("on_subcall_start", 2, "sub", "fail"),
        ("on_subcall_complete", 2, "sub", "seconds", failure),
        ("on_iteration_complete", 1, 0, "seconds"),
        ("on_iteration_start", 1, 1),
        ("on_iteration_complete", 1, 1, "seconds"),
        ("on_subcall_complete", 1, "sub", "seconds", None),
        ("on_iteration_complete", 0, 0, "seconds"),
        ("on_iteration_start", 0, 1),
        ("on_iteration_complete", 0, 1, "seconds"),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_callback_may_be_given_alone(name: str) -> None:
    seen: Seen = []
    result = RLM(backend=ScriptedClient(model), max_depth=2, **{name: noting(seen)[name]}).completion("c", "q")
    assert result.value == 1
    assert {call[0] for call in seen} == {name}
    assert len(seen) == (3 if "subcall" in name else 4)


def test_calls_that_were_cut_off_are_completed_with_an_error() -> None:
    seen: Seen = []
    hanging = asyncio.Event()

    async def hangs(messages: Any) -> str:
        if messages[0].role == "user":
            hanging.set()
            await asyncio.Event().wait()
        return "```repl\nllm_query_batched(['a', 'b'])\n```"

    async def main() -> None:
        task = asyncio.create_task(RLM(backend=hangs, **noting(seen)).acompletion("c", "q"))
        await hanging.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert sum(call[0] == "on_subcall_start" for call in seen) == 2
    assert [call[4] for call in seen if call[0] == "on_subcall_complete"] == ["the call was cut off"] * 2
