"""Google's Gemini API."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from rlm.backends import _failure, _settings
from rlm.backends._client import Answer, Connection, ProviderClient
from rlm.backends._load import load
from rlm.backends._reading import count, mapping, odd, text_of, told
from rlm.backends._settings import Settings
from rlm.backends._turns import split_system
from rlm.protocols import Client
from rlm.types import Finish, Message, ModelInfo, Usage

EXTRAS = ("max_retries", "default_headers")
KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
BASE_URL = "https://generativelanguage.googleapis.com"
FINISH: Mapping[str, Finish] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "refusal",
    "RECITATION": "refusal",
    "BLOCKLIST": "refusal",
    "PROHIBITED_CONTENT": "refusal",
    "SPII": "refusal",
}
NAMES = {"max_tokens": "maxOutputTokens", "max_completion_tokens": "maxOutputTokens", "stop": "stopSequences"}
BUDGETS = {"none": 0, "minimal": 512, "low": 1_024, "medium": 8_192, "high": 24_576}
"""Thinking tokens for the models before Gemini 3, which take a number where later ones take a word."""


def create(**backend_kwargs: Any) -> Client:
    """A client for Gemini. Raises `ConfigurationError`."""
    settings = _settings.check("gemini", backend_kwargs, extras=EXTRAS)
    return ProviderClient(
        settings,
        GenerateDialect(),
        _connect,
        sdk="_gemini_sdk",
        address=lambda: _address(settings),
        priced_as="gemini",
        key_variable=KEYS[0],
    )


def _address(settings: Settings) -> str:
    return settings.base_url or os.environ.get("GOOGLE_GEMINI_BASE_URL") or BASE_URL


def _connect(settings: Settings) -> Connection:
    url = _address(settings)
    key = _settings.find_key(settings, KEYS, needed=url == BASE_URL)
    connection: Connection = load("_gemini_sdk", "gemini", package="google-genai").connect(
        settings, key=key, base_url=url
    )
    return connection


class GenerateDialect:
    """Gemini generateContent."""

    def path(self, model: str, *, stream: bool) -> str:
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"models/{quote(model.removeprefix('models/'), safe='')}:{method}"

    def body(
        self, model: str, messages: Sequence[Message], sampling: Mapping[str, Any], info: ModelInfo, *, stream: bool
    ) -> dict[str, Any]:
        given = dict(sampling)
        thinking: dict[str, Any] = dict(given.pop("thinking_config", {}))
        effort = given.pop("reasoning_effort", None)
        if effort is not None:
            old = re.match(r"(models/)?gemini-[12]", model)
            thinking |= {"thinkingBudget": BUDGETS.get(effort, effort)} if old else {"thinkingLevel": effort}
        config = {NAMES.get(name, _camel(name)): value for name, value in given.items()}
        if isinstance(config.get("stopSequences"), str):
            config["stopSequences"] = [config["stopSequences"]]
        if thinking:
            config["thinkingConfig"] = {_camel(name): value for name, value in thinking.items()}
        system, turns = split_system(messages)
        contents = [
            {"role": "model" if role == "assistant" else "user", "parts": [{"text": _clean(text)} for text in texts]}
            for role, texts in turns
        ]
        body: dict[str, Any] = {"contents": contents}
        if system:
            body["systemInstruction"] = {"parts": [{"text": _clean(system)}]}
        if config:
            body["generationConfig"] = config
        return body

    def read(self, data: Mapping[str, Any]) -> Answer:
        if "error" in data:
            raise _failure.from_status(200, data)
        if not data.get("candidates") and not data.get("promptFeedback"):
            raise _failure.failure("malformed", "a reply without a candidate in it")
        fold = GenerateFold()
        fold.feed(data)
        return fold.answer(whole=True)

    def fold(self) -> GenerateFold:
        return GenerateFold()


def _clean(text: str) -> str:
    """The SDK writes JSON itself, and lone surrogates as escapes, which the API refuses."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


class GenerateFold:
    """A reply from its chunks; a whole reply is one chunk."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._reason: str | None = None
        self._explanation = ""
        self._usage: Mapping[str, Any] = {}

    def feed(self, event: Mapping[str, Any]) -> str:
        if "error" in event:
            raise _failure.from_status(count(mapping(event["error"]).get("code")) or 200, event)
        self._usage = mapping(event.get("usageMetadata")) or self._usage
        feedback = mapping(event.get("promptFeedback"))
        if feedback.get("blockReason"):
            self._reason = "SAFETY"
            self._explanation = text_of(feedback.get("blockReasonMessage")) or text_of(feedback["blockReason"])
        candidates = event.get("candidates")
        if not isinstance(candidates, list) or not candidates:
            return ""
        candidate = mapping(candidates[0])
        self._reason = text_of(candidate.get("finishReason")) or self._reason
        self._explanation = text_of(candidate.get("finishMessage")) or self._explanation
        parts = mapping(candidate.get("content")).get("parts")
        said = ""
        for part in parts if isinstance(parts, list) else ():
            text = text_of(mapping(part).get("text"))
            if mapping(part).get("thought"):
                self._reasoning.append(text)
            else:
                said += text
        self._text.append(said)
        return said

    def answer(self, *, whole: bool = False) -> Answer:
        text = "".join(self._text)
        tokens = _tokens(self._usage, bool(text))
        if self._reason is None and not (whole and text):
            raise _failure.failure("malformed", "the reply broke off before its end")
        finish = FINISH.get(self._reason or "STOP", "other")
        if finish == "refusal":
            text = text or self._explanation
        return Answer(text=text, finish=finish, reasoning="".join(self._reasoning), tokens=tokens)


def _tokens(usage: Mapping[str, Any], said: bool) -> Usage | None:
    written = usage.get("candidatesTokenCount")
    more = usage.get("thoughtsTokenCount"), usage.get("toolUsePromptTokenCount")
    # The API leaves out what is zero.
    if not told(usage.get("promptTokenCount")) or odd(written, *more) or (written is None and said):
        return None
    thoughts, tools = map(count, more)
    return Usage(
        input_tokens=count(usage.get("promptTokenCount")) + tools,
        output_tokens=count(written) + thoughts,
        cached_tokens=count(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
    )
