"""Daytona's API, its events and the daemon in its sandboxes (the toolbox) on this machine, as far as the SDK asks them:
REST, Socket.IO and a websocket that follows a command's log. The sandboxes are real processes.

The log is what the real daemon's is: each line of a stream behind three bytes that say which one, read by whoever
connects from its beginning; and what is written to a command gets a line end where it has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import socketio
from aiohttp import WSMsgType, web

from clouds._machine import Cloud, Machine

KEY = "dtn_" + "0" * 64
LARGEST_BODY = 1 << 30
STDOUT, STDERR = b"\x01\x01\x01", b"\x02\x02\x02"
BREAK = 1011


@dataclass
class Command:
    """One that was given to a session's shell."""

    text: str
    process: Process
    echo: bool
    log: bytearray = field(default_factory=bytearray)
    status: int | None = None
    grown: asyncio.Condition = field(default_factory=asyncio.Condition)
    followers: set[web.WebSocketResponse] = field(default_factory=set)

    async def add(self, data: bytes) -> None:
        async with self.grown:
            self.log += data
            self.grown.notify_all()

    async def read(self, at: int, size: int) -> bytes:
        """b"" once there is no more and will be none."""
        async with self.grown:
            await self.grown.wait_for(lambda: len(self.log) > at or self.status is not None)
        return bytes(self.log[at : at + size])

    async def label(self, source: asyncio.StreamReader, mark: bytes) -> None:
        """What a shell's loop over `read -r` does: without NULs, line by line."""
        line = b""
        while data := await source.read(1 << 16):
            *lines, line = (line + data).replace(b"\0", b"").split(b"\n")
            if lines:
                await self.add(b"".join(mark + whole + b"\n" for whole in lines))
        if line:
            await self.add(mark + line + b"\n")

    async def run(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        await asyncio.gather(self.label(self.process.stdout, STDOUT), self.label(self.process.stderr, STDERR))
        status = await self.process.wait()
        async with self.grown:
            self.status = status if status >= 0 else 128 - status  # as the session's shell says it
            self.grown.notify_all()


@dataclass
class Box:
    """A sandbox, and how it was asked for."""

    asked: dict[str, Any]
    machine: Machine
    state: str = "started"
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    commands: dict[tuple[str, str], Command] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    inputs: list[int] = field(default_factory=list)
    uploads: list[int] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    renewals: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def shown(self, url: str) -> dict[str, Any]:
        asked = self.asked
        return {
            "id": self.id,
            "organizationId": "fake",
            "name": asked.get("name") or self.id,
            "user": "daytona",
            "env": asked.get("env") or {},
            "labels": asked.get("labels") or {},
            "public": False,
            "networkBlockAll": bool(asked.get("networkBlockAll")),
            "kvm": False,
            "target": asked.get("target") or "us",
            "cpu": asked.get("cpu") or 1,
            "gpu": 0,
            "memory": asked.get("memory") or 1,
            "disk": asked.get("disk") or 3,
            "state": self.state if self.machine.alive else "destroyed",
            "autoStopInterval": asked.get("autoStopInterval"),
            "autoDeleteInterval": asked.get("autoDeleteInterval"),
            "toolboxProxyUrl": f"{url}/toolbox",
        }


Handler = Callable[[web.Request, Box], Awaitable[web.StreamResponse]]


def fault(status: int, message: str) -> web.Response:
    return web.json_response({"statusCode": status, "message": message, "source": "DAYTONA_API"}, status=status)


class FakeDaytona(Cloud):
    """The API at `/api`, every sandbox's toolbox at `/toolbox/ID`."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes: dict[str, Box] = {}
        self.url = ""
        self.first_state = "started"
        self.app = web.Application(client_max_size=LARGEST_BODY)
        self.notices = socketio.AsyncServer(async_mode="aiohttp")
        self.notices.attach(self.app, socketio_path="/api/socket.io")
        self.notices.on("connect", self.connected)
        add = self.app.router.add_route
        add("POST", "/api/sandbox", self.create)
        add("GET", "/api/sandbox/{id}", self.controlled(self.get))
        add("DELETE", "/api/sandbox/{id}", self.controlled(self.delete))
        add("POST", "/api/sandbox/{id}/last-activity", self.controlled(self.renew))
        box = "/toolbox/{id}"
        session = f"{box}/process/session"
        add("GET", f"{box}/user-home-dir", self.inside(self.home))
        add("POST", f"{box}/files/bulk-upload", self.inside(self.upload))
        add("POST", f"{box}/process/execute", self.inside(self.execute))
        add("POST", session, self.inside(self.create_session))
        add("POST", f"{session}/{{session}}/exec", self.inside(self.start))
        add("GET", f"{session}/{{session}}/command/{{command}}", self.inside(self.command))
        add("GET", f"{session}/{{session}}/command/{{command}}/logs", self.inside(self.follow))
        add("POST", f"{session}/{{session}}/command/{{command}}/input", self.inside(self.write))

    @property
    def variables(self) -> dict[str, str]:
        """No certificates, because reading all of them takes longer than the rest of a session."""
        return {"DAYTONA_API_KEY": KEY, "DAYTONA_API_URL": f"{self.url}/api", "SSL_CERT_FILE": os.devnull}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        runner = web.AppRunner(self.app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await self.destroy()
            await self.notices.shutdown()
            await runner.cleanup()

    # The API --------------------------------------------------------------------------------------------------------

    async def connected(self, sid: str, environ: dict[str, Any], auth: dict[str, Any] | None) -> bool:
        return bool(auth) and auth.get("token") == KEY

    async def create(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return fault(401, "Invalid credentials")
        asked = await request.json()
        if asked.get("name") in (box.asked.get("name") for box in self.boxes.values() if box.machine.alive):
            return fault(409, f"Sandbox with name {asked['name']} already exists")
        box = Box(asked, await self.machine(asked.get("env") or {}), self.first_state)
        self.boxes[box.id] = box
        return web.json_response(box.shown(self.url))

    async def become(self, box: Box, state: str) -> None:
        """A sandbox's next state, with the event that tells of it."""
        box.state = state
        await self.notices.emit("sandbox.state.updated", {"sandbox": box.shown(self.url), "newState": state})

    def controlled(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization") != f"Bearer {KEY}":
                return fault(401, "Invalid credentials")
            wanted = request.match_info["id"]
            for box in self.boxes.values():
                if box.machine.alive and wanted in (box.id, box.asked.get("name")):
                    return await handler(request, box)
            return fault(404, f"Sandbox with ID or name {wanted} not found")

        return handle

    async def get(self, request: web.Request, box: Box) -> web.StreamResponse:
        shown = box.shown(self.url)
        if box.state == "creating":  # until somebody asked
            box.keep(self.become(box, "started"))
        return web.json_response(shown)

    async def delete(self, request: web.Request, box: Box) -> web.StreamResponse:
        if self.refusing:
            return fault(500, self.refusing)
        await box.machine.destroy()
        return web.json_response({**box.shown(self.url), "state": "destroying"})

    async def renew(self, request: web.Request, box: Box) -> web.StreamResponse:
        box.renewals += 1
        self.asked.set()
        return web.Response(status=201)

    # Inside a sandbox -----------------------------------------------------------------------------------------------

    def inside(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            box = self.boxes.get(request.match_info["id"])
            if request.headers.get("Authorization") != f"Bearer {KEY}":
                return fault(401, "Invalid credentials")
            if box is None or not box.machine.alive:
                return fault(404, "Sandbox not found")
            if box.state != "started":
                return fault(400, f"Sandbox is not running: {box.state}")
            return await handler(request, box)

        return handle

    async def home(self, request: web.Request, box: Box) -> web.StreamResponse:
        return web.json_response({"dir": str(box.machine.folder)})

    async def upload(self, request: web.Request, box: Box) -> web.StreamResponse:
        path = ""
        async for part in await request.multipart():
            if part.name.endswith(".path"):
                path = await part.text()
            else:
                data = await part.read()
                box.uploads.append(len(data))
                (box.machine.folder / path).write_bytes(data)
        return web.json_response({})

    async def execute(self, request: web.Request, box: Box) -> web.StreamResponse:
        asked = await request.json()
        box.executed.append(asked["command"])
        process = await box.machine.start(("/bin/sh", "-c", asked["command"]), stdin=False)
        said, _ = await process.communicate()
        return web.json_response({"exitCode": process.returncode, "result": said.decode()})

    async def create_session(self, request: web.Request, box: Box) -> web.StreamResponse:
        session = (await request.json())["sessionId"]
        if session in box.sessions:
            return fault(409, "session already exists")
        box.sessions.add(session)
        return web.Response(status=201)

    async def start(self, request: web.Request, box: Box) -> web.StreamResponse:
        asked = await request.json()
        session = request.match_info["session"]
        if session not in box.sessions:
            return fault(404, "session not found")
        assert asked["runAsync"], "nothing else is asked of this fake"
        # The shell of the session stays: what it runs is no leader of a group.
        argv = ("/bin/sh", "-c", f"{asked['command']}\nexit $?")
        command = Command(asked["command"], await box.machine.start(argv), not asked.get("suppressInputEcho"))
        number = secrets.token_hex(8)
        box.commands[session, number] = command
        box.keep(command.run())
        return web.json_response({"cmdId": number}, status=202)

    def _command(self, request: web.Request, box: Box) -> Command | None:
        return box.commands.get((request.match_info["session"], request.match_info["command"]))

    async def command(self, request: web.Request, box: Box) -> web.StreamResponse:
        command = self._command(request, box)
        if command is None:
            return fault(404, "command not found")
        shown = {"id": request.match_info["command"], "command": command.text}
        return web.json_response(shown if command.status is None else {**shown, "exitCode": command.status})

    async def write(self, request: web.Request, box: Box) -> web.StreamResponse:
        command = self._command(request, box)
        if command is None:
            return fault(404, "command not found")
        if command.status is not None:
            return fault(410, f"command has already completed with exit code {command.status}")
        data = (await request.json())["data"].encode()
        box.inputs.append(len(data))
        if not data.endswith(b"\n"):
            data += b"\n"
        assert command.process.stdin is not None
        command.process.stdin.write(data)
        try:
            await command.process.stdin.drain()
        except ConnectionError:
            return fault(500, "failed to write to input pipe: broken pipe")
        if command.echo:
            await command.add(STDOUT + data)
        return web.Response(status=204)

    async def follow(self, request: web.Request, box: Box) -> web.StreamResponse:
        """All of the log from its beginning, in other pieces than it was written, also cut within a mark, and its last
        bytes often by themselves: the SDK holds them back until more come."""
        command = self._command(request, box)
        if command is None or request.query.get("follow", "").lower() != "true":
            return fault(404, "command not found")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        command.followers.add(socket)
        sending = asyncio.create_task(self._send_log(socket, command))
        try:
            while (await socket.receive()).type not in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED):
                pass
        finally:
            command.followers.discard(socket)
            sending.cancel()
            await asyncio.wait([sending])
        return socket

    async def _send_log(self, socket: web.WebSocketResponse, command: Command) -> None:
        at = 0
        with contextlib.suppress(ConnectionError):
            while data := await command.read(at, random.randrange(1, 1 << 15)):
                data = data[: -random.randrange(4)] or data
                at += len(data)
                await socket.send_bytes(data)
            await socket.close()

    # From the thread of a test --------------------------------------------------------------------------------------

    def break_connections(self) -> None:
        """Every log's connection breaks, as where a proxy is restarted."""
        for box in self.boxes.values():
            for command in box.commands.values():
                for socket in tuple(command.followers):
                    closing = socket.close(code=BREAK, message=b"proxy restart")
                    assert self._loop is not None
                    asyncio.run_coroutine_threadsafe(closing, self._loop).result()


Fake = FakeDaytona
