"""The system-call filter: what no cell needs and attacks are made of is refused, and so is all that is newer than this
table.

Refused rather than fatal, so that a program that only asks goes on. A filter of the classic kind, assembled here.
"""

from __future__ import annotations

import ctypes
import errno
import struct

from . import system

LOAD, EQUAL, GREATER_OR_EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER, ARCHITECTURE, FIRST_ARGUMENT, SECOND_ARGUMENT = 0, 4, 16, 24  # low halves: both machines are little-endian
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000
NEWEST = 467  # numbers from here on are unknown to this table
CLONE3 = 435
CLONE_THREAD = 0x00010000
NAMESPACES = 0x7E020000  # every kind
AF_UNIX = 1
TIOCSTI, TIOCLINUX = 0x5412, 0x541C

# name: (x86_64, aarch64), None where the machine has no such call
COMMON = {
    "clone": (56, 220),
    "fork": (57, None),
    "vfork": (58, None),
    "socket": (41, 198),
    "ioctl": (16, 29),
}
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


def supported() -> bool:
    return system.MACHINE in ARCHITECTURES


def install(children: bool, unix: bool, network: bool) -> None:
    """For this process and all it starts. `children`: it may have some; `unix`: sockets of this machine; `network`: of
    any kind.

    Raises:
        OSError: the kernel has no filters, or this machine's calls are not in the table.
    """
    if not supported():
        raise OSError(errno.ENOSYS, "no table of system calls for " + system.MACHINE)
    program = assemble(system.MACHINE, children, unix, network)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    system.prctl(system.PR_SET_SECCOMP, 2, ctypes.create_string_buffer(header, len(header)))


def assemble(machine: str, children: bool, unix: bool, network: bool) -> bytes:
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
    for numbers in REFUSED.values():
        if numbers[column] is not None:
            lines += _on(numbers[column], [_refuse(errno.EPERM)])
    number = {name: numbers[column] for name, numbers in COMMON.items()}
    lines += _on(number["clone"], [_line(LOAD, FIRST_ARGUMENT), *_clone(children)])
    if not children:
        for name in ("fork", "vfork"):
            lines += _on(number[name], [_refuse(errno.EAGAIN)])
    if not network:
        unix_line = _line(EQUAL, AF_UNIX, 0, 1) if unix else _line(EQUAL, 0xFFFFFFFF, 0, 1)
        rules = [_line(LOAD, FIRST_ARGUMENT), unix_line, _line(RETURN, ALLOW), _refuse(errno.EACCES)]
        lines += _on(number["socket"], rules)
    rules = [_line(LOAD, SECOND_ARGUMENT)]
    for request in (TIOCSTI, TIOCLINUX):
        rules += [_line(EQUAL, request, 0, 1), _refuse(errno.EPERM)]
    lines += _on(number["ioctl"], [*rules, _line(RETURN, ALLOW)])
    lines.append(_line(RETURN, ALLOW))
    return b"".join(lines)


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
