"""Results in the reference library's form, there and back."""

from __future__ import annotations

import json
from typing import Any

from rlm import _metadata
from rlm.core.types import (
    CodeBlock,
    ModelUsageSummary,
    REPLResult,
    RLMChatCompletion,
    RLMIteration,
    RLMMetadata,
    UsageSummary,
)
from rlm.events import Event
from rlm.result import Completion
from rlm.types import Usage
from rlm.utils import exceptions
from trajectory.runs import USAGE, MadeUpRun, small_run


def completion(**changes: Any) -> Completion:
    given: dict[str, Any] = {
        "root_model": "m",
        "prompt": {"a": "text"},
        "response": "3",
        "value": "3",
        "status": "answered",
        "usage_summary": UsageSummary({"m": USAGE}),
        "execution_time": 1.5,
    }
    return Completion(**(given | changes))


def test_metadata_has_the_reference_s_keys() -> None:
    metadata = _metadata.metadata_of(small_run())
    assert metadata is not None
    assert set(metadata) == {"run_metadata", "iterations"}
    assert set(metadata["run_metadata"]) == {
        *("root_model", "max_depth", "max_iterations", "backend", "backend_kwargs"),
        *("environment_type", "environment_kwargs", "other_backends"),
    }
    first, second, third = metadata["iterations"]
    assert set(first) == {
        *("type", "iteration", "timestamp", "prompt", "response", "code_blocks", "final_answer", "iteration_time"),
    }
    assert [(i["iteration"], i["final_answer"]) for i in (first, second, third)] == [(1, None), (2, None), (3, "3")]
    (block,) = first["code_blocks"]
    assert block["code"] == "print(len(context))"
    assert set(block["result"]) == {"stdout", "stderr", "locals", "execution_time", "rlm_calls", "final_answer"}
    assert (block["result"]["stdout"], block["result"]["locals"]) == ("3\n", {})
    (call,) = block["result"]["rlm_calls"]
    assert (call["prompt"], call["response"], call["execution_time"]) == ("count these", "three", 0.5)
    assert call["usage_summary"]["model_usage_summaries"]["openai/sub"]["total_input_tokens"] == 120
    assert "KeyError" in second["code_blocks"][0]["result"]["stderr"]
    assert third["code_blocks"][0]["result"]["rlm_calls"][0]["error"] == "rate_limit: slow down"
    assert json.loads(json.dumps(metadata)) == metadata


def test_each_iteration_s_prompt_is_what_was_new_and_no_history() -> None:
    metadata = _metadata.metadata_of(small_run())
    assert metadata is not None
    prompts = [iteration["prompt"] for iteration in metadata["iterations"]]
    assert prompts[0] == [{"role": "user", "content": "What?"}]
    assert prompts[1] == [{"role": "user", "content": "[cell 0]\n3\n\n[turn 1 of 30]"}]


def test_a_call_that_was_a_run_of_its_own_carries_its_metadata() -> None:
    parent, child = MadeUpRun("aaaa"), MadeUpRun("aaaa/0", depth=1)
    begun, ended = parent.call("look", "seen", child="aaaa/0")
    inside: tuple[Event, ...] = (
        begun,
        child.started("look"),
        *child.turn(1, answer="seen"),
        child.finished("seen"),
        ended,
    )
    metadata = _metadata.metadata_of([parent.started(), *parent.turn(1, calls=inside), parent.finished()])
    assert metadata is not None
    assert len(metadata["iterations"]) == 1
    (call,) = metadata["iterations"][0]["code_blocks"][0]["result"]["rlm_calls"]
    assert call["metadata"]["iterations"][0]["final_answer"] == "seen"


def test_metadata_of_nothing_and_of_a_run_cut_off_anywhere() -> None:
    assert _metadata.metadata_of([]) is None
    events = small_run()
    for end in range(1, len(events)):
        metadata = _metadata.metadata_of(events[:end])
        assert metadata is not None
        assert len(metadata["iterations"]) <= 3


def test_a_result_has_metadata_only_with_a_logger() -> None:
    events = tuple(small_run())
    assert completion(trajectory=events).metadata is None
    logged = completion(trajectory=events, logged=True)
    assert logged.metadata == _metadata.metadata_of(events)
    assert logged.metadata is logged.metadata


def test_a_result_s_dict_has_the_reference_s_keys_and_reads_back() -> None:
    for result in (
        completion(),
        completion(value=[1, {"k": None}], limit="max_budget", status="forced", error="spent"),
        completion(trajectory=tuple(small_run()), logged=True),
    ):
        data = json.loads(json.dumps(result.to_dict()))
        assert {"root_model", "prompt", "response", "usage_summary", "execution_time"} <= set(data)
        again = Completion.from_dict(data)
        assert again.to_dict() == result.to_dict()
        assert (again.value, again.status, again.metadata) == (result.value, result.status, result.metadata)


def test_dicts_of_the_reference_are_read() -> None:
    theirs = {
        "root_model": "gpt-5-mini",
        "prompt": "a text",
        "response": "65536",
        "usage_summary": {
            "model_usage_summaries": {
                "gpt-5-mini": {
                    "total_calls": 2,
                    "total_input_tokens": 100,
                    "total_output_tokens": 20,
                    "total_cost": 0.5,
                }
            },
            "total_cost": 0.5,
        },
        "execution_time": 3.25,
        "metadata": {"run_metadata": {"root_model": "gpt-5-mini"}, "iterations": []},
    }
    result = RLMChatCompletion.from_dict(theirs)
    assert (result.value, result.status, result.error) == ("65536", "answered", None)
    assert result.usage_summary.models == {
        "gpt-5-mini": Usage(calls=2, input_tokens=100, output_tokens=20, dollars=0.5)
    }
    assert result.metadata == theirs["metadata"]
    assert result.usage_summary.model_usage_summaries["gpt-5-mini"] == ModelUsageSummary(2, 100, 20, 0.5)
    failed = RLMChatCompletion.from_dict({**theirs, "error": "no", "response": ""})
    assert (failed.status, failed.error) == ("forced", "no")


def test_the_typed_forms_of_metadata_agree_with_the_dicts() -> None:
    metadata = _metadata.metadata_of(small_run())
    assert metadata is not None
    assert RLMMetadata.from_dict(metadata["run_metadata"]).to_dict() == metadata["run_metadata"]
    for entry in metadata["iterations"]:
        iteration = RLMIteration.from_dict(entry)
        assert isinstance(iteration.code_blocks[0], CodeBlock)
        assert isinstance(iteration.code_blocks[0].result, REPLResult)
        assert {**entry, **iteration.to_dict()}.keys() == entry.keys()
        again = RLMIteration.from_dict(iteration.to_dict())
        assert again == iteration
        assert iteration.to_dict()["response"] == entry["response"]


def test_the_reference_s_import_paths_give_our_types() -> None:
    import rlm.errors
    import rlm.logger

    assert RLMChatCompletion is Completion
    assert {name: getattr(rlm.errors, name) for name in exceptions.__all__} == {
        name: getattr(exceptions, name) for name in exceptions.__all__
    }
    assert rlm.logger.RLMLogger(log_dir=None, file_name="rlm").log_dir is None


def test_the_class_is_importable_from_the_reference_s_path() -> None:
    import rlm
    from rlm.core.rlm import RLM

    assert RLM is rlm.RLM
