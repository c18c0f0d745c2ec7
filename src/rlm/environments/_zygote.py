"""The host's handle on its warm parents: one for each interpreter and its settings, started when first asked for."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rlm.environments._bootstrap import modules

START: Final = """\
import sys
sys.path.append({folder!r})
import _jail.zygote
plan = _jail.zygote.main({control}, {host}, {modules})
if plan is not None:
    if "argv" in plan:
        import os
        os.execvpe(plan["argv"][0], plan["argv"], plan["env"])
    exec(plan["code"], {{"__name__": "__main__"}})
"""
PATIENCE: Final = 10.0
"""Seconds in which it must have ended its sessions when the host ends."""

_Key = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]


class Zygote:
    """A warm parent; safe to use from any thread and loop."""

    def __init__(self, python: Sequence[str], env: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self._words = os.fdopen(os.memfd_create("rlm-words"), "w+b")
        with theirs, os.fdopen(os.memfd_create("rlm"), "w+b") as file:
            file.write(modules())
            file.seek(0)
            program = START.format(
                folder=str(Path(__file__).parent), control=theirs.fileno(), host=os.getpid(), modules=file.fileno()
            )
            self._process = subprocess.Popen(
                [*python, "-u", "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._words,
                pass_fds=[theirs.fileno(), file.fileno()],
                cwd="/",
                env=dict(env),
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    async def start(self, plan: Mapping[str, Any], *ends: socket.socket) -> None:
        """Ask for a session; it answers on the second of `ends`. Raises OSError where the parent is gone."""
        message = json.dumps(plan).encode("ascii")
        while True:
            try:
                socket.send_fds(self._socket, [message], [end.fileno() for end in ends])
                return
            except BlockingIOError:  # it has as many requests as it can hold
                await asyncio.sleep(0.001)

    def words(self) -> str:
        """The end of what it said on stderr, which is why it ended."""
        size = os.fstat(self._words.fileno()).st_size
        return os.pread(self._words.fileno(), 2_000, max(0, size - 2_000)).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Ends it, and all its sessions."""
        self._socket.close()
        self._words.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:  # its sessions end with it all the same
            self._process.kill()
            self._process.wait()

    def forget(self) -> None:
        """In a fork of the host: it is not this process's."""
        self._socket.close()
        self._words.close()
        self._process.returncode = 0


class Zygotes:
    """Those of this process."""

    def __init__(self) -> None:
        self._known: dict[_Key, Zygote] = {}
        self._lock = threading.Lock()
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):  # not on Windows, where this file is imported and not used
            os.register_at_fork(after_in_child=self._forked)

    def get(self, python: Sequence[str], env: Mapping[str, str]) -> Zygote:
        key = tuple(python), tuple(sorted(env.items()))
        with self._lock:
            found = self._known.get(key)
            if found is None or not found.alive:
                if found is not None:
                    found.close()
                found = self._known[key] = Zygote(python, env)
            return found

    def close(self) -> None:
        with self._lock:
            for zygote in self._known.values():
                zygote.close()
            self._known.clear()

    def _forked(self) -> None:
        self._lock = threading.Lock()
        for zygote in self._known.values():
            zygote.forget()
        self._known.clear()
