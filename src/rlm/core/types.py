"""The reference library's result types: the results themselves, and the dicts in `Completion.metadata` as objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rlm.result import Completion
from rlm.types import ModelUsageSummary, UsageSummary

__all__ = [
    "CodeBlock",
    "ModelUsageSummary",
    "REPLResult",
    "RLMChatCompletion",
    "RLMIteration",
    "RLMMetadata",
    "UsageSummary",
]

RLMChatCompletion = Completion


@dataclass(frozen=True)
class RLMMetadata:
    """The settings of a run; `run_metadata` in `Completion.metadata`."""

    root_model: str
    max_depth: int | None
    max_iterations: int | None
    backend: str | None
    backend_kwargs: dict[str, Any]
    environment_type: str
    environment_kwargs: dict[str, Any]
    other_backends: list[str] | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RLMMetadata:
        return cls(
            root_model=data["root_model"],
            max_depth=data.get("max_depth"),
            max_iterations=data.get("max_iterations"),
            backend=data.get("backend"),
            backend_kwargs=dict(data.get("backend_kwargs") or {}),
            environment_type=data["environment_type"],
            environment_kwargs=dict(data.get("environment_kwargs") or {}),
            other_backends=data.get("other_backends"),
        )


@dataclass(frozen=True)
class REPLResult:
    """What one block of code did."""

    stdout: str
    stderr: str
    locals: dict[str, Any] = field(default_factory=dict)
    execution_time: float | None = None
    rlm_calls: list[Completion] = field(default_factory=list)
    final_answer: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "stdout": self.stdout,
            "stderr": self.stderr,
            "locals": self.locals,
            "execution_time": self.execution_time,
            "rlm_calls": [call.to_dict() for call in self.rlm_calls],
            "final_answer": self.final_answer,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> REPLResult:
        return cls(
            stdout=data["stdout"],
            stderr=data["stderr"],
            locals=dict(data.get("locals") or {}),
            execution_time=data.get("execution_time"),
            rlm_calls=[Completion.from_dict(call) for call in data.get("rlm_calls") or ()],
            final_answer=data.get("final_answer"),
        )


@dataclass(frozen=True)
class CodeBlock:
    """A block of code with its result."""

    code: str
    result: REPLResult

    def to_dict(self) -> dict[str, Any]:
        return {"code": self.code, "result": self.result.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CodeBlock:
        return cls(data["code"], REPLResult.from_dict(data["result"]))


@dataclass(frozen=True)
class RLMIteration:
    """One turn of the root model; the entries of `iterations` in `Completion.metadata`."""

    prompt: str | dict[str, Any] | list[dict[str, Any]]
    response: str
    code_blocks: list[CodeBlock]
    final_answer: str | None = None
    iteration_time: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "prompt": self.prompt,
            "response": self.response,
            "code_blocks": [block.to_dict() for block in self.code_blocks],
            "final_answer": self.final_answer,
            "iteration_time": self.iteration_time,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RLMIteration:
        return cls(
            prompt=data["prompt"],
            response=data["response"],
            code_blocks=[CodeBlock.from_dict(block) for block in data.get("code_blocks") or ()],
            final_answer=data.get("final_answer"),
            iteration_time=data.get("iteration_time"),
        )
