"""Functions of the user's: tools, backends, answers. Nothing they do hangs a run or costs it its result."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from rlm import RLM, ConfigurationError, LMError
from rlm.portal import Portal
from rlm.testing import ScriptedClient


def block(code: str) -> str:
    return f"```repl\n{code}\n```"


def leaves() -> None:
    sys.exit(3)


def interrupts() -> None:
    raise KeyboardInterrupt


def stops() -> None:
    next(iter(()))


def cancels() -> None:
    raise asyncio.CancelledError


async def leaves_asynchronously() -> None:
    sys.exit(3)


async def cancels_asynchronously() -> None:
    raise asyncio.CancelledError


def groups() -> None:
    raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])


TOOLS = [leaves, interrupts, stops, cancels, leaves_asynchronously, cancels_asynchronously, groups]
TRY = "try:\n    tool()\nexcept Exception as error:\n    FINAL(f'{type(error).__name__}: {error}')"


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_whatever_a_tool_raises_is_an_exception_in_the_cell(tool: Callable[[], Any]) -> None:
    rlm = RLM(backend=ScriptedClient([block(TRY)] * 2), environment="process", custom_tools={"tool": tool})
    result = rlm.completion("context", "question")
    said = "several" if tool is groups else "it raised"
    assert said in result.response
    assert rlm.completion("context", "question").response == result.response


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_whatever_a_tool_raises_is_in_the_journal_and_comes_out_of_it(tool: Callable[[], Any], tmp_path: Any) -> None:
    def run(**options: Any) -> str:
        return (
            RLM(backend=ScriptedClient([block(TRY)]), custom_tools={"tool": tool}, **options).completion("c").response
        )

    assert run(checkpoint=tmp_path) == run(replay=tmp_path)


def test_a_plain_function_that_gives_something_to_await_is_awaited() -> None:
    async def work(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    client = ScriptedClient([block("FINAL(tool(21))")])
    rlm = RLM(backend=client, environment="process", custom_tools={"tool": lambda x: work(x)})
    assert rlm.completion("context", "question").value == 42


@pytest.mark.parametrize("raising", [leaves, interrupts, stops], ids=lambda tool: tool.__name__)
def test_whatever_a_function_as_backend_raises_is_an_error_with_a_result(raising: Callable[[], Any]) -> None:
    def backend(messages: Any) -> str:
        raising()
        return ""

    with pytest.raises(LMError, match="it raised") as caught:
        RLM(backend=backend).completion("context", "question")
    assert caught.value.result is not None


def test_as_many_calls_of_a_plain_function_as_a_run_allows_are_made_at_once() -> None:
    together = threading.Barrier(40)

    def backend(messages: Any) -> str:
        if messages[0].role == "system":
            return block("FINAL(llm_query_batched(['x'] * 40))")
        together.wait(60)
        return "reply"

    assert RLM(backend=backend).completion("context", "question").value == ["reply"] * 40


def test_tools_that_run_rlms_of_their_own_do_not_wait_for_each_other() -> None:
    inner = RLM(backend=lambda messages: block("FINAL(len(context))"))
    code = "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(20) as pool:\n"
    code += "    FINAL(sum(pool.map(helper, ['abc'] * 20)))"

    def helper(text: str) -> object:
        return inner.completion(text, "how long?").value

    rlm = RLM(backend=ScriptedClient([block(code)]), environment="process", custom_tools={"helper": helper})
    assert rlm.completion("context", "question").value == 60


@pytest.mark.parametrize("environment", ["local", "process"])
@pytest.mark.parametrize(
    ("code", "begins"),
    [
        ("FINAL(2 ** 65536)", "2003529930406846464979072351560255750447825475569751419265"),
        ("FINAL([2 ** 65536])", "<list that cannot be shown: ValueError: "),
        ("value = []\nfor _ in range(50): value = [value]\nFINAL(value)", "[[[["),
    ],
)
def test_an_answer_of_any_size_has_a_text(code: str, begins: str, environment: str) -> None:
    result = RLM(backend=ScriptedClient([block(code)]), environment=environment).completion("context", "question")
    assert result.status == "answered"
    assert result.response.startswith(begins)
    assert result.value is not None


def test_an_answer_that_refuses_to_be_shown_is_still_one() -> None:
    code = "class A:\n    def __repr__(self):\n        raise SystemExit\n    __str__ = __repr__\nFINAL(A())"
    result = RLM(backend=ScriptedClient([block(code)])).completion("context", "question")
    assert result.response == "<A that cannot be shown: RuntimeError: it raised SystemExit>"


def test_a_typed_answer_that_json_cannot_hold_has_a_text() -> None:
    client = ScriptedClient([block("FINAL(b'\\xff')")])
    result = RLM(backend=client).completion("context", "question", output=bytes)
    assert (result.value, result.response) == (b"\xff", "b'\\xff'")


def test_a_draft_of_any_size_is_carried_by_the_error_that_ends_the_run() -> None:
    client = ScriptedClient([block("answer['content'] = 10 ** 6000\n1 / 0"), LMError("gone", kind="server")])
    with pytest.raises(LMError, match="gone") as caught:
        RLM(backend=client).completion("context", "question")
    assert caught.value.partial_answer == "1" + "0" * 6000


def test_a_validator_that_raises_anything_sends_the_answer_back() -> None:
    class Picky(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def known(cls, name: str) -> str:
            return {"a": "A"}[name]

    client = ScriptedClient([block("FINAL({'name': 'b'})"), block("FINAL({'name': 'a'})")])
    result = RLM(backend=client).completion("context", "question", output=Picky)
    assert result.value == Picky.model_construct(name="A")
    assert "checking it raised KeyError: 'b'" in client.calls[1].messages[-1].content


def test_a_task_of_the_users_that_leaves_does_not_end_the_loop_of_the_synchronous_form() -> None:
    async def leave() -> None:
        asyncio.get_running_loop().create_task(leaves_asynchronously()).add_done_callback(lambda task: task.exception())
        await asyncio.sleep(0)

    async def answer() -> int:
        return 42

    portal = Portal()
    portal.call(leave)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(portal.call, answer).result(60) == 42
    portal.close()


def test_a_context_that_an_environment_cannot_take_is_refused_with_the_place_of_what_it_cannot() -> None:
    client = ScriptedClient([block("FINAL(1)")])
    rlm = RLM(backend=client, environment="process")
    with pytest.raises(ConfigurationError, match=r"context\[\"a\"\]\[1\]: object of type 'range': give plain values"):
        rlm.completion({"a": [1, range(5)]}, "question")
    assert client.calls == []
