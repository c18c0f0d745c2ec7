"""Whole runs in the environment: recursion (12), kept sessions (1, 10, 23) and compaction (29)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rlm import RLM, Message
from rlm.testing.conformance._bench import Bench, promise
from rlm.testing.scripted import ScriptedClient


def cell(code: str) -> str:
    return f"```repl\n{code}\n```\n"


def asked(messages: Sequence[Message]) -> str:
    """A model whose code stands in the question, after `do:`."""
    found = re.search(r"do: (.*?)(\n\n|$)", messages[1].content, re.DOTALL)
    assert found is not None, messages[1].content
    return cell(found[1])


@promise(12)
async def a_child_has_a_session_of_its_own_and_gets_its_context_exactly(bench: Bench) -> None:
    context = {"text": "quote ' \" \x00 \ud800 \u2028" + "x" * 100_000, "rows": [1, (2, 3), None]}

    def model(messages: Sequence[Message]) -> str:
        if "inner" in messages[1].content:
            return cell("FINAL(repr((len(context['text']), context['rows'], 'mine' in globals())))")
        if len(messages) > 2:
            return cell("FINAL([*got, context == given])")
        return cell("mine = given = dict(context)\ngot = rlm_query_batched(['inner'] * 2, contexts=[context, given])")

    rlm = RLM(backend=ScriptedClient(model), environment=bench.create(), max_depth=2)
    result = await rlm.acompletion(context, "outer")
    expected = repr((len(context["text"]), context["rows"], False))
    assert result.value == [expected, expected, True], result


@promise(1)
async def a_kept_session_answers_one_question_after_the_other(bench: Bench) -> None:
    rlm = RLM(backend=ScriptedClient(asked), environment=bench.create())
    async with rlm.session("first") as session:
        assert (await session.aask("do: kept = len(context); FINAL(kept)")).value == 5
        second = await session.aask("do: FINAL([kept, context, context_0, context_1, answers])", context="second")
        assert second.value == [5, "second", "first", "second", ["5"]], second
        roles = (await session.aask("do: FINAL([message['role'] for message in history_0])")).value
        assert roles == ["system", "user", "assistant"]


@promise(10)
async def every_context_of_a_kept_session_survives_its_worker(bench: Bench) -> None:
    deadly = "while True:\n    try: sum(range(100))\n    except BaseException: pass"
    script = [cell("FINAL(1)"), cell(deadly), cell("FINAL([context_0, context_1, context])")]
    rlm = RLM(backend=ScriptedClient(script), environment=bench.create(cell_timeout=1, cell_grace=0.2))
    async with rlm.session("one") as session:
        await session.aask("q")
        assert (await session.aask("q", context="two")).value == ["one", "two", "two"]


@promise(23)
async def the_draft_of_an_earlier_question_is_none_for_the_next(bench: Bench) -> None:
    script = [cell("FINAL('old')"), cell("x = 1"), "the best there is"]
    rlm = RLM(backend=ScriptedClient(script), environment=bench.create(), max_iterations=1)
    async with rlm.session("c") as session:
        await session.aask("q")
        second = await session.aask("q")
    assert (second.response, second.status) == ("the best there is", "forced"), second


@promise(29)
async def compaction_keeps_the_opening_the_variables_and_the_whole_history(bench: Bench) -> None:
    def model(messages: Sequence[Message]) -> str:
        if "Write a summary for yourself" in messages[-1].content:
            return "SUMMARY"
        done = "FINAL([n, len(history) > 6]) if n > 9 else None"
        return cell(f"n = globals().get('n', 0) + 1; print('x' * 3000)\n{done}")

    client = ScriptedClient(model, context_window=8_000)
    rlm = RLM(backend=client, environment=bench.create(), compaction=True, compaction_threshold_pct=0.6)
    result = await rlm.acompletion("c", "q")
    assert result.value == [10, True], result
    assert any("SUMMARY" in call.text for call in client.calls)
    assert all(call.messages[:2] == client.calls[0].messages[:2] for call in client.calls)
