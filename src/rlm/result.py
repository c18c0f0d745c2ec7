"""The result of a completion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rlm.events import Event
from rlm.types import Status, UsageSummary

if TYPE_CHECKING:
    from rlm.coverage import Coverage
    from rlm.evidence import Evidence


@dataclass(frozen=True, kw_only=True)
class Output:
    """The type an answer must have: `description` is what the model is told, `check` returns the value or raises
    `ValueError` with what is wrong, `text` is a checked value as `Completion.response`."""

    description: str
    check: Callable[[object], object] = field(repr=False)
    text: Callable[[object], str] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What `RLM.completion` returns, and what an error carries as `result`.

    `response` is the answer as text, `value` the Python object that was submitted. `status` is `answered`, or `forced`
    when a limit ended the run and the best answer at hand was taken: `limit` then names it. In the partial result of
    an error `status` is `forced` and `error` says what happened.
    """

    root_model: str
    prompt: object = field(repr=False)
    response: str
    value: object = field(repr=False)
    status: Status
    limit: str | None = None
    usage_summary: UsageSummary
    """What the whole tree used, by model."""
    execution_time: float
    """Seconds."""
    error: str | None = None
    trajectory: tuple[Event, ...] = field(default=(), repr=False)
    """The events of the run and of all that it started, in order."""
    divergences: tuple[str, ...] = field(default=(), repr=False)
    """Of a run that was resumed: where its code asked for something else than before, in words."""
    logged: bool | Mapping[str, Any] = field(default=False, repr=False, compare=False)
    """True when a logger was set, so that there is `metadata`; the metadata itself where it came from `from_dict`."""

    def __str__(self) -> str:
        return self.response

    @cached_property
    def metadata(self) -> dict[str, Any] | None:
        """Where a logger was set, a dict of `run_metadata` and `iterations`, as in the reference library."""
        if isinstance(self.logged, Mapping):
            return dict(self.logged)
        if not self.logged:
            return None
        from rlm._metadata import metadata_of  # most results are never asked for it

        return metadata_of(self.trajectory)

    @cached_property
    def coverage(self) -> Coverage | None:
        """Which parts of `prompt` the models of the run have seen, and through what; also of a partial result.

        Worked out when it is first asked for, from `prompt` as it then is. `None` where it cannot be told: without a
        trajectory, and for a prompt without text, or with more than 200,000 texts.
        """
        from rlm._sightings import coverage_of

        return coverage_of(self.trajectory, self.prompt) if self.trajectory else None

    @cached_property
    def evidence(self) -> Evidence | None:
        """Through which sub-calls the text of the answer came; `None` without a trajectory or a text."""
        from rlm.evidence import evidence, replies

        return evidence(self.response, replies(self.trajectory)) if self.trajectory else None

    def to_dict(self) -> dict[str, Any]:
        """The reference library's keys and ours, without the trajectory; as JSON-able as `prompt` and `value` are."""
        out: dict[str, Any] = {
            "root_model": self.root_model,
            "prompt": self.prompt,
            "response": self.response,
            "usage_summary": self.usage_summary.to_dict(),
            "execution_time": self.execution_time,
            "status": self.status,
        }
        if not (isinstance(self.value, str) and self.value == self.response):
            out["value"] = self.value
        for name in ("limit", "error", "metadata"):
            if (item := getattr(self, name)) is not None:
                out[name] = item
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Completion:
        """Reads its own form, and the reference library's, which has neither `status` nor `value`.

        Raises:
            KeyError: a part is missing.
        """
        metadata = data.get("metadata")
        return cls(
            root_model=data["root_model"],
            prompt=data["prompt"],
            response=data["response"],
            value=data.get("value", data["response"]),
            status=data.get("status", "forced" if data.get("error") else "answered"),
            limit=data.get("limit"),
            usage_summary=UsageSummary.from_dict(data["usage_summary"]),
            execution_time=data["execution_time"],
            error=data.get("error"),
            logged=False if metadata is None else metadata,
        )
