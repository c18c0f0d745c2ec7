"""Asking a local LM server through each of the backends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rlm import registry
from rlm.errors import LMError
from rlm.protocols import Client
from rlm.testing import LMServer
from rlm.types import Message, Reply

KEY = "sk-very-secret-key-0123456789"
ASK = [Message("system", "Be brief."), Message("user", "What is it?")]

MODELS = {
    "openai": "gpt-5-mini",
    "openrouter": "openai/gpt-5-mini",
    "vllm": "qwen3-8b",
    "portkey": "@openai/gpt-5-mini",
    "azure_openai": "gpt-5-mini",
    "anthropic": "claude-sonnet-4-20250514",
    "gemini": "gemini-2.5-flash",
}
PROTOCOLS = ("openai", "anthropic", "gemini")
"""One backend for each protocol; the others of a protocol differ from it in data."""


def marked(*names: str) -> list[Any]:
    """The names as parameters; the SDK of one of them is an extra."""
    needs = pytest.mark.needs("google-genai")
    return [pytest.param(name, marks=needs) if name == "gemini" else name for name in names]


every_protocol = pytest.mark.parametrize("name", marked(*PROTOCOLS))
every_backend = pytest.mark.parametrize("name", marked(*MODELS))


def address(name: str, server: LMServer) -> str:
    return server.url if name in ("anthropic", "gemini") else server.openai_base_url


def client(name: str, server: LMServer, **kwargs: Any) -> Client:
    place = {"azure_endpoint": server.url} if name == "azure_openai" else {"base_url": address(name, server)}
    return registry.backend(name)(**{"model_name": MODELS[name], "api_key": KEY, **place, **kwargs})


def using(made: Client, work: Callable[[Client], Awaitable[Any]]) -> Any:
    """What the work gives; the client is closed after it."""

    async def run() -> Any:
        try:
            return await work(made)
        finally:
            await made.aclose()

    return asyncio.run(run())


def ask(made: Client, messages: list[Message] = ASK, **options: Any) -> Reply:
    reply: Reply = using(made, lambda c: c.complete(messages, **options))
    return reply


def failing(made: Client, messages: list[Message] = ASK, **options: Any) -> LMError:
    """The failure of a call that has to fail."""
    with pytest.raises(LMError) as caught:
        ask(made, messages, **options)
    return caught.value
