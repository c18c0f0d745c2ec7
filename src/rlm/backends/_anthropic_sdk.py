"""The Anthropic SDK, loaded on the first call."""

from __future__ import annotations

import anthropic

from rlm.backends._http import SDKConnection
from rlm.backends._settings import Settings
from rlm.backends._transport import http_client


def connect(settings: Settings, *, key: str, base_url: str) -> SDKConnection:
    client = anthropic.AsyncAnthropic(
        api_key=key,
        base_url=base_url,
        timeout=settings.timeout,
        http_client=http_client(anthropic, settings.timeout),
        **settings.extras,
    )
    return SDKConnection(anthropic, client, key=key)
