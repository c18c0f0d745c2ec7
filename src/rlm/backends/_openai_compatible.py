"""The OpenAI chat protocol, and everyone who speaks it: vendors are rows of a table, not files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlm.backends import _failure, _settings
from rlm.backends._client import Answer, Connection, ProviderClient
from rlm.backends._reading import count, joined, mapping, number, text_of, told
from rlm.backends._settings import Settings
from rlm.types import Finish, Message, ModelInfo, Usage

EXTRAS = ("max_retries", "default_headers", "default_query", "organization", "project")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One service that speaks the OpenAI protocol."""

    base_url: str
    key_variable: str
    base_url_variable: str
    key_header: str | None = None
    """Header the key goes into; `None` is the usual bearer token."""
    needs_key: bool = True
    reports_cost: bool = False
    body: Mapping[str, Any] = field(default_factory=dict)
    """Fields of every request."""
    effort: str = "reasoning_effort"
    """Field for the reasoning effort; one with a dot is nested."""
    priced: bool = True
    """False for servers that run models of their own: what they cost is not in any table."""


OPENAI = Vendor(
    base_url="https://api.openai.com/v1", key_variable="OPENAI_API_KEY", base_url_variable="OPENAI_BASE_URL"
)

VENDORS: Mapping[str, Vendor] = {
    "openrouter": Vendor(
        base_url="https://openrouter.ai/api/v1",
        key_variable="OPENROUTER_API_KEY",
        base_url_variable="OPENROUTER_BASE_URL",
        reports_cost=True,
        body={"usage": {"include": True}},
        effort="reasoning.effort",
    ),
    "vercel": Vendor(
        base_url="https://ai-gateway.vercel.sh/v1",
        key_variable="AI_GATEWAY_API_KEY",
        base_url_variable="AI_GATEWAY_BASE_URL",
    ),
    "portkey": Vendor(
        base_url="https://api.portkey.ai/v1",
        key_variable="PORTKEY_API_KEY",
        base_url_variable="PORTKEY_BASE_URL",
        key_header="x-portkey-api-key",
    ),
    "vllm": Vendor(
        base_url="http://localhost:8000/v1",
        key_variable="VLLM_API_KEY",
        base_url_variable="VLLM_BASE_URL",
        needs_key=False,
        priced=False,
    ),
    "ollama": Vendor(
        base_url="http://localhost:11434/v1",
        key_variable="OLLAMA_API_KEY",
        base_url_variable="OLLAMA_BASE_URL",
        needs_key=False,
        priced=False,
    ),
}


def create(vendor_name: str, **backend_kwargs: Any) -> ProviderClient:
    """A client for a vendor of the table."""
    return client(vendor_name, VENDORS[vendor_name], backend_kwargs)


def client(name: str, vendor: Vendor, backend_kwargs: Mapping[str, Any]) -> ProviderClient:
    settings = _settings.check(name, backend_kwargs, extras=EXTRAS)

    def connect(settings: Settings) -> Connection:
        url = base_url(settings, vendor)
        needed = vendor.needs_key and url == vendor.base_url
        key = _settings.find_key(settings, (vendor.key_variable,), needed=needed)
        from rlm.backends._load import load

        sdk = load("_openai_sdk", settings.backend, package="openai")
        return sdk.connect(settings, key=key, base_url=url, key_header=vendor.key_header)  # type: ignore[no-any-return]

    return ProviderClient(
        settings,
        ChatDialect(settings, vendor),
        connect,
        sdk="_openai_sdk",
        address=lambda: base_url(settings, vendor),
        priced_as=name if vendor.priced else None,
        reports_cost=vendor.reports_cost,
        key_variable=vendor.key_variable,
    )


def base_url(settings: Settings, vendor: Vendor) -> str:
    """The address given, else the environment's, else the vendor's own."""
    return settings.base_url or os.environ.get(vendor.base_url_variable) or vendor.base_url


class ChatDialect:
    """Chat completions."""

    def __init__(self, settings: Settings, vendor: Vendor) -> None:
        self._settings = settings
        self._vendor = vendor

    def path(self, model: str, *, stream: bool) -> str:
        return "/chat/completions"

    def body(
        self, model: str, messages: Sequence[Message], sampling: Mapping[str, Any], info: ModelInfo, *, stream: bool
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            **self._vendor.body,
            **sampling,
        }
        if "max_tokens" in body and self._takes_completion_tokens(model):
            body.setdefault("max_completion_tokens", body.pop("max_tokens"))
        if "reasoning_effort" in body and self._vendor.effort != "reasoning_effort":
            outer, _, inner = self._vendor.effort.partition(".")
            body[outer] = {**body.get(outer, {}), inner: body.pop("reasoning_effort")}
        if stream:
            body["stream"] = True
            body.setdefault("stream_options", {"include_usage": True})
        return body

    def _takes_completion_tokens(self, model: str) -> bool:
        """OpenAI renamed the field, its reasoning models refuse the old name; other servers may know only that."""
        own = self._vendor is OPENAI and base_url(self._settings, self._vendor) == OPENAI.base_url
        return own or re.match(r"@?(.*/)?(o\d|gpt-[5-9])", model) is not None

    def read(self, data: Mapping[str, Any]) -> Answer:
        fold = ChatFold()
        choices = data.get("choices")
        if "error" not in data and not (isinstance(choices, list) and choices):
            raise _failure.failure("malformed", "a reply without a choice in it")
        fold.feed(data)
        return fold.answer(whole=True)

    def fold(self) -> ChatFold:
        return ChatFold()


class ChatFold:
    """A reply from its chunks; a whole reply is one chunk whose `message` is the only delta."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._reasoning: list[str] = []
        self._reason: str | None = None
        self._usage: Mapping[str, Any] | None = None
        self._cost: float | None = None

    def feed(self, event: Mapping[str, Any]) -> str:
        if event.get("error"):
            error = mapping(event["error"])
            status = error.get("code")
            raise _failure.from_status(status if isinstance(status, int) else 200, event)
        if event.get("usage"):
            self._usage = mapping(event["usage"])
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices:
            return ""
        choice = mapping(choices[0])
        delta = mapping(choice.get("delta") or choice.get("message"))
        self._reason = text_of(choice.get("finish_reason")) or self._reason
        text = joined(delta.get("content"))
        self._text.append(text)
        self._refusal.append(text_of(delta.get("refusal")))
        # vLLM and DeepSeek tell it under the first name, OpenRouter and Ollama under the second.
        self._reasoning.append(text_of(delta.get("reasoning_content")) or text_of(delta.get("reasoning")))
        self._reasoning.append(joined(delta.get("content"), kind="thinking"))
        gateway = mapping(mapping(delta.get("provider_metadata")).get("gateway"))
        self._cost = number(gateway.get("cost")) if "cost" in gateway else self._cost
        return text

    def answer(self, *, whole: bool = False) -> Answer:
        thought, text = _split_thinking("".join(self._text))
        refusal = "".join(self._refusal)
        if self._reason is None and not (whole and (text or refusal)):
            raise _failure.failure("malformed", "the reply broke off before its end")
        finish = FINISH.get(self._reason or "stop", "other")
        if refusal:
            text, finish = text or refusal, "refusal"
        cost = number(self._usage.get("cost")) if self._usage else None
        return Answer(
            text=text,
            finish=finish,
            reasoning="".join(self._reasoning) or thought,
            tokens=_tokens(self._usage),
            dollars=self._cost if cost is None else cost,
        )


FINISH: Mapping[str, Finish] = {"stop": "stop", "length": "length", "content_filter": "refusal"}


def _split_thinking(text: str) -> tuple[str, str]:
    """(thinking, text) of a reply that opens with `<think>`, as servers without a reasoning parser pass it on."""
    opened = re.match(r"\s*<think>", text)
    if opened is None:
        return "", text
    thought, _, rest = text[opened.end() :].partition("</think>")
    return thought.strip(), rest.lstrip()


def _tokens(usage: Mapping[str, Any] | None) -> Usage | None:
    if usage is None or not (told(usage.get("prompt_tokens")) and told(usage.get("completion_tokens"))):
        return None
    prompt, completion = mapping(usage.get("prompt_tokens_details")), mapping(usage.get("completion_tokens_details"))
    return Usage(
        input_tokens=count(usage.get("prompt_tokens")),
        output_tokens=count(usage.get("completion_tokens")),
        cached_tokens=count(prompt.get("cached_tokens")),
        cache_write_tokens=count(prompt.get("cache_write_tokens")),
        reasoning_tokens=count(completion.get("reasoning_tokens")),
    )
