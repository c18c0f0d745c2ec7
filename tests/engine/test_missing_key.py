"""A key that is missing ends the run, whoever meets it first, and the error names the setting."""

from __future__ import annotations

from typing import Any

import pytest

from rlm import RLM, SetupError
from rlm.testing import ScriptedClient

CALLS = ("llm_query('x')", "rlm_query('x')", "llm_query_batched(['x'] * 3)", "rlm_query_batched(['x'] * 3)")


@pytest.mark.parametrize(("call", "depth"), [(call, d) for call in CALLS for d in (1, 2, 3) if d < 3 or "rlm" in call])
def test_a_missing_key_of_a_sub_model_ends_the_run(call: str, depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    code = f"try:\n    said = {call}\nexcept Exception as error:\n    said = error\nFINAL(str(said))"
    root = ScriptedClient(f"```repl\n{code}\n```")
    others: list[Any] = [ScriptedClient(f"```repl\n{code}\n```", model=f"at {n}") for n in range(1, depth - 1)]
    kwargs: list[dict[str, Any]] = [{} for _ in others] + [{"model_name": "gpt-5-nano"}]
    rlm = RLM(backend=root, other_backends=[*others, "openai"], other_backend_kwargs=kwargs, max_depth=depth)
    with pytest.raises(SetupError, match="OPENAI_API_KEY") as caught, rlm:
        rlm.completion("c", "q")
    assert caught.value.result is not None
    assert len(root.calls) == 1
