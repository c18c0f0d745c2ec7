"""The cache: exact repeats from run to run, from any number of processes; nothing that is not a whole reply."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from journal.program import code
from rlm import RLM, ConfigurationError, LMError, Message, Reply, Usage
from rlm.events import Warned
from rlm.testing import ScriptedClient

CELL = """said = [llm_query('one')]
try:
    said.append(llm_query('two'))
except LMError as error:
    said.append(error.kind)"""


def script(second: Callable[[], Any]) -> Any:
    def model(messages: Sequence[Message]) -> Any:
        if messages[0].role != "system":
            return "first" if messages[0].content == "one" else second()
        return code(CELL if len(messages) == 2 else "FINAL(said)")

    return model


def test_a_run_that_asks_the_same_again_asks_no_provider_and_costs_nothing(tmp_path: Path) -> None:
    client = ScriptedClient(script(lambda: "second"))
    paid = RLM(backend=client, cache=tmp_path).completion("c", "q")
    again = RLM(backend=client, cache=tmp_path).completion("c", "q")
    assert again.value == paid.value == ["first", "second"]
    assert len(client.calls) == 4
    assert again.usage_summary.total == Usage(calls=4, reused=4)
    assert again.usage_summary.total_cost == 0


@pytest.mark.parametrize(
    "answer",
    [
        LMError("down", kind="server"),
        Reply(text="no", model="m", usage=Usage(calls=1), finish="refusal"),
        Reply(text="half an ans", model="m", usage=Usage(calls=1), finish="length"),
        Reply(text="  ", model="m", usage=Usage(calls=1)),
    ],
    ids=["failure", "refusal", "cut", "empty"],
)
def test_what_is_no_whole_reply_is_asked_for_again(answer: Any, tmp_path: Path) -> None:
    RLM(backend=ScriptedClient(script(lambda: answer)), cache=tmp_path).completion("c", "q")
    client = ScriptedClient(script(lambda: "second"))
    assert RLM(backend=client, cache=tmp_path).completion("c", "q").value == ["first", "second"]
    assert [call.text for call in client.calls if call.text == "two"] == ["two"]
    assert not [call for call in client.calls if call.text == "one"]


def test_samples_of_one_prompt_stay_different_samples(tmp_path: Path) -> None:
    count = iter(range(100))

    def model(messages: Sequence[Message]) -> str:
        if messages[0].role != "system":
            return f"sample {next(count)}"
        return code("FINAL(sorted(llm_query_batched(['one prompt'] * 5)))")

    first = RLM(backend=ScriptedClient(model), cache=tmp_path).completion("c", "q")
    again = RLM(backend=ScriptedClient(model), cache=tmp_path).completion("c", "q")
    assert first.value == again.value == [f"sample {n}" for n in range(5)]


@pytest.mark.parametrize(
    "other",
    [{"sampling_args": {"temperature": 1}}, {"backend_kwargs": {"model_name": "other"}}],
    ids=["sampling", "model"],
)
def test_another_model_or_sampling_is_another_request(other: dict[str, Any], tmp_path: Path) -> None:
    asked: list[str] = []

    async def provider(messages: Sequence[Message], **sampling: object) -> str:
        asked.append(messages[-1].content)
        return code("FINAL('done')")

    RLM(backend=provider, cache=tmp_path).completion("c", "q")
    RLM(backend=provider, cache=tmp_path).completion("c", "q")
    assert len(asked) == 1
    RLM(backend=provider, cache=tmp_path, **other).completion("c", "q")
    assert len(asked) == 2


PROGRAM = """
import sys
from rlm import RLM
def provider(messages):
    if messages[0].role == "system":
        return "```repl\\nFINAL(llm_query_batched([f'prompt {n}' for n in range(40)]))\\n```"
    return f"reply to {messages[-1].content}"
print(RLM(backend=provider, cache=sys.argv[1]).completion("c", "q").response)
"""


def test_many_processes_use_one_cache_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    ends = [process.communicate(timeout=100) for process in running]
    assert [error for _, error in ends] == [b""] * 4
    assert len({out for out, _ in ends}) == 1
    with_rows = sqlite3.connect(tmp_path / "replies.sqlite")
    assert with_rows.execute("SELECT count(*) FROM replies").fetchone() == (41,)
    with_rows.close()


def test_a_cache_that_breaks_is_left_alone_and_the_run_goes_on(tmp_path: Path) -> None:
    def second() -> str:
        database = sqlite3.connect(tmp_path / "replies.sqlite")
        database.execute("DROP TABLE replies")
        database.close()
        return "second"

    result = RLM(backend=ScriptedClient(script(second)), cache=tmp_path).completion("c", "q")
    assert result.value == ["first", "second"]
    warned = [event.text for event in result.trajectory if isinstance(event, Warned)]
    assert len(warned) == 1
    assert "is not used any further" in warned[0]


def test_a_file_that_is_no_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / "replies.sqlite").write_text("words " * 1000)
    with pytest.raises(ConfigurationError, match="cache: cannot use"):
        RLM(backend=ScriptedClient(), cache=tmp_path).completion("c", "q")


def test_what_the_cache_gave_is_in_the_journal(tmp_path: Path) -> None:
    RLM(backend=ScriptedClient(script(lambda: "second")), cache=tmp_path / "cache").completion("c", "q")
    client = ScriptedClient(script(lambda: "second"))
    RLM(backend=client, cache=tmp_path / "cache", checkpoint=tmp_path / "run").completion("c", "q")
    again = RLM(backend=client, replay=tmp_path / "run").completion("c", "q")
    assert (again.value, client.calls) == (["first", "second"], [])


@pytest.mark.parametrize("column", ["text", "reasoning"])
@pytest.mark.parametrize("held", ["not JSON", '{"a": 1}', b"\xff\xfe", 5])
def test_a_row_that_is_none_of_the_caches_own_is_no_reply_and_ends_its_use_not_the_run(
    held: object, column: str, tmp_path: Path
) -> None:
    RLM(backend=ScriptedClient(script(lambda: "second")), cache=tmp_path).completion("c", "q")
    with sqlite3.connect(tmp_path / "replies.sqlite") as database:
        database.execute(f"UPDATE replies SET {column} = ?", (held,))
    database.close()
    client = ScriptedClient(script(lambda: "second"))
    result = RLM(backend=client, cache=tmp_path).completion("c", "q")
    assert (result.value, len(client.calls)) == (["first", "second"], 4)
    warned = [event.text for event in result.trajectory if isinstance(event, Warned)]
    assert len(warned) == 1
    assert "is not used any further" in warned[0]


def test_a_reply_that_cannot_be_kept_ends_the_caches_use_not_the_run(tmp_path: Path) -> None:
    answer = Reply(text="second", model="m\ud800", usage=Usage(calls=1))
    result = RLM(backend=ScriptedClient(script(lambda: answer)), cache=tmp_path).completion("c", "q")
    assert result.value == ["first", "second"]


@pytest.mark.parametrize("setting", ["cache", "checkpoint", "replay"])
@pytest.mark.parametrize("given", ["", "a\0b", 5, ["x"], b"x"])
def test_what_is_no_path_is_refused_when_it_is_given(setting: str, given: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{setting} must be a path"):
        RLM(backend=ScriptedClient(), **{setting: given})


def test_a_schema_that_is_not_even_text_is_refused_before_anything_is_paid(tmp_path: Path) -> None:
    client = ScriptedClient(script(lambda: "second"))
    RLM(backend=client, cache=tmp_path).completion("c", "q")
    paid = len(client.calls)
    data = (tmp_path / "replies.sqlite").read_bytes()
    (tmp_path / "replies.sqlite").write_bytes(data.replace(b"TEXT NOT NULL", b"TEXT NOT \xa9\xff\xfe\xfd", 1))
    with pytest.raises(ConfigurationError, match="cache: cannot use"):
        RLM(backend=client, cache=tmp_path).completion("c", "q")
    assert len(client.calls) == paid
