"""Cells in a process of its own on this machine: killable, and on Linux walled in by what its kernel offers.

There it has no network, none of this user's files, none of the host's environment, and limits; which of these hold
on this machine is told by `protections`, and by `rlm doctor`. Elsewhere it has an environment of its own, and no walls.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Literal

from rlm.environments._bootstrap import command
from rlm.environments._isolation import LAYERS, STRICT, Protections, own_interpreter, readable
from rlm.environments._plain import plain_process
from rlm.environments._stream import StreamEnvironment
from rlm.environments._walled import Recipe, walled_process
from rlm.errors import ConfigurationError, SandboxError, SetupError
from rlm.protocols import ByteStream

ALLOWED: Final = ("PATH", "LANG", "LANGUAGE", "TZ")
LINUX: Final = sys.platform == "linux"
ISOLATIONS: Final = ("default", "strict", "none")
GIGABYTE: Final = 1 << 30


@dataclass(frozen=True, kw_only=True)
class ProcessEnvironment(StreamEnvironment):
    """See the module.

    `isolation` is "default" (all that this machine offers), "strict" (refuse to start without the full set) or "none".
    `allow_read`, `allow_write` are paths, `allow_network` is all or nothing. `memory` (bytes, of each process and of
    all together), `cpu_seconds` and `files` (open ones) are of each process, `processes` (with threads) and `disk`
    (bytes) of the session. `env` is added to the environment variables, `python` is another interpreter (3.8 or newer).
    """

    isolation: Literal["default", "strict", "none"] = "default"
    allow_read: tuple[str, ...] = ()
    allow_write: tuple[str, ...] = ()
    allow_network: bool = False
    memory: int | None = None
    cpu_seconds: int | None = 4 * 3600
    processes: int = 256
    disk: int = GIGABYTE
    files: int = 1024
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    interpreter: str | None = None

    @property
    def python(self) -> tuple[str, ...]:
        if self.interpreter is None:
            return (sys.executable, "-S", "-s")  # `site` costs more than all the rest; `path` has what it would add
        return (_resolved(self.interpreter), "-s")

    @property
    def path(self) -> tuple[str, ...]:
        """The host's own packages, for its own interpreter."""
        if self.interpreter is not None:
            return ()
        return tuple(dict.fromkeys(os.path.abspath(entry) for entry in sys.path))

    def connect(self, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        if not LINUX:
            if self.isolation == "strict":
                raise SetupError(f'isolation="strict" needs Linux; on {sys.platform} use docker')
            return plain_process(argv, lambda folder: variables(folder, self.env))
        return walled_process(argv, self._recipe())

    async def protections(self) -> Protections:
        """What a session of this environment is kept from on this machine, found out by starting one.

        Raises:
            SetupError: `isolation="strict"`, and something is missing.
        """
        if not LINUX:
            return Protections(missing=dict.fromkeys(LAYERS, f"not on {sys.platform}"))
        async with walled_process(command(self.python), self._recipe()) as stream:
            return await stream.protections()

    def _recipe(self) -> Recipe:
        own = self.interpreter is None
        return Recipe(
            python=self.python,
            layers=() if self.isolation == "none" else LAYERS,
            required=STRICT if self.isolation == "strict" else (),
            read=(*readable(own_interpreter() if own else (), self.path), *self.allow_read),
            write=self.allow_write,
            network=self.allow_network,
            limits={
                "memory": self.memory or _most_memory(),
                "cpu": self.cpu_seconds,
                "processes": self.processes,
                "disk": self.disk,
                "files": self.files,
            },
            variables=lambda folder: variables(folder, self.env),
        )


def create(
    *,
    cell_timeout: float | None = 300,
    cell_grace: float = 5,
    setup_code: str | None = None,
    env: Mapping[str, str] | None = None,
    python: str | None = None,
    isolation: Literal["default", "strict", "none"] = "default",
    allow_read: Sequence[str | os.PathLike[str]] = (),
    allow_write: Sequence[str | os.PathLike[str]] = (),
    allow_network: bool = False,
    memory: int | str | None = None,
    cpu_seconds: int | None = 4 * 3600,
    processes: int = 256,
    disk: int | str = GIGABYTE,
    files: int = 1024,
) -> ProcessEnvironment:
    if os.name != "posix":
        raise ConfigurationError("the process environment needs Linux or macOS; use local, or docker, here")
    if isolation not in ISOLATIONS:
        raise ConfigurationError(f"isolation must be one of {', '.join(ISOLATIONS)}, not {isolation!r}")
    counts = {"cpu_seconds": cpu_seconds, "processes": processes, "files": files}
    for name, count in counts.items():
        if count is None and name == "cpu_seconds":
            continue
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConfigurationError(f"{name} must be a positive whole number, not {count!r}")
    return ProcessEnvironment(
        cell_timeout=cell_timeout,
        cell_grace=cell_grace,
        setup_code=setup_code,
        env=env or {},
        interpreter=python,
        isolation=isolation,
        allow_read=_paths("allow_read", allow_read),
        allow_write=_paths("allow_write", allow_write),
        allow_network=allow_network,
        memory=None if memory is None else _size("memory", memory),
        cpu_seconds=cpu_seconds,
        processes=processes,
        disk=_size("disk", disk),
        files=files,
    )


def _paths(name: str, paths: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    if isinstance(paths, str | bytes):
        raise ConfigurationError(f"{name} must be a list of paths, not one: [{paths!r}]")
    found = tuple(os.path.abspath(os.fspath(path)) for path in paths)
    for path in found:
        if path == "/" or not os.path.exists(path):
            raise ConfigurationError(f"{name}: {path!r} {'is everything' if path == '/' else 'does not exist'}")
    return found


def _size(name: str, size: int | str) -> int:
    match = re.fullmatch(r"(\d+)([kmgt]?)b?", str(size).strip().lower())
    number = int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[match[2]] if match else 0
    if isinstance(size, bool) or number < 1:
        raise ConfigurationError(f'{name} must be a number of bytes, such as 2_000_000_000 or "2g", not {size!r}')
    return number


@functools.cache
def _most_memory() -> int:
    """Three quarters of what this machine has."""
    return max(GIGABYTE, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4)


def variables(folder: str, env: Mapping[str, str]) -> dict[str, str]:
    """An allow-list, so that no key is in reach; a fixed hash seed, so that a run can be repeated."""
    kept = {k: v for k, v in os.environ.items() if k in ALLOWED or k.startswith("LC_")}
    return {**kept, "HOME": folder, "TMPDIR": folder, "PYTHONHASHSEED": "0", **env}


@functools.cache
def _resolved(python: str) -> str:
    """The interpreter itself where `python` is a script in front of it (pyenv's cost 100 ms at each start)."""
    found = shutil.which(python)
    if found is None:
        raise SandboxError(f"there is no interpreter {python!r}")
    with open(found, "rb") as file:
        if file.read(2) != b"#!":
            return found
    asked = subprocess.run(
        [found, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or found
