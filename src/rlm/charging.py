"""What a call may use, as it is asked for, and what it used, however it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rlm.errors import LMError
from rlm.types import Usage

CUT_OFF = Usage(calls=1, attempts=1, unmetered=1, unpriced=1, unsettled=1)
USE_UNKNOWN = ("timeout", "connection", "malformed")
REPLY_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")
"""What providers call the most tokens that a reply may have."""


def reply_limit(*sampling: Mapping[str, Any]) -> int | None:
    """The largest reply limit in sampling arguments, of which later ones go before; `None` where none is set."""
    given = {name: value for args in sampling for name, value in args.items() if value is not None}
    extra = given.get("extra_body")
    given |= extra if isinstance(extra, Mapping) else {}
    limits = [given.get(name) for name in REPLY_LIMITS]
    return max((n for n in limits if isinstance(n, int) and not isinstance(n, bool) and n > 0), default=None)


def used_by_failure(exc: LMError) -> Usage:
    """A call that may have been carried out, though no reply came, used an unknown amount."""
    if exc.kind in USE_UNKNOWN and exc.usage.attempts:
        return replace(exc.usage, calls=1, unmetered=1, unpriced=1, unsettled=1)
    return exc.usage
