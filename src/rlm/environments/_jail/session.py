"""One session: a supervisor outside, where the kernel allows it an init of a PID namespace, and the process of the
cells.

The supervisor ends all of it when the host says so, is gone, or when the cells' process has ended.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import time
from typing import Any, NoReturn

from . import landlock, limits, root, seccomp, system

LAST = 1.0  # seconds that the init is given to end what it watches
ORDERS = (signal.SIGUSR1, signal.SIGUSR2)
"""To the init: interrupt the cells' process, kill it."""
LOOK_EVERY = 0.25  # seconds between looks at the memory of all its processes
UIDS = (1_900_000_000, 60_000)  # where the user ids of sessions begin that are started by root
NAMESPACES = {
    "network": system.CLONE_NEWNET,
    "ipc": system.CLONE_NEWIPC,
    "names": system.CLONE_NEWUTS,
    "cgroups": system.CLONE_NEWCGROUP,
    "pid": system.CLONE_NEWPID,
}


class LayerError(Exception):
    """A layer that cannot be had: its name, and why."""


def start(plan: dict[str, Any], layers: set[str], wire: int, control: int, alive: int) -> dict[str, Any]:
    """Called in a fresh fork. Returns in the process of the cells, and nowhere else."""
    try:
        return _start(plan, layers, wire, control, alive)
    except BaseException as exc:
        layer, why = exc.args if isinstance(exc, LayerError) else ("", f"{type(exc).__name__}: {exc}")
        tell(control, failed=[layer, str(why)])
        os._exit(1)


def _start(plan: dict[str, Any], layers: set[str], wire: int, control: int, alive: int) -> dict[str, Any]:
    os.setsid()
    uid = _free_uid() if "uid" in layers else os.geteuid()
    if "mount" not in layers:
        os.mkdir(plan["folder"], 0o700)
        os.chown(plan["folder"], uid, -1)
    if "user" in layers:
        _layer("user", _own_users)
    for name, flag in NAMESPACES.items():
        if name in layers:
            _layer(name, system.call, "unshare", flag)
    if "names" in layers:  # a new namespace has the machine's
        _layer("names", system.call, "sethostname", b"cell", 4)
    if "pid" not in layers:
        system.prctl(system.PR_SET_CHILD_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, ORDERS)  # an init that has no handler yet would never see them
    child = os.fork()
    if child:
        os.close(wire)
        _supervise(plan, "pid" in layers, child, control, alive)
    os.close(alive)
    limits.first_to_go()
    if "pid" in layers:
        system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)
        _layer("mount", root.change, plan, uid)
        if "proc" in layers:
            _layer("proc", root.mount_proc)
        _layer("mount", root.enter)
        system.prctl(system.PR_SET_DUMPABLE, 0)  # before there are cells that could trace the init
        cells = os.fork()
        if cells:
            os.close(wire)
            _init(cells, control)
    return _confine(plan, layers, uid, wire, control)


def _layer(name: str, action: Any, *args: Any) -> Any:
    try:
        return action(*args)
    except OSError as exc:
        raise LayerError(name, exc) from None


def _own_users() -> None:
    """A user namespace, in which this user is who they are, and no one else is anyone."""
    uid, gid = os.geteuid(), os.getegid()
    system.call("unshare", system.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open("/proc/self/" + name, "w") as file:
            file.write(text)


def _free_uid() -> int:
    """Of nobody: derived from a process number that is in use for as long as the session is."""
    with open("/proc/self/uid_map") as file:
        highest = max(int(line.split()[0]) + int(line.split()[2]) for line in file)
    first = UIDS[0] if highest > UIDS[0] + (1 << 22) else UIDS[1]
    return first + os.getpid() % (1 << 22 if first == UIDS[0] else 5_000)


# The process of the cells -------------------------------------------------------------------------------------------


def _confine(plan: dict[str, Any], layers: set[str], uid: int, wire: int, control: int) -> dict[str, Any]:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ORDERS)
    os.setsid()
    os.chdir(plan["folder"])
    os.environ.clear()
    os.environ.update(plan["env"])
    os.umask(0o077)
    if "rlimits" in layers:
        _layer("rlimits", limits.apply, plan["limits"], "processes" in layers)
    if "privileges" in layers:
        _layer("privileges", system.prctl, system.PR_SET_NO_NEW_PRIVS, 1)
        system.bound_capabilities()
    if "uid" in layers:
        _layer("uid", _become, uid, plan)
    if "privileges" in layers:
        _layer("privileges", system.drop_capabilities)
    system.prctl(system.PR_SET_DUMPABLE, 1)  # it is its own, whoever it was before
    system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)
    own = "mount" in layers
    if "landlock" in layers:
        read = ["/"] if own else root.readable(plan)
        _layer("landlock", landlock.restrict, read, root.writable(plan, own), plan["network"])
    if "seccomp" in layers:
        children = "processes" in layers or "rlimits" not in layers
        unix = own and "network" in layers
        allowed = seccomp.Allowed(
            children=children,
            unix=unix or plan["network"],
            network=plan["network"],
            uncounted="rlimits" not in layers,
            others="pid" in layers,
        )
        _layer("seccomp", seccomp.install, allowed)
    tell(control, layers=sorted(layers))
    if plan.get("probe"):
        os._exit(0)
    os.close(control)
    for number in (0, 1, 2):
        os.dup2(wire, number)
    system.close_from(3)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return plan


def _become(uid: int, plan: dict[str, Any]) -> None:
    there = [path for path in plan["read"] if os.path.exists(path)]
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    for path in there:
        if not os.access(path, os.R_OK):
            raise OSError(f"{path} may be read by its owner only")


# Those who watch it -------------------------------------------------------------------------------------------------


def _init(cells: int, control: int) -> NoReturn:
    """The first process of a PID namespace: with its end, everything in it ends."""
    signal.signal(signal.SIGUSR1, lambda *_: _interrupt(cells, control))
    signal.signal(signal.SIGUSR2, lambda *_: _kill(cells, signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ORDERS)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == cells:
            tell(control, status=status)
            os._exit(0)


def _supervise(plan: dict[str, Any], own_pids: bool, child: int, control: int, alive: int) -> NoReturn:
    try:
        _watch(plan, own_pids, child, control, alive)
    finally:
        _end(own_pids, child)
        if os.path.islink(plan["folder"]):  # of a cell's that moved it away: what it leads to is not the session's
            os.unlink(plan["folder"])
        elif os.path.isdir(plan["folder"]):
            _remove(plan["folder"])
        os._exit(0)


def _watch(plan: dict[str, Any], own_pids: bool, child: int, control: int, alive: int) -> None:
    try:
        ended = system.syscall(system.PIDFD_OPEN, child, 0)
    except OSError:  # before Linux 5.3
        ended = -1
    poll, stopping = select.poll(), False
    for fd in (control, alive, ended):
        if fd >= 0:
            poll.register(fd, select.POLLIN)
    most = plan["limits"]["memory"] if plan["layers"] else None
    until = 0.0
    while True:
        ready = [fd for fd, _ in poll.poll(LOOK_EVERY * 1000 if most or stopping or ended < 0 else None)]
        if alive in ready or (stopping and time.monotonic() > until):
            return
        if control in ready:
            order = os.read(control, 1)
            stopping = order != b"I"
            if stopping:  # its status may be worth telling: it may have ended by itself meanwhile
                poll.unregister(control)
                until = time.monotonic() + LAST
                os.kill(child, signal.SIGUSR2 if own_pids else signal.SIGKILL)
            elif own_pids:
                os.kill(child, signal.SIGUSR1)
            else:
                _interrupt(child, control)
        if ended in ready or ended < 0:
            if own_pids:  # which has told it; and is not reaped yet, so that its number stays its own
                if os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                    return
            else:
                pid, status = os.waitpid(child, os.WNOHANG)
                if pid:
                    tell(control, status=status)
                    return
        if most and not ready and limits.memory(child) > most:
            tell(control, ended=f"its processes together used more than memory={most:,} bytes")
            return


def _end(own_pids: bool, child: int) -> None:
    """Until none is left. In a PID namespace the kernel sees to that; else all that descends from here is found."""
    if own_pids:
        _kill(child)
        _reap()
        return
    while True:
        for pid in [*limits.tree(os.getpid())][1:]:
            _kill(pid)
        if _reap(os.WNOHANG):
            return
        time.sleep(0.001)


def _interrupt(cells: int, control: int) -> None:
    _kill(cells, signal.SIGINT)
    tell(control, interrupted=True)


def _kill(pid: int, number: int = signal.SIGKILL) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap(flags: int = 0) -> bool:
    """Whether no child is left."""
    try:
        while os.waitpid(-1, flags)[0]:
            pass
    except ChildProcessError:
        return True
    return False


def _remove(folder: str) -> None:
    """What cells made unreadable too; nothing of theirs runs any more."""
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.isdir(folder):
        os.chmod(folder, 0o700)
        for where, folders, _ in os.walk(folder):
            for name in folders:
                if not os.path.islink(os.path.join(where, name)):
                    os.chmod(os.path.join(where, name), 0o700)
        shutil.rmtree(folder, ignore_errors=True)


def tell(control: int, **message: Any) -> None:
    try:
        os.write(control, json.dumps(message).encode("ascii") + b"\n")
    except OSError:  # the host is gone, or no longer listens
        return


def forget() -> None:
    """What this program imported for itself is not there for the cells."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("_jail", "ctypes", "_ctypes")]:
        del sys.modules[name]
