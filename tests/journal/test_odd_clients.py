"""Clients of somebody's own that do not keep to the types: what they said is written down so that it can be read."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from journal.test_durable import texts, turns
from rlm import RLM, LMError, Message, Reply, Usage
from rlm.testing import ScriptedClient

odd: Any = {
    "a cost": LMError("no", kind="server", usage=Usage(calls=1, attempts=1, dollars=float("nan"))),
    "a count": LMError("no", kind="server", usage=Usage(calls=1, input_tokens=10**30)),
    "a truth": LMError("no", kind="server", usage=Usage(calls=True)),
    "a kind": LMError("no", kind="quota"),  # type: ignore[arg-type]
    "a status": LMError("no", kind="server", status="500"),  # type: ignore[arg-type]
    "a status by name": LMError("no", kind="server", status=HTTPStatus.BAD_GATEWAY),
    "a message": LMError(ValueError("no"), kind="server", hint=None),  # type: ignore[arg-type]
    "an end": Reply(text="yes", model="scripted", usage=Usage(calls=1), finish="eos"),  # type: ignore[arg-type]
    "a model": Reply(text="yes", model=None, usage=Usage(calls=1, output_tokens=10**30)),  # type: ignore[arg-type]
}
CELL = "try:\n    said = llm_query('one')\nexcept LMError as error:\n    said = [error.kind, str(error)]\nprint(said)"


@pytest.mark.parametrize("name", odd)
def test_what_a_client_should_not_say_is_kept_and_told_the_same_again(name: str, tmp_path: Path) -> None:
    def script(messages: Sequence[Message]) -> Any:
        return odd[name] if messages[-1].content == "one" else turns(CELL, "FINAL(said)")(messages)

    first = RLM(backend=ScriptedClient(script), checkpoint=tmp_path).completion("c", "q")
    client = ScriptedClient(script)
    again = RLM(backend=client, checkpoint=tmp_path).completion("c", "q")
    assert (again.value, again.divergences, texts(client)) == (first.value, (), [])
    used, before = again.usage_summary.total, first.usage_summary.total
    assert (used.attempts, used.unpriced, used.dollars) == (before.attempts, before.unpriced, before.dollars)
