"""Modal's control plane and command router on this machine, as far as sandboxes need them, over Modal's own gRPC.

The server base classes are those that the SDK ships, so the protocol is Modal's; the sandboxes are real processes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpclib import GRPCError, Status
from grpclib.server import Server
from modal_proto import api_grpc, api_pb2, task_command_router_grpc
from modal_proto import task_command_router_pb2 as router_pb2

from clouds._machine import Cloud, Machine

ID, SECRET = "ak-fake", "as-fake"
WRITE = 2 << 20
ARGV = 65_536
PIECE = 64 << 10


def token() -> str:
    """A JWT as far as a client looks at it."""
    parts = ({"alg": "none"}, {"exp": time.time() + 3600, "jti": secrets.token_hex(4)})
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join((*coded, "x"))


class Exec:
    """A process, with what it has written so far, which can be read from any offset."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.written = 0
        self.output = {1: bytearray(), 2: bytearray()}
        self.changed = asyncio.Condition()
        self.open = {1, 2}
        self.stdin = asyncio.Lock()
        self.readers = [
            asyncio.create_task(self._collect(1, process.stdout)),
            asyncio.create_task(self._collect(2, process.stderr)),
        ]

    async def _collect(self, number: int, source: asyncio.StreamReader) -> None:
        try:
            while data := await source.read(PIECE):
                async with self.changed:
                    self.output[number] += data
                    self.changed.notify_all()
        finally:
            async with self.changed:
                self.open.discard(number)
                self.changed.notify_all()

    async def read(self, number: int, offset: int) -> AsyncIterator[bytes]:
        while True:
            async with self.changed:
                while offset >= len(self.output[number]) and number in self.open:
                    await self.changed.wait()
                data = bytes(self.output[number][offset : offset + PIECE])
            if not data:
                return
            yield data
            offset += len(data)


class Box:
    """A sandbox: its machine, which the command router calls a task."""

    def __init__(self, definition: Any, machine: Machine) -> None:
        self.definition = definition
        self.machine = machine
        self.id = f"sb-{secrets.token_hex(8)}"
        self.task = f"ta-{secrets.token_hex(8)}V"
        self.jwt = token()
        self.execs: dict[str, Exec] = {}


def _served(base: type) -> type:
    """The base class with an honest answer to every call that the fake does not have."""

    def missing(name: str) -> Any:
        async def answer(self: Any, stream: Any) -> None:
            raise GRPCError(Status.UNIMPLEMENTED, f"the fake has no {name}")

        return answer

    return type(base.__name__, (base,), {name: missing(name) for name in base.__abstractmethods__})


def _variables(sources: Any) -> dict[str, str]:
    return {name: value for source in sources for name, value in source.env.contents.items()}


class Control(_served(api_grpc.ModalClientBase)):  # type: ignore[misc]
    def __init__(self, fake: FakeModal) -> None:
        self.fake = fake

    async def _request(self, stream: Any, *, token: bool = False) -> Any:
        request = await stream.recv_message()
        given = (stream.metadata.get("x-modal-token-id"), stream.metadata.get("x-modal-token-secret"))
        if given != (ID, SECRET):
            raise GRPCError(Status.UNAUTHENTICATED, "Token ID is invalid")
        if token and stream.metadata.get("x-modal-auth-token") not in self.fake.tokens:
            raise GRPCError(Status.UNAUTHENTICATED, "no auth token")
        return request

    async def AuthTokenGet(self, stream: Any) -> None:
        await self._request(stream)
        self.fake.tokens.add(made := token())
        await stream.send_message(api_pb2.AuthTokenGetResponse(token=made))

    async def AppGetOrCreate(self, stream: Any) -> None:
        request = await self._request(stream)
        self.fake.apps.append(request.app_name)
        await stream.send_message(api_pb2.AppGetOrCreateResponse(app_id="ap-fake"))

    async def EnvironmentGetOrCreate(self, stream: Any) -> None:
        await self._request(stream)
        settings = api_pb2.EnvironmentSettings(image_builder_version="2025.06")
        metadata = api_pb2.EnvironmentMetadata(name="main", settings=settings)
        await stream.send_message(api_pb2.EnvironmentGetOrCreateResponse(environment_id="en-fake", metadata=metadata))

    async def ImageGetOrCreate(self, stream: Any) -> None:
        request = await self._request(stream)
        self.fake.images.append(list(request.image.dockerfile_commands))
        done = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
        await stream.send_message(api_pb2.ImageGetOrCreateResponse(image_id="im-fake", result=done))

    async def SandboxCreateV2(self, stream: Any) -> None:
        request = await self._request(stream, token=True)
        machine = await self.fake.machine(_variables(request.secret_sources))
        box = Box(request.definition, machine)
        self.fake.boxes[box.id] = box
        await stream.send_message(api_pb2.SandboxCreateV2Response(sandbox_id=box.id, task_id=box.task))

    async def SandboxGetCommandRouterAccess(self, stream: Any) -> None:
        request = await self._request(stream, token=True)
        box = self.fake.box(request.sandbox_id)
        await stream.send_message(api_pb2.SandboxGetCommandRouterAccessResponse(jwt=box.jwt, url=self.fake.url))

    async def SandboxTerminateV2(self, stream: Any) -> None:
        request = await self._request(stream, token=True)
        box = self.fake.box(request.sandbox_id)
        if self.fake.refusing:
            raise GRPCError(Status.FAILED_PRECONDITION, self.fake.refusing)
        await box.machine.destroy()
        await stream.send_message(api_pb2.SandboxTerminateResponse())


class Router(_served(task_command_router_grpc.TaskCommandRouterBase)):  # type: ignore[misc]
    def __init__(self, fake: FakeModal) -> None:
        self.fake = fake

    async def _request(self, stream: Any) -> tuple[Any, Box]:
        request = await stream.recv_message()
        box = next((box for box in self.fake.boxes.values() if box.task == request.task_id), None)
        if box is None or not box.machine.alive:
            raise GRPCError(Status.NOT_FOUND, f"task {request.task_id} not found")
        if stream.metadata.get("authorization") != f"Bearer {box.jwt}":
            raise GRPCError(Status.UNAUTHENTICATED, "a JWT of another sandbox")
        return request, box

    async def _exec(self, stream: Any) -> tuple[Any, Exec]:
        request, box = await self._request(stream)
        if request.exec_id not in box.execs:
            raise GRPCError(Status.NOT_FOUND, f"exec {request.exec_id} not found")
        return request, box.execs[request.exec_id]

    async def TaskExecStart(self, stream: Any) -> None:
        request, box = await self._request(stream)
        argv = list(request.command_args)
        if sum(len(part.encode()) for part in argv) > ARGV:
            raise GRPCError(Status.INVALID_ARGUMENT, f"argv is longer than {ARGV}")
        self.fake.argvs.append(argv)
        try:
            process = await box.machine.start(argv, {**request.env, **_variables(request.secret_sources)})
        except OSError as exc:
            raise GRPCError(Status.INVALID_ARGUMENT, str(exc)) from None
        box.execs[request.exec_id] = Exec(process)
        await stream.send_message(router_pb2.TaskExecStartResponse())

    async def TaskExecStdinWrite(self, stream: Any) -> None:
        request, running = await self._exec(stream)
        if len(request.data) > WRITE:
            raise GRPCError(Status.INVALID_ARGUMENT, f"more than {WRITE} bytes in one write")
        async with running.stdin:
            if request.offset > running.written:
                raise GRPCError(Status.FAILED_PRECONDITION, f"{running.written} bytes were written so far")
            data = request.data[running.written - request.offset :]  # the same again, after a lost answer
            stdin = running.process.stdin
            with contextlib.suppress(ConnectionError):  # a process that has ended
                stdin.write(data)
                await stdin.drain()
            running.written += len(data)
            if request.eof:
                stdin.close()
        await stream.send_message(router_pb2.TaskExecStdinWriteResponse())

    async def TaskExecStdioRead(self, stream: Any) -> None:
        request, running = await self._exec(stream)
        number = 1 if request.file_descriptor == router_pb2.TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDOUT else 2
        async for data in running.read(number, request.offset):
            await stream.send_message(router_pb2.TaskExecStdioReadResponse(data=data))

    async def TaskExecWait(self, stream: Any) -> None:
        _, running = await self._exec(stream)
        status = await running.process.wait()
        how = {"signal": -status} if status < 0 else {"code": status}
        await stream.send_message(router_pb2.TaskExecWaitResponse(**how))


class FakeModal(Cloud):
    """Modal, on a port of this machine's loopback."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes: dict[str, Box] = {}
        self.tokens: set[str] = set()
        self.apps: list[str] = []
        self.images: list[list[str]] = []
        self.argvs: list[list[str]] = []
        self.url = ""

    @property
    def variables(self) -> dict[str, str]:
        return {"MODAL_TOKEN_ID": ID, "MODAL_TOKEN_SECRET": SECRET, "MODAL_SERVER_URL": self.url}

    def box(self, sandbox_id: str) -> Box:
        if sandbox_id not in self.boxes:
            raise GRPCError(Status.NOT_FOUND, f"sandbox {sandbox_id} not found")
        return self.boxes[sandbox_id]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        server = Server([Control(self), Router(self)])
        await server.start("127.0.0.1", 0)
        assert server._server is not None
        self.url = f"http://127.0.0.1:{server._server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            await self.destroy()
            server.close()
            await server.wait_closed()


Fake = FakeModal
