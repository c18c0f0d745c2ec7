"""A journal as a recording: the run again without a provider, and where it departs, an error that says so."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from journal.program import CONTEXT, QUESTION, Scene, code, journal_of, model
from rlm import RLM, ConfigurationError, JournalError, LMError, Message, ReplayMismatchError
from rlm.events import CallFinished, CallStarted, Event, RunStarted
from rlm.testing import ScriptedClient
from rlm.types import Cell


def unasked(messages: Sequence[Message]) -> str:
    raise AssertionError("a replay asked its provider")


def log(events: Sequence[Event]) -> dict[str, list[object]]:
    """What happened in each agent, without times. Calls made at once end in any order: here it is by number."""
    runs: dict[str, list[object]] = {}
    calls: dict[str, list[Any]] = {}
    for event in events:
        timed = ("time", "seconds", "waited")
        changes: dict[str, Any] = {f.name: 0.0 for f in fields(event) if f.name in timed}
        if isinstance(cell := getattr(event, "cell", None), Cell):
            changes["cell"] = replace(cell, seconds=0.0)
        kept = calls if isinstance(event, CallStarted | CallFinished) else runs
        kept.setdefault(event.run, []).append(replace(event, **changes))
    for run, made in calls.items():
        runs[run] += sorted(made, key=lambda event: (event.call, isinstance(event, CallFinished)))
    return runs


@pytest.mark.parametrize("environment", ["local", "process"])
def test_a_recorded_run_is_replayed_without_provider_and_tools(environment: str, tmp_path: Path) -> None:
    first = Scene(environment).run(checkpoint=tmp_path)
    again = Scene(environment, unasked)
    second = again.run(replay=journal_of(tmp_path))
    assert (second.response, second.value) == (first.response, first.value)
    assert (again.asked, again.store.calls) == (0, [])
    total = second.usage_summary.total
    assert replace(total, reused=0) == first.usage_summary.total
    assert total.reused == total.calls


WIDTH, LEAVES = 11, 8


def tree_of_agents(messages: Sequence[Message]) -> str:
    """A root with eleven children, each with eight: a hundred agents, which call models besides."""
    if messages[0].role != "system":
        return f"leaf {messages[0].content}"
    turn = sum(message.role == "assistant" for message in messages)
    found = re.search(r"level (\d)", messages[1].content)
    level = int(found[1]) if found else 0
    if turn:
        return code("FINAL(repr(replies))")
    if level == 2:
        return code("import random\nreplies = llm_query(f'{context} {random.random()}')")
    size = WIDTH if level == 0 else LEAVES
    return code(
        "from concurrent.futures import ThreadPoolExecutor\n"
        f"questions = [f'level {level + 1}, {{context}}-{{n}}' for n in range({size})]\n"
        "with ThreadPoolExecutor(16) as pool:\n"
        "    replies = list(pool.map(lambda q: rlm_query(q, context=q.split(', ')[1]), questions))"
    )


def test_a_tree_of_a_hundred_agents_replays_ten_times_alike(tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_depth": 3, "max_concurrent_subcalls": 16}
    first = RLM(backend=ScriptedClient(tree_of_agents), checkpoint=tmp_path, **options).completion("top", "go")
    assert sum(isinstance(event, RunStarted) for event in first.trajectory) == 1 + WIDTH + WIDTH * LEAVES
    rlm = RLM(backend=ScriptedClient(unasked), replay=tmp_path, **options)
    logs = []
    for _ in range(10):
        result = rlm.completion("top", "go")
        assert result.response == first.response
        logs.append(log(result.trajectory))
    assert all(other == logs[0] for other in logs[1:])
    assert [len(events) for events in log(first.trajectory).values()] != []
    assert set(logs[0]) == set(log(first.trajectory))


def test_replays_of_one_recording_run_at_once(tmp_path: Path) -> None:
    first = Scene().run(checkpoint=tmp_path)

    async def main() -> list[str]:
        rlm = Scene(script=unasked).rlm(replay=tmp_path)
        results = await asyncio.gather(*(rlm.acompletion(CONTEXT, QUESTION) for _ in range(8)))
        return [result.response for result in results]

    assert asyncio.run(main()) == [first.response] * 8


def turns(*sources: str) -> Any:
    """A model that says these, and repeats to its sub-calls what they ask."""

    def script(messages: Sequence[Message]) -> str:
        if messages[0].role != "system":
            return f"reply to {messages[-1].content}"
        return code(sources[sum(message.role == "assistant" for message in messages)])

    return script


def departed(tmp_path: Path, *, tool: Any, source: str) -> ReplayMismatchError:
    """The error of a run whose tool is a value that is another now."""
    client = ScriptedClient(turns(source, "FINAL('done')"))
    tools = {"setting": "old value", "size": 3}
    RLM(backend=client, checkpoint=tmp_path, custom_tools=tools).completion("c", "q")
    again = RLM(backend=ScriptedClient(unasked), replay=tmp_path, custom_tools={**tools, **tool})
    with pytest.raises(ReplayMismatchError) as caught:
        again.completion("c", "q")
    return caught.value


def test_a_call_that_is_not_recorded_is_an_error_that_says_where_and_what_differs(tmp_path: Path) -> None:
    source = "first = llm_query('the same')\nsecond = llm_query(f'look at this:\\nwith the {setting} in it')"
    error = departed(tmp_path, tool={"setting": "new value"}, source=source)
    text = str(error)
    assert "cell 1 of turn 1 of run" in text
    assert "line 2\n- recorded: with the old value in it\n+ asked:    with the new value in it" in text
    assert error.diff in text
    assert error.run


def test_a_turn_that_differs_is_an_error_that_shows_the_first_line_that_does(tmp_path: Path) -> None:
    error = departed(tmp_path, tool={"setting": "new value"}, source="print('one')\nprint(setting)")
    assert "turn 2 of run" in str(error)
    assert "- recorded: old value\n+ asked:    new value" in str(error)


def test_a_recorded_call_that_is_not_made_is_an_error(tmp_path: Path) -> None:
    source = "replies = llm_query_batched([f'number {n}' for n in range(size)])"
    error = departed(tmp_path, tool={"size": 2}, source=source)
    assert "ended without asking for" in str(error)
    assert "number 2" in str(error)


def test_code_cannot_catch_that_it_departed(tmp_path: Path) -> None:
    source = "try:\n    llm_query(setting)\nexcept Exception:\n    FINAL('caught')"
    assert "old value" in str(departed(tmp_path, tool={"setting": "new value"}, source=source))


def test_a_child_that_departs_ends_the_whole_run(tmp_path: Path) -> None:
    def script(messages: Sequence[Message]) -> str:
        if messages[0].role != "system":
            return "reply"
        if messages[1].content.startswith("inner"):
            return code("FINAL(llm_query(f'inside {setting}'))")
        return code("FINAL(rlm_query('inner question', context='x'))")

    options: dict[str, Any] = {"max_depth": 2, "custom_tools": {}, "environment": "local"}
    RLM(backend=ScriptedClient(script), checkpoint=tmp_path, custom_sub_tools={"setting": 1}, **options).completion("c")
    again = RLM(backend=ScriptedClient(unasked), replay=tmp_path, custom_sub_tools={"setting": 2}, **options)
    with pytest.raises(ReplayMismatchError, match=r"- recorded: inside 1\n.*asked:    inside 2"):
        again.completion("c")


def test_another_question_or_context_is_not_in_the_recording(tmp_path: Path) -> None:
    Scene().run(checkpoint=tmp_path)
    rlm = Scene(script=unasked).rlm(replay=tmp_path)
    with pytest.raises(ReplayMismatchError, match=r"holds no run with the question 'another'.*'what is it all"):
        rlm.completion(CONTEXT, "another")
    with pytest.raises(ReplayMismatchError, match="the context is another"):
        rlm.completion({**CONTEXT, "more": 1}, QUESTION)


def test_a_failure_is_replayed_as_a_failure(tmp_path: Path) -> None:
    def script(messages: Sequence[Message]) -> Any:
        if messages[0].role != "system":
            return LMError("too many", kind="rate_limit", hint="wait", model="scripted", status=429)
        return code("try:\n    llm_query('x')\nexcept LMError as error:\n    FINAL(str(error))")

    first = RLM(backend=ScriptedClient(script), checkpoint=tmp_path).completion("c", "q")
    again = RLM(backend=ScriptedClient(unasked), replay=tmp_path).completion("c", "q")
    assert again.response == first.response
    assert "too many" in first.response


def test_a_run_that_failed_is_replayed_as_one_that_failed(tmp_path: Path) -> None:
    failing = ScriptedClient([code("x = 1"), LMError("gone", kind="server", model="m")])
    with pytest.raises(LMError, match="gone"):
        RLM(backend=failing, checkpoint=tmp_path).completion("c", "q")
    with pytest.raises(LMError, match="gone"):
        RLM(backend=ScriptedClient(unasked), replay=tmp_path).completion("c", "q")


@pytest.mark.parametrize("content", ["", "{}\n", '{"format":"rlm-trajectory","version":1}\n', "words\nwords\n"])
def test_a_file_that_is_no_journal_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises((JournalError, ReplayMismatchError), match="file"):
        RLM(backend=ScriptedClient(unasked), replay=tmp_path / "file").completion("c", "q")


def test_a_replay_of_nothing_and_of_two_things_at_once_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no journal"):
        RLM(backend=ScriptedClient(), replay=tmp_path / "nothing")
    with pytest.raises(ConfigurationError, match="not both"):
        RLM(backend=ScriptedClient(), replay=tmp_path, checkpoint=tmp_path)
    Scene().run(checkpoint=tmp_path)
    with pytest.raises(ConfigurationError, match="not both"):
        RLM(backend=ScriptedClient(), replay=tmp_path, cache=tmp_path)


def test_a_replay_needs_no_key(tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_depth": 2, "custom_tools": {"store": len}}
    recorded = ScriptedClient(model, model="gpt-5-mini")
    first = RLM(backend=recorded, checkpoint=tmp_path, **options).completion("c", "child: q")
    again = RLM(backend="openai", backend_kwargs={"model_name": "gpt-5-mini"}, replay=tmp_path, **options)
    assert again.completion("c", "child: q").response == first.response
