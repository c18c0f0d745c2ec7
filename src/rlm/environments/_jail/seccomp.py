"""The system-call filter: what no cell needs and attacks are made of is refused, and so is all that is newer than this
table.

Refused rather than fatal, so that a program that only asks goes on. A filter of the classic kind, assembled here.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import NamedTuple

from . import system

LOAD, EQUAL, GREATER_OR_EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER, ARCHITECTURE = 0, 4
FIRST_ARGUMENT, SECOND_ARGUMENT, THIRD_ARGUMENT, FOURTH_ARGUMENT = (
    16,
    24,
    32,
    40,
)  # low halves: both machines are little-endian
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000
NEWEST = 467  # numbers from here on are unknown to this table
CLONE3 = 435
CLONE_THREAD = 0x00010000
NAMESPACES = 0x7E020000  # every kind
AF_UNIX = 1
SOL_SOCKET, SO_SNDBUF = 1, 7
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
MAP_SHARED, MAP_ANONYMOUS, MAP_HUGETLB = 0x01, 0x20, 0x40000

# name: (x86_64, aarch64), None where the machine has no such call
COMMON = {
    "clone": (56, 220),
    "fork": (57, None),
    "vfork": (58, None),
    "socket": (41, 198),
    "ioctl": (16, 29),
    "mmap": (9, 222),
    "setsockopt": (54, 208),
}
OF_A_PROCESS = {
    # 0 as the number of a process is the caller's own
    "prlimit64": ((302, 261), (0,)),
    "sched_setparam": ((142, 118), (0,)),
    "sched_setscheduler": ((144, 119), (0,)),
    "sched_setaffinity": ((203, 122), (0,)),
    "sched_setattr": ((314, 274), (0,)),
    "setpriority": ((141, 140), (0, 0)),
    "ioprio_set": ((251, 30), (1, 0)),
}
"""Calls by which one process of a user changes another; with the first arguments that mean the caller itself."""
UNCOUNTED = {"memfd_create": (319, 279), "memfd_secret": (447, 447)}
"""Memory that no process needs to have mapped, so that none is found to use it."""
REFUSED = {
    # others' memory and descriptors
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # other roots and namespaces
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    # large and often broken parts of the kernel
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "modify_ldt": (154, None),
    "vmsplice": (278, 75),
    "personality": (135, 92),
    # kept by the kernel for no process, and, of the same user, shared with the host where there is no namespace
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # the machine
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18),
}


class Allowed(NamedTuple):
    """What a filter lets through beside what it always does."""

    children: bool
    unix: bool
    """Sockets of this machine; `network`: of any kind."""
    network: bool
    uncounted: bool
    """Memory that counts for no process."""
    others: bool
    """Settings of other processes."""


def supported() -> bool:
    return system.MACHINE in ARCHITECTURES


def install(allowed: Allowed) -> None:
    """For this process and all it starts.

    Raises:
        OSError: the kernel has no filters, or this machine's calls are not in the table.
    """
    if not supported():
        raise OSError(errno.ENOSYS, "no table of system calls for " + system.MACHINE)
    program = assemble(system.MACHINE, allowed)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    system.prctl(system.PR_SET_SECCOMP, 2, ctypes.create_string_buffer(header, len(header)))


def assemble(machine: str, allowed: Allowed) -> bytes:
    column = 0 if machine == "x86_64" else 1
    lines = [
        _line(LOAD, ARCHITECTURE),
        _line(EQUAL, ARCHITECTURES[machine], 1, 0),
        _line(RETURN, KILL),
        _line(LOAD, NUMBER),
        _line(GREATER_OR_EQUAL, NEWEST, 0, 1),  # x32's numbers are among these
        _refuse(errno.ENOSYS),
        *_on(CLONE3, [_refuse(errno.ENOSYS)]),  # its flags cannot be seen; everybody goes on with `clone`
    ]
    for numbers in [*REFUSED.values(), *([] if allowed.uncounted else UNCOUNTED.values())]:
        if numbers[column] is not None:
            lines += _on(numbers[column], [_refuse(errno.EPERM)])
    number = {name: numbers[column] for name, numbers in COMMON.items()}
    lines += _on(number["clone"], [_line(LOAD, FIRST_ARGUMENT), *_clone(allowed.children)])
    if not allowed.children:
        for name in ("fork", "vfork"):
            lines += _on(number[name], [_refuse(errno.EAGAIN)])
    if not allowed.network:
        unix_line = _line(EQUAL, AF_UNIX, 0, 1) if allowed.unix else _line(EQUAL, 0xFFFFFFFF, 0, 1)
        rules = [_line(LOAD, FIRST_ARGUMENT), unix_line, _line(RETURN, ALLOW), _refuse(errno.EACCES)]
        lines += _on(number["socket"], rules)
    if not allowed.uncounted:
        lines += _on(number["mmap"], _mmap())
        lines += _on(number["setsockopt"], _setsockopt())
    if not allowed.others:
        for both, own in OF_A_PROCESS.values():
            lines += _on(both[column], _only(own))
    rules = [_line(LOAD, SECOND_ARGUMENT)]
    for request in (TIOCSTI, TIOCLINUX):
        rules += [_line(EQUAL, request, 0, 1), _refuse(errno.EPERM)]
    lines += _on(number["ioctl"], [*rules, _line(RETURN, ALLOW)])
    lines.append(_line(RETURN, ALLOW))
    return b"".join(lines)


def _mmap() -> list[bytes]:
    """Of memory that is shared and no file's, what a process unmaps stays until it has unmapped all. Huge pages are
    the machine's, and no process's."""
    return [
        _line(LOAD, FOURTH_ARGUMENT),
        _line(ANY_BIT, MAP_HUGETLB, 2, 0),
        _line(ANY_BIT, MAP_ANONYMOUS, 0, 2),
        _line(ANY_BIT, MAP_SHARED, 0, 1),
        _refuse(errno.ENOMEM),
        _line(RETURN, ALLOW),
    ]


def _setsockopt() -> list[bytes]:
    """What is on its way in a socket counts for no process. How much that may be stays as it is, and asking for more is
    answered as if it did not."""
    return [
        _line(LOAD, SECOND_ARGUMENT),
        _line(EQUAL, SOL_SOCKET, 0, 3),
        _line(LOAD, THIRD_ARGUMENT),
        _line(EQUAL, SO_SNDBUF, 0, 1),
        _refuse(0),
        _line(RETURN, ALLOW),
    ]


def _only(arguments: tuple[int, ...]) -> list[bytes]:
    """The call with these as its first arguments."""
    lines = []
    for offset, value in zip((FIRST_ARGUMENT, SECOND_ARGUMENT), arguments):
        lines += [_line(LOAD, offset), _line(EQUAL, value, 1, 0), _refuse(errno.EPERM)]
    return [*lines, _line(RETURN, ALLOW)]


def _clone(children: bool) -> list[bytes]:
    lines = [_line(ANY_BIT, NAMESPACES, 0, 1), _refuse(errno.EPERM)]
    if not children:
        lines += [_line(ANY_BIT, CLONE_THREAD, 1, 0), _refuse(errno.EAGAIN)]
    return [*lines, _line(RETURN, ALLOW)]


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def _refuse(number: int) -> bytes:
    return _line(RETURN, REFUSE | number)


def _on(number: int | None, rules: list[bytes]) -> list[bytes]:
    """For one system call; the rules must end by returning."""
    return [] if number is None else [_line(EQUAL, number, 0, len(rules)), *rules]
