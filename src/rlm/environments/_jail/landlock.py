"""Landlock: a process says what of the file system it will still use. Needs no privilege, and works inside containers.

It does not cover metadata, UDP, or Unix sockets that are files; where there are namespaces, those do.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from typing import Iterable

from . import system

CREATE, ADD_RULE, RESTRICT = 444, 445, 446
PATH_BENEATH = 1
READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, list a directory
OF_A_FILE = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}  # by version: + rename across, + truncate
DEVICE_RIGHTS = 1 << 15
O_PATH = 0x200000


def version() -> int:
    """0 where there is none."""
    try:
        return system.syscall(CREATE, None, 0, 1)
    except OSError:
        return 0


def restrict(read: Iterable[str], write: Iterable[str], network: bool) -> int:
    """From here on, for this process and its children. Gives the version.

    Raises:
        OSError: there is no Landlock.
    """
    abi = system.syscall(CREATE, None, 0, 1)
    everything = RIGHTS.get(abi, RIGHTS[3]) | (DEVICE_RIGHTS if abi >= 5 else 0)
    tcp = 3 if abi >= 4 and not network else 0
    scope = 3 if abi >= 6 else 0  # abstract sockets and signals, of others
    attributes = struct.pack("QQQ", everything, tcp, scope)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    rules = system.syscall(CREATE, ctypes.create_string_buffer(attributes, len(attributes)), len(attributes), 0)
    try:
        for paths, rights in ((read, READ), (write, everything)):
            for path in paths:
                _allow(rules, path, rights & everything)
        system.syscall(RESTRICT, rules, 0)
    finally:
        os.close(rules)
    return abi


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, O_PATH | os.O_CLOEXEC)
    except OSError:  # what is not there, or not for this user, cannot be used either
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= OF_A_FILE
        rule = struct.pack("=Qi", rights, fd)
        system.syscall(ADD_RULE, rules, PATH_BENEATH, ctypes.create_string_buffer(rule, len(rule)), 0)
    finally:
        os.close(fd)
