"""What a session of `process` is kept from: the layers that are asked for, those that are active, and what they add up
to."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

LAYERS: Final = (
    "user",
    "uid",
    "mount",
    "proc",
    "pid",
    "network",
    "ipc",
    "names",
    "cgroups",
    "privileges",
    "landlock",
    "seccomp",
    "rlimits",
    "processes",
)
STRICT: Final = ("mount", "proc", "pid", "network", "ipc", "privileges", "seccomp", "rlimits")
"""What `isolation="strict"` does not start without; what else there is comes on top."""


@dataclass(frozen=True, kw_only=True)
class Protection:
    """One thing that a session is kept from: whether it is, by what, and else why not."""

    name: str
    active: bool
    by: tuple[str, ...] = ()
    why_not: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {', '.join(self.by)}" if self.active else f"{self.name}: NO ({self.why_not})"


@dataclass(frozen=True, kw_only=True)
class Protections:
    """What a session is kept from. `layers` are the kernel's mechanisms in use; `missing` says why others are not."""

    layers: frozenset[str] = frozenset()
    missing: Mapping[str, str] = field(default_factory=dict)
    network_allowed: bool = False

    def all(self) -> tuple[Protection, ...]:
        return (
            self._of(
                "reading and writing other files",
                {"mount": "a root of its own", "landlock": "Landlock (contents, not names)"},
            ),
            self._network(),
            self._of("other processes", {"pid": "a PID namespace"}),
            self._of("System V objects and message queues of others", {"ipc": "an IPC namespace"}),
            self._of("new privileges", {"privileges": "no_new_privs, no capabilities", "uid": "a user id of its own"}),
            self._of("dangerous system calls", {"seccomp": "seccomp filter"}),
            self._of("using up memory, CPU, files", {"rlimits": "rlimits, and the supervisor's look at its memory"}),
            self._processes(),
            self._of("outliving the session", {"pid": "a PID namespace"}, "the supervisor finds all that descends"),
        )

    def _of(self, name: str, means: Mapping[str, str], always: str = "") -> Protection:
        by = [text for layer, text in means.items() if layer in self.layers]
        by += [always] if always and not by else []
        why = "; ".join(self.missing.get(layer, "not asked for") for layer in means if layer not in self.layers)
        return Protection(name=name, active=bool(by), by=tuple(by), why_not=why)

    def _network(self) -> Protection:
        name = "the network"
        if self.network_allowed:
            return Protection(name=name, active=False, why_not="allow_network=True")
        return self._of(name, {"network": "a network namespace", "seccomp": "no sockets but Unix ones"})

    def _processes(self) -> Protection:
        name = "starting processes without end"
        if "processes" in self.layers:
            return Protection(name=name, active=True, by=("a limit on processes and threads",))
        if {"seccomp", "rlimits"} <= self.layers:
            return Protection(name=name, active=True, by=("seccomp filter: no child processes at all",))
        return self._of(name, {"processes": ""})


def readable(interpreter_folders: Collection[str], path: Collection[str]) -> list[str]:
    """The interpreter, and of `path` what holds packages: not the folders of the host's own program."""
    folders = {os.path.abspath(folder) for folder in interpreter_folders if folder}
    for entry in path:
        if os.path.basename(entry) in ("site-packages", "dist-packages"):
            folders.add(os.path.abspath(entry))
    return sorted(f for f in folders if not any(f != g and f.startswith(g.rstrip("/") + "/") for g in folders))


def own_interpreter() -> tuple[str, ...]:
    """Where this interpreter and its libraries are."""
    return (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *site.PREFIXES)
