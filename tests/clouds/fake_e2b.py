"""E2B's API and the agent in its sandboxes (envd) on this machine, as far as the SDK asks them: REST, and Connect
in JSON. The sandboxes are real processes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import secrets
import signal
import struct
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from clouds._machine import Cloud, Machine

KEY = "e2b_" + "0" * 40
ENVD = "0.6.4"
LARGEST_BODY = 1 << 30
END = 2


@dataclass
class Box:
    """A sandbox, and how it was asked for."""

    asked: dict[str, Any]
    machine: Machine
    id: str = field(default_factory=lambda: "i" + secrets.token_hex(10))
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    commands: list[dict[str, Any]] = field(default_factory=list)
    uploads: list[int] = field(default_factory=list)
    renewals: list[int] = field(default_factory=list)


Handler = Callable[[web.Request, Box], Awaitable[web.StreamResponse]]


def fault(status: int, code: str | int, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message}, status=status)


def envelope(message: dict[str, Any], flags: int = 0) -> bytes:
    data = json.dumps(message).encode()
    return struct.pack(">BI", flags, len(data)) + data


class FakeE2B(Cloud):
    """Both the API and every sandbox's agent: the SDK says with a header which sandbox it means."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes: dict[str, Box] = {}
        self.url = ""
        self.app = web.Application(client_max_size=LARGEST_BODY)
        add = self.app.router.add_route
        add("POST", "/v2/sandboxes", self.create)
        add("POST", "/sandboxes/{id}/timeout", self.controlled(self.renew))
        add("DELETE", "/sandboxes/{id}", self.controlled(self.kill))
        add("GET", "/health", self.inside(self.health))
        add("POST", "/files", self.inside(self.upload))
        add("POST", "/process.Process/Start", self.inside(self.start))
        add("POST", "/process.Process/SendInput", self.inside(self.send_input))

    @property
    def variables(self) -> dict[str, str]:
        # Connections that the SDK keeps for the next request are soon closed, so that one that leaks is seen.
        kept = {"E2B_KEEPALIVE_EXPIRY": "0.2"}
        return {"E2B_API_KEY": KEY, "E2B_API_URL": self.url, "E2B_SANDBOX_URL": self.url, **kept}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        runner = web.AppRunner(self.app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await self.destroy()
            await runner.cleanup()

    # The API --------------------------------------------------------------------------------------------------------

    async def create(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("X-API-KEY") != KEY:
            return fault(401, 401, "Invalid API key")
        asked = await request.json()
        box = Box(asked, await self.machine(asked.get("envVars") or {}))
        self.boxes[box.id] = box
        answer = {"templateID": asked["templateID"], "sandboxID": box.id, "clientID": "fake", "envdVersion": ENVD}
        return web.json_response({**answer, "envdAccessToken": box.token}, status=201)

    def controlled(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            if request.headers.get("X-API-KEY") != KEY:
                return fault(401, 401, "Invalid API key")
            box = self.boxes.get(request.match_info["id"])
            if box is None or not box.machine.alive:
                return fault(404, 404, "sandbox not found")
            return await handler(request, box)

        return handle

    async def renew(self, request: web.Request, box: Box) -> web.StreamResponse:
        box.renewals.append((await request.json())["timeout"])
        self.asked.set()
        return web.Response(status=204)

    async def kill(self, request: web.Request, box: Box) -> web.StreamResponse:
        if self.refusing:
            return fault(500, 500, self.refusing)
        await box.machine.destroy()
        return web.Response(status=204)

    # Inside a sandbox -----------------------------------------------------------------------------------------------

    def inside(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            box = self.boxes.get(request.headers.get("E2b-Sandbox-Id", ""))
            if box is None or not box.machine.alive:
                return fault(502, 502, "The sandbox was not found")
            if request.headers.get("X-Access-Token") != box.token:
                return fault(401, "unauthenticated", "the token of another sandbox")
            return await handler(request, box)

        return handle

    async def health(self, request: web.Request, box: Box) -> web.StreamResponse:
        return web.Response(status=204)

    async def upload(self, request: web.Request, box: Box) -> web.StreamResponse:
        path = box.machine.path(request.query["path"])
        data = await request.read()
        box.uploads.append(len(data))
        path.write_bytes(data)
        return web.json_response([{"name": path.name, "type": "file", "path": str(path)}])

    async def start(self, request: web.Request, box: Box) -> web.StreamResponse:
        body = await request.read()
        asked = json.loads(body[5:])
        box.commands.append(asked)
        command = asked["process"]["args"][-1]  # `bash -l -c COMMAND`; this machine's profile is not the sandbox's
        response = web.StreamResponse(headers={"Content-Type": "application/connect+json"})
        try:
            await response.prepare(request)
        except ConnectionError:  # whoever asked is gone already
            return response
        envs = asked["process"].get("envs") or {}
        process = await box.machine.start(("/bin/sh", "-c", command), envs, stdin=asked.get("stdin", True))
        with contextlib.suppress(ConnectionError):  # whoever asked may be gone; the process goes on without them
            await response.write(envelope({"event": {"start": {"pid": process.pid}}}))
            writing = asyncio.Lock()
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(process.stdout, "stdout", response, writing))
                pumps.create_task(self._pump(process.stderr, "stderr", response, writing))
            status = await process.wait()
            if box.machine.alive:
                await response.write(envelope({"event": {"end": _end(status)}}))
                await response.write(envelope({}, END))
            elif request.transport is not None:  # a sandbox that is gone says nothing any more
                request.transport.abort()
        return response

    async def _pump(self, source: Any, name: str, response: web.StreamResponse, writing: asyncio.Lock) -> None:
        """In other pieces than it was written, also cut within characters."""
        while data := await source.read(random.randrange(1, 1 << 15)):
            with contextlib.suppress(ConnectionError):
                async with writing:
                    await response.write(envelope({"event": {"data": {name: base64.b64encode(data).decode()}}}))

    async def send_input(self, request: web.Request, box: Box) -> web.StreamResponse:
        asked = await request.json()
        process: Process | None = box.machine.processes.get(asked["process"]["pid"])
        if process is None or process.returncode is not None:
            return fault(404, "not_found", "process not found")
        assert process.stdin is not None
        process.stdin.write(base64.b64decode(asked["input"]["stdin"]))
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        return web.json_response({})


def _end(status: int) -> dict[str, Any]:
    if status >= 0:
        return {"exitCode": status, "exited": True, "status": f"exit status {status}"}
    how = f"signal: {signal.Signals(-status).name.removeprefix('SIG').lower()}"
    return {"exitCode": -1, "exited": False, "status": how, "error": how}


Fake = FakeE2B
