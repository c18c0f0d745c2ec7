"""A root directory of the session's own: what a cell may read, bound read-only, and memory to write to. Nothing else is
there."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any

from . import system
from .system import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = (
    "alternatives",
    "fonts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)
NETWORK = ("gai.conf", "host.conf", "hosts", "nsswitch.conf", "protocols", "resolv.conf", "services", "pki")
DEVICES = ("null", "full", "random", "urandom")
ZEROS = 1 << 40
"""Bytes that can be read from what stands for /dev/zero: a file without contents. Mapped, the device itself is memory
that counts for no process."""
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
PROC = ("self", "cpuinfo", "meminfo", "stat", "loadavg", "uptime", "version", "filesystems")
BASES = ("/sys", "/mnt", "/srv", "/media", "/opt")


def readable(plan: dict[str, Any]) -> list[str]:
    """What may be read where the host's own root is used."""
    etc = ETC + (NETWORK if plan["network"] else ())
    return [
        *SYSTEM,
        *plan["read"],
        *("/etc/" + name for name in etc),
        *("/dev/" + name for name in DEVICES),
        *("/proc/" + name for name in PROC),
    ]


def writable(plan: dict[str, Any], own: bool) -> list[str]:
    paths = [plan["folder"], *plan["write"], *("/dev/" + name for name in DEVICES)]
    return [*paths, "/tmp", "/dev/shm"] if own else paths


def change(plan: dict[str, Any], uid: int) -> None:
    """Leave the host's root for good. The folder of the session is `plan["folder"]`, and is /tmp too."""
    system.call("unshare", system.CLONE_NEWNS)
    system.mount("none", "/", "none", MS_REC | MS_PRIVATE)
    sources = [*plan["read"], *plan["write"]]
    base = next(
        b
        for b in BASES
        if os.path.isdir(b) and not any((os.path.realpath(s) + "/").startswith(b + "/") for s in sources)
    )
    system.mount("tmpfs", base, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=8m,nr_inodes=20k")
    os.mkdir(base + "/tmp")
    os.makedirs(base + "/dev/shm")
    _memory(base, plan["limits"]["disk"], uid)
    _system(base, plan, uid)
    _devices(base)
    for path in sorted(plan["read"]):
        _bind(path, base, True)
    for path in sorted(plan["write"]):
        _bind(path, base, False)
    _folder(base, plan["folder"], uid)
    os.mkdir(base + "/proc", 0o755)
    os.chdir(base)
    system.mount("none", base, "none", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def mount_proc() -> None:
    """After `change`, in a PID namespace: there, it shows the session's own processes only. Read-only, because
    a cell that is root, without any capability, may still write what is root's in /proc/sys."""
    system.mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)


def enter() -> None:
    """The last step of `change`: the host's root is out of reach from here on."""
    system.syscall(system.PIVOT_ROOT[system.MACHINE], ctypes.c_char_p(b"."), ctypes.c_char_p(b"."))
    system.call("umount2", b".", system.MNT_DETACH)
    os.chdir("/")


def _memory(base: str, size: int, uid: int) -> None:
    """Files that are written are in memory, of one size for both of the places."""
    system.mount("tmpfs", base + "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, f"mode=0755,size={size},nr_inodes=200k")
    for name in ("tmp", "shm"):
        os.mkdir(f"{base}/tmp/{name}", 0o700)
        if uid != os.geteuid():
            os.chown(f"{base}/tmp/{name}", uid, uid)
    system.mount(base + "/tmp/shm", base + "/dev/shm", "none", MS_BIND)
    system.mount(base + "/tmp/tmp", base + "/tmp", "none", MS_BIND)


def _system(base: str, plan: dict[str, Any], uid: int) -> None:
    gid = uid if uid != os.geteuid() else os.getegid()
    for path in SYSTEM:
        if os.path.islink(path):
            os.symlink(os.readlink(path), base + path)
        elif os.path.isdir(path):
            _bind(path, base, True)
    os.makedirs(base + "/etc/ssl", 0o755)
    for name in ETC + (NETWORK if plan["network"] else ()):
        _bind("/etc/" + name, base, True)
    _write(
        base + "/etc/passwd",
        f"root:x:0:0::/:/bin/sh\ncell:x:{uid}:{gid}::{plan['folder']}:/bin/sh\n",
    )
    _write(base + "/etc/group", f"root:x:0:\ncell:x:{gid}:\n")
    if not plan["network"]:
        _write(base + "/etc/hosts", "127.0.0.1 localhost\n")


def _devices(base: str) -> None:
    for name in DEVICES:
        _write(base + "/dev/" + name, "")
        system.mount("/dev/" + name, base + "/dev/" + name, "none", MS_BIND)
    _write(base + "/dev/zero", "")
    os.chmod(base + "/dev/zero", 0o444)
    os.truncate(base + "/dev/zero", ZEROS)
    for name, target in LINKS.items():
        os.symlink(target, base + "/dev/" + name)


def _folder(base: str, folder: str, uid: int) -> None:
    os.makedirs(base + folder, 0o700, exist_ok=True)
    if os.path.dirname(folder) != "/tmp":
        os.chmod(base + folder, 0o700)
        system.mount(base + "/tmp", base + folder, "none", MS_BIND)
    elif uid != os.geteuid():
        os.chown(base + folder, uid, uid)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _bind(path: str, base: str, read_only: bool) -> None:
    source = os.path.realpath(path)
    target = base + os.path.normpath(path)
    if os.path.isdir(source):
        os.makedirs(target, 0o755, exist_ok=True)
    elif os.path.exists(source):
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        if not os.path.exists(target):
            _write(target, "")
    else:
        return
    system.mount(source, target, "none", MS_BIND | MS_REC)
    _restrict(target, (MS_RDONLY if read_only else 0) | MS_NOSUID | MS_NODEV)


def _restrict(target: str, flags: int) -> None:
    attributes = struct.pack("QQQQ", flags, 0, 0, 0)  # these three flags are the same numbers in both calls
    try:
        system.syscall(system.MOUNT_SETATTR, -100, os.fsencode(target), 0x8000, ctypes.c_char_p(attributes), 32)
    except OSError:  # before Linux 5.12: one mount at a time, keeping what it has
        with open("/proc/self/mountinfo", "rb") as file:
            points = [line.split()[4].decode("unicode_escape") for line in file]
        for point in points:
            if point == target or point.startswith(target + "/"):
                kept = os.statvfs(point).f_flag & 0x40F
                system.mount("none", point, "none", MS_REMOUNT | MS_BIND | kept | flags)
