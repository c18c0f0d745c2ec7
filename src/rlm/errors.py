"""Every error the library raises.

Each is caught by those above it, and has what stands beside it::

    RLMError                              partial_answer, result: what a run had when it ended
    ├── ConfigurationError (ValueError)   a wrong name or value, found when it is given
    │   └── JournalError                  a checkpoint or recording of another run, in use or damaged
    ├── ReplayMismatchError               a replayed run asked for something that its recording does not hold
    ├── SetupError                        a missing SDK, key or engine: says what to install or set
    ├── LMError                           a model call failed: kind, provider's message, what to do
    │   └── LimitError                    it was not sent: a limit of the run has no room for it
    ├── SandboxError                      an environment could not start, or died and could not be replaced
    │   └── WireError                     the far side of a sandbox broke the protocol
    ├── TrajectoryError (ValueError)      a trajectory file that cannot be read, or the wrong context to expand it with
    ├── LimitExceededError                a limit of the run was reached
    │   ├── BudgetExceededError           spent, budget
    │   ├── TimeoutExceededError          elapsed, timeout
    │   ├── TokenLimitExceededError       tokens_used, token_limit
    │   ├── SubcallLimitExceededError     calls, call_limit
    │   └── ErrorThresholdExceededError   error_count, threshold, last_error
    └── CancellationError                 Ctrl-C in the synchronous face
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rlm.types import Usage

if TYPE_CHECKING:
    from rlm.result import Completion

LMErrorKind = Literal[
    "authentication",
    "bad_request",
    "cancelled",
    "connection",
    "context_length",
    "empty",
    "limit",
    "malformed",
    "rate_limit",
    "refusal",
    "run",
    "server",
    "timeout",
    "unknown_model",
]
"""How a call failed. `run`: a child RLM failed. `unknown_model`: `model=` named none that is configured."""


class RLMError(Exception):
    """Base of every error of this library.

    `partial_answer` is the draft answer as text, `None` when there was none; `result` is the whole partial result
    (usage, trajectory, draft) when a run had begun.
    """

    partial_answer: str | None = None
    result: Completion | None = None


class ConfigurationError(RLMError, ValueError):
    """A wrong name or value in the configuration; the message names the setting and what it may be."""


class JournalError(ConfigurationError):
    """A checkpoint or a recording cannot be used: another run's, in use, no journal, damaged, or not writable."""


class ReplayMismatchError(RLMError):
    """A replayed run departed from its recording: `run` is the agent's path, `place` where in it, `diff` how what it
    asked differs from the nearest recorded request."""

    def __init__(self, message: str, *, run: str, place: str, diff: str = "") -> None:
        super().__init__(f"the run departed from its recording at {message}" if run else message)
        self.run = run
        self.place = place
        self.diff = diff


class SetupError(RLMError):
    """Something outside the program is missing (an SDK, a key, an engine); the message says what to do."""


class LMError(RLMError):
    """A call to a language model failed.

    `kind` says how, `message` is the provider's own words where there are any, `hint` what to do about it, and `usage`
    what the attempts are known to have used.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: LMErrorKind,
        hint: str = "",
        model: str | None = None,
        status: int | None = None,
        usage: Usage | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: LMErrorKind = kind
        self.message = message
        self.hint = hint
        self.model = model
        self.status = status
        self.usage = usage if usage is not None else Usage()
        self.retry_after = retry_after

    def __str__(self) -> str:
        where = f" ({self.model})" if self.model else ""
        hint = f" — {self.hint}" if self.hint else ""
        return f"[{self.kind}]{where} {self.message}{hint}"


class LimitError(LMError):
    """A call was not sent because a limit of the run (`limit` is its setting's name) has no room for it."""

    def __init__(self, message: str, *, hint: str = "", model: str | None = None, limit: str = "") -> None:
        super().__init__(message, kind="limit", hint=hint, model=model)
        self.limit = limit


class SandboxError(RLMError):
    """An environment could not be started, or died and could not be replaced."""


class WireError(SandboxError):
    """What came out of a sandbox is not the protocol; the sandbox is not trusted any further."""


class TrajectoryError(RLMError, ValueError):
    """A file is not a trajectory, is damaged before its last line, or the context given is not its own."""


class LimitExceededError(RLMError):
    """A limit of the run was reached; which one is in the subclass."""


class BudgetExceededError(LimitExceededError):
    """The dollar limit (`max_budget`) was reached."""

    def __init__(self, spent: float, budget: float, message: str | None = None) -> None:
        super().__init__(message or f"spent ${spent:.4f} of the ${budget:.4f} that max_budget allows")
        self.spent = spent
        self.budget = budget


class TimeoutExceededError(LimitExceededError):
    """The time limit (`max_timeout`) was reached."""

    def __init__(
        self, elapsed: float, timeout: float, partial_answer: str | None = None, message: str | None = None
    ) -> None:
        kept = f"max_timeout is {timeout:g} s, the last part of which is kept for the answer"
        super().__init__(message or f"stopped after {elapsed:.1f} s: {kept}")
        self.elapsed = elapsed
        self.timeout = timeout
        self.partial_answer = partial_answer


class TokenLimitExceededError(LimitExceededError):
    """The token limit (`max_tokens`) was reached."""

    def __init__(
        self, tokens_used: int, token_limit: int, partial_answer: str | None = None, message: str | None = None
    ) -> None:
        super().__init__(message or f"{tokens_used:,} tokens used of the {token_limit:,} that max_tokens allows")
        self.tokens_used = tokens_used
        self.token_limit = token_limit
        self.partial_answer = partial_answer


class SubcallLimitExceededError(LimitExceededError):
    """The limit on calls made from code (`max_subcalls`) was reached."""

    def __init__(self, calls: int, call_limit: int) -> None:
        super().__init__(f"{calls:,} sub-calls made of the {call_limit:,} that max_subcalls allows")
        self.calls = calls
        self.call_limit = call_limit


class ErrorThresholdExceededError(LimitExceededError):
    """Too many turns in a row failed (`max_errors`)."""

    def __init__(
        self,
        error_count: int,
        threshold: int,
        last_error: str | None = None,
        partial_answer: str | None = None,
        message: str | None = None,
    ) -> None:
        super().__init__(
            message or f"{error_count} turns in a row failed, max_errors is {threshold}; the last: {last_error}"
        )
        self.error_count = error_count
        self.threshold = threshold
        self.last_error = last_error
        self.partial_answer = partial_answer


class CancellationError(RLMError):
    """The run was cancelled."""

    def __init__(self, partial_answer: str | None = None, message: str | None = None) -> None:
        super().__init__(message or "the run was cancelled")
        self.partial_answer = partial_answer
