"""A whole run with a logger: what the library itself writes, over real HTTP to a scripted server."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM
from rlm.errors import RLMError
from rlm.logger import RLMLogger
from rlm.testing import LMServer, Request
from rlm.trajectory import read
from trajectory.runs import kept, log_lines

KEY = "sk-proj-0123456789abcdefSECRET"
LEAKY = f'''```repl
import os
print("the key is {KEY}")
print(llm_query("Which is slow?\\n" + context[5000:45000] + "{KEY}"))
```'''
ANSWER = "```repl\nanswer['content'] = 'request 7'\nanswer['ready'] = True\n```"


def model(request: Request) -> str:
    text = json.dumps(request.body)
    if "Which is slow?" in text and "repl" not in text:
        return "request 7"
    return ANSWER if "request 7" in text else LEAKY


def over(server: LMServer, **options: Any) -> RLM:
    kwargs = {"api_key": KEY, "model_name": "m", "base_url": server.openai_base_url}
    return RLM(backend="openai", backend_kwargs=kwargs, **options)


def test_a_run_is_on_disk_as_it_is_in_the_result_and_without_the_key(tmp_path: Path) -> None:
    context = log_lines(200_000)
    with LMServer(model) as server:
        with over(server, logger=RLMLogger(log_dir=str(tmp_path))) as rlm:
            result = rlm.completion(context, "Which request is slow?")
    assert result.response == "request 7"
    (path,) = tmp_path.iterdir()
    assert KEY not in path.read_text()
    assert path.stat().st_size < 40_000
    trajectory = read(path)
    assert [type(e) for e in trajectory.events] == [type(e) for e in kept(list(result.trajectory))]
    (call,) = trajectory.calls()
    asked = trajectory.expand(call.started.prompt, context)
    assert asked == "Which is slow?\n" + context[5_000:45_000] + "*" * len(KEY)
    assert call.finished is not None
    assert call.finished.usage.calls == 1
    metadata = result.metadata
    assert metadata is not None
    assert metadata["run_metadata"]["environment_type"] == "local"
    assert [len(iteration["code_blocks"]) for iteration in metadata["iterations"]] == [1, 1]
    assert metadata["iterations"][1]["final_answer"] == "request 7"


def test_a_run_that_fails_leaves_its_trajectory_with_the_error(tmp_path: Path) -> None:
    with LMServer(model) as server:
        with over(server, logger=RLMLogger(log_dir=str(tmp_path)), max_tokens=5) as rlm, pytest.raises(RLMError):
            rlm.completion("a context " * 1_000, "Which request is slow?")
    (path,) = tmp_path.iterdir()
    trajectory = read(path)
    (run,) = trajectory.runs
    finished = trajectory.finished(run)
    assert finished is not None
    assert finished.error is not None


def test_a_log_directory_that_went_away_fails_the_run_before_anything_is_sent(tmp_path: Path) -> None:
    logger = RLMLogger(log_dir=str(tmp_path / "logs"))
    os.rmdir(tmp_path / "logs")
    with LMServer(model) as server:
        with over(server, logger=logger) as rlm, pytest.raises(RLMError, match="log_dir"):
            rlm.completion("context", "question")
        assert server.requests == ()
