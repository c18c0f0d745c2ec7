"""Prime's API, its gateway and the daemon in its sandboxes (sandboxd) on this machine, as far as the SDK asks them:
REST, and Connect-RPC in protobuf. The sandboxes are real processes.

As with the real one, what a process prints while nobody is attached is lost, and how it ended is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import secrets
import shutil
import signal
import struct
import tempfile
import threading
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import certifi
from aiohttp import web
from prime_sandboxes._proto.command_session import command_session_pb2 as pb

from clouds._machine import Cloud, Machine

KEY = "pit_" + "0" * 64
LARGEST_BODY = 1 << 30
END = 2
WARNINGS = logging.getLogger("prime_sandboxes.process")
"""Where the SDK warns of connections that broke, as some do on purpose."""
STATUS = {"not_found": 404, "unauthenticated": 401, "failed_precondition": 400}


@dataclass
class Session:
    """A process and who is attached to it, if anybody is."""

    process: Process
    attached: web.StreamResponse | None = None
    running: asyncio.Task[None] | None = None
    inputs: set[str] = field(default_factory=set)
    lost: int = 0
    status: int | None = None
    turned: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self) -> None:
        await asyncio.gather(self._pump(self.process.stdout, "stdout"), self._pump(self.process.stderr, "stderr"))
        self.status = await self.process.wait()
        async with self.turned:
            self.turned.notify_all()

    async def _pump(self, source: Any, name: str) -> None:
        while data := await source.read(random.randrange(1, 1 << 15)):
            event = pb.CommandSessionEvent(data=pb.CommandSessionEvent.DataEvent(**{name: data}))
            try:
                if self.attached is None:
                    raise ConnectionError
                await self.attached.write(envelope(pb.StartResponse(event=event)))
            except ConnectionError:
                self.lost += len(data)

    async def detach(self) -> None:
        async with self.turned:
            self.attached = None
            self.turned.notify_all()


@dataclass
class Box:
    """A sandbox, and how it was asked for."""

    asked: dict[str, Any]
    machine: Machine
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    sessions: dict[str, Session] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    uploads: list[int] = field(default_factory=list)
    polls: int = 0

    def shown(self, url: str) -> dict[str, Any]:
        now = datetime.now(UTC)
        return {
            "id": self.id,
            "name": self.asked["name"],
            "dockerImage": self.asked["docker_image"],
            "cpuCores": self.asked["cpu_cores"],
            "memoryGB": self.asked["memory_gb"],
            "diskSizeGB": self.asked["disk_size_gb"],
            "diskMountPath": "/workspace",
            "gpuCount": 0,
            "vm": True,
            "status": "PENDING",
            "timeoutMinutes": self.asked["timeout_minutes"],
            "createdAt": now.isoformat(),
            "updatedAt": now.isoformat(),
            "gatewayAuth": {
                "gateway_url": f"{url}/gateway",
                "user_ns": "fake",
                "job_id": self.id,
                "token": self.token,
                "expires_at": (now + timedelta(hours=1)).isoformat(),
            },
        }


Handler = Callable[[web.Request, Box], Awaitable[web.StreamResponse]]


def envelope(message: Any) -> bytes:
    data = message.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data


def ending(**fields: Any) -> bytes:
    data = json.dumps(fields).encode()
    return struct.pack(">BI", END, len(data)) + data


def fault(code: str, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message}, status=STATUS[code])


def refused(status: int, detail: str) -> web.Response:
    return web.json_response({"detail": detail}, status=status)


class FakePrime(Cloud):
    """The API at `/api/v1`, every sandbox behind the gateway at `/gateway/fake/ID`."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes: dict[str, Box] = {}
        self.url = ""
        self.home = ""
        self.slow = 0
        self.attached = threading.Event()
        self.app = web.Application(client_max_size=LARGEST_BODY)
        add = self.app.router.add_route
        add("POST", "/api/v1/sandbox", self.create)
        add("POST", "/api/v1/sandbox/status:batchGet", self.statuses)
        add("GET", "/api/v1/sandbox/{id}/error-context", self.why)
        add("DELETE", "/api/v1/sandbox/{id}", self.delete)
        gateway = "/gateway/fake/{id}"
        calls = f"{gateway}/command_session.CommandSession"
        add("POST", f"{gateway}/upload", self.inside(self.upload))
        add("POST", f"{calls}/Start", self.inside(self.start))
        add("POST", f"{calls}/Connect", self.inside(self.connect))
        add("POST", f"{calls}/SendInput", self.inside(self.send_input))
        add("POST", f"{calls}/SendSignal", self.inside(self.send_signal))

    @property
    def variables(self) -> dict[str, str]:
        """HOME, because the SDK keeps a file in it. One certificate, because reading all of them takes longer than the
        rest of a session."""
        host = {"HOME": self.home, "SSL_CERT_FILE": f"{self.home}/certificate.pem"}
        return {"PRIME_API_KEY": KEY, "PRIME_API_BASE_URL": self.url, **host}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        self.home = home()
        runner = web.AppRunner(self.app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await self.destroy()
            await runner.cleanup()
            shutil.rmtree(self.home, ignore_errors=True)

    # The API --------------------------------------------------------------------------------------------------------

    async def create(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return refused(401, "Invalid API key")
        asked = await request.json()
        box = Box(asked, await self.machine(asked.get("environment_vars") or {}))
        self.boxes[box.id] = box
        return web.json_response(box.shown(self.url))

    def status(self, box: Box | None) -> str:
        if box is None or not box.machine.alive:
            return "TERMINATED"
        box.polls += 1
        return "RUNNING" if box.polls > self.slow else "PROVISIONING"

    async def statuses(self, request: web.Request) -> web.StreamResponse:
        wanted = (await request.json())["sandbox_ids"]
        told = [{"sandbox_id": name, "status": self.status(self.boxes.get(name))} for name in wanted]
        return web.json_response({"statuses": told, "errors": []})

    async def why(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": self.status(self.boxes.get(request.match_info["id"]))})

    async def delete(self, request: web.Request) -> web.StreamResponse:
        if self.refusing:
            return refused(500, self.refusing)
        box = self.boxes.get(request.match_info["id"])
        if box is None or not box.machine.alive:
            return refused(404, "Sandbox not found")
        await box.machine.destroy()
        return web.json_response({"status": "TERMINATED"})

    # Inside a sandbox -----------------------------------------------------------------------------------------------

    def inside(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            box = self.boxes.get(request.match_info["id"])
            if box is None or not box.machine.alive:
                return await _failed(request, "not_found", "sandbox not found")
            if request.headers.get("Authorization") != f"Bearer {box.token}":
                return await _failed(request, "unauthenticated", "the token of another sandbox")
            return await handler(request, box)

        return handle

    async def upload(self, request: web.Request, box: Box) -> web.StreamResponse:
        path = box.machine.path(request.query["path"])
        async for part in await request.multipart():
            if part.name == "file":
                data = await part.read()
                box.uploads.append(len(data))
                path.write_bytes(data)
        told = {"success": True, "path": str(path), "size": box.uploads[-1], "timestamp": datetime.now(UTC).isoformat()}
        return web.json_response(told)

    async def start(self, request: web.Request, box: Box) -> web.StreamResponse:
        asked = pb.StartRequest.FromString((await request.read())[5:])
        number = asked.session_uuid or secrets.token_hex(8)
        session = box.sessions.get(number)
        if session is None:
            box.commands.append(asked.command.args[-1])
            argv = (asked.command.cmd, *asked.command.args)
            session = Session(await box.machine.start(argv, dict(asked.command.envs), stdin=asked.stdin))
            box.sessions[number] = session
        return await self._attach(request, box, session)

    async def connect(self, request: web.Request, box: Box) -> web.StreamResponse:
        asked = pb.ConnectRequest.FromString((await request.read())[5:])
        session = box.sessions.get(asked.session.session_uuid)
        if session is None:
            return await _failed(request, "not_found", "no such session")
        return await self._attach(request, box, session)

    async def _attach(self, request: web.Request, box: Box, session: Session) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/connect+proto"})
        response.force_close()  # without TLS the SDK keeps connections for the life of the program
        await response.prepare(request)
        begun = pb.CommandSessionEvent(start=pb.CommandSessionEvent.StartEvent(pid=session.process.pid))
        await response.write(envelope(pb.StartResponse(event=begun)))
        session.attached = response
        self.attached.set()
        if session.running is None:
            session.running = asyncio.create_task(session.run())
        async with session.turned:
            await session.turned.wait_for(lambda: session.status is not None or session.attached is not response)
        if session.attached is not response or not box.machine.alive:  # dropped, or gone: it just breaks off
            if request.transport is not None:
                request.transport.abort()
            return response
        assert session.status is not None
        ended = pb.CommandSessionEvent(end=_end(session.status))
        with contextlib.suppress(ConnectionError):
            await response.write(envelope(pb.StartResponse(event=ended)) + ending())
        return response

    async def send_input(self, request: web.Request, box: Box) -> web.StreamResponse:
        asked = pb.SendInputRequest.FromString(await request.read())
        session = box.sessions.get(asked.session.session_uuid)
        if session is None or session.status is not None:
            return fault("not_found", "no such session")
        if asked.input_uuid not in session.inputs:
            session.inputs.add(asked.input_uuid)
            assert session.process.stdin is not None
            with contextlib.suppress(ConnectionError):
                session.process.stdin.write(asked.input.stdin)
                await session.process.stdin.drain()
        return _answer(pb.SendInputResponse())

    async def send_signal(self, request: web.Request, box: Box) -> web.StreamResponse:
        asked = pb.SendSignalRequest.FromString(await request.read())
        session = box.sessions.get(asked.session.session_uuid)
        if session is None or session.status is not None:
            return fault("not_found", "no such session")
        with contextlib.suppress(ProcessLookupError):
            session.process.send_signal(asked.signal)
        return _answer(pb.SendSignalResponse())

    # From the thread of a test --------------------------------------------------------------------------------------

    def clear(self) -> None:
        super().clear()
        WARNINGS.setLevel(logging.NOTSET)

    def vanish(self, machine: Machine) -> None:
        WARNINGS.setLevel(logging.ERROR)
        super().vanish(machine)

    def break_connections(self) -> None:
        """Every stream breaks off, as where a gateway is restarted; `attached` is set when somebody comes back."""
        sessions = [session for box in self.boxes.values() for session in box.sessions.values()]
        assert self._loop is not None
        self.attached.clear()
        WARNINGS.setLevel(logging.ERROR)
        for session in sessions:
            asyncio.run_coroutine_threadsafe(session.detach(), self._loop).result()


def home() -> str:
    """A folder with one certificate in it."""
    folder = tempfile.mkdtemp(prefix="rlm-fake-home-")
    certificate, end, _ = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----")
    Path(folder, "certificate.pem").write_text(certificate + end + "\n")
    return folder


async def _failed(request: web.Request, code: str, message: str) -> web.StreamResponse:
    """As the answer to a call, or as the end of a stream."""
    if request.content_type != "application/connect+proto":
        return fault(code, message)
    response = web.StreamResponse(headers={"Content-Type": "application/connect+proto"})
    await response.prepare(request)
    await response.write(ending(error={"code": code, "message": message}))
    return response


def _answer(message: Any) -> web.Response:
    return web.Response(body=message.SerializeToString(), content_type="application/proto")


def _end(status: int) -> Any:
    if status >= 0:
        return pb.CommandSessionEvent.EndEvent(exit_code=status, exited=True, status=f"exit status {status}")
    how = f"signal: {signal.Signals(-status).name.removeprefix('SIG').lower()}"
    return pb.CommandSessionEvent.EndEvent(exit_code=128 - status, exited=False, status=how, error=how)


Fake = FakePrime
