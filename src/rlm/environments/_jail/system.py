"""The system calls of Linux that Python has no function for, by way of ctypes."""

from __future__ import annotations

import ctypes
import os
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
CAP_SETUID, CAP_SYS_ADMIN = 7, 21

MACHINE = os.uname().machine
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
# These numbers are the same on every machine.
PIDFD_OPEN, CLOSE_RANGE, MOUNT_SETATTR = 434, 436, 442

_libc: Any = ctypes.CDLL(None, use_errno=True)


def call(name: str, *args: Any) -> int:
    """A function of C's library. Raises OSError."""
    return _checked(name, getattr(_libc, name)(*args))


def syscall(number: int, *args: Any) -> int:
    """A system call by its number. Raises OSError."""
    plain = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return _checked(f"system call {number}", _libc.syscall(ctypes.c_long(number), *plain))


def _checked(name: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def prctl(option: int, *args: Any) -> int:
    plain = [ctypes.c_ulong(arg) if isinstance(arg, int) else arg for arg in args]
    return call("prctl", option, *plain, *[ctypes.c_ulong(0)] * (4 - len(plain)))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        kind.encode(),
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )


def capabilities() -> int:
    """Of this process, as a set of bits."""
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"CapEff:"):
                return int(line.split()[1], 16)
    return 0


def has(capability: int) -> bool:
    return bool(capabilities() >> capability & 1)


def bound_capabilities() -> None:
    """No program that is started from here on gives any; to be called while there is still a capability to do so."""
    for number in range(64):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError:  # a number that this kernel does not know, or not permitted: no_new_privs does it too
            return


def drop_capabilities() -> None:
    prctl(PR_CAP_AMBIENT, 4)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    call("capset", header, (ctypes.c_uint32 * 6)())


def close_from(lowest: int) -> None:
    try:
        syscall(CLOSE_RANGE, lowest, 0xFFFFFFFF, 0)
    except OSError:
        os.closerange(lowest, os.sysconf("SC_OPEN_MAX"))
