"""The engine's command for what is asked of it in passing: kill, remove, list; and what its failures mean."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rlm.errors import SetupError

LABEL: Final = "rlm.origin"
"""On every container: the machine and the process that it belongs to."""
PATIENCE: Final = 20.0
"""Seconds that the engine has for a small command."""
_swept: set[tuple[str, str | None, int]] = set()

# What the engine's words contain → what to do. The first that fits.
ADVICE: Final = (
    (("No such file or directory: '{engine}'",), "there is no command {engine}: install Docker "
     "(https://docs.docker.com/engine/install/), or Podman and give engine=\"podman\""),
    (("permission denied while trying to connect", "dial unix", "connect: permission denied"), "this user may not use "
     "the engine: `sudo usermod -aG docker $USER` and log in again, or use Podman (engine=\"podman\")"),
    (("Unable to find image", "No such image", "pull access denied", "manifest unknown", "short-name",
      "initializing source", "invalid reference format", "unable to copy from source"), "the image {image} is not here "
     "and could not be fetched: try `{engine} pull {image}`"),
    (("Cannot connect to", "Is the docker daemon running", "connection refused", "unable to connect to Podman"),
     "start the engine (`sudo systemctl start docker`, or Docker Desktop), or say in DOCKER_HOST where it is"),
    (("unknown runtime", "nvalid runtime", "runtime not found", "default OCI runtime", "not find runtime"), "the "
     "engine does not know this `runtime`"),
    (("executable file not found", "{python}: no such file", '"{python}": stat', "stat {python}"), "the image {image} "
     "has no {python}: take one with Python 3.8 or newer, or name its interpreter with `python`"),
    (("could not select device driver", "--gpus"), "the engine has no access to GPUs; see `gpus` in the documentation"),
)  # fmt: skip


def failure(words: str, *, engine: str, image: str, python: str) -> SetupError:
    """Why no container runs: what to do, and the engine's own words."""
    names = {"engine": engine, "image": image, "python": python}
    heard = words.lower()
    fitting = (a for signs, a in ADVICE if any(sign.format(**names).lower() in heard for sign in signs))
    advice = next(fitting, "{engine} could not run {image}")
    said = words.partition(f"\n\nRun '{os.path.basename(engine)} ")[0].removeprefix("[Errno 2] ") or "nothing"
    return SetupError(f"{advice.format(**names)}. {os.path.basename(engine)} said: {said}")


async def quietly(engine: str, *words: str) -> str:
    """What a command of the engine's printed; nothing where it failed, which what comes after finds out by itself."""
    try:
        process = await asyncio.create_subprocess_exec(
            engine,
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(PATIENCE):
            printed, _ = await process.communicate()
    except TimeoutError:
        return ""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return printed.decode("utf-8", "replace") if process.returncode == 0 else ""


async def sweep(engine: str) -> None:
    """Remove, once for each engine, the containers of processes of this machine that are gone. There are some only
    where the client was killed too."""
    key = (engine, os.environ.get("DOCKER_HOST"), os.getpid())
    if key in _swept:
        return
    _swept.add(key)
    listed = await quietly(
        engine, "ps", "--all", "--filter", f"label={LABEL}", "--format", f'{{{{.ID}}}} {{{{.Label "{LABEL}"}}}}'
    )
    stale = [words[0] for line in listed.splitlines() if len(words := line.split()) == 2 and _is_gone(words[1])]
    if stale:
        await quietly(engine, "rm", "--force", *stale)


def origin() -> str:
    """The machine, this process, and when it began, because numbers of processes are used again."""
    return f"{_machine()}.{os.getpid()}.{_began(os.getpid()) or 0}"


def _is_gone(label: str) -> bool:
    machine, _, process = label.partition(".")
    number, _, began = process.partition(".")
    return machine == _machine() and number.isdecimal() and _began(int(number)) != began and _can_tell()


def _can_tell() -> bool:
    return _began(os.getpid()) is not None


def _began(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


@functools.cache
def _machine() -> str:
    """This boot of this machine, and this container of it, where processes have numbers of their own."""
    words = [platform.node()]
    reads: tuple[Callable[[], str], ...] = (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text(),
        lambda: os.readlink("/proc/self/ns/pid"),
    )
    for read in reads:
        try:
            words.append(read())
        except OSError:
            words.append("")
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
