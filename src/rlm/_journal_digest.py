"""What a journal compares: digests of requests and values, taken of texts in which no key is left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rlm._journal_value import pieces
from rlm._secret import Masks, covered, secret_name
from rlm.errors import ConfigurationError
from rlm.repl.codec import CodecError
from rlm.types import Message

LENGTH: Final = 32
KEPT_DIGESTS: Final = 2_048
"""Messages whose digest is remembered."""
KEPT_CONVERSATIONS: Final = 256
HEADERS: Final = ("extra_headers", "extra_query")

Spans = tuple[tuple[int, int], ...]
Covers = dict[int, dict[Spans, set[str]]]
"""Texts that were masked when they were recorded: by length and by what of them was, their digests."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """The last request of a conversation, and the digest of its messages as it can be gone on with."""

    messages: list[Message]
    state: hashlib._Hash
    digest: str


class Digester:
    """Digests of one run.

    What `masks` hides is hidden before anything is compared or written. A text that is recorded is known again
    whichever keys are in reach now: where it differs from a text of `covers` in nothing but what was hidden.
    """

    def __init__(
        self,
        masks: Masks | None = None,
        *,
        covers: Covers | None = None,
        recorded: Collection[str] = (),
        note: Callable[[Mapping[str, Any]], None] = lambda record: None,
    ) -> None:
        """`note` is given a record of each text that is hidden in for the first time."""
        self._masks = masks or Masks()
        self._covers: Covers = {} if covers is None else covers
        self._recorded = recorded
        self._note = note
        self._known: dict[Message, str] = {}
        self._begun: dict[str, _Begun] = {}

    def covered(self, text: str) -> str:
        """A text as it is compared and written."""
        spans = tuple(self._masks.spans(text))
        layouts = self._covers.get(len(text))
        if layouts is None and not spans:
            return text
        for layout in (spans, *(layouts or ())):
            hidden = covered(text, layout)
            if text_digest(hidden) in (layouts or {}).get(layout, ()):
                return hidden
        if not spans or text_digest(text) in self._recorded:
            return text
        hidden = covered(text, spans)
        digest = text_digest(hidden)
        self._covers.setdefault(len(text), {}).setdefault(spans, set()).add(digest)
        self._note({"type": "masked", "length": len(text), "spans": spans, "digest": digest})
        return hidden

    def content(self, message: Message) -> str:
        """A message's text as it is written."""
        return self.covered(_text(message.role, message.content))[len(message.role) + 1 :]

    def message(self, message: Message) -> str:
        known = self._known.get(message)
        if known is None:
            if len(self._known) >= KEPT_DIGESTS:
                self._known.clear()
            known = self._known[message] = text_digest(self.covered(_text(message.role, message.content)))
        return known

    def request(
        self, model: str, messages: Sequence[Message], sampling: Mapping[str, Any], conversation: str | None = None
    ) -> str:
        """Of a model call: everything that shapes its reply, and nothing of who makes it. What a `conversation` begins
        with is remembered: its next request begins with it too."""
        begun = self._begun.get(conversation or "")
        known = self.shared(conversation, messages)
        state = begun.state.copy() if begun is not None and known else hashlib.sha256()
        for message in messages[known:]:
            state.update(self.message(message).encode())
        end = state.copy()
        end.update(f"\n{len(model)}:{model}{settings_text(sampling)}".encode("utf-8", "surrogatepass"))
        digest = end.hexdigest()[:LENGTH]
        if conversation is not None:
            self._begun.pop(conversation, None)
            if len(self._begun) >= KEPT_CONVERSATIONS:
                del self._begun[next(iter(self._begun))]
            self._begun[conversation] = _Begun(list(messages), state, digest)
        return digest

    def shared(self, conversation: str | None, messages: Sequence[Message]) -> int:
        """How many messages are those of the conversation's last request, all of them."""
        begun = self._begun.get(conversation or "")
        count = 0 if begun is None else len(begun.messages)
        return count if begun is not None and list(messages[:count]) == begun.messages else 0

    def last(self, conversation: str) -> str:
        """The digest of the conversation's last request."""
        return self._begun[conversation].digest

    def value(self, value: object, name: str = "") -> str:
        """Of any value that can be carried; equal values of equal types have equal digests, in every process.

        Raises:
            CodecError: it cannot be carried; names the path and the type.
        """
        state = hashlib.sha256()
        for piece in pieces(value, name):
            data = self.covered(piece).encode("utf-8", "surrogatepass") if isinstance(piece, str) else piece
            state.update(b"%d:" % len(data))
            state.update(data)
        return state.hexdigest()[:LENGTH]


def task_digest(context: object, question: str | None, digester: Digester) -> str:
    """Of what a run is about, to refuse another. Raises `ConfigurationError` for a context that cannot be compared."""
    try:
        about = digester.value(context, "context")
    except CodecError as exc:
        raise ConfigurationError(
            f"the context cannot be told from another on resume, so it cannot be journalled: {exc}"
        ) from None
    return joined([type(context).__name__, about, "" if question is None else f"?{digester.covered(question)}"])


def message_digest(role: str, content: str) -> str:
    return text_digest(_text(role, content))


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:LENGTH]


def joined(parts: Sequence[str]) -> str:
    return text_digest("\n".join(f"{len(part)}:{part}" for part in parts))


def settings_text(settings: Mapping[str, Any]) -> str:
    """Sampling settings as they are compared and written: whatever key a header has, the request is the same."""
    if not settings:
        return "{}"
    kept = {name: _without_keys(value) if name in HEADERS else value for name, value in settings.items()}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), default=repr)


def _text(role: str, content: str) -> str:
    return f"{role}\n{content}"


def _without_keys(headers: Any) -> Any:
    if not isinstance(headers, Mapping):
        return headers
    return {name: value for name, value in headers.items() if not secret_name(str(name))}
