"""The names that no tool may take are those that a session binds itself."""

from __future__ import annotations

from typing import Any

import pytest

from rlm import RLM, ConfigurationError, Message
from rlm.policy.names import reserved
from rlm.testing import ScriptedClient

CELL = "```repl\n{}\n```"
NAMES = "FINAL([name for name in globals()])"


def names_of(tmp_path: Any, environment: str) -> set[str]:
    """All names there are in a session that was asked about two contexts, compacted, and in one that has a journal."""

    def model(messages: list[Message]) -> str:
        if "Write a summary" in messages[-1].content:
            return "summary"
        return CELL.format(NAMES if "Your summary" in messages[-1].content else "print('x' * 9_000)")

    with RLM(backend=ScriptedClient(model, context_window=8_000), environment=environment, compaction=True).session(
        "one"
    ) as session:
        session.ask("q")
        kept: Any = session.ask("q", context="two").value
    rlm = RLM(backend=ScriptedClient(CELL.format(NAMES)), environment=environment, checkpoint=tmp_path)
    journalled: Any = rlm.completion("c", "q").value
    return {*kept, *journalled}


@pytest.mark.parametrize("environment", ["local", "process"])
def test_every_name_that_a_session_binds_is_reserved(environment: str, tmp_path: Any) -> None:
    names = names_of(tmp_path, environment)
    assert {"context_1", "history_0", "history", "answers", "answer", "grep", "__builtins__"} <= names
    assert [name for name in sorted(names) if not reserved(name)] == []


def test_other_names_are_free() -> None:
    for name in ("search", "contexts", "context_of", "history_of_rome", "answer_key", "print", "_private"):
        assert not reserved(name)


@pytest.mark.parametrize("name", ["context_3", "history_0", "answers", "__builtins__", "__seed__", "FINAL", "peek"])
@pytest.mark.parametrize("setting", ["custom_tools", "custom_sub_tools"])
def test_a_custom_tool_of_such_a_name_is_refused(setting: str, name: str) -> None:
    options: dict[str, Any] = {setting: {name: 1}}
    with pytest.raises(ConfigurationError, match=f"{setting}: '{name}' is a name of the REPL itself"):
        RLM(backend=ScriptedClient([]), **options)
