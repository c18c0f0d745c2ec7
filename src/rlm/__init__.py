"""Recursive Language Models: `rlm.completion(prompt)` for prompts of any length.

The names below are loaded when they are first used, so that importing the package costs a program nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlm.api import RLM, acompletion, completion, stream
    from rlm.errors import (
        BudgetExceededError,
        CancellationError,
        ConfigurationError,
        ErrorThresholdExceededError,
        JournalError,
        LimitError,
        LimitExceededError,
        LMError,
        ReplayMismatchError,
        RLMError,
        SandboxError,
        SetupError,
        SubcallLimitExceededError,
        TimeoutExceededError,
        TokenLimitExceededError,
    )
    from rlm.limits import Limits
    from rlm.logger import RLMLogger
    from rlm.mcp import MCP
    from rlm.result import Completion
    from rlm.types import Message, ModelInfo, Price, Reply, Usage, UsageSummary

__version__ = "0.1.0"

__all__ = [
    "MCP",
    "RLM",
    "BudgetExceededError",
    "CancellationError",
    "Completion",
    "ConfigurationError",
    "ErrorThresholdExceededError",
    "JournalError",
    "LMError",
    "LimitError",
    "LimitExceededError",
    "Limits",
    "Message",
    "ModelInfo",
    "Price",
    "RLMError",
    "RLMLogger",
    "ReplayMismatchError",
    "Reply",
    "SandboxError",
    "SetupError",
    "SubcallLimitExceededError",
    "TimeoutExceededError",
    "TokenLimitExceededError",
    "Usage",
    "UsageSummary",
    "acompletion",
    "completion",
    "stream",
]

_HOMES = {
    "rlm.api": ("RLM", "acompletion", "completion", "stream"),
    "rlm.limits": ("Limits",),
    "rlm.logger": ("RLMLogger",),
    "rlm.mcp": ("MCP",),
    "rlm.result": ("Completion",),
    "rlm.types": ("Message", "ModelInfo", "Price", "Reply", "Usage", "UsageSummary"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOME.get(name, "rlm.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
