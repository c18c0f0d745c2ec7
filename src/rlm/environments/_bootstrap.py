"""The worker's program as it is sent: a short command line, then one line with its modules and the session's
settings."""

from __future__ import annotations

import binascii
import functools
import importlib.machinery
import importlib.util
import marshal
import types
import zlib
from pathlib import Path
from typing import Final

import rlm.repl

PACKAGE: Final = "rlm_repl"
MARSHAL: Final = 4
"""The version of the format that every Python from 3.4 on reads; code objects in it are for one Python only."""
BOOTSTRAP: Final = """\
import binascii,marshal,os,sys,zlib
b=b""
while 1:
    l,n,r=b.partition(b"\\n")
    if n and l.startswith(b"rlm "): break
    if n: b=r; continue
    d=os.read(0,65536)
    if not d: sys.exit("the stream ended before the program came")
    b+=d
p,h=map(binascii.a2b_base64,l.split()[1:])
m=marshal.loads(zlib.decompress(p))
exec(m["start"],{"modules":m,"hello":h,"first":r})
"""
INSTALL: Final = "\ninstall(modules)\n"
START: Final = """
import sys
hello = eval(hello)
sys.path[:] = [entry for entry in sys.path if entry] + hello["path"] + [""]
import {package}.worker
{package}.worker.main(hello, first)
"""


def command(python: tuple[str, ...]) -> list[str]:
    """The command line of a worker: small, the same everywhere, and free of anything that is of this session."""
    return [*python, "-u", "-c", BOOTSTRAP]


def program(token: str, raw: bool, path: tuple[str, ...], kernel: str, known: bool = False) -> bytes:
    """The first line on the stream. `token` marks this session's frames, `path` is added to the worker's `sys.path`,
    `kernel` is the module of `rlm.repl` whose `KERNEL` runs the cells. `known`: `modules()` are there already."""
    hello = repr({"token": token, "raw": raw, "path": list(path), "kernel": kernel}).encode("utf-8")
    sent = _packed({"start": START.format(package=PACKAGE)}) if known else modules()
    return b"rlm " + sent + b" " + binascii.b2a_base64(hello, newline=False) + b"\n"


@functools.cache
def modules() -> bytes:
    """What is in `rlm.repl`, as sources and, for workers of this same Python, compiled: compiling takes longer than
    all the rest."""
    sources: dict[str, str] = {}
    codes: dict[str, bytes] = {}
    for file in sorted(Path(rlm.repl.__path__[0]).glob("*.py")):
        if file.stem != "__init__":
            loader = importlib.machinery.SourceFileLoader(f"{rlm.repl.__name__}.{file.stem}", str(file))
            code = loader.get_code(loader.name)
            assert code is not None
            sources[file.stem] = file.read_text("utf-8")
            codes[file.stem] = marshal.dumps(_renamed(code, f"<{PACKAGE}.{file.stem}>"))
    found: dict[str, object] = {
        "start": sources["loader"] + INSTALL + START.format(package=PACKAGE),
        "package": PACKAGE,
        "sources": sources,
        "codes": codes,
        "magic": importlib.util.MAGIC_NUMBER,
    }
    return _packed(found)


def _packed(value: dict[str, object]) -> bytes:
    return binascii.b2a_base64(zlib.compress(marshal.dumps(value, MARSHAL), 1), newline=False)


def _renamed(code: types.CodeType, filename: str) -> types.CodeType:
    inner = tuple(_renamed(c, filename) if isinstance(c, types.CodeType) else c for c in code.co_consts)
    return code.replace(co_filename=filename, co_consts=inner)
