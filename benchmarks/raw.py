"""What the SDK and the bare transport do with the same calls, and what the server can do at most.

python raw.py NAME URL CALLS CONCURRENCY      prints one JSON object
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import openai

Ask = Callable[[str], Awaitable[object]]


async def gather(ask: Ask, calls: int, concurrency: int, text: str) -> dict[str, float]:
    """What `calls` calls take, `concurrency` at a time, once the connections are open."""
    free = asyncio.Semaphore(concurrency)

    async def one(n: int) -> None:
        async with free:
            await ask(f"{text} {n}")

    await asyncio.gather(*(one(n) for n in range(concurrency)))
    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one(n) for n in range(calls)))
    return {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu}


def body(text: str) -> dict[str, Any]:
    return {"model": "loop-1", "messages": [{"role": "user", "content": text}]}


async def create(url: str, calls: int, concurrency: int, aio: bool = False) -> dict[str, float]:
    transport = openai.DefaultAioHttpClient() if aio else None
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", http_client=transport) as client:
        return await gather(
            lambda text: client.chat.completions.create(model="loop-1", messages=[{"role": "user", "content": text}]),
            calls,
            concurrency,
            "item",
        )


async def create_aiohttp(url: str, calls: int, concurrency: int) -> dict[str, float]:
    return await create(url, calls, concurrency, aio=True)


async def post_aiohttp(url: str, calls: int, concurrency: int) -> dict[str, float]:
    transport = openai.DefaultAioHttpClient()
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", http_client=transport) as client:
        return await gather(
            lambda text: client.post("/chat/completions", body=body(text), cast_to=object), calls, concurrency, "item"
        )


async def bare(url: str, calls: int, concurrency: int, text: str = "item") -> dict[str, float]:
    limit = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=limit) as session:

        async def ask(text: str) -> object:
            async with session.post(f"{url}/v1/chat/completions", json=body(text)) as response:
                return await response.read()

        return await gather(ask, calls, concurrency, text)


async def ceiling(url: str, calls: int, concurrency: int) -> dict[str, float]:
    """The server without latency, asked by bare aiohttp."""
    return await bare(url, calls, concurrency, "no latency")


WORK = {function.__name__: function for function in (create, create_aiohttp, post_aiohttp, bare, ceiling)}

if __name__ == "__main__":
    name, url, calls, concurrency = sys.argv[1:]
    print(json.dumps(asyncio.run(WORK[name](url, int(calls), int(concurrency)))))
