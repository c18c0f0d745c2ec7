"""The HTTP client under the OpenAI and Anthropic SDKs: aiohttp, half the time of their own, and a short way to it.

The SDKs hand over requests that are complete. httpx would merge them with defaults of its own, parse the address again,
and walk through authentication, redirects and cookies: a tenth of a call. Everything unusual takes that way.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import httpx2

from rlm.backends._client import count_attempt

CONNECTIONS = 1000
"""Calls in flight are bounded by the engine; this only has to be more."""
KEEP_ALIVE = 60.0
"""Seconds a connection may wait for its next request: longer than a turn of code usually takes."""


def http_client(sdk: ModuleType, timeout: float | None) -> httpx2.AsyncClient:
    """An HTTP client for an SDK, which tells `count_attempt` of every request it sends."""
    limits = httpx2.Limits(
        max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=KEEP_ALIVE
    )
    kind = type("DirectAioHttpClient", (_Direct, sdk.DefaultAioHttpClient), {})
    client: httpx2.AsyncClient = kind(limits=limits, timeout=timeout, event_hooks={"request": [_count]})
    return client


async def _count(request: httpx2.Request) -> None:
    count_attempt()


class _Direct(httpx2.AsyncClient):
    """Mixed in before an SDK's client: gives a plain POST straight to the transport."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._addresses: dict[str, httpx2.URL] = {}

    def build_request(self, method: str, url: httpx2.URL | str, **given: Any) -> httpx2.Request:
        plain = given.keys() <= {"headers", "timeout", "content", "params", "files"}
        if not plain or given.get("params") or given.get("files") or not isinstance(url, str):
            return super().build_request(method, url, **given)
        address = self._addresses.get(url)
        if address is None:
            address = self._addresses[url] = httpx2.URL(url)
        headers = httpx2.Headers(given.get("headers"))
        # Told here, as aiohttp would offer what httpx may not be able to unpack.
        headers["Accept-Encoding"] = "gzip, deflate"
        timeout = httpx2.Timeout(given["timeout"]) if "timeout" in given else self.timeout
        extensions = {"timeout": timeout.as_dict()}
        return httpx2.Request(method, address, content=given.get("content"), headers=headers, extensions=extensions)

    async def send(self, request: httpx2.Request, *, stream: bool = False, **given: Any) -> httpx2.Response:
        if given or request.url.userinfo or self.is_closed:
            return await super().send(request, stream=stream, **given)
        count_attempt()
        response = await self._transport_for_url(request.url).handle_async_request(request)
        try:
            if response.has_redirect_location:
                await response.aclose()
                return await super().send(request, stream=stream)
            response.request = request
            if not stream:
                await response.aread()
        except BaseException:
            await response.aclose()
            raise
        return response
