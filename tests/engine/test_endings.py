"""Every way a run can end, as docs/limits.md lists them: what comes out, and that nothing is left running."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import rlm as library
from rlm import RLM, Completion, LMError, Message, Price
from rlm.events import RunFinished
from rlm.testing import ScriptedClient

DRAFT = "```repl\nanswer['content'] = 'draft'\n```\n"
DOCS = Path(__file__).parents[2] / "docs" / "limits.md"


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


def then(*replies: Any) -> Callable[[], ScriptedClient]:
    """A model that leaves a draft and then replies this."""
    return lambda: ScriptedClient([DRAFT, *replies], price=Price(input=1, output=1))


def always(code: str) -> Callable[[], ScriptedClient]:
    def model(messages: Sequence[Message]) -> str:
        return DRAFT if len(messages) == 2 else repl(code)

    return lambda: ScriptedClient(model, price=Price(input=1, output=1))


@dataclass(frozen=True, kw_only=True)
class Ending:
    model: Callable[[], ScriptedClient]
    options: dict[str, Any] = field(default_factory=dict)
    raises: str | None = None
    status: str = "answered"
    limit: str | None = None
    response: str = "draft"
    environments: tuple[str, ...] = ("local", "process")


def _hang() -> ScriptedClient:
    async def model(messages: Sequence[Message]) -> str:
        if len(messages) > 2:
            await asyncio.Event().wait()
        return DRAFT

    return ScriptedClient(model)


def _broken_tool() -> None:
    raise OSError("the disk is gone")


BIG = "print('x' * 9000)"
ENDINGS = {
    "an answer": Ending(model=then(repl("FINAL('the answer')")), response="the answer"),
    "max_iterations": Ending(
        model=always("x = 1"), options={"max_iterations": 3}, status="forced", limit="max_iterations"
    ),
    "nothing to run, three times": Ending(model=then("no", "code", "here"), status="forced", limit="idle"),
    "max_errors": Ending(model=always("1/0"), options={"max_errors": 2}, raises="ErrorThresholdExceededError"),
    "max_tokens": Ending(model=always(BIG), options={"max_tokens": 20_000}, raises="TokenLimitExceededError"),
    "max_budget": Ending(model=always(BIG), options={"max_budget": 0.02}, raises="BudgetExceededError"),
    "max_timeout while code runs": Ending(
        model=always("while True: pass"), options={"max_timeout": 0.8}, raises="TimeoutExceededError"
    ),
    "max_timeout while a provider hangs": Ending(
        model=_hang, options={"max_timeout": 0.8}, raises="TimeoutExceededError"
    ),
    "max_subcalls": Ending(
        model=then(repl("r = llm_query_batched(['a'] * 3)\nFINAL([type(x).__name__ for x in r])"), "one"),
        options={"max_subcalls": 1},
        response="['LMText', 'LimitError', 'LimitError']",
    ),
    "any of these with on_limit=return": Ending(
        model=always(BIG), options={"max_tokens": 20_000, "on_limit": "return"}, status="forced", limit="max_tokens"
    ),
    "the provider fails": Ending(model=then(LMError("overloaded", kind="server")), raises="LMError"),
    "a sub-call fails": Ending(
        model=then(repl("llm_query('x')"), LMError("overloaded", kind="server"), repl("FINAL('without it')")),
        response="without it",
    ),
    "a tool raises": Ending(
        model=then(repl("tool()"), repl("FINAL('without it')")),
        options={"custom_tools": {"tool": _broken_tool}},
        response="without it",
    ),
    "the sandbox dies": Ending(
        model=then(repl("import os\nos._exit(3)"), repl("FINAL(context)")),
        response="context",
        environments=("process",),
    ),
    "the sandbox cannot be started": Ending(
        model=then(),
        options={"environment_kwargs": {"python": "/bin/false"}},
        raises="SandboxError",
        response="",
        environments=("process",),
    ),
}
ROWS = [(name, environment) for name, ending in ENDINGS.items() for environment in ending.environments]


def leftovers() -> tuple[set[str], int]:
    own = {t.name for t in threading.enumerate() if t.name.startswith("rlm-") and t.name != "rlm-portal"}
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    return own, len(children.read_text().split()) if children.exists() else 0


@pytest.mark.parametrize(("name", "environment"), ROWS)
def test_an_ending_gives_what_the_table_says_and_leaves_nothing(name: str, environment: str) -> None:
    ending = ENDINGS[name]
    before = leftovers()
    client = ending.model()
    rlm = RLM(backend=client, environment=environment, **ending.options)
    result: Completion | None
    if ending.raises is not None:
        with pytest.raises(getattr(library, ending.raises)) as caught:
            rlm.completion("context", "q")
        result = caught.value.result
        assert caught.value.partial_answer == (ending.response or None)
        assert result is not None
        assert result.error is not None
        assert isinstance(result.trajectory[-1], RunFinished)
        assert result.trajectory[-1].error is not None
    else:
        result = rlm.completion("context", "q")
        assert (result.status, result.limit, result.error) == (ending.status, ending.limit, None)
    assert result.response == ending.response
    assert result.usage_summary.total.calls >= len(client.calls) - result.usage_summary.total.unsettled - 1
    finished = [e for e in result.trajectory if isinstance(e, RunFinished)]
    assert len(finished) == 1
    assert leftovers() == before


@pytest.mark.parametrize("environment", ["local", "process"])
def test_a_cancelled_run_carries_the_draft_of_the_cell_that_was_running(environment: str) -> None:
    code = "answer['content'] = 'in this cell'\nllm_query('hang')"
    begun = asyncio.Event()

    async def model(messages: Sequence[Message]) -> str:
        if len(messages) == 1:
            begun.set()
            await asyncio.Event().wait()
        return repl(code)

    async def main() -> Any:
        task = asyncio.ensure_future(RLM(backend=model, environment=environment).acompletion("c", "q"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return caught.value

    exc = asyncio.run(main())
    assert exc.partial_answer == "in this cell"
    assert exc.result.usage_summary.total.unsettled == 1


def test_a_run_cancelled_while_it_gives_its_last_answer_carries_what_it_had() -> None:
    asked: list[Sequence[Message]] = []
    runs: list[asyncio.Task[Completion]] = []

    async def model(messages: Sequence[Message]) -> str:
        asked.append(messages)
        if len(asked) == 2:
            runs[0].cancel()
        await asyncio.Event().wait()
        return "never"

    async def scenario() -> None:
        runs.append(asyncio.create_task(RLM(backend=model, max_timeout=0.5).acompletion("context", "question")))
        with pytest.raises(asyncio.CancelledError) as caught:
            await runs[0]
        result: Completion = caught.value.result  # type: ignore[attr-defined]
        assert result.usage_summary.total.unsettled == 2
        assert isinstance(result.trajectory[-1], RunFinished)

    asyncio.run(scenario())


def test_the_table_in_the_documentation_has_these_rows() -> None:
    text = DOCS.read_text(encoding="utf-8")
    table = text[text.index("| ending |") :]
    rows = re.findall(r"^\| ([^|`-][^|]*?) \|", table, re.MULTILINE)[1:]
    assert rows == [*ENDINGS, "cancelled, or Ctrl-C"]
