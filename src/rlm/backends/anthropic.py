"""Anthropic's messages API."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rlm.backends import _failure, _settings
from rlm.backends._client import Answer, Connection, ProviderClient
from rlm.backends._load import load
from rlm.backends._reading import count, mapping, odd, text_of, told
from rlm.backends._settings import Settings
from rlm.backends._turns import split_system
from rlm.protocols import Client
from rlm.types import Finish, Message, ModelInfo, Role, Usage

EXTRAS = ("max_retries", "default_headers", "default_query")
KEY = "ANTHROPIC_API_KEY"
BASE_URL = "https://api.anthropic.com"
MAX_TOKENS = 32_000
"""The API wants a limit in every request: the model's own, up to what arrives in reasonable time without streaming."""
CACHE_MARK: Mapping[str, str] = {"type": "ephemeral"}
FINISH: Mapping[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


def create(**backend_kwargs: Any) -> Client:
    """A client for Anthropic. Raises `ConfigurationError`."""
    settings = _settings.check("anthropic", backend_kwargs, extras=EXTRAS)
    return ProviderClient(
        settings,
        MessagesDialect(),
        _connect,
        sdk="_anthropic_sdk",
        address=lambda: _address(settings),
        priced_as="anthropic",
        key_variable=KEY,
    )


def _address(settings: Settings) -> str:
    return settings.base_url or os.environ.get("ANTHROPIC_BASE_URL") or BASE_URL


def _connect(settings: Settings) -> Connection:
    url = _address(settings)
    key = _settings.find_key(settings, (KEY,), needed=url == BASE_URL)
    connection: Connection = load("_anthropic_sdk", "anthropic", package="anthropic").connect(
        settings, key=key, base_url=url
    )
    return connection


class MessagesDialect:
    """Anthropic messages."""

    def path(self, model: str, *, stream: bool) -> str:
        return "/v1/messages"

    def body(
        self, model: str, messages: Sequence[Message], sampling: Mapping[str, Any], info: ModelInfo, *, stream: bool
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"model": model, **sampling}
        stop = body.pop("stop", None)
        if stop is not None:
            body["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
        limit = body.pop("max_completion_tokens", None)
        body.setdefault("max_tokens", limit or min(info.max_output_tokens or MAX_TOKENS, MAX_TOKENS))
        if "reasoning_effort" in body:
            body["output_config"] = {**body.get("output_config", {}), "effort": body.pop("reasoning_effort")}
        system, turns = split_system(messages)
        if system:
            body["system"] = [_block(system) | {"cache_control": CACHE_MARK}]
        # A prompt that is sent once is not worth the price of writing it to the cache.
        body["messages"] = _messages(turns, cached=bool(system) or len(turns) > 1)
        if stream:
            body["stream"] = True
        return body

    def read(self, data: Mapping[str, Any]) -> Answer:
        if data.get("type") == "error" or "error" in data:
            raise _failure.from_status(200, data)
        blocks = data.get("content")
        if not isinstance(blocks, list):
            raise _failure.failure("malformed", "a reply without content in it")
        fold = MessagesFold()
        fold.feed({"type": "message_start", "message": data})
        for block in blocks:
            fold.feed({"type": "content_block_start", "content_block": block})
        fold.feed({"type": "message_delta", "delta": data})
        return fold.answer(whole=True)

    def fold(self) -> MessagesFold:
        return MessagesFold()


def _messages(turns: list[tuple[Role, list[str]]], *, cached: bool) -> list[dict[str, Any]]:
    blocks = [[_block(text) for text in texts] for _, texts in turns]
    if blocks and cached:
        blocks[-1][-1]["cache_control"] = CACHE_MARK
    return [{"role": role, "content": content} for (role, _), content in zip(turns, blocks, strict=True)]


def _block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


class MessagesFold:
    """A reply from its events."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._reason: str | None = None
        self._explanation = ""
        self._usage: dict[str, Any] = {}

    def feed(self, event: Mapping[str, Any]) -> str:
        kind = event.get("type")
        if kind == "error":
            raise _failure.from_status(200, event)
        if kind == "message_start":
            self._usage |= mapping(mapping(event.get("message")).get("usage"))
        elif kind == "message_delta":
            delta = mapping(event.get("delta"))
            self._reason = text_of(delta.get("stop_reason")) or self._reason
            self._explanation = text_of(mapping(delta.get("stop_details")).get("explanation")) or self._explanation
            self._usage |= {name: value for name, value in mapping(event.get("usage")).items() if value is not None}
        elif kind in ("content_block_start", "content_block_delta"):
            block = mapping(event.get("content_block") or event.get("delta"))
            self._reasoning.append(text_of(block.get("thinking")))
            text = text_of(block.get("text"))
            self._text.append(text)
            return text
        return ""

    def answer(self, *, whole: bool = False) -> Answer:
        text = "".join(self._text)
        if self._reason is None and not (whole and text):
            raise _failure.failure("malformed", "the reply broke off before its end")
        finish = FINISH.get(self._reason or "end_turn", "other")
        if finish == "refusal":
            text = text or self._explanation
        return Answer(text=text, finish=finish, reasoning="".join(self._reasoning), tokens=_tokens(self._usage))


def _tokens(usage: Mapping[str, Any]) -> Usage | None:
    cache = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    if not (told(usage.get("input_tokens")) and told(usage.get("output_tokens"))) or odd(*cache):
        return None
    cached, written = map(count, cache)
    return Usage(
        # The API counts the three apart from each other.
        input_tokens=count(usage.get("input_tokens")) + cached + written,
        output_tokens=count(usage.get("output_tokens")),
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=count(mapping(usage.get("output_tokens_details")).get("thinking_tokens")),
    )
