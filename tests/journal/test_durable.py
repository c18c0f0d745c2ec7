"""What a resumed run may rely on, and what it is told: divergences, limits, other runs, damage, secrets, chance."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from journal.program import CONTEXT, QUESTION, Scene, code, journal_of
from rlm import RLM, ConfigurationError, JournalError, LMError, Message
from rlm.events import CallFinished, CallStarted, Event, Warned
from rlm.testing import LMServer, Request, ScriptedClient


def turns(*sources: str) -> Any:
    def script(messages: Sequence[Message]) -> str:
        if messages[0].role != "system":
            return f"reply to {messages[-1].content}"
        return code(sources[sum(message.role == "assistant" for message in messages)])

    return script


def texts(client: ScriptedClient) -> list[str]:
    """What sub-calls were asked."""
    return [call.text for call in client.calls if call.messages[0].role != "system"]


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal_of(folder).read_text().splitlines()]


def cut_before(folder: Path, kind: str, number: int = 0) -> None:
    """As if killed before that record was written."""
    lines = journal_of(folder).read_bytes().splitlines(keepends=True)
    at = [i for i, line in enumerate(lines) if json.loads(line).get("type") == kind][number]
    journal_of(folder).write_bytes(b"".join(lines[:at]))


# Divergence -----------------------------------------------------------------------------------------------------------


def test_code_that_asks_something_else_is_answered_live_and_reported(tmp_path: Path) -> None:
    source = "a = llm_query('the same')\nb = llm_query(f'about {setting}')\nc = llm_query('the third')"
    script = turns(source, "FINAL([a, b, c])")
    RLM(backend=ScriptedClient(script), checkpoint=tmp_path, custom_tools={"setting": "old"}).completion("c", "q")
    client = ScriptedClient(script)
    result = RLM(backend=client, checkpoint=tmp_path, custom_tools={"setting": "new"}).completion("c", "q")
    assert result.value == ["reply to the same", "reply to about new", "reply to the third"]
    assert texts(client) == ["about new"]
    assert len(result.divergences) == 1
    assert "cell 1 of turn 1" in result.divergences[0]
    assert "- recorded: about old\n+ asked:    about new" in result.divergences[0]
    warned = [event.text for event in result.trajectory if isinstance(event, Warned)]
    assert warned == list(result.divergences)


def test_after_a_turn_that_differs_the_run_goes_on_live_and_says_so_once(tmp_path: Path) -> None:
    script = turns("print(setting)", "print('more')", "FINAL('done')")
    RLM(backend=ScriptedClient(script), checkpoint=tmp_path, custom_tools={"setting": "old"}).completion("c", "q")
    client = ScriptedClient(script)
    result = RLM(backend=client, checkpoint=tmp_path, custom_tools={"setting": "new"}).completion("c", "q")
    assert (result.response, len(client.calls)) == ("done", 2)
    assert len(result.divergences) == 1
    assert "- recorded: old\n+ asked:    new" in result.divergences[0]


def test_a_run_that_departed_can_be_resumed_and_replayed_as_it_went(tmp_path: Path) -> None:
    script = turns("x = llm_query(setting)", "print(x)", "FINAL(x)")
    RLM(backend=ScriptedClient(script), checkpoint=tmp_path, custom_tools={"setting": "old"}).completion("c", "q")
    RLM(backend=ScriptedClient(script), checkpoint=tmp_path, custom_tools={"setting": "new"}).completion("c", "q")
    again = ScriptedClient(script)
    result = RLM(backend=again, checkpoint=tmp_path, custom_tools={"setting": "new"}).completion("c", "q")
    assert (result.response, result.divergences, again.calls) == ("reply to new", (), [])
    result = RLM(backend=again, replay=tmp_path, custom_tools={"setting": "new"}).completion("c", "q")
    assert (result.response, again.calls) == ("reply to new", [])


# What a resumed run may change ----------------------------------------------------------------------------------------


def test_another_question_or_context_is_refused(tmp_path: Path) -> None:
    Scene().run(checkpoint=tmp_path)
    before = journal_of(tmp_path).read_bytes()
    with pytest.raises(JournalError, match=r"another context or question .its question was 'what is it all"):
        Scene().rlm(checkpoint=tmp_path).completion(CONTEXT, "another")
    with pytest.raises(JournalError, match="another context or question"):
        Scene().rlm(checkpoint=tmp_path).completion({**CONTEXT, "text": "y"}, QUESTION)
    assert journal_of(tmp_path).read_bytes() == before


def test_a_provider_that_failed_is_asked_again(tmp_path: Path) -> None:
    source = "a = llm_query('one')\ntry:\n    b = llm_query('two')\nexcept LMError as error:\n    b = error.kind"
    good = turns(source, "FINAL([a, b])")

    def script(messages: Sequence[Message]) -> Any:
        if "two" in messages[-1].content or any(m.role == "assistant" for m in messages):
            return LMError("no route", kind="connection", model="scripted")
        return good(messages)

    with pytest.raises(LMError, match="no route") as caught:
        RLM(backend=ScriptedClient(script), checkpoint=tmp_path).completion("c", "q")
    assert caught.value.__notes__ == [f"What was answered is kept in {tmp_path}: the same call goes on from there."]
    client = ScriptedClient(good)
    result = RLM(backend=client, checkpoint=tmp_path).completion("c", "q")
    assert (result.value, texts(client)) == (["reply to one", "reply to two"], ["two"])


@pytest.mark.parametrize("environment", ["local", "process"])
def test_a_run_that_was_cancelled_goes_on_with_what_was_answered(environment: str, tmp_path: Path) -> None:
    script = turns("x = llm_query_batched([f'p{n}' for n in range(12)])", "FINAL(x)")

    async def main() -> None:
        finished, never, loop = asyncio.Queue[object](), asyncio.Event(), asyncio.get_running_loop()

        async def slow(messages: Sequence[Message]) -> str:
            if messages[-1].content in ("p3", "p7", "p11"):
                await never.wait()
            return str(script(messages))

        def observe(event: Event) -> None:
            if isinstance(event, CallFinished):
                loop.call_soon_threadsafe(finished.put_nowait, event)

        options: dict[str, Any] = {"checkpoint": tmp_path, "environment": environment}
        rlm = RLM(backend=ScriptedClient(slow), observers=[observe], **options)
        task = asyncio.create_task(rlm.acompletion("c", "q"))
        for _ in range(9):
            await finished.get()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        client = ScriptedClient(script)
        again = await RLM(backend=client, **options).acompletion("c", "q")
        assert again.value == [f"reply to p{n}" for n in range(12)]
        assert (texts(client), again.divergences) == (["p3", "p7", "p11"], ())

    asyncio.run(main())


# The file -------------------------------------------------------------------------------------------------------------


def test_a_reply_is_in_the_file_before_it_is_used(tmp_path: Path) -> None:
    held: list[bool] = []

    def look(text: str) -> None:
        """Whether the journal has it."""
        held.append(any(record.get("text") == text for record in records(tmp_path)))

    script = turns("look(llm_query('one'))", "FINAL('done')")
    RLM(backend=ScriptedClient(script), checkpoint=tmp_path, custom_tools={"look": look}).completion("c", "q")
    assert held == [True]


def test_a_journal_that_reaches_the_disk_before_it_is_used_resumes_alike(tmp_path: Path) -> None:
    first = Scene().run(checkpoint=tmp_path, checkpoint_sync=True)
    cut_before(tmp_path, "reply", 9)
    assert Scene().run(checkpoint=tmp_path, checkpoint_sync=True).response == first.response


def test_two_runs_cannot_use_one_checkpoint_at_once(tmp_path: Path) -> None:
    refused: list[str] = []

    def others() -> None:
        with pytest.raises(JournalError) as caught:
            Scene().run(checkpoint=tmp_path)
        refused.append(str(caught.value))
        program = f"from journal.program import Scene\nScene().run(checkpoint={str(tmp_path)!r})"
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        refused.append(done.stderr)

    async def script(messages: Sequence[Message]) -> str:
        await asyncio.to_thread(others)
        return code("FINAL('first')")

    result = RLM(backend=ScriptedClient(script), checkpoint=tmp_path).completion("c", "q")
    assert result.response == "first"
    assert ["another run is using" in text for text in refused] == [True, True]


def test_damage_before_the_end_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    Scene().run(checkpoint=tmp_path)
    lines = journal_of(tmp_path).read_bytes().splitlines(keepends=True)
    lines[6] = b"\0" * len(lines[6][:-1]) + b"\n"
    journal_of(tmp_path).write_bytes(b"".join(lines))
    with pytest.raises(JournalError, match="line 7: damaged"):
        Scene().run(checkpoint=tmp_path)


def test_what_power_loss_left_of_the_last_records_is_cut_off(tmp_path: Path) -> None:
    first = Scene().run(checkpoint=tmp_path)
    data = journal_of(tmp_path).read_bytes()
    journal_of(tmp_path).write_bytes(data[: len(data) // 2] + b"\0" * 500 + b"\n\0\0")
    assert Scene().run(checkpoint=tmp_path).response == first.response


@pytest.mark.parametrize("record", ['{"type":"reply"}', '{"type":"end","run":"zz","error":null}', "[]", '{"a":1}'])
def test_records_that_no_journal_has_are_an_error_and_nothing_else(record: str, tmp_path: Path) -> None:
    Scene().run(checkpoint=tmp_path)
    lines = journal_of(tmp_path).read_bytes().splitlines(keepends=True)
    journal_of(tmp_path).write_bytes(b"".join([*lines[:3], record.encode() + b"\n", *lines[3:]]))
    with pytest.raises(JournalError):
        Scene().run(checkpoint=tmp_path)


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="file"):
        Scene().run(checkpoint=tmp_path / "file" / "below")


def test_no_key_is_ever_in_a_journal(tmp_path: Path, lm_server: Callable[..., LMServer]) -> None:
    key = "sk-abcdefgh-12345678"

    def answer(request: Request) -> str:
        if not any(role == "system" for role, _ in request.messages):
            return f"you said {request.text}"
        if any(role == "assistant" for role, _ in request.messages):
            return code("FINAL(said)")
        return code(f"said = [llm_query('the key is {key}'), leak('{key}')]\nprint(said)")

    def leak(text: str) -> str:
        """Gives the key away."""
        return f"{text} {key}"

    kwargs = {"model_name": "m", "base_url": lm_server(answer).openai_base_url, "api_key": key}
    options: dict[str, Any] = {"custom_tools": {"leak": leak}, "backend": "openai", "backend_kwargs": kwargs}
    with RLM(checkpoint=tmp_path, **options) as rlm:
        first = rlm.completion(f"context with {key}", f"question with {key}")
    assert key in first.response
    assert key not in journal_of(tmp_path).read_text()
    with RLM(checkpoint=tmp_path, **options) as rlm:
        again = rlm.completion(f"context with {key}", f"question with {key}")
    assert again.divergences == ()
    assert again.usage_summary.total.reused == 3


# Tools and chance -----------------------------------------------------------------------------------------------------

VALUES = [0, False, "", None, b"\x00\xff", "\ud800", (1, [2.5, {"k": {3}}]), 2**200, "y" * 100_000, b"z" * 100_000]


@pytest.mark.parametrize("environment", ["local", "process"])
def test_results_of_tools_are_the_same_the_second_time(environment: str, tmp_path: Path) -> None:
    async def value(number: int) -> object:
        """A value."""
        return VALUES[number]

    def refuse(number: int) -> object:
        """Refuses."""
        raise KeyError(number)

    class OddError(Exception):
        pass

    def odd() -> object:
        """Fails oddly."""
        raise OddError("an odd failure")

    source = (
        f"seen = [repr(value(n)) for n in range({len(VALUES)})]\n"
        "for call in (lambda: refuse(3), odd):\n"
        "    try:\n        call()\n    except Exception as error:\n"
        "        seen.append(f'{type(error).__name__} {error}')\nprint(seen[-2:])"
    )
    script = turns(source, "odd()", "FINAL(seen)")
    tools = {"value": value, "refuse": refuse, "odd": odd}
    options: dict[str, Any] = {"environment": environment, "custom_tools": tools}
    first = RLM(backend=ScriptedClient(script), checkpoint=tmp_path, **options).completion("c", "q")
    assert first.value[: len(VALUES)] == [repr(value) for value in VALUES]
    client = ScriptedClient(script)
    again = RLM(backend=client, checkpoint=tmp_path, **options).completion("c", "q")
    assert (again.value, again.divergences, client.calls) == (first.value, (), [])


def test_a_result_that_cannot_be_written_down_fails_saying_why(tmp_path: Path) -> None:
    def make() -> object:
        """Makes something."""
        return {"a": [object()]}

    source = "try:\n    make()\nexcept TypeError as error:\n    FINAL(str(error))"
    client = ScriptedClient(turns(source))
    result = RLM(backend=client, checkpoint=tmp_path, custom_tools={"make": make}).completion("c", "q")
    assert "the result of make" in result.response
    assert "object of type 'object'" in result.response


def test_a_context_that_cannot_be_told_from_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"context.*cannot be journalled"):
        RLM(backend=ScriptedClient(), checkpoint=tmp_path).completion([object()], "q")


@pytest.mark.parametrize("environment", ["local", "process", "ipython"])
def test_chance_is_the_same_each_time_and_in_each_session_its_own(environment: str, tmp_path: Path) -> None:
    source = (
        "import random as r\nfrom random import shuffle\nimport random\n"
        "order = list(range(9))\nshuffle(order)\n"
        "drawn = [r.random(), random.choice('abcdefgh'), random.Random(1).random(), order, random.gauss(0, 1)]"
    )
    script = turns(source, "FINAL(drawn)")
    state = random.getstate()
    seen = []
    for folder in ("one", "two"):
        rlm = RLM(backend=ScriptedClient(script), checkpoint=tmp_path / folder, environment=environment)
        seen.append(rlm.completion("c", "q").value)
    assert seen[0] == seen[1]
    assert random.getstate() == state, "the program's own chance is left alone"
    assert seen[0][2] == random.Random(1).random()


def test_children_and_calls_have_their_numbers_again_whatever_the_order_threads_ask_in(tmp_path: Path) -> None:
    numbers = []
    for _ in range(3):
        result = Scene().run(checkpoint=tmp_path)
        calls = [event for event in result.trajectory if isinstance(event, CallStarted)]
        numbers.append(sorted((event.run, event.call, event.prompt, event.child or "") for event in calls))
        assert len({(event.run, event.call) for event in calls}) == len(calls)
    assert numbers[0] == numbers[1] == numbers[2]


def test_a_session_that_is_to_be_kept_has_no_checkpoint_and_that_is_said_when_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="one completion"):
        RLM(backend=ScriptedClient(), checkpoint=tmp_path, persistent=True)
    rlm = RLM(backend=ScriptedClient(), checkpoint=tmp_path)
    with pytest.raises(ConfigurationError, match="one completion"):
        rlm.session("c")
