"""For testing programs built on rlm, with no key and no network: a scripted backend, a local LM server over real HTTP,
and a process-wide switch that refuses requests to anywhere but this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlm.testing._live import LiveRequestRefused, Refusal, refuse_live_requests
from rlm.testing._script import (
    Request,
    Scripted,
    context_length,
    empty_body,
    html_page,
    malformed_json,
    rate_limit,
    server_error,
)
from rlm.testing.scripted import Call, ScriptedClient

if TYPE_CHECKING:
    from rlm.testing.server import Exchange, LMServer

__all__ = [
    "Call",
    "Exchange",
    "LMServer",
    "LiveRequestRefused",
    "Refusal",
    "Request",
    "Scripted",
    "ScriptedClient",
    "context_length",
    "empty_body",
    "html_page",
    "malformed_json",
    "rate_limit",
    "refuse_live_requests",
    "server_error",
]


def __getattr__(name: str) -> Any:
    # Late, so that `python -m rlm.testing.server` does not find itself imported already.
    if name in ("Exchange", "LMServer"):
        from rlm.testing import server

        return getattr(server, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
