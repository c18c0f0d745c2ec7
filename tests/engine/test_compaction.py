"""Compaction: a summary in the place of the turns near the model's window, and nothing lost that was not said in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rlm import RLM, LMError, Message, Reply, Usage
from rlm.compaction import History
from rlm.events import Compacted, Warned
from rlm.testing import ScriptedClient

ENVIRONMENTS = ["local", "process"]
WINDOW = 8_000
ASKED = "Write a summary for yourself"


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


def size(messages: Sequence[Message]) -> int:
    return sum(len(message.content) for message in messages)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_compaction_keeps_the_task_the_values_and_the_whole_history(environment: str) -> None:
    turns = 12

    def model(messages: Sequence[Message]) -> str:
        last = messages[-1].content
        if "Write a summary for yourself" in last:
            assert sum(len(m.content) for m in messages) * 0.25 < 8_000
            return f"SUMMARY of {len(messages)}"
        told = sum(m.content.count("print(") for m in messages if m.role == "assistant")
        done = re.search(r"n: int", last)
        if done and "SUMMARY" in last and told < turns:
            return repl("n += 1; print('y' * 2000)") if "stop" not in last else ""
        return repl("n = globals().get('n', 0) + 1; print('x' * 3000)\nFINAL([n, len(history)]) if n >= 12 else None")

    client = ScriptedClient(model, context_window=8_000)
    rlm = RLM(backend=client, environment=environment, compaction=True, compaction_threshold_pct=0.6, max_iterations=40)
    result = rlm.completion("the context", "the question")
    count, history = result.value  # type: ignore[misc]
    assert count >= 12
    assert history >= 8
    summaries = [c for c in client.calls if "Write a summary for yourself" in c.text]
    assert summaries
    first = client.calls[0].messages
    for call in client.calls:
        assert call.messages[:2] == first[:2]
        assert sum(len(m.content) for m in call.messages) < 8_000 * 4


def test_without_compaction_the_history_is_never_cut() -> None:
    client = ScriptedClient([repl("print('x' * 9000)")] * 5 + [repl("FINAL(1)")], context_window=8_000)
    RLM(backend=client).completion("c", "q")
    assert len(client.calls[-1].messages) == 2 + 2 * 5


def test_a_compaction_is_in_the_trajectory(tmp_path: Any) -> None:
    from rlm import RLMLogger
    from rlm.trajectory import read

    def model(messages: Sequence[Message]) -> str:
        if "Write a summary for yourself" in messages[-1].content:
            return "SUMMARY"
        return repl("FINAL(1)" if "SUMMARY" in messages[-1].content else "print('x' * 9000)")

    logger = RLMLogger(log_dir=tmp_path)
    client = ScriptedClient(model, context_window=8_000)
    result = RLM(backend=client, compaction=True, logger=logger).completion("c", "q")
    (path,) = tmp_path.iterdir()
    mine = [e for e in result.trajectory if isinstance(e, Compacted)]
    assert (
        [e.reply.text for e in read(path).events if isinstance(e, Compacted)]
        == [e.reply.text for e in mine]
        == ["SUMMARY"]
    )


def at_work(turns: int, summary: Callable[[int], Any], prints: int = 3_000) -> Callable[[Sequence[Message]], Any]:
    """A model that prints much for so many turns and then submits; `summary` gives the n-th one it is asked for."""
    done, asked = 0, 0

    def answer(messages: Sequence[Message]) -> Any:
        nonlocal done, asked
        if ASKED in messages[-1].content:
            asked += 1
            return summary(asked)
        done += 1
        return repl("FINAL('done')" if done > turns else f"print('turn {done}', 'x' * {prints})")

    return answer


def reply(text: str, finish: Any = "stop") -> Reply:
    return Reply(text=text, model="scripted", usage=Usage(calls=1, attempts=1, input_tokens=10), finish=finish)


def run(model: Any, **options: Any) -> tuple[Any, ScriptedClient]:
    client = ScriptedClient(model, context_window=WINDOW)
    settings = {"compaction": True, "compaction_threshold_pct": 0.6, **options}
    return RLM(backend=client, **settings).completion("c", "q"), client


UNFIT = {
    "empty": "",
    "blank": " \n",
    "refused": reply("I cannot help with that.", "refusal"),
    "cut": reply("So far I have fou", "length"),
    "failed": LMError("overloaded", kind="server"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_what_is_no_summary_is_asked_for_once_more(kind: str) -> None:
    result, client = run(at_work(8, lambda n: UNFIT[kind] if n == 1 else f"SUMMARY {n}"))
    assert result.value == "done"
    assert any("Your summary:\nSUMMARY 2\n" in call.text for call in client.calls)
    used = [event.used for event in result.trajectory if isinstance(event, Compacted)]
    assert used[0] is (kind == "failed")
    assert True in used


@pytest.mark.parametrize("kind", UNFIT)
def test_without_a_summary_the_turns_are_kept(kind: str) -> None:
    result, client = run(at_work(6, lambda n: UNFIT[kind]))
    assert result.value == "done"
    assert all("Your summary:" not in message.content for call in client.calls for message in call.messages)
    last = client.calls[-1].messages
    assert [m.content[:6] for m in last if m.role == "user"][1:] == [f"turn {n}" for n in range(1, 7)]
    assert any("turns are kept" in event.text for event in result.trajectory if isinstance(event, Warned))


def test_a_limit_that_is_reached_while_summarising_ends_the_run_as_ever() -> None:
    def model(messages: Sequence[Message]) -> Any:
        if len(messages) == 2:
            return repl("answer['content'] = 'draft'; print('x' * 9_000)")
        return repl("print('x' * 9_000)")

    result, _ = run(model, max_tokens=9_000, on_limit="return")
    assert (result.response, result.status, result.limit) == ("draft", "forced", "max_tokens")


def test_no_request_outgrows_the_window_however_long_the_summary_is() -> None:
    result, client = run(at_work(20, lambda n: "S" * 200_000))
    assert result.value == "done"
    assert max(size(call.messages) for call in client.calls) * 0.25 < WINDOW
    assert any("of this summary were left out" in call.text for call in client.calls)


def test_no_request_outgrows_the_window_however_many_variables_there_are() -> None:
    def model(messages: Sequence[Message]) -> Any:
        if ASKED in messages[-1].content:
            return "SUMMARY"
        if "SHOW_VARS() lists them all" in messages[-1].content:
            return repl("FINAL('done')")
        return repl("for i in range(5_000): globals()[f'variable_{i}'] = i\nprint('x' * 9_000)")

    result, client = run(model)
    assert result.value == "done"
    assert max(size(call.messages) for call in client.calls) * 0.25 < WINDOW


def test_the_earlier_summary_is_in_the_request_for_the_next_one() -> None:
    _, client = run(at_work(20, lambda n: f"SUMMARY {n}"))
    requests = [call for call in client.calls if ASKED in call.text]
    assert len(requests) > 2
    for number, request in enumerate(requests[1:], 1):
        assert f"SUMMARY {number}\n" in request.messages[2].content


def test_a_latest_turn_that_does_not_fit_is_cut_and_not_dropped() -> None:
    history = History()
    history.open([Message("system", "s" * 100), Message("user", "q")])
    history.say(Message("assistant", "old " * 100), Message("user", "old " * 100))
    history.say(Message("assistant", "BEGIN " + "a" * 50_000 + " END"), Message("user", "FIRST " + "b" * 50_000))
    request = history.request(20_000)
    assert size(request) < 12_000
    assert request[-2].content.startswith("FIRST ")
    history.say(Message("assistant", "short"), Message("user", "shown"))
    request = history.request(200_000)
    text = "\n".join(message.content for message in request)
    for word in ("BEGIN ", " END", "FIRST ", "short", "shown"):
        assert word in text
    assert size(request) < 110_000


def test_turns_fit_into_the_request_where_the_opening_takes_most_of_the_window() -> None:
    history = History()
    history.open([Message("system", "s" * 12_000), Message("user", "q")])
    history.say(Message("assistant", "code"), Message("user", "shown " * 1_000))
    request = history.request(20_000)
    assert "shown" in request[-2].content
    assert size(request) < 20_000


def test_the_summary_may_be_as_long_as_the_model_is_told() -> None:
    _, client = run(at_work(8, lambda n: "S" * 2_000))
    (allowed,) = {
        re.findall(r"in at most ([\d,]+) characters", call.text)[0] for call in client.calls if ASKED in call.text
    }
    assert int(allowed.replace(",", "")) >= 2_000
    assert any("S" * 2_000 in call.text for call in client.calls)
