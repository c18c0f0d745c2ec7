"""What the providers' protocols have in common for the local LM server: reading a request, counting, cutting text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rlm.testing._script import Messages, Request, Scripted
from rlm.types import Usage

CREATED = 1_700_000_000
"""One fixed time in every reply, so that two runs give the same bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a body asks for."""

    model: str
    messages: Messages
    stream: bool


class Dialect(Protocol):
    """One provider's protocol; a module of this package is one."""

    @property
    def provider(self) -> str: ...

    def speaks(self, path: str) -> bool:
        """Whether a path is this protocol's."""
        ...

    def read(self, path: str, body: Mapping[str, Any]) -> Asked: ...

    def whole(self, request: Request, item: Scripted, usage: Usage) -> bytes:
        """The body of a reply that is not streamed."""
        ...

    def pieces(self, request: Request, item: Scripted, usage: Usage) -> tuple[list[bytes], list[bytes]]:
        """The events of a streamed reply: those that carry text, and those that close it."""
        ...

    def failure(self, request: Request, item: Scripted) -> bytes:
        """The body of an error."""
        ...

    def failure_event(self, request: Request, item: Scripted) -> bytes:
        """An error in the middle of a stream."""
        ...


def count(request: Request, item: Scripted) -> Usage:
    """What a reply to a request says it used."""
    if not item.usage:
        return Usage()
    characters = sum(len(text) for _, text in request.messages)
    reasoning = len(item.reasoning) // 4 if item.reasoning_tokens is None else item.reasoning_tokens
    output = len(item.text) // 4 + reasoning if item.output_tokens is None else item.output_tokens
    return Usage(
        input_tokens=characters // 4 if item.input_tokens is None else item.input_tokens,
        output_tokens=output,
        cached_tokens=item.cached_tokens,
        cache_write_tokens=item.cache_write_tokens,
        reasoning_tokens=reasoning,
        dollars=item.cost or 0.0,
    )


def overrun(request: Request) -> tuple[int, int]:
    """Tokens of a prompt that is refused as too long, and the window it is said to exceed."""
    window = 8_192
    return max(sum(len(text) for _, text in request.messages) // 4, window + 1), window


def dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def event(value: object, name: str | None = None) -> bytes:
    head = b"" if name is None else b"event: " + name.encode("ascii") + b"\n"
    return head + b"data: " + dump(value) + b"\n\n"


def split(text: str) -> list[str]:
    """The pieces a stream sends a text in: at most sixteen, none of them empty."""
    size = max(8, -(-len(text) // 16))
    return [text[at : at + size] for at in range(0, len(text), size)]


def flatten(content: object) -> str:
    """Text of a message's content, which is a string or a list of typed parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) if isinstance(part, Mapping) else str(part) for part in content)
    return "" if content is None else str(content)


def chat(messages: object) -> Messages:
    """Messages of the form `{"role": …, "content": …}`."""
    if not isinstance(messages, list):
        return ()
    return tuple((str(m.get("role")), flatten(m.get("content"))) for m in messages if isinstance(m, Mapping))
