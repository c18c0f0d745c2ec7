"""A language model on loopback: OpenAI, Anthropic and Gemini over real HTTP, answering from a script.

As a program of its own: `python -m rlm.testing.server --port 8080 --latency 0.05 --reply "FINAL(42)"`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from rlm.testing import _anthropic, _gemini, _openai
from rlm.testing._dialect import Dialect, count
from rlm.testing._script import Replies, Request, Script, Scripted
from rlm.types import Usage

DIALECTS: Final[tuple[Dialect, ...]] = (_openai, _anthropic, _gemini)
SECRET: Final = frozenset({"authorization", "api-key", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request and how it ended: the status sent, the usage told, and whether the client left before its reply."""

    request: Request
    status: int
    usage: Usage
    dropped: bool = False


class LMServer:
    """A scripted LM on 127.0.0.1, served from a thread of its own while the `with` block lasts.

    `script` is one reply for every request, replies in order, or a function (sync or async) of the `Request`; a reply
    is a `str` or a `Scripted`. `latency` in seconds holds for replies that name none. `record=False` keeps counts only.
    """

    def __init__(self, script: Script = "ok", *, port: int = 0, latency: float = 0.0, record: bool = True) -> None:
        self.port = port
        self._replies = Replies(script)
        self._latency = latency
        self._record = record
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._exchanges: list[Exchange] = []
        self._usage = Usage()
        self._arrived = 0
        self._in_flight = 0
        self._max_in_flight = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """Its address, once it is entered."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_base_url(self) -> str:
        """For `OPENAI_BASE_URL`, and for `base_url` of everything that speaks OpenAI's protocol."""
        return f"{self.url}/v1"

    @property
    def anthropic_base_url(self) -> str:
        """For `ANTHROPIC_BASE_URL`, or `base_url` of `anthropic`."""
        return self.url

    @property
    def gemini_base_url(self) -> str:
        """For `GOOGLE_GEMINI_BASE_URL`, or `base_url` of `gemini`."""
        return self.url

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request that arrived, retries included, in order."""
        with self._changed:
            return tuple(self._requests)

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Every request that has ended, in the order of their ends."""
        with self._changed:
            return tuple(self._exchanges)

    @property
    def usage(self) -> Usage:
        """What the replies told in all: `attempts` counts requests, `calls` those that were answered with a reply."""
        with self._changed:
            return replace(self._usage, attempts=self._arrived)

    @property
    def in_flight(self) -> int:
        """Requests that have arrived and are not answered yet."""
        return self._in_flight

    @property
    def max_in_flight(self) -> int:
        """The most there were at once."""
        return self._max_in_flight

    def wait_until(self, condition: Callable[[LMServer], bool], timeout: float = 30.0) -> None:
        """Block until a condition on what the server has seen holds. From a coroutine: `asyncio.to_thread`.

        Raises:
            TimeoutError: it did not within `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout):
                raise TimeoutError(
                    f"after {timeout:g} s: {self._arrived} requests arrived, {self._in_flight} in flight"
                )

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise RuntimeError("the server is already running")
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="rlm-lm-server", daemon=True)
        self._thread.start()
        try:
            ready.result()
        except BaseException:
            self._thread.join()
            self._thread = None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is None or self._loop is None or self._stop is None:
            raise RuntimeError("the server is not running")
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = None

    def _run(self, ready: Future[None]) -> None:
        try:
            asyncio.run(self.serve(lambda: ready.set_result(None)))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def serve(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve in the running loop until cancelled; `ready` is called once `port` is known."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=2048)
            await site.start()
            self.port = runner.addresses[0][1]
            ready()
            await self._stop.wait()
        finally:
            await runner.cleanup()

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        raw = await http.content.read()
        dialect = next((one for one in DIALECTS if one.speaks(http.path)), None)
        if dialect is None:
            known = http.method == "GET" and http.path.endswith("/models")
            body: dict[str, Any] = {"object": "list", "data": []} if known else {"error": {"message": "no such path"}}
            return web.json_response(body, status=200 if known else 404)
        asked = _object(raw)
        if asked is None:
            return web.json_response({"error": {"message": "the body is not a JSON object"}}, status=400)
        request = self._arrive(http, dialect, asked)
        status, usage, dropped = 0, Usage(), True
        try:
            item = await self._replies.next(request)
            status, usage = item.status, count(request, item) if item.answers else Usage()
            latency = self._latency if item.latency is None else item.latency
            if latency:
                await asyncio.sleep(latency)
            response = await _send(http, dialect, request, item, usage)
            dropped = False
            if item.answers:
                usage = replace(usage, calls=1)
            return response
        finally:
            self._end(Exchange(request=request, status=status, usage=Usage() if dropped else usage, dropped=dropped))

    def _arrive(self, http: web.BaseRequest, dialect: Dialect, body: Mapping[str, Any]) -> Request:
        asked = dialect.read(http.path, body)
        with self._changed:
            self._arrived += 1
            self._in_flight += 1
            self._max_in_flight = max(self._max_in_flight, self._in_flight)
            request = Request(
                number=self._arrived,
                provider=dialect.provider,
                model=asked.model,
                messages=asked.messages,
                body=body,
                headers={name.lower(): _redacted(name.lower(), value) for name, value in http.headers.items()},
                path=http.path,
                stream=asked.stream,
            )
            if self._record:
                self._requests.append(request)
            self._changed.notify_all()
        return request

    def _end(self, exchange: Exchange) -> None:
        with self._changed:
            self._in_flight -= 1
            self._usage += exchange.usage
            if self._record:
                self._exchanges.append(exchange)
            self._changed.notify_all()


async def _send(
    http: web.BaseRequest, dialect: Dialect, request: Request, item: Scripted, usage: Usage
) -> web.StreamResponse:
    if item.hang:
        await asyncio.Event().wait()
    kind = item.content_type or "application/json"
    if request.stream and item.status == 200 and item.body is None:
        return await _stream(http, dialect, request, item, usage)
    if item.body is not None:
        body = item.body
    elif item.status != 200 or item.error:
        body = dialect.failure(request, item)
    else:
        body = dialect.whole(request, item, usage)
    if not item.cut:
        return web.Response(body=body, status=item.status, headers=item.headers, content_type=kind)
    half = web.StreamResponse(status=item.status, headers=item.headers)
    half.content_type, half.content_length = kind, len(body)
    await half.prepare(http)
    await half.write(body[: len(body) // 2])
    _close(http)
    return half


async def _stream(
    http: web.BaseRequest, dialect: Dialect, request: Request, item: Scripted, usage: Usage
) -> web.StreamResponse:
    parts, closing = dialect.pieces(request, item, usage)
    if item.error:
        events = [*parts[: len(parts) // 2], dialect.failure_event(request, item)]
    elif item.ends_early:
        events = parts[: len(parts) // 2]
    elif item.cut:
        events = parts[: len(parts) // 2]
        events.append(parts[len(events)][:-9] if parts else b"da")
    else:
        events = parts + closing
    response = web.StreamResponse(headers=item.headers)
    response.content_type = item.content_type or "text/event-stream"
    await response.prepare(http)
    for part in events if item.pace else [b"".join(events)]:
        await response.write(part)
        if item.pace:
            await asyncio.sleep(item.pace)
    if item.cut:
        _close(http)
    return response


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _close(http: web.BaseRequest) -> None:
    if http.transport is not None:
        http.transport.close()


def _redacted(name: str, value: str) -> str:
    return "[redacted]" if name in SECRET or name.endswith(("-api-key", "-token", "-secret")) else value


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m rlm.testing.server", description="A scripted LM on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one (default)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each reply")
    parser.add_argument("--reply", default="ok", help="text of every reply")
    options = parser.parse_args(argv)
    server = LMServer(options.reply, port=options.port, latency=options.latency, record=False)
    try:
        asyncio.run(server.serve(lambda: print(server.url, flush=True)))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
