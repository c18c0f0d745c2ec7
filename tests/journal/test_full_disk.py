"""A disk that is full ends the run with what it had, and costs nothing that was written before and after."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import command_line
from journal.program import code, journal_of
from rlm import RLM, JournalError, Message
from rlm.testing import ScriptedClient

PROGRAM = """
import json, resource, signal, sys
from rlm import RLM, JournalError
from rlm.testing import ScriptedClient

def script(messages):
    if messages[0].role != "system":
        return "z" * (200_000 if messages[0].content == "big" else 10)
    return SOURCES[sum(message.role == "assistant" for message in messages)]

folder, sources, sync = json.loads(sys.argv[1])
SOURCES = sources
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit then fails as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
told = {}
try:
    RLM(backend=ScriptedClient(script), checkpoint=folder, checkpoint_sync=sync).completion("c", "q")
except JournalError as error:
    told = {"error": str(error), "usage": error.result.usage_summary.total.calls}
    told["events"] = len(error.result.trajectory)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
client = ScriptedClient(script)
told["answer"] = RLM(backend=client, checkpoint=folder).completion("c", "q").value
told["asked"] = [call.text for call in client.calls if call.messages[0].role != "system"]
print(json.dumps(told))
"""


def told(folder: Path, sources: list[str], sync: bool = False) -> dict[str, Any]:
    argument = json.dumps([str(folder), [code(source) for source in sources], sync])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, argument],
        capture_output=True,
        text=True,
        timeout=command_line.DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("sync", [False, True])
def test_the_error_has_the_result_and_what_was_written_before_and_after_it_is_kept(sync: bool, tmp_path: Path) -> None:
    prompts = "['small 1', 'big', 'small 2', 'small 3']"
    result = told(tmp_path, [f"said = llm_query_batched({prompts})", "FINAL([len(text) for text in said])"], sync)
    assert "cannot write" in result["error"]
    assert result["usage"] == 5
    assert result["events"] > 5
    assert (result["answer"], result["asked"]) == ([10, 200_000, 10, 10], ["big"])
    for line in journal_of(tmp_path).read_text().splitlines():
        assert isinstance(json.loads(line), dict)


def test_an_answer_is_not_lost_because_its_end_cannot_be_written(tmp_path: Path) -> None:
    full = f"resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize({str(journal_of(tmp_path))!r}), -1))"
    result = told(tmp_path, ["said = llm_query('small')", f"import os, resource\n{full}\nFINAL(len(said))"])
    assert result == {"answer": 10, "asked": []}


def test_a_directory_that_is_deleted_meanwhile_ends_the_run_before_more_is_paid_for(tmp_path: Path) -> None:
    def script(messages: Sequence[Message]) -> str:
        shutil.rmtree(tmp_path / "run")
        return code("FINAL('done')")

    client = ScriptedClient(script)
    with pytest.raises(JournalError, match=r"journal\.jsonl was deleted") as caught:
        RLM(backend=client, checkpoint=tmp_path / "run").completion("c", "q")
    assert caught.value.result is not None
    assert getattr(caught.value, "__notes__", []) == []
    assert len(client.calls) == 1
