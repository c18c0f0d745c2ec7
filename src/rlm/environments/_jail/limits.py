"""What a session may use: limits of the kernel on each process, and a look at the memory of all of them together."""

from __future__ import annotations

import os
import resource
from typing import Any, Iterator

STACKS = 1 << 30
"""Bytes on top of what may be used: a thread's stack counts whole, 8 MB, though it uses next to nothing of it."""


def apply(limits: dict[str, Any], processes: bool) -> None:
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits["disk"],
        resource.RLIMIT_NOFILE: limits["files"],
        resource.RLIMIT_MEMLOCK: 1 << 20,
    }
    if limits["memory"]:
        wanted[resource.RLIMIT_DATA] = limits["memory"] + STACKS
        wanted[resource.RLIMIT_AS] = limits["memory"] + 2 * STACKS
    if limits["cpu"]:
        wanted[resource.RLIMIT_CPU] = limits["cpu"]
    if processes:
        wanted[resource.RLIMIT_NPROC] = limits["processes"]
    for name, number in (("RLIMIT_MSGQUEUE", 0), ("RLIMIT_RTPRIO", 0)):
        if hasattr(resource, name):
            wanted[getattr(resource, name)] = number
    for kind, number in wanted.items():
        hard = resource.getrlimit(kind)[1]
        number = number if hard == resource.RLIM_INFINITY else min(number, hard)
        resource.setrlimit(kind, (number, number))


def first_to_go() -> None:
    """Where memory runs out, this process goes before the host does."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("800")
    except OSError:  # no /proc, or a value that is higher already
        return


def memory(pid: int) -> int:
    """Bytes in use by a process and all below it; shared pages count once, as far as the kernel tells."""
    pids = list(tree(pid))
    rough = sum(_resident(p) for p in pids)
    return rough if len(pids) < 3 or rough < 1 << 28 else sum(_proportional(p) for p in pids)


def tree(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):  # a kernel may be made without
        for child in _children(pid):
            yield from tree(child)
        return
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:  # it has ended
        return
    for task in tasks:
        for number in _read(f"/proc/{pid}/task/{task}/children").split():
            yield from tree(int(number))


def _children(pid: int) -> list[int]:
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    parents = {number: _read(f"/proc/{number}/stat").rpartition(b")")[2].split()[1:2] for number in numbers}
    return [number for number, parent in parents.items() if parent == [b"%d" % pid]]


def _resident(pid: int) -> int:
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * resource.getpagesize() if fields else 0


def _proportional(pid: int) -> int:
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return _resident(pid)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:  # it has ended meanwhile, or may not be looked at
        return b""
