"""What a test tells the local LM server to answer, and what the server tells the test it was asked."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any

Messages = tuple[tuple[str, str], ...]

CONTEXT_LENGTH = "context_length_exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request that the server was sent; a retry is a request of its own."""

    number: int
    """1 for the first request the server was sent."""
    provider: str
    """`openai`, `anthropic` or `gemini`: the protocol that was spoken."""
    model: str
    messages: Messages
    """(role, text), a system prompt that travels outside the messages first."""
    body: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case; the values of those that carry keys are replaced by `[redacted]`."""
    path: str
    stream: bool

    @property
    def text(self) -> str:
        """Text of the last message."""
        return self.messages[-1][1] if self.messages else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """One answer of the server: a model's reply, or a failure of the kind providers have.

    Token counts follow `Usage`: input includes cached tokens, output includes reasoning. What is not given is a quarter
    of the characters, so counts are the same in every run.
    """

    text: str = ""
    reasoning: str = ""
    finish: str = "stop"
    """`stop`, `length`, `refusal` or `other` in the provider's own words; anything else is sent as it stands."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cost: float | None = None
    """Dollars, told in the OpenAI protocol's `usage.cost` as routers do."""
    usage: bool = True
    """False: the reply tells no token counts."""
    choices: bool = True
    """False: a well-formed reply with no choice, block or candidate in it."""
    latency: float | None = None
    """Seconds before the first byte; `None` is the server's own setting."""
    pace: float = 0.0
    """Seconds between the pieces of a stream."""
    status: int = 200
    error: str = ""
    """Message of a failure. With status 200 it is told inside the reply: in a stream, after half the text."""
    code: str = ""
    """Machine-readable kind of a failure; `context_length_exceeded` is put in each provider's own words."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent as it stands in place of any reply."""
    content_type: str | None = None
    cut: bool = False
    """The connection closes after half the bytes."""
    ends_early: bool = False
    """A stream ends in good order after half the text, without its closing events."""
    hang: bool = False
    """No byte is ever sent; the request ends with the connection or the server."""

    @property
    def answers(self) -> bool:
        """Whether a client that asked gets a model's reply out of this."""
        broken = self.error or self.cut or self.ends_early or self.hang or self.body is not None
        return self.status == 200 and not broken


Item = str | Scripted
Script = Item | Iterable[Item] | Callable[[Request], Item | Awaitable[Item]]


def rate_limit(retry_after: float | None = 0.01) -> Scripted:
    """A 429; `retry_after` in seconds, `None` for a provider that does not say."""
    headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
    return Scripted(status=429, error="Rate limit reached", code="rate_limit_exceeded", headers=headers)


def server_error(status: int = 500, retry_after: float | None = 0.01) -> Scripted:
    """A failure on the provider's side."""
    headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
    return Scripted(status=status, error="The server had an error", code="server_error", headers=headers)


def context_length() -> Scripted:
    """The refusal of a prompt that is longer than the model's window, in each provider's own words."""
    return Scripted(status=400, code=CONTEXT_LENGTH)


def malformed_json() -> Scripted:
    """A reply whose body breaks off in the middle of its JSON."""
    return Scripted(body=b'{"id": "x", "choices": [{"mess')


def html_page(status: int = 200) -> Scripted:
    """What a proxy or a captive portal answers in the provider's place."""
    return Scripted(
        status=status, body=b"<!doctype html><title>Sign in</title><h1>Sign in</h1>", content_type="text/html"
    )


def empty_body() -> Scripted:
    """A reply of status 200 with no byte in it."""
    return Scripted(body=b"")


class Replies:
    """A script as something to ask: in order, from any thread."""

    def __init__(self, script: Script) -> None:
        self._lock = threading.Lock()
        self._same: Item | None = script if isinstance(script, (str, Scripted)) else None
        self._function = script if callable(script) else None
        self._items = None if self._same is not None or callable(script) else iter(_iterable(script))

    async def next(self, request: Request) -> Scripted:
        """The answer to a request. A script that fails or has run out is a 400, which no SDK retries."""
        try:
            item = await self._item(request)
        except Exception as error:  # whatever a test's own function raises has to reach that test, over HTTP
            return _fault(f"the script failed: {type(error).__name__}: {error}")
        if item is None:
            return _fault(f"the script has no reply left for request {request.number}")
        if isinstance(item, str):
            return Scripted(text=item)
        if isinstance(item, Scripted):
            return item
        return _fault(f"the script gave a {type(item).__name__}, not a str or Scripted")

    async def _item(self, request: Request) -> object:
        if self._same is not None:
            return self._same
        if self._function is not None:
            item = self._function(request)
            return await item if isawaitable(item) else item
        assert self._items is not None
        with self._lock:
            return next(self._items, None)


def _fault(message: str) -> Scripted:
    return Scripted(status=400, code="script", error=message)


def _iterable(script: Script) -> Iterable[Item]:
    if isinstance(script, Iterable):
        return script
    raise TypeError(f"a script is a reply, replies in order or a function of the request, not {type(script).__name__}")
