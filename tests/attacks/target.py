"""What there is to be had on the host, and what only the host can see after an attack."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import resource
import socket
import subprocess
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attacks.attacks import Attack
from rlm.errors import SandboxError
from rlm.protocols import Environment, Session
from rlm.testing.conformance import ScriptedHost
from rlm.types import Cell, Query

PATIENCE = 100.0
GROWTH = 1 << 30
"""Bytes by which the host may have grown at its largest: what one session may make it hold, with room."""


@dataclass
class Target:
    """Given to a cell as `target`; `check` fails where something here was had, changed or left."""

    facts: dict[str, Any]
    files: dict[Path, tuple[bytes, int]]
    met: list[str] = field(default_factory=list)

    def check(self) -> None:
        assert not self.met, f"somebody connected to {self.met}"
        for path, (data, mode) in self.files.items():
            assert path.read_bytes() == data, f"{path} was changed"
            assert path.stat().st_mode == mode, f"{path} was changed"
        assert sorted(os.listdir(self.facts["folder"])) == sorted(["secret", "socket"])
        assert not os.path.exists("/new")


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    """A key in the environment, secrets in files and in memory, and sockets that note who connects."""
    secret, key = uuid.uuid4().hex, uuid.uuid4().hex
    outside = folder / "host"
    outside.mkdir()
    home = Path.home() / f".rlm-attack-{uuid.uuid4().hex}"
    project = Path(__file__).parent / f".secret-{uuid.uuid4().hex}"
    files = [outside / "secret", home, project]
    memory = ctypes.create_string_buffer(secret.encode(), 4096)
    found = Target({}, {})
    stop = threading.Event()
    with contextlib.ExitStack() as stack:
        for path in files:
            path.write_text(f"a secret: {secret}")
            stack.callback(path.unlink, missing_ok=True)
            found.files[path] = path.read_bytes(), path.stat().st_mode
        abstract = f"rlm-{uuid.uuid4().hex}"
        name = str(outside / "socket")
        if len(name) > 100:  # the limit of a socket's path
            name = os.path.relpath(name)
        listeners = []
        for kind, address in (
            (socket.AF_INET, ("0.0.0.0", 0)),
            (socket.AF_UNIX, name),
            (socket.AF_UNIX, f"\0{abstract}"),
        ):
            listener = stack.enter_context(socket.socket(kind))
            listener.bind(address)
            listener.listen()
            listener.settimeout(0.1)
            listeners.append(listener)
        threads = [threading.Thread(target=_meet, args=(each, stop, found.met)) for each in listeners]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(stop.set)
        os.environ["RLM_ATTACK_API_KEY"] = key
        stack.callback(os.environ.pop, "RLM_ATTACK_API_KEY")
        # A variable that is set at run time is not what /proc shows of a process; that which it was started with is.
        other = subprocess.Popen(["sleep", "600"], env={"RLM_ATTACK_API_KEY": key, "PATH": os.environ["PATH"]})
        stack.callback(other.wait)
        stack.callback(other.kill)
        found.facts = {
            "key": key,
            "secret": secret,
            "pid": os.getpid(),
            "parent": os.getppid(),
            "address": ctypes.addressof(memory),
            "paths": [str(path) for path in files],
            "folder": str(outside),
            "socket": os.path.abspath(name),
            "abstract": abstract,
            "port": listeners[0].getsockname()[1],
            "addresses": _addresses(),
            "mark": f"attack-{uuid.uuid4().hex}",
        }
        yield found
    assert secret in memory.value.decode()  # it was there all the time


def _meet(listener: socket.socket, stop: threading.Event, met: list[str]) -> None:
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            listener.accept()[0].close()
            met.append(str(listener.getsockname()))


def _addresses() -> list[str]:
    """Where this machine can be met from outside."""
    trie = Path("/proc/net/fib_trie")
    found = re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", trie.read_text()) if trie.exists() else []
    return sorted({address for address in found if not address.startswith("127.")})


class Host(ScriptedHost):
    """Notes what a cell asks that no honest cell could; never answers what says `hang`."""

    async def query(self, query: Query) -> Any:
        assert query.kind in ("llm", "rlm")
        if "hang" in str(query.prompt):
            await asyncio.Event().wait()
        return await super().query(query)

    async def call_tool(self, name: str, args: Any, kwargs: Mapping[str, object]) -> object:
        raise LookupError(f"there is no tool {name}")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of an attack; `words` is what stopped it, as far as it says."""

    cell: Cell | None
    words: str


def withstands(attack: Attack, create: Callable[..., Environment], folder: Path) -> Outcome:
    """Run an attack in a session of its own, and hold the environment to the host being as before."""

    async def run() -> Outcome:
        async with asyncio.timeout(PATIENCE):
            return await _run(attack, create, found)

    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with target(folder) as found:
        outcome = asyncio.run(run())
        found.check()
        assert not _running(found.facts["mark"]), "a process of the session's lives on"
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown) * 1024 < GROWTH, "the host was made to grow"
    return outcome


async def _run(attack: Attack, create: Callable[..., Environment], found: Target) -> Outcome:
    settings: dict[str, Any] = {"cell_grace": 1, **({"memory": attack.memory} if attack.memory else {})}
    environment = create(**settings)
    host = Host()
    cell = None
    try:
        async with _session(environment, found) as session:
            cell = await session.execute(attack.cell, host, timeout=attack.seconds)
            words = cell.output + (cell.error.traceback if cell.error else "")
            after = await session.execute("print(6 * 7)", host, timeout=20)
            words += "".join(after.notices)
            if after.error is not None:  # what the attack left met this cell; the next one is served
                after = await session.execute("print(6 * 7)", host, timeout=20)
            assert "42" in after.output, after
    except SandboxError as exc:  # the session is over, which is as good an end
        words = f"the session was ended: {exc}"
    assert "BREACH" not in words, words
    assert found.facts["secret"] not in words.replace(str(found.facts), "")
    return Outcome(cell=cell, words=words)


@asynccontextmanager
async def _session(environment: Environment, found: Target) -> AsyncIterator[Session]:
    async with environment.open() as session:
        await session.bind("context", "the context")
        await session.bind("target", found.facts)
        yield session


def _running(mark: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if mark.encode() in path.read_bytes():
                return True
    return False
