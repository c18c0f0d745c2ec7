"""The warm parent: imports once what every session needs, and forks for each of them. Ends with the host.

One thread, an environment that is empty, nothing of the host's memory; its requests come as messages with two
descriptors.
"""

from __future__ import annotations

import array
import binascii
import gc
import importlib
import json
import marshal
import os
import select
import signal
import socket
import sys
import zlib
from typing import Any

from . import root, session, system

WARM = (
    "ast asyncio base64 bisect builtins codecs collections contextlib contextvars copy dataclasses datetime decimal "
    "enum faulthandler fcntl functools importlib.machinery inspect io itertools json keyword linecache marshal math "
    "operator os pickle queue random re reprlib select shutil signal socket string struct subprocess tempfile textwrap "
    "threading time token tokenize traceback types typing unicodedata warnings weakref zlib"
)
LARGEST = 1 << 17

DEPENDENTS = {
    "pid": ("mount", "proc"),
    "mount": ("pid", "proc"),
    "user": ("network", "ipc", "names", "cgroups", "pid", "mount", "proc"),
}


class Parent:
    def __init__(self, control: int, host: int) -> None:
        self._socket = socket.socket(fileno=control)
        self._alive, self._life = os.pipe()
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        wake, waking = os.pipe()
        for fd in (wake, waking):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._wake = wake
        self._poll.register(wake, select.POLLIN)
        self._host = -1
        try:  # the host's forks may hold the socket open after it has ended
            self._host = system.syscall(system.PIDFD_OPEN, host, 0)
            self._poll.register(self._host, select.POLLIN)
        except OSError:
            pass
        self._gone = os.getppid() != host
        self._probed: dict[str, tuple[set[str], dict[str, str]]] = {}

    def serve(self) -> dict[str, Any] | None:
        """Until the host ends. Returns also in each session's process, with its plan."""
        while not self._gone:
            ready = [fd for fd, _ in self._poll.poll()]
            if self._host in ready:
                break
            if self._wake in ready:
                os.read(self._wake, 4096)
                _reap(os.WNOHANG)
            if self._socket.fileno() not in ready:
                continue
            data, fds = self._receive()
            if not data:
                break
            if len(fds) != 2:  # more are open than may be: the host sees their end
                for fd in fds:
                    os.close(fd)
                continue
            plan = self._take(_with_own(json.loads(data)), *fds)
            if plan is not None:
                return plan
        os.close(self._life)
        signal.set_wakeup_fd(-1)
        _reap(0)
        return None

    def _receive(self) -> tuple[bytes, list[int]]:
        fds = array.array("i")
        data, ancillary, _, _ = self._socket.recvmsg(LARGEST, socket.CMSG_LEN(8))
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        return data, list(fds)

    def _take(self, plan: dict[str, Any], wire: int, control: int) -> dict[str, Any] | None:
        try:
            try:
                layers, missing = self._layers(plan)
                session.tell(control, missing=missing)
                if any(name in missing for name in plan["required"]) or self._fork():
                    return None
            except (OSError, RuntimeError) as exc:  # the next may start, and those that run must not end with this one
                session.tell(control, failed=["", str(exc)])
                return None
            return session.start(plan, layers, wire, control, self._alive)
        finally:
            os.close(wire) if _is_open(wire) else None
            os.close(control) if _is_open(control) else None

    def _fork(self) -> int:
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            for fd in (self._life, self._wake, self._host, self._socket.detach()):
                if fd >= 0:
                    os.close(fd)
        return pid

    # Which layers there are -----------------------------------------------------------------------------------------

    def _layers(self, plan: dict[str, Any]) -> tuple[set[str], dict[str, str]]:
        """What of the wanted layers can be had here, found out by trying, once; and why the others cannot."""
        key = json.dumps([plan["layers"], plan["read"], plan["write"], plan["network"]])
        if key not in self._probed:
            layers, missing = _expected(set(plan["layers"]), plan)
            while layers:
                failed = self._try(plan, layers)
                if failed is None:
                    break
                name, why = failed
                for lost in (name, *DEPENDENTS.get(name, ())):
                    if lost in layers:
                        layers.discard(lost)
                        missing[lost] = why
                if name not in missing:
                    raise RuntimeError(why)
            if "processes" in layers and not ("uid" in layers or ("user" in layers and os.geteuid())):
                layers.discard("processes")
                missing["processes"] = "the kernel counts the processes of a session only for a user id of its own"
            self._probed[key] = layers, missing
        return self._probed[key]

    def _try(self, plan: dict[str, Any], layers: set[str]) -> tuple[str, str] | None:
        ours, theirs = socket.socketpair()
        wire = os.open(os.devnull, os.O_RDWR)
        pid = self._fork()
        if not pid:
            ours.close()
            tried = {**plan, "probe": True, "folder": plan["folder"] + "-probe"}
            session.start(tried, layers, wire, theirs.detach(), self._alive)
        os.close(wire)
        theirs.close()
        said = b""
        while True:
            data = ours.recv(65536)
            if not data:
                break
            said += data
        ours.close()
        messages = [json.loads(line) for line in said.splitlines()]
        failed = next((m["failed"] for m in messages if "failed" in m), None)
        if failed is None and not any("layers" in m for m in messages):
            failed = ["", f"a session could not be tried: {said!r}"]
        return None if failed is None else (failed[0], failed[1])


def _expected(layers: set[str], plan: dict[str, Any]) -> tuple[set[str], dict[str, str]]:
    """Without what is of no use here."""
    missing: dict[str, str] = {}
    if os.geteuid():
        layers.discard("uid")
    else:
        if system.has(system.CAP_SYS_ADMIN):
            layers.discard("user")
        if plan["write"] or not system.has(system.CAP_SETUID):
            layers.discard("uid")
    if plan["network"]:
        layers.discard("network")
    return layers, missing


def _with_own(plan: dict[str, Any]) -> dict[str, Any]:
    """This interpreter, and its packages where it looks for them, are among what may be read."""
    own = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    own.update(entry for entry in sys.path if os.path.basename(entry) in ("site-packages", "dist-packages"))
    wanted = sorted({os.path.abspath(path) for path in own | set(plan["read"])} - {"/"})
    inside = (*root.SYSTEM, *wanted)
    plan["read"] = [p for p in wanted if p not in root.SYSTEM and not any(p.startswith(q + "/") for q in inside)]
    return plan


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _reap(flags: int) -> None:
    try:
        while os.waitpid(-1, flags)[0]:
            pass
    except ChildProcessError:
        return


def _warm(modules: int) -> None:
    """What every session imports: of the standard library, and the worker's own, which come by a file descriptor."""
    for name in WARM.split():
        __import__(name)
    with open(modules, "rb") as file:
        found = marshal.loads(zlib.decompress(binascii.a2b_base64(file.read())))
    loader: dict[str, Any] = {}
    exec(found["sources"]["loader"], loader)
    loader["install"](found)
    for name in found["sources"]:
        if "ipython" not in name:  # which needs what only some sessions have
            importlib.import_module(found["package"] + "." + name)


def main(control: int, host: int, modules: int) -> dict[str, Any] | None:
    """The plan of a session in its process; None when the host has ended."""
    _warm(modules)
    parent = Parent(control, host)
    gc.collect()
    gc.freeze()
    plan = parent.serve()
    if plan is not None:
        session.forget()
        sys.path[:] = [entry for entry in sys.path if not entry.endswith("environments")]
    return plan
