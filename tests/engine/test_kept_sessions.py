"""Sessions that last: load once, ask many times; in every environment alike."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import pytest

from rlm import RLM, ConfigurationError, LMError, Message
from rlm.testing import ScriptedClient

ENVIRONMENTS = ["local", "process"]


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


def by_question(messages: Sequence[Message]) -> str:
    """A model whose code is in the question, after `do:`."""
    found = re.search(r"do: (.*?)(\n\n|$)", messages[1].content, re.DOTALL)
    assert found is not None, messages[1].content
    return repl(found[1])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_names_live_on_from_question_to_question(environment: str) -> None:
    client = ScriptedClient(by_question)
    with RLM(backend=client, environment=environment).session("the text") as session:
        assert session.ask("do: n = len(context); FINAL(n)").value == 8
        assert session.ask("do: FINAL(n + 1)").value == 9
        assert session.ask("do: FINAL(answers)").value == ["8", "9"]
    assert "has answered 2 questions before: `context` is the same as before" in client.calls[-1].messages[1].content


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_context_and_each_conversation_stays_reachable(environment: str) -> None:
    rlm = RLM(backend=ScriptedClient(by_question), environment=environment, persistent=True)
    with rlm:
        rlm.completion("first", "do: FINAL(context)")
        rlm.completion("second", "do: FINAL(context)")
        value = rlm.completion("third", "do: FINAL([context, context_0, context_1, context_2])").value
        assert value == ["third", "first", "second", "third"]
        roles = "[message['role'] for message in history_0]"
        history = rlm.completion("fourth", f"do: FINAL([{roles}, history_0[1]['content'][:6], history_2 == history])")
        assert history.value == [["system", "user", "assistant"], "do: FI", True]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_earlier_answer_is_no_draft_for_the_next_question(environment: str) -> None:
    client = ScriptedClient([repl("FINAL('old')"), repl("x = 1"), "the best"])
    with RLM(backend=client, environment=environment, max_iterations=1).session("c") as session:
        assert session.ask("q").response == "old"
        second = session.ask("q")
    assert (second.response, second.status) == ("the best", "forced")


def test_without_persistent_nothing_is_kept() -> None:
    rlm = RLM(backend=ScriptedClient(by_question))
    rlm.completion("c", "do: kept = 1; FINAL(1)")
    assert rlm.completion("c", "do: FINAL('kept' in globals())").value is False


def test_a_closed_persistent_rlm_starts_anew() -> None:
    rlm = RLM(backend=ScriptedClient(by_question), persistent=True)
    rlm.completion("c", "do: kept = 1; FINAL(1)")
    rlm.close()
    assert rlm.completion("c", "do: FINAL('kept' in globals())").value is False
    rlm.close()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_run_that_failed_leaves_the_session_usable(environment: str) -> None:
    client = ScriptedClient([repl("kept = 1"), LMError("down", kind="server"), repl("FINAL(kept)")])
    with RLM(backend=client, environment=environment).session("c") as session:
        with pytest.raises(LMError):
            session.ask("q")
        assert session.ask("q").value == 1


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_worker_that_dies_gets_all_contexts_back(environment: str) -> None:
    if environment == "local":
        code = "import time; time.sleep(3)"
    else:
        code = "import os; os._exit(1)"
    client = ScriptedClient([repl("FINAL(1)"), repl(code), repl("FINAL([context_0, context_1])")])
    kwargs = {"cell_timeout": 0.2, "cell_grace": 0.2}
    with RLM(backend=client, environment=environment, environment_kwargs=kwargs).session("one") as session:
        session.ask("q")
        assert session.ask("q", context="two").value == ["one", "two"]


def test_questions_asked_at_once_are_answered_one_at_a_time() -> None:
    async def main() -> list[Any]:
        rlm = RLM(backend=ScriptedClient(by_question))
        async with rlm.session("c") as session:
            await session.aask("do: seen = []; FINAL(0)")
            results = await asyncio.gather(*(session.aask(f"do: seen.append({n}); FINAL(len(seen))") for n in range(5)))
            return [r.value for r in results]

    assert asyncio.run(main()) == [1, 2, 3, 4, 5]


def test_a_session_without_a_context_says_so() -> None:
    with RLM(backend=ScriptedClient(by_question)).session() as session:
        with pytest.raises(ConfigurationError, match="no context yet"):
            session.ask("do: FINAL(1)")
        assert session.ask("do: FINAL(context)", context=None).value is None


def test_a_session_belongs_to_one_loop() -> None:
    session = RLM(backend=ScriptedClient(by_question)).session("c")
    asyncio.run(session.aask("do: FINAL(1)"))
    with pytest.raises(ConfigurationError, match="one event loop"):
        session.ask("do: FINAL(1)")


def test_a_stream_of_a_persistent_rlm_uses_the_kept_session() -> None:
    async def main() -> Any:
        async with RLM(backend=ScriptedClient(by_question), persistent=True) as rlm:
            await rlm.acompletion("c", "do: kept = 5; FINAL(1)")
            return [event async for event in rlm.stream("c", "do: FINAL(kept)")][-1]

    assert asyncio.run(main()).response == "5"
