"""A session's process on Linux: asked of the warm parent, with its supervisor on a second socket."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from rlm.environments._isolation import Protections
from rlm.environments._zygote import PATIENCE, Zygote, Zygotes
from rlm.errors import SandboxError, SetupError

READ_SIZE: Final = 1 << 18
BEFORE_START: Final = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "GLIBC_", "TZ")
"""Beginnings of the variables that an interpreter reads before any code of ours can set them."""

_zygotes: Final = Zygotes()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the warm parent is told of a session."""

    python: tuple[str, ...]
    layers: tuple[str, ...]
    required: tuple[str, ...]
    read: tuple[str, ...]
    write: tuple[str, ...]
    network: bool
    limits: Mapping[str, int | None]
    variables: Callable[[str], Mapping[str, str]]


class WalledStream:
    """`control` goes to the supervisor: what it says on it, and orders of one letter."""

    byte_clean = True

    def __init__(
        self, wire: socket.socket, control: socket.socket, recipe: Recipe, parent: Zygote, knows_modules: bool
    ) -> None:
        self.knows_modules = knows_modules
        self._parent = parent
        self._recipe = recipe
        self._wire = wire
        self._control = control
        self._said: dict[str, Any] = {}
        self._over = asyncio.Event()
        self._started = asyncio.Event()
        self._interrupted = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._wire, data)

    async def receive(self) -> bytes:
        try:
            data = await asyncio.get_running_loop().sock_recv(self._wire, READ_SIZE)
        except ConnectionError:  # it ended with bytes of ours unread
            data = b""
        if not data:
            await self.protections()
        return data

    async def interrupt(self) -> None:
        """Waits until it was sent to the cells: on its way for longer, it would hit the next one."""
        if self._over.is_set():
            return
        self._interrupted.clear()
        self._order(b"I")
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._interrupted.wait()

    async def kill(self) -> None:
        """All of it; `gone` waits until it is."""
        self._order(b"K")

    def _order(self, letter: bytes) -> None:
        try:
            self._control.send(letter)
        except OSError:  # it has ended, or has more orders than it can read
            return

    async def _listen(self) -> None:
        loop, buffer = asyncio.get_running_loop(), b""
        try:
            while data := await loop.sock_recv(self._control, 65_536):
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self._said.update(json.loads(line))
                if self._said.pop("interrupted", False):
                    self._interrupted.set()
                if "layers" in self._said or "failed" in self._said:
                    self._started.set()
        except ConnectionError:
            pass
        finally:
            self._started.set()
            self._interrupted.set()
            self._over.set()

    async def protections(self) -> Protections:
        """Once the walls stand. Raises SetupError, or SandboxError, where they do not."""
        recipe = self._recipe
        await self._started.wait()
        missing = self._said.get("missing", {})
        if lacking := [name for name in recipe.required if name in missing]:
            reasons = "; ".join(f"{name}: {missing[name]}" for name in lacking)
            raise SetupError(f'isolation="strict" is not to be had on this machine ({reasons}): use docker')
        if "failed" in self._said:
            layer, why = self._said["failed"]
            raise SandboxError(f"the process could not be started{f' ({layer})' if layer else ''}: {why}")
        if "layers" not in self._said:
            raise SandboxError(f"the process could not be started: its warm parent ended. {self._parent.words()}")
        layers = frozenset(self._said["layers"])
        return Protections(layers=layers, missing=missing, network_allowed=recipe.network)

    async def ended(self) -> str:
        """It has closed its end of the stream, so it is about to end, or of no use any more."""
        try:
            async with asyncio.timeout(1):
                await self._over.wait()
        except TimeoutError:
            return "it closed its connection"
        if "ended" in self._said:
            return str(self._said["ended"])
        if "status" not in self._said:
            return "it was ended"
        code = os.waitstatus_to_exitcode(self._said["status"])
        return f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it exited with status {code}"

    async def gone(self) -> None:
        """End it, and wait until nothing of it is left; a parent that is stuck does not hold up the host."""
        await self.kill()
        await asyncio.wait([self._listening], timeout=PATIENCE)
        self._listening.cancel()
        await asyncio.wait([self._listening])


@asynccontextmanager
async def walled_process(argv: Sequence[str], recipe: Recipe) -> AsyncIterator[WalledStream]:
    folder = _new_folder()
    variables = dict(recipe.variables(folder))
    before = {name: value for name, value in variables.items() if name.startswith(BEFORE_START)}
    program = list(argv)
    own = (*program[:-3], *program[-3:-1]) == (*recipe.python, "-u", "-c")
    plan = {
        "folder": folder,
        "env": variables,
        "layers": recipe.layers,
        "required": recipe.required,
        "read": recipe.read,
        "write": recipe.write,
        "network": recipe.network,
        "limits": recipe.limits,
        **({"code": program[-1]} if own else {"argv": program}),
    }
    wire, wire_end = socket.socketpair()
    control, control_end = socket.socketpair()
    with wire, control:
        for end in (wire, control):
            end.setblocking(False)
        with wire_end, control_end:
            parent = await _ask(recipe.python if own else _this_python(), before, plan, wire_end, control_end)
        stream = WalledStream(wire, control, recipe, parent, own)
        try:
            yield stream
        finally:
            await stream.gone()


def _new_folder() -> str:
    """Made by the supervisor, there or, of that name, in a root of the session's own."""
    return os.path.join(os.path.realpath(tempfile.gettempdir()), f"rlm-{secrets.token_hex(4)}")


async def _ask(python: Sequence[str], env: Mapping[str, str], plan: Mapping[str, Any], *ends: socket.socket) -> Zygote:
    try:
        parent = _zygotes.get(python, env)
        try:
            await parent.start(plan, *ends)
        except ConnectionError:  # it has ended since it was last asked
            parent = _zygotes.get(python, env)
            await parent.start(plan, *ends)
    except OSError as exc:
        raise SandboxError(f"{python[0]} could not be started: {exc}") from exc
    return parent


def _this_python() -> tuple[str, ...]:
    return (sys.executable, "-S", "-s")
