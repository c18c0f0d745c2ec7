"""The frozen values that pass through every seam: messages, replies, usage, cells, results.

Token counts are tokens as the provider bills them, money is US dollars, durations are seconds and text sizes are
characters. "Unknown" is never spelled as zero: see `Usage.unmetered` and `Usage.unpriced`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from typing import Any, Final, Literal

Role = Literal["system", "user", "assistant"]
"""Who a message is from."""
Finish = Literal["stop", "length", "refusal", "forced", "other"]
"""Why a reply ended, see `Reply.finish`."""
Status = Literal["answered", "forced"]
"""How a run ended that gave a result: with an answer of its own, or with the best at hand when a limit was reached."""


class Unset(Enum):
    """The type of `UNSET`: a value that was not given, where `None` is a value like any other."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""Stands for a value that was not given, or is not there."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation with a model."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Dollars per million tokens; a cached price that is `None` is billed as plain input."""

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What is known of a model before it is called; `None` means unknown."""

    context_window: int | None = None
    """Input tokens the model can take."""
    max_output_tokens: int | None = None
    """Tokens of the longest reply."""
    price: Price | None = None
    """What a dollar limit is kept by."""
    reports_cost: bool = False
    """True where the provider's replies carry their cost, so that a dollar limit can hold without a price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What calls used; `+` adds two. The counts cover what is known, three counters say how much is not.

    `input_tokens` includes cached ones; `output_tokens` includes reasoning.
    """

    calls: int = 0
    attempts: int = 0
    """HTTP requests sent, retries included."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    dollars: float = 0.0
    """Dollars of the calls whose cost is known: the whole cost only while `unpriced` is 0."""
    unmetered: int = 0
    """Calls whose provider told no token counts."""
    unpriced: int = 0
    """Calls whose cost is not known."""
    unsettled: int = 0
    """Calls cut off before their reply arrived: their use is unknown (they count as unmetered and unpriced too)."""
    reused: int = 0
    """Calls answered without a provider: out of the run's journal, counted as they were when they were paid for, or out
    of the cache, with `attempts` and cost 0."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in _COUNTS})

    @property
    def cost(self) -> float | None:
        """Dollars, or `None` when the cost of any call is unknown."""
        return None if self.unpriced else self.dollars

    @property
    def total_tokens(self) -> int:
        """Input and output together, of the calls that told."""
        return self.input_tokens + self.output_tokens

    def sound(self) -> Usage:
        """This, where it is what one call can have used. A count that cannot be tells nothing: all are unknown then; an
        amount that cannot be is an unknown cost; and no count at all is not told either."""
        counts: list[Any] = [getattr(self, name) for name in _COUNTS if name != "dollars"]
        if not all(type(count) is int and 0 <= count < _MOST for count in counts):
            attempts: Any = self.attempts
            return Usage(
                calls=1,
                attempts=max(1, attempts) if type(attempts) is int and attempts < _MOST else 1,
                unmetered=1,
                unpriced=1,
            )
        dollars: Any = self.dollars
        known = isinstance(dollars, int | float) and not isinstance(dollars, bool) and 0 <= dollars < _MOST
        used = self if known else replace(self, dollars=0.0, unpriced=self.calls or 1)
        if used.calls:
            return used
        untold = not used.total_tokens and not used.unmetered
        unpriced = used.unpriced or int(untold and not used.dollars)
        return replace(used, calls=1, unmetered=1 if untold else used.unmetered, unpriced=unpriced)

    def to_dict(self) -> dict[str, Any]:
        """The fields that are not zero, as JSON-able values."""
        return {name: value for name in _COUNTS if (value := getattr(self, name))}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Usage:
        """Back from `to_dict`; names it does not know are left out."""
        return cls(**{name: value for name, value in data.items() if name in _COUNTS})


_COUNTS = tuple(f.name for f in fields(Usage))
_MOST = 2**63  # what a journal reads back


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model answered to one call."""

    text: str
    model: str
    usage: Usage
    finish: Finish = "stop"
    """`length`: cut by the token limit. `refusal`: the model or the provider's filter declined. `forced`: a child RLM's
    best answer at one of its limits."""
    reasoning: str = ""
    """Text of the model's thinking where the provider tells it; never part of `text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A call that running code asks of the host: a model (`llm`) or a whole RLM (`rlm`)."""

    kind: Literal["llm", "rlm"]
    prompt: str | tuple[Message, ...]
    model: str | None = None
    context: object = UNSET
    """`rlm` only: the child's context; `UNSET` means the prompt is the context."""
    batch: tuple[int, int, int] | None = None
    """(number of the batch in its session, index, size) for an entry of a batched call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellError:
    """An exception that ended a cell."""

    type: str
    message: str
    traceback: str
    """The model's own frames with line numbers and source lines, then the exception."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What running one cell did."""

    output: str = ""
    """What it printed, stdout and stderr in order; the middle of a very long output is cut out, with a notice."""
    output_size: int = 0
    """Characters printed, cut ones included."""
    number: int = 0
    """The cell's number in its session: `_out[number]` in the REPL is its whole output."""
    error: CellError | None = None
    answer: object = UNSET
    """The value submitted, `UNSET` when there was none. Set only if the cell ended without an error."""
    draft: object = UNSET
    """`answer["content"]` at the end of the cell, `UNSET` while nothing was put there."""
    notices: tuple[str, ...] = ()
    """Facts the model must be told: names restored, batch entries failed, a thread left behind."""
    lost: tuple[str, ...] = ()
    """Names that are gone because the session's worker had to be replaced."""
    seconds: float = 0.0
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class ModelUsageSummary:
    """Use of one model, in the reference library's terms."""

    total_calls: int
    total_input_tokens: int
    total_output_tokens: int
    total_cost: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; without `total_cost` where that is not known."""
        out = asdict(self)
        if self.total_cost is None:
            del out["total_cost"]
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelUsageSummary:
        """Back from `to_dict`.

        Raises:
            KeyError: a count is missing.
        """
        return cls(data["total_calls"], data["total_input_tokens"], data["total_output_tokens"], data.get("total_cost"))


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """Use by model, of a run and of everything it started."""

    models: Mapping[str, Usage] = field(default_factory=dict)

    @property
    def total(self) -> Usage:
        """All models together."""
        return sum(self.models.values(), Usage())

    @property
    def model_usage_summaries(self) -> dict[str, ModelUsageSummary]:
        """The same by model, under the reference library's names."""
        return {
            model: ModelUsageSummary(usage.calls, usage.input_tokens, usage.output_tokens, usage.cost)
            for model, usage in self.models.items()
        }

    @property
    def total_cost(self) -> float | None:
        """Dollars, or `None` when the cost of any call is unknown."""
        return self.total.cost

    @property
    def total_input_tokens(self) -> int:
        """Tokens read, cached ones included, of the calls that told."""
        return self.total.input_tokens

    @property
    def total_output_tokens(self) -> int:
        """Tokens written, reasoning included, of the calls that told."""
        return self.total.output_tokens

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; without `total_cost` where that is not known."""
        out: dict[str, Any] = {
            "model_usage_summaries": {name: s.to_dict() for name, s in self.model_usage_summaries.items()},
            "models": {name: usage.to_dict() for name, usage in self.models.items()},
        }
        if self.total_cost is not None:
            out["total_cost"] = self.total_cost
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> UsageSummary:
        """Reads its own form, and the reference library's (which has no `models`)."""
        models = data.get("models")
        if models is not None:
            return cls({name: Usage.from_dict(usage) for name, usage in models.items()})
        summaries = {n: ModelUsageSummary.from_dict(s) for n, s in data.get("model_usage_summaries", {}).items()}
        return cls(
            {
                name: Usage(
                    calls=s.total_calls,
                    input_tokens=s.total_input_tokens,
                    output_tokens=s.total_output_tokens,
                    dollars=s.total_cost or 0.0,
                    unpriced=s.total_calls if s.total_cost is None else 0,
                )
                for name, s in summaries.items()
            }
        )
