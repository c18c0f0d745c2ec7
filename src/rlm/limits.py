"""What a run may use, and its tree's ledger: a call is booked before it is sent, settled when its reply is there.

Booked is the estimated input plus the reply limit, or a high estimate of that model's replies. A call that does not
fit waits while others in flight may settle for less, and fails when none can free enough. So a limit is overshot by
no more than one reply for each call in flight, plus the error of the input's estimate.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Literal

from rlm.errors import (
    BudgetExceededError,
    ConfigurationError,
    LimitError,
    LimitExceededError,
    TokenLimitExceededError,
)
from rlm.types import Message, ModelInfo, Price, Usage

FIRST_REPLY_TOKENS = 500
FIRST_TOKENS_PER_CHAR = 0.3
LEAST_CHARS = 200  # of a request that shows how many tokens a character has, and not what a message has on top
MESSAGE_TOKENS = 8
NOTICES = (0.5, 0.8)
"""Shares of a limit at which the model is told, and who watches."""

Claim = Literal["subcall", "turn", "last"]
KEPT: Mapping[Claim, int] = {"subcall": 2, "turn": 1, "last": 0}  # calls that are left room for: a turn, a last answer


MOST_KEPT = 1 / 3
"""Share of a limit that is kept for one call at most: a last answer may do with less of the history."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a run. `None` is no limit.

    Per agent: `max_iterations` (turns), `max_errors` (failing turns in a row). For the whole tree: `max_budget` (US
    dollars), `max_tokens` (input and output), `max_timeout` (seconds), `max_subcalls` (calls made from code),
    `max_depth` (an `rlm_query` whose depth would reach it is a plain model call), `max_concurrent_calls` (provider
    calls in flight), `max_concurrent_subcalls` (live child RLMs at each depth). `on_limit="return"` makes the limits
    that raise return a `forced` result instead."""

    max_iterations: int = 30
    max_errors: int | None = None
    max_budget: float | None = None
    max_tokens: int | None = None
    max_timeout: float | None = None
    max_subcalls: int | None = None
    max_depth: int = 1
    max_concurrent_calls: int = 64
    max_concurrent_subcalls: int = 4
    on_limit: Literal["raise", "return"] = "raise"

    def __post_init__(self) -> None:
        for name in ("max_iterations", "max_concurrent_calls", "max_concurrent_subcalls"):
            _check(name, getattr(self, name), int, 1)
        _check("max_depth", self.max_depth, int, 0)
        for name in ("max_errors", "max_tokens"):
            _check(name, getattr(self, name), int, 1, optional=True)
        _check("max_subcalls", self.max_subcalls, int, 0, optional=True)
        for name in ("max_budget", "max_timeout"):
            _check(name, getattr(self, name), float, 0, optional=True)
        if self.on_limit not in ("raise", "return"):
            raise ConfigurationError(f'on_limit must be "raise" or "return", not {self.on_limit!r}')

    def check_price(self, model: str, info: ModelInfo, *, told: bool = True) -> None:
        """Raise `ConfigurationError` for a model with which a dollar limit cannot be kept; `told` is whether its
        provider tells the cost where it should."""
        if self.max_budget is None:
            return
        how = 'give it as backend_kwargs={"price": {"input": …, "output": …}} in dollars per million tokens'
        if info.price is None and not info.reports_cost:
            raise ConfigurationError(f"max_budget cannot be kept: the price of {model!r} is not known; {how}")
        if info.price is None and not told:
            raise ConfigurationError(f"max_budget cannot be kept: the cost of {model!r} is not told; {how}")
        if info.price is not None and not all(0 <= p < math.inf for p in astuple(info.price) if p is not None):
            raise ConfigurationError(f"max_budget cannot be kept: the price of {model!r} is {info.price}; {how}")


def _check(name: str, value: object, kind: type, least: int, *, optional: bool = False) -> None:
    if value is None and optional:
        return
    good = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if not good or not value >= least or value == float("inf"):  # type: ignore[operator]
        words = "a whole number" if kind is int else "a number"
        extra = " or None for no limit" if optional else ""
        raise ConfigurationError(f"{name} must be {words} of at least {least}{extra}, not {value!r}")


@dataclass(slots=True)
class _Estimate:
    """High running estimates of one model's replies; those of the root's turns apart from all others, which are many,
    and often short."""

    reply_tokens: float = FIRST_REPLY_TOKENS
    dollars: float = 0.0

    def learn(self, usage: Usage) -> None:
        if usage.unmetered or not (usage.total_tokens or usage.dollars):  # as of a call that was turned away
            return
        seen_reply = usage.output_tokens
        self.reply_tokens = max(seen_reply, 0.9 * self.reply_tokens + 0.1 * seen_reply)
        if usage.cost is not None:
            self.dollars = max(usage.cost, 0.9 * self.dollars + 0.1 * usage.cost)


@dataclass(slots=True, eq=False)
class Booking:
    """What one call may use, held until it is settled."""

    model: str
    chars: int
    tokens: int
    dollars: float
    claim: Claim = "subcall"
    reply: int = 0
    """Tokens of them that are for the reply."""
    price: Price | None = None
    future: asyncio.Future[None] | None = field(default=None, repr=False)


class Ledger:
    """What a tree has used and what it has booked. Belongs to one event loop.

    `approached` is called with a limit's name, what is used of it, and whether calls wait for room in it: when a share
    of `NOTICES` is passed, and once when calls begin to wait."""

    def __init__(self, limits: Limits, approached: Callable[[str, float, bool], None] | None = None) -> None:
        self.limits = limits
        self.started = time.monotonic()
        self.tokens = 0
        """Tokens charged: settled ones, and the whole booking of a call whose use stays unknown."""
        self.dollars = 0.0
        self.subcalls = 0
        self._reserve_tokens = 0
        self._reserve_dollars = 0.0
        self._bookings = 0
        self._booked_tokens = 0
        self._booked_dollars = 0.0
        self._estimates: dict[tuple[str, bool], _Estimate] = {}
        self._ratios: dict[str, float] = {}
        self._waiting: deque[Booking] = deque()
        self._untold: set[str] = set()
        """Models whose provider has told no cost of a reply."""
        self._approached = approached
        counted = ("max_tokens", "max_budget", "max_subcalls")
        self._ahead = {name: list(NOTICES) for name in counted if self._limit(name)}
        self._waited_for: set[str] = set()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def tokens_per_char(self, model: str) -> float:
        """A high running estimate from the model's replies, at first a careful guess; whoever asks, the tokenizer is
        the same."""
        return self._ratios.get(model, FIRST_TOKENS_PER_CHAR)

    def estimate(
        self,
        model: str,
        info: ModelInfo,
        messages: Sequence[Message],
        reply_limit: int | None,
        *,
        claim: Claim = "subcall",
        more: int = 0,
    ) -> Booking:
        """The booking a call needs, with so many `more` characters; nothing is booked yet. `claim` says how much of the
        reserve it may use."""
        estimate = self._estimate(model, claim)
        chars = sum(len(m.content) for m in messages) + more
        tokens_in = int(chars * self.tokens_per_char(model)) + MESSAGE_TOKENS * len(messages)
        tokens_out = reply_limit if reply_limit is not None else int(estimate.reply_tokens)
        if info.price is not None:
            # A conversation may be written to the provider's cache, which some charge more for.
            written = (info.price.cache_write or 0.0) if len(messages) > 1 else 0.0
            dollars = (tokens_in * max(info.price.input, written) + tokens_out * info.price.output) / 1e6
        else:
            self.limits.check_price(model, info, told=model not in self._untold)
            dollars = estimate.dollars
        return Booking(model, chars, tokens_in + tokens_out, dollars, claim, tokens_out, info.price)

    def count_subcall(self, model: str) -> None:
        """One more call made from code. Raises `LimitError` when `max_subcalls` are made."""
        limit = self.limits.max_subcalls
        if limit is not None and self.subcalls >= limit:
            message = f"all {limit:,} sub-calls of this run are used (max_subcalls)"
            raise LimitError(message, hint="finish with what you have", model=model, limit="max_subcalls")
        self.subcalls += 1
        self._notice("max_subcalls", self.subcalls)

    async def book(self, booking: Booking) -> None:
        """Take the booking, waiting for room.

        Raises:
            LimitError: it can never fit.
        """
        if (error := self._hopeless(booking)) is not None:
            raise error
        if booking.claim == "last" or (not self._waiting and self._fits(booking)):
            self._take(booking)
            return
        booking.future = asyncio.get_running_loop().create_future()
        self._waiting.append(booking)
        name = "max_tokens" if self._short_of_tokens(booking) else "max_budget"
        if self._approached is not None and name not in self._waited_for:
            self._waited_for.add(name)
            self._approached(name, self._used(name), True)
        try:
            await booking.future
        except asyncio.CancelledError:
            if booking in self._waiting:
                self._waiting.remove(booking)
            elif booking.future.done() and not booking.future.cancelled() and booking.future.exception() is None:
                self._free(booking)
            raise

    def settle(self, booking: Booking, usage: Usage, said: int | None = 0) -> None:
        """The call is over, used this, and gave so many characters; `None`: no reply came. What it does not tell is
        charged as booked, or by what it gave where that is more."""
        self.charge(booking, usage, said)
        self._free(booking)

    def charge(self, booking: Booking, usage: Usage, said: int | None = 0) -> None:
        """The same for a call that was never booked, because it was made in an earlier life of this run."""
        estimate, price = self._estimate(booking.model, booking.claim), booking.price
        estimate.learn(usage)
        self._learn_ratio(booking, usage)
        used = usage.input_tokens, usage.output_tokens
        if usage.unmetered:
            seen = int((said or 0) * self.tokens_per_char(booking.model))
            used = booking.tokens - booking.reply, max(booking.reply, seen)
            estimate.reply_tokens = max(estimate.reply_tokens, seen)
        self.tokens += sum(used)
        if usage.cost is not None:
            self.dollars += usage.cost
        elif price is not None:
            self.dollars += (used[0] * price.input + used[1] * price.output) / 1e6
        else:
            self.dollars += booking.dollars
            if said is not None:
                self._untold.add(booking.model)
        if self._ahead:
            self._notice("max_tokens", self.tokens)
            self._notice("max_budget", self.dollars)

    def booked(self, name: str) -> float:
        """What is held of that limit for calls in flight, and for one more turn and one last answer."""
        tokens, dollars = self._kept("subcall")
        held = {"max_tokens": self._booked_tokens + tokens, "max_budget": self._booked_dollars + dollars}
        return held.get(name, 0)

    def reply_chars(self, model: str, claim: Claim) -> int:
        """Characters of a reply as long as the model's replies may be."""
        return int(self._estimate(model, claim).reply_tokens / self.tokens_per_char(model))

    def hold_back(self, booking: Booking) -> None:
        """Keep room for a root's call of that size, twice: for one more turn and for one last answer."""
        self._reserve_tokens, self._reserve_dollars = booking.tokens, booking.dollars

    def left(self) -> dict[str, float | int | None]:
        """What is left of each limit that is set; `None` where there is no limit."""
        limits = self.limits
        return {
            "subcalls": None if limits.max_subcalls is None else max(0, limits.max_subcalls - self.subcalls),
            "tokens": None if limits.max_tokens is None else max(0, limits.max_tokens - self.tokens),
            "dollars": None if limits.max_budget is None else max(0.0, round(limits.max_budget - self.dollars, 6)),
            "seconds": None if limits.max_timeout is None else max(0.0, round(limits.max_timeout - self.elapsed, 1)),
        }

    def share_used(self) -> tuple[float, str]:
        """The largest share used of any limit of the tree, and that limit's name."""
        limits = [name for name in ("max_tokens", "max_budget", "max_subcalls", "max_timeout") if self._limit(name)]
        return max([(0.0, ""), *((self._used(name) / self._limit(name), name) for name in limits)])

    def exceeded(self, error: LimitError) -> LimitExceededError:
        """The exception that ends a run whose own next call was refused."""
        if error.limit == "max_budget":
            message = f"${self.dollars:.4f} is spent, and {error.message}"
            return BudgetExceededError(self.dollars, self.limits.max_budget or 0.0, message)
        message = f"{self.tokens:,} tokens are used, and {error.message}"
        return TokenLimitExceededError(self.tokens, self.limits.max_tokens or 0, message=message)

    # --------------------------------------------------------------------------------------------------------------

    def _estimate(self, model: str, claim: Claim) -> _Estimate:
        return self._estimates.setdefault((model, claim != "subcall"), _Estimate())

    def _learn_ratio(self, booking: Booking, usage: Usage) -> None:
        if usage.input_tokens and not usage.unmetered and booking.chars >= LEAST_CHARS:
            seen = usage.input_tokens / booking.chars
            self._ratios[booking.model] = max(seen, 0.9 * self.tokens_per_char(booking.model) + 0.1 * seen)

    def _limit(self, name: str) -> float:
        """The limit of that name; 0 where there is none."""
        return getattr(self.limits, name) or 0

    def _used(self, name: str) -> float:
        used: dict[str, float] = {"max_tokens": self.tokens, "max_budget": self.dollars, "max_subcalls": self.subcalls}
        return self.elapsed if name == "max_timeout" else used[name]

    def _notice(self, name: str, used: float) -> None:
        ahead = self._ahead.get(name)
        if not ahead or used < ahead[0] * self._limit(name):
            return
        while ahead and used >= ahead[0] * self._limit(name):
            del ahead[0]
        if self._approached is not None:
            self._approached(name, used, False)

    def _kept(self, claim: Claim) -> tuple[int, float]:
        """Tokens and dollars that a call must leave."""
        calls = KEPT[claim]
        tokens, dollars = calls * self._reserve_tokens, calls * self._reserve_dollars
        most = calls * MOST_KEPT
        return min(tokens, int(most * self._limit("max_tokens"))), min(dollars, most * self._limit("max_budget"))

    def _fits(self, booking: Booking) -> bool:
        dollars = self.dollars + self._booked_dollars + booking.dollars + self._kept(booking.claim)[1]
        return not self._short_of_tokens(booking) and (
            self.limits.max_budget is None or dollars <= self.limits.max_budget
        )

    def _short_of_tokens(self, booking: Booking) -> bool:
        tokens = self.tokens + self._booked_tokens + booking.tokens + self._kept(booking.claim)[0]
        return self.limits.max_tokens is not None and tokens > self.limits.max_tokens

    def _hopeless(self, booking: Booking) -> LimitError | None:
        """The error for a booking that would not fit even if everything in flight turned out to cost nothing."""
        limits = self.limits
        kept_tokens, kept_dollars = self._kept(booking.claim)
        if limits.max_tokens is not None and self.tokens + booking.tokens + kept_tokens > limits.max_tokens:
            room = max(0, limits.max_tokens - self.tokens - kept_tokens)
            kept = f" beside {kept_tokens:,} for the turns that end the run" if kept_tokens else ""
            return LimitError(
                f"the call needs about {booking.tokens:,} tokens, {room:,} are left{kept} "
                f"(max_tokens={limits.max_tokens:,})",
                hint="send less text, or finish with what you have",
                model=booking.model,
                limit="max_tokens",
            )
        if limits.max_budget is not None and self.dollars + booking.dollars + kept_dollars > limits.max_budget:
            left = max(0.0, limits.max_budget - self.dollars - kept_dollars)
            kept = f" beside ${kept_dollars:.4f} for the turns that end the run" if kept_dollars else ""
            return LimitError(
                f"the call needs about ${booking.dollars:.4f}, ${left:.4f} is left{kept} "
                f"(max_budget=${limits.max_budget:g})",
                hint="send less text, or finish with what you have",
                model=booking.model,
                limit="max_budget",
            )
        return None

    def _take(self, booking: Booking) -> None:
        self._bookings += 1
        self._booked_tokens += booking.tokens
        self._booked_dollars += booking.dollars

    def _free(self, booking: Booking) -> None:
        self._bookings -= 1
        self._booked_tokens -= booking.tokens
        # What rounding leaves of nothing would keep a call waiting that fits exactly, and nobody would wake it.
        self._booked_dollars = self._booked_dollars - booking.dollars if self._bookings else 0.0
        while self._waiting:
            waiter = self._waiting[0]
            assert waiter.future is not None
            if waiter.future.done():
                self._waiting.popleft()
            elif (error := self._hopeless(waiter)) is not None:
                self._waiting.popleft()
                waiter.future.set_exception(error)
            elif self._fits(waiter):
                self._waiting.popleft()
                self._take(waiter)
                waiter.future.set_result(None)
            else:
                break
