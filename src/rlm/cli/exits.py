"""How a run ends, as an exit code and one readable line."""

from __future__ import annotations

import re

from rlm.errors import (
    BudgetExceededError,
    CancellationError,
    ConfigurationError,
    ErrorThresholdExceededError,
    LimitExceededError,
    LMError,
    RLMError,
    SandboxError,
    SetupError,
    SubcallLimitExceededError,
    TimeoutExceededError,
    TokenLimitExceededError,
)

ANSWERED = 0
FAILED = 1
USAGE = 2
FORCED = 3
LIMIT = 4
SETUP = 5
INTERRUPTED = 130
LONGEST = 500

RAISE = (
    (BudgetExceededError, "--max-budget"),
    (TimeoutExceededError, "--max-timeout"),
    (TokenLimitExceededError, "--max-tokens"),
    (SubcallLimitExceededError, "--max-subcalls"),
    (ErrorThresholdExceededError, "--max-errors"),
)

OF_THE_COMMAND = (
    (r"^log_dir:", "--log:"),
    (r",? or (pass|in) backend_kwargs=\{'\w+': …\}", ""),  # a key on a command line is in everybody's sight
    (r'backend_kwargs=\{"price": (\{.*?\})\}', r"-o 'backend_kwargs.price=\1'"),
    (r"backend_kwargs=\{'timeout': seconds\}", "it with -o backend_kwargs.timeout=SECONDS"),
    (r"lower max_concurrent_calls", "ask less at once with -o max_concurrent_calls=N"),
)
"""What messages name that are for programs, and what a person at the command line has instead."""


def exit_code(error: BaseException) -> int:
    match error:
        case CancellationError() | KeyboardInterrupt():
            return INTERRUPTED
        case LimitExceededError():
            return LIMIT
        case ConfigurationError() | SetupError():
            return SETUP
        case _:
            return FAILED


def forced_by(limit: str | None) -> str:
    """Why the best answer at hand had to be taken."""
    match limit:
        case "idle":
            return "the model ran no code"
        case "max_iterations" | None:
            return "the turns ran out (raise it with --max-iterations)"
        case _:
            return f"{limit} was reached"


def error_line(error: BaseException) -> str:
    """What happened and what to do about it, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, RLMError):
        for words, instead in OF_THE_COMMAND:
            text = re.sub(words, instead, text)
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} …"
    match error:
        case CancellationError() | KeyboardInterrupt():
            return "cancelled"
        case LimitExceededError():
            option = next((option for kind, option in RAISE if isinstance(error, kind)), None)
            return f"stopped by a limit: {text}" + (f". Raise it with {option}" if option else "")
        case LMError(kind="authentication"):
            return f"the provider refused the key: {text}" + ("" if error.hint else ". `rlm doctor` shows what is set")
        case LMError():
            return f"the model call failed: {text}"
        case SandboxError():
            return f"the environment failed: {text}. `rlm doctor` shows which ones work here"
        case RLMError():
            return text
        case _:
            return f"{type(error).__name__}: {text} (a fault of rlm's own; --debug shows where)"
