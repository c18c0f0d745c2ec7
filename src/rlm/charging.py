"""What a call may use, as it is asked for, and what it used, however it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from rlm.errors import LMError, LMErrorKind
from rlm.limits import FIRST_REPLY_TOKENS, Booking, Claim, Ledger
from rlm.types import Finish, Message, Reply, Usage

if TYPE_CHECKING:
    from rlm.tree import Model

CUT_OFF = Usage(calls=1, attempts=1, unmetered=1, unpriced=1, unsettled=1)
USE_UNKNOWN = ("timeout", "malformed")
REPLY_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")
"""What providers call the most tokens that a reply may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A call to a model; `charge` is told what it used, `sent` when it has stood in line."""

    model: Model
    messages: Sequence[Message]
    sampling: Mapping[str, Any]
    charge: Callable[[str, Usage], None]
    claim: Claim
    on_text: Callable[[str], None] | None
    sent: Callable[[], None]

    def booking(self, ledger: Ledger) -> Booking:
        """What it needs."""
        return estimate(ledger, self.model, self.messages, self.sampling, self.claim)


def estimate(
    ledger: Ledger, model: Model, messages: Sequence[Message], sampling: Mapping[str, Any], claim: Claim, more: int = 0
) -> Booking:
    """What a call with so many `more` characters needs."""
    limit, info = reply_limit(model.sampling, sampling), model.client.info(model.name)
    if limit is None and claim == "last":  # it is short, and better than none where it turns out to be long
        limit = FIRST_REPLY_TOKENS
    return ledger.estimate(model.name, info, messages, limit, claim=claim, more=more)


def reply_limit(*sampling: Mapping[str, Any]) -> int | None:
    """The largest reply limit in sampling arguments, of which later ones go before; `None` where none is set."""
    given = {name: value for args in sampling for name, value in args.items() if value is not None}
    extra = given.get("extra_body")
    given |= extra if isinstance(extra, Mapping) else {}
    limits = [given.get(name) for name in REPLY_LIMITS]
    return max((n for n in limits if isinstance(n, int) and not isinstance(n, bool) and n > 0), default=None)


def size_of(reply: Reply) -> int:
    """Characters that were written for a reply, as far as they are told."""
    return len(reply.text) + len(reply.reasoning)


def used_by_cut_off(exc: asyncio.CancelledError) -> Usage:
    """A call that was cancelled; one of which no request was sent used nothing."""
    attempts = getattr(exc, "attempts", CUT_OFF.attempts)
    return replace(CUT_OFF, attempts=attempts) if attempts else Usage()


def used_by_failure(exc: LMError) -> Usage:
    """A call that may have been carried out, though no reply came, used an unknown amount. Of another, tokens that are
    not told are none: what a reply must tell, a refusal need not."""
    used = exc.usage
    if used != Usage():
        used = replace(used, calls=used.calls or 1).sound()
    if used.unsettled or (exc.kind in USE_UNKNOWN and used.attempts):
        return replace(used, calls=1, unmetered=1, unpriced=1, unsettled=1)
    return used


def sound_reply(reply: Reply, model: str) -> Reply:
    """A reply of that model that is what its types say, whoever wrote the client: a journal refuses another later."""
    finish: Finish = reply.finish if reply.finish in get_args(Finish) else "other"
    told: object = reply.model
    return replace(reply, usage=reply.usage.sound(), finish=finish, model=told if isinstance(told, str) else model)


def make_sound(exc: LMError) -> None:
    """The same for a failure; in place, since it is the one that its caller waits for."""
    hint: object = exc.hint
    status: object = exc.status
    exc.kind = exc.kind if exc.kind in get_args(LMErrorKind) else "server"
    exc.message, exc.hint = str(exc.message), str(hint or "")
    exc.model = None if exc.model is None else str(exc.model)
    exc.status = int(status) if isinstance(status, int) and abs(status) < 1_000 else None
    exc.usage = used_by_failure(exc)
