"""An image made without a registry: the Python that runs this, its standard library, `sh` and a few tools, and the
libraries that `ldd` names for them. It has nothing else, which is what the tests want of it.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

NAME = "rlm-test/python:{}.{}".format(*sys.version_info[:2])
TOOLS = [
    "sh",
    "cat",
    "echo",
    "tr",
    "env",
    "ls",
    "sleep",
    "yes",
    "id",
    "head",
    "mkdir",
    "rm",
    "true",
    "false",
    "grep",
    "ln",
    "df",
    "touch",
    "uname",
    "dd",
    "mount",
    "ps",
]
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "lib2to3", "ensurepip"}
ETC = {
    "passwd": "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/sh\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def write(file: BinaryIO) -> None:
    """The image's file system as a tar archive, for `docker import`."""
    with tarfile.open(fileobj=file, mode="w|") as archive:
        for path, target in links():
            link = tarfile.TarInfo(path)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for path, mode in {"tmp": 0o1777, "proc": 0o755, "sys": 0o755, "dev": 0o755}.items():
            folder = tarfile.TarInfo(path)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            archive.addfile(folder)
        for path, text in ETC.items():
            entry = tarfile.TarInfo(f"etc/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode("ascii")))
        for source in sorted(files()):
            entry = archive.gettarinfo(source.resolve(), str(placed(source)).lstrip("/"))
            # Their owner may be anyone here; there everybody may read.
            entry.type, entry.linkname = tarfile.REGTYPE, ""
            entry.uid = entry.gid = 0
            entry.mode = 0o755 if os.access(source, os.X_OK) else 0o644
            entry.size = source.stat().st_size
            with open(source, "rb") as content:
                archive.addfile(entry, content)


def links() -> Iterator[tuple[str, str]]:
    for folder in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{folder}"):
            yield folder, os.readlink(f"/{folder}")
    yield "usr/local/bin/python3", str(placed(python()))


def files() -> set[Path]:
    """Paths of this machine that are put at the same place, whatever links lead to them."""
    programs = [python(), *(Path(found) for tool in TOOLS if (found := shutil.which(tool, path=PATH)))]
    library = [file for root in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")} for file in tree(root)]
    return {*programs, *library, *libraries([*programs, *(file for file in library if file.suffix == ".so")])}


def python() -> Path:
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def placed(path: Path) -> Path:
    return path.parent.resolve() / path.name


def tree(root: str) -> Iterator[Path]:
    for folder, names, found in os.walk(root):
        names[:] = [n for n in names if n not in LEFT_OUT and not n.startswith("config-")]
        kept = (name for name in found if not name.endswith(".a") and ".opt-" not in name and "tkinter" not in name)
        yield from (path for name in kept if (path := Path(folder, name)).is_file())


def libraries(programs: list[Path]) -> set[Path]:
    listed = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    words = (word for line in listed.splitlines() if line.startswith("\t") for word in line.split())
    return {Path(word) for word in words if word.startswith("/") and os.path.exists(word)}
