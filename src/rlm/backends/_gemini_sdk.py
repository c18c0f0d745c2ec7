"""The Google Gen AI SDK, loaded on the first call.

Requests go through the SDK's own request method, below `generate_content`: that one copies and validates the whole
history at every turn. The SDK's retries ignore how long the provider asks to wait: they are off, the loop is here.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
from google import genai
from google.genai import errors, types

from rlm.backends._client import count_attempt
from rlm.backends._failure import failure, from_status, retry_after
from rlm.backends._settings import Settings
from rlm.errors import LMError
from rlm.types import Usage

RETRIED = (408, 409, 429)
LONGEST_WAIT = 120.0
CONNECTIONS = 1000
KEEP_ALIVE = 60.0
_T = TypeVar("_T")


def connect(settings: Settings, *, key: str, base_url: str) -> GeminiConnection:
    extras = dict(settings.extras)
    retries = extras.pop("max_retries", 2)
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE)
    session = aiohttp.ClientSession(connector=connector, trust_env=True)
    options = types.HttpOptions(
        base_url=base_url,
        headers=extras.pop("default_headers", None),
        timeout=None if settings.timeout is None else int(settings.timeout * 1000),
        # One attempt: without it the SDK sends a failed connection again by itself, uncounted.
        retry_options=types.HttpRetryOptions(attempts=1),
        aiohttp_client=session,
    )
    client = genai.Client(vertexai=False, api_key=key, http_options=options)
    return GeminiConnection(client, session, key=key, retries=retries)


class GeminiConnection:
    def __init__(self, client: genai.Client, session: aiohttp.ClientSession, *, key: str, retries: int) -> None:
        self._client = client
        self._session = session
        self._api = client._api_client
        self._key = key
        self._retries = retries

    async def post(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> str:
        reply = await self._retried(lambda: self._api.async_request("post", path, dict(body), _options(headers)))
        return reply.body or ""

    @asynccontextmanager
    async def stream(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> AsyncGenerator[AsyncIterator[Mapping[str, Any]]]:
        chunks = await self._retried(
            lambda: self._api.async_request_streamed("post", path, dict(body), _options(headers))
        )
        try:
            yield _events(chunks)
        finally:
            await chunks.aclose()

    def failure(self, error: Exception) -> LMError | None:
        if isinstance(error, errors.APIError):
            return from_status(error.code or 200, error.details, _headers(error))
        if isinstance(error, errors.UnknownApiResponseError):
            return failure("malformed", f"a piece of the reply is not JSON: {str(error)[:200]}")
        if isinstance(error, TimeoutError):
            return failure("timeout", f"no answer in time: {str(error) or type(error).__name__}")
        if isinstance(error, aiohttp.ClientPayloadError):
            return failure("malformed", f"the reply broke off: {error}")
        if isinstance(error, aiohttp.ClientError):
            reached = not isinstance(error, aiohttp.ClientConnectorError)
            return failure("connection", str(error), usage=Usage(unsettled=int(reached)))
        return None

    def redact(self, text: str) -> str:
        return text.replace(self._key, "[key]") if len(self._key) > 6 else text

    async def aclose(self) -> None:
        await self._session.close()
        await self._client.aio.aclose()
        self._client.close()

    async def _retried(self, send: Callable[[], Awaitable[_T]]) -> _T:
        for retry in range(self._retries + 1):
            count_attempt()
            try:
                return await send()
            except (errors.APIError, aiohttp.ClientError, TimeoutError) as error:
                wait = _wait(error, retry)
                if retry == self._retries or wait is None:
                    raise
                await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")


def _wait(error: Exception, retry: int) -> float | None:
    """Seconds before the next attempt: as the provider asks, else longer each time; `None`: there is to be none."""
    backoff = min(0.5 * 2.0**retry, 8.0) * (1 - 0.25 * random.random())
    if not isinstance(error, errors.APIError):
        return backoff
    if error.code not in RETRIED and not (error.code or 0) >= 500:
        return None
    asked = retry_after(_headers(error), error.details)
    if asked is None:
        return backoff
    return asked if asked <= LONGEST_WAIT else None


def _headers(error: errors.APIError) -> Mapping[str, str]:
    headers = getattr(error.response, "headers", None)
    return {str(name).lower(): str(value) for name, value in headers.items()} if headers else {}


def _options(headers: Mapping[str, str]) -> types.HttpOptions | None:
    return types.HttpOptions(headers=dict(headers)) if headers else None


async def _events(chunks: AsyncIterator[Any]) -> AsyncIterator[Mapping[str, Any]]:
    async for chunk in chunks:
        event = json.loads(chunk.body)
        if not isinstance(event, dict):
            raise failure("malformed", f"an event of the reply is not a JSON object: {chunk.body[:200]!r}")
        yield event
