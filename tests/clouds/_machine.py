"""What stands behind a fake of a cloud: a folder, and real processes in it, that all end with it.

Its processes see what the provider's API was told to give them and nothing else of this machine's environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Self

MARK = "FAKE_MACHINE"
OPEN_FILES = 1 << 20
"""Bytes that a stream of a process may hold unread."""


class Machine:
    """One sandbox. A bare one has no Python."""

    def __init__(self, env: Mapping[str, str], *, bare: bool = False) -> None:
        self.name = secrets.token_hex(8)
        self.folder = Path(tempfile.mkdtemp(prefix="rlm-fake-"))
        self.alive = True
        self.processes: dict[int, Process] = {}
        (self.folder / "bin").mkdir()
        (self.folder / "tmp").mkdir()
        # Not the venv's interpreter, but what is under it: the sandbox has no packages of ours.
        if bare:
            (self.folder / "bin" / "sh").symlink_to("/bin/sh")
        else:
            (self.folder / "bin" / "python3").symlink_to(os.path.realpath(sys.executable))
        self.env = {
            "PATH": f"{self.folder}/bin" + ("" if bare else ":/usr/local/bin:/usr/bin:/bin"),
            "HOME": str(self.folder),
            "TMPDIR": f"{self.folder}/tmp",
            "LANG": "C.UTF-8",
            MARK: self.name,
            **env,
        }

    async def start(self, argv: Sequence[str], env: Mapping[str, str] | None = None, *, stdin: bool = True) -> Process:
        """Raises `OSError` when there is no such program."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=self.folder,
            env={**self.env, **(env or {})},
            limit=OPEN_FILES,
            start_new_session=True,
        )
        self.processes[process.pid] = process
        return process

    def path(self, inside: str) -> Path:
        """Where a path inside is on this machine."""
        return self.folder / inside.lstrip("/")

    def kill(self) -> None:
        """Every process, also one that left its group: a container would end them all."""
        self.alive = False
        for number in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def members(self) -> list[int]:
        if not Path("/proc/self/environ").exists():
            return [number for number, process in self.processes.items() if process.returncode is None]
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._owns(entry)]

    def _owns(self, entry: Path) -> bool:
        try:
            return f"{MARK}={self.name}".encode() in (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is somebody else's
            return False

    async def destroy(self) -> None:
        while self.folder.exists():
            self.kill()
            for process in self.processes.values():
                await process.wait()
            if not self.members():
                shutil.rmtree(self.folder, ignore_errors=True)


class Cloud:
    """What a fake has in common with the others: its machines, and what a test may do to it from another thread.

    `bare`: machines are made without Python. `refusing`: why the service does not end a sandbox, "" where it does.
    """

    name = ""

    def __init__(self) -> None:
        self.machines: list[Machine] = []
        self.bare = False
        self.refusing = ""
        self.asked = threading.Event()
        self._gate = asyncio.Event()
        self._gate.set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def machine(self, env: Mapping[str, str]) -> Machine:
        """A new one, when the gate is open."""
        self.asked.set()
        await self._gate.wait()
        self.machines.append(Machine(env, bare=self.bare))
        return self.machines[-1]

    def living(self) -> list[Machine]:
        return [machine for machine in self.machines if machine.alive]

    async def destroy(self) -> None:
        for machine in self.machines:
            await machine.destroy()

    # From the thread of a test --------------------------------------------------------------------------------------

    def hold(self) -> None:
        """From here on, making a sandbox takes until `release`."""
        self.asked.clear()
        self._call(self._gate.clear)

    def release(self) -> None:
        self._call(self._gate.set)

    def vanish(self, machine: Machine) -> None:
        """As when its time is up."""
        self._call(machine.kill)

    def clear(self) -> None:
        """No machine is left, and none is remembered."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self.destroy(), self._loop).result()
        self.machines.clear()

    def _call(self, work: Callable[[], None]) -> None:
        assert self._loop is not None
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (work(), done.set()))
        done.wait()

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """On a thread of its own."""
        ready, over = threading.Event(), asyncio.Event()

        async def run() -> None:
            self._loop = asyncio.get_running_loop()
            async with self.serving():
                ready.set()
                await over.wait()

        thread = threading.Thread(target=lambda: asyncio.run(run()), name="fake", daemon=True)
        thread.start()
        ready.wait()
        try:
            yield self
        finally:
            self._call(over.set)
            thread.join()

    def serving(self) -> AbstractAsyncContextManager[None]:
        raise NotImplementedError
