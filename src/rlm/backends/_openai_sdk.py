"""The OpenAI SDK, loaded on the first call of a backend that speaks its protocol."""

from __future__ import annotations

import openai

from rlm.backends._http import SDKConnection
from rlm.backends._settings import UNUSED_KEY, Settings
from rlm.backends._transport import http_client


def connect(settings: Settings, *, key: str, base_url: str, key_header: str | None) -> SDKConnection:
    """A connection to one server; `key_header` is where the key goes when it is not a bearer token."""
    client = openai.AsyncOpenAI(
        api_key=UNUSED_KEY if key_header else key,
        base_url=base_url,
        timeout=settings.timeout,
        http_client=http_client(openai, settings.timeout),
        **settings.extras,
    )
    if settings.backend != "openai":  # the SDK reads these from the environment, and they are nobody else's business
        client.organization = settings.extras.get("organization")
        client.project = settings.extras.get("project")
    headers = {"Authorization": openai.Omit(), key_header: key} if key_header else None
    return SDKConnection(openai, client, key=key, headers=headers)


def connect_azure(settings: Settings, *, key: str | None) -> SDKConnection:
    client = openai.AsyncAzureOpenAI(
        api_key=key,
        base_url=settings.base_url,  # type: ignore[arg-type]
        timeout=settings.timeout,
        http_client=http_client(openai, settings.timeout),
        **settings.extras,
    )
    return SDKConnection(openai, client, key=key or "")
