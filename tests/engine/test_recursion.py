"""Recursion: an RLM that calls RLMs, each with a context and a session of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import pytest

from rlm import RLM, Message
from rlm.events import CallFinished, CallStarted, RunFinished, RunStarted
from rlm.testing import ScriptedClient


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


def by_depth(*codes: str) -> Any:
    """A model that runs the code for the depth named in its question (`depth N`), then submits `result`."""

    def model(messages: Sequence[Message]) -> str:
        if len(messages) == 1:
            return f"plain: {messages[0].content}"
        depth = int(re.search(r"depth (\d)", messages[1].content)[1])  # type: ignore[index]
        return repl(codes[depth]) if len(messages) == 2 else repl("FINAL(result)")

    return model


def test_a_child_gets_its_context_as_an_object() -> None:
    model = by_depth(
        "result = rlm_query('depth 1: how many?', context={'a': [1, 2, 3], 'b': (4, 5)})",
        "result = [type(context).__name__, sorted(context), context['b']]",
    )
    result = RLM(backend=ScriptedClient(model), max_depth=2).completion("c", "depth 0")
    assert result.response == "['dict', ['a', 'b'], (4, 5)]"


def test_without_a_context_the_prompt_is_the_childs_context() -> None:
    model = by_depth("result = rlm_query('depth 1, the whole task')", "result = context")
    result = RLM(backend=ScriptedClient(model), max_depth=2).completion("c", "depth 0")
    assert result.response == "depth 1, the whole task"


@pytest.mark.parametrize("environment", ["local", "process"])
def test_a_slice_of_the_parents_context_is_the_childs_exactly(environment: str) -> None:
    text = 'line \'with "quotes"\n' * 20_000
    model = by_depth(
        "parts = [context[:200_000], context[200_000:]]\nresult = rlm_query_batched(['depth 1'] * 2, contexts=parts)",
        "import hashlib\nresult = hashlib.sha256(context.encode()).hexdigest()",
    )
    import hashlib

    halves = [hashlib.sha256(part.encode()).hexdigest() for part in (text[:200_000], text[200_000:])]
    result = RLM(backend=ScriptedClient(model), max_depth=2, environment=environment).completion(text, "depth 0")
    assert result.value == halves


def test_at_the_depth_limit_an_rlm_query_is_one_model_call_with_the_context_in_it() -> None:
    client = ScriptedClient([repl("print(rlm_query('what?', context='the facts'))"), "words", repl("FINAL(1)")])
    RLM(backend=client).completion("c", "q")
    assert client.calls[1].text == "what?\n\nContext:\nthe facts"


def test_at_the_depth_limit_a_context_that_does_not_fit_is_cut_and_the_model_is_told() -> None:
    client = ScriptedClient(
        [repl("x = rlm_query('what?', context='a' * 100_000 + 'END')"), "words", repl("FINAL(1)")],
        context_window=10_000,
    )
    RLM(backend=client).completion("c", "q")
    assert len(client.calls[1].text) <= 30_000
    assert client.calls[1].text.endswith("END")
    assert re.search(r"[\d,]+ of the 100,003 characters of its context did not fit", client.calls[2].text)


def test_usage_of_children_is_in_the_parents_and_in_the_result() -> None:
    model = by_depth("result = rlm_query_batched(['depth 1'] * 3)", "result = llm_query_batched(['a', 'b'])[0]")
    client = ScriptedClient(model)
    result = RLM(backend=client, max_depth=2).completion("c", "depth 0")
    assert result.usage_summary.total.calls == len(client.calls) == 2 + 3 * (2 + 2)
    finished = [e for e in result.trajectory if isinstance(e, CallFinished) and e.depth == 0]
    assert [e.usage.calls for e in finished] == [4, 4, 4]
    runs = [e for e in result.trajectory if isinstance(e, RunStarted)]
    assert len({e.run for e in runs}) == 4
    assert all(e.parent == runs[0].run for e in runs[1:])


def test_children_inherit_the_options_of_their_parent() -> None:
    seen: list[Any] = []

    class Client(ScriptedClient):
        async def complete(self, messages: Sequence[Message], **rest: Any) -> Any:
            seen.append(
                (len(messages), messages[0].content[:6], messages[1].content if len(messages) > 1 else "", rest)
            )
            return await super().complete(messages, **rest)

    model = by_depth("result = rlm_query('depth 1')", "result = tool(20)")

    def with_prologue(messages: Sequence[Message]) -> str:
        return str(model([m for m in messages if m.content != "prologue"]))

    result = RLM(
        backend=Client(with_prologue),
        max_depth=2,
        custom_tools={"tool": lambda x: x + 1},
        sampling_args={"temperature": 0.5},
        user_prologue="prologue",
        custom_system_prompt="CUSTOM",
    ).completion("c", "depth 0")
    assert result.response == "21"
    assert all(row[1] == "CUSTOM" and row[2] == "prologue" for row in seen)
    assert all(row[3]["temperature"] == 0.5 for row in seen)


def test_sub_tools_and_sub_sampling_replace_those_of_the_root() -> None:
    model = by_depth("result = rlm_query('depth 1')", "result = 'tool' in globals()")
    client = ScriptedClient(model)
    result = RLM(
        backend=client,
        max_depth=2,
        custom_tools={"tool": len},
        custom_sub_tools={},
        sampling_args={"temperature": 0},
        sub_sampling_args={"temperature": 1},
    ).completion("c", "depth 0")
    assert result.response == "False"
    assert [call.sampling["temperature"] for call in client.calls] == [0, 1, 1, 0]


def test_models_by_depth_and_by_name() -> None:
    root, first, second = (ScriptedClient(by_depth(*CODES), model=name) for name in ("root", "first", "second"))
    CODES_BY = RLM(backend=root, other_backends=[first, second], max_depth=3)
    result = CODES_BY.completion("c", "depth 0")
    assert result.status == "answered"
    by_model = {name: s.total_calls for name, s in result.usage_summary.model_usage_summaries.items()}
    assert by_model == {"root": 2 + 1, "first": 2, "second": 2 + 1}
    assert "plain: named" in result.response


CODES = (
    "result = rlm_query('depth 1')",
    "result = rlm_query('depth 2')",
    "result = [llm_query('named', model='root'), llm_query('unnamed')]",
)


def test_a_child_that_fails_is_an_error_of_the_call_and_its_usage_is_counted() -> None:
    def model(messages: Sequence[Message]) -> Any:
        if "depth 1" in messages[1].content:
            return repl("1/0")
        return repl("rlm_query('depth 1')") if len(messages) == 2 else repl("FINAL('told')")

    client = ScriptedClient(model)
    result = RLM(backend=client, max_depth=2, max_errors=2).completion("c", "q")
    shown = client.calls[-1].text
    assert "LimitError: [limit] the RLM failed" in shown
    assert "max_errors" in shown
    assert result.usage_summary.total.calls == len(client.calls)


def test_a_forced_answer_of_a_child_is_marked_as_such() -> None:
    def model(messages: Sequence[Message]) -> Any:
        if "depth 1" in messages[1].content:
            return repl("answer['content'] = 'half'")
        return repl("x = rlm_query('depth 1'); print(x, x.finish)") if len(messages) == 2 else repl("FINAL(1)")

    client = ScriptedClient(model)
    RLM(backend=client, max_depth=2, max_iterations=3).completion("c", "q")
    assert "half forced" in client.calls[-1].text
    assert "ended by max_iterations" in client.calls[-1].text


def test_a_wide_and_deep_tree_finishes_within_bounded_sessions() -> None:
    live = most = 0

    def watch(event: Any) -> None:
        nonlocal live, most
        live += isinstance(event, RunStarted) - isinstance(event, RunFinished)
        most = max(most, live)

    code = "result = 1 + sum(int(n) for n in rlm_query_batched(['depth {}'] * 6))"
    client = ScriptedClient(by_depth(*(code.format(d + 1) for d in range(4)), "result = 1"))
    rlm = RLM(backend=client, max_depth=5, max_concurrent_calls=8, observers=[watch])
    result = rlm.completion("c", "depth 0")
    assert result.response == "1555"
    assert client.max_in_flight <= 8
    assert most <= 1 + 4 * 4
    assert result.usage_summary.total.calls == 2 * 1555


def test_every_call_started_is_finished() -> None:
    model = by_depth("result = rlm_query_batched(['depth 1'] * 5)", "result = llm_query('x')")
    result = RLM(backend=ScriptedClient(model), max_depth=2).completion("c", "depth 0")
    started = {(e.run, e.call) for e in result.trajectory if isinstance(e, CallStarted)}
    finished = [(e.run, e.call) for e in result.trajectory if isinstance(e, CallFinished)]
    assert started == set(finished)
    assert len(finished) == len(set(finished))


def test_cancelling_a_tree_ends_every_agent_of_it() -> None:
    async def model(messages: Sequence[Message]) -> str:
        if len(messages) == 1:
            begun.set()
            await asyncio.Event().wait()
        return str(inner(messages))

    inner = by_depth("result = rlm_query_batched(['depth 1'] * 3)", "result = llm_query('hang')")

    async def main() -> Any:
        task = asyncio.create_task(RLM(backend=model, max_depth=2).acompletion("c", "depth 0"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others
        return caught.value

    begun = asyncio.Event()
    exc = asyncio.run(main())
    events = exc.result.trajectory
    assert sum(isinstance(e, RunStarted) for e in events) == sum(isinstance(e, RunFinished) for e in events)
    usage = exc.result.usage_summary.total
    assert usage.unsettled >= 1
