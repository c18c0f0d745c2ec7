"""A container engine for the tests: `python3.11 tools/engine.py start|stop|find|while -- COMMAND`.

`start` installs Docker and Podman where they are missing (Debian, root), starts a Docker engine of this checkout's own
where none answers, and makes an image without a registry. All of it lies in one short folder, which `stop` removes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import engine_image

ROOT = Path(__file__).resolve().parent.parent
# A Unix socket's path is limited to about 100 characters, so it cannot lie in any checkout.
HOME = Path("/tmp", "rlm-engine-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:8])
SOCKET = HOME / "docker.sock"
PODMAN = HOME / "bin" / "podman"
PACKAGES = {"dockerd": ("docker.io", "runc"), "podman": ("podman", "runc")}
STARTING = 60.0
CONTAINERS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
"""
STORAGE = """\
[storage]
driver = "{driver}"
graphroot = "{home}/podman/data"
runroot = "{home}/podman/run"
"""
WRAPPER = """\
#!/bin/sh
export CONTAINERS_CONF={home}/containers.conf CONTAINERS_STORAGE_CONF={home}/storage.conf
exec {podman} "$@"
"""


class EngineError(Exception):
    """There is no engine; the message says what to do."""


def find() -> dict[str, str | None]:
    """What can be used as it is: DOCKER_HOST (None: the client's own choice), the podman command, the image; or why
    not."""
    found: dict[str, str | None] = {"image": engine_image.NAME}
    try:
        host = reachable()
        if not has_image(docker(host)):
            raise EngineError(f"the engine has no image {engine_image.NAME}: make engine")
        found["docker"] = host
    except EngineError as error:
        found["no docker"] = str(error)
    if PODMAN.exists() and has_image([str(PODMAN)]):
        found["podman"] = str(PODMAN)
    else:
        found["no podman"] = "it is not set up: make engine"
    return found


def start(install: bool) -> None:
    with lock():
        if install:
            install_missing(
                [name for name in PACKAGES if program(name) is None and not (name == "dockerd" and works())]
            )
        start_docker()
        if program("podman") is not None:
            start_podman()


def start_docker() -> None:
    try:
        host = reachable()
    except EngineError:
        host = start_dockerd()
    if not has_image(docker(host)):
        import_image(docker(host))
    say(f"Docker answers at {host or 'its usual place'} with the image {engine_image.NAME}; make engine-stop ends it")


def start_dockerd() -> str:
    dockerd = program("dockerd")
    if dockerd is None:
        raise EngineError("no engine answers, and there is no dockerd to start one: make engine")
    if os.geteuid() != 0:
        raise EngineError("no engine answers, and only root can start one: sudo make engine")
    options = ["--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false"]
    options += [
        f"--data-root={HOME}/data",
        f"--exec-root={HOME}/exec",
        f"--pidfile={HOME}/pid",
        f"--host=unix://{SOCKET}",
    ]
    with open(HOME / "log", "wb") as log:
        process = subprocess.Popen(
            [dockerd, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
        )
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline and process.poll() is None:
        if answers(f"unix://{SOCKET}") is None:
            return f"unix://{SOCKET}"
        time.sleep(0.1)
    end(process.pid)
    words = "\n".join((HOME / "log").read_text(errors="replace").splitlines()[-8:])
    raise EngineError(f"dockerd did not start; it said:\n{words}")


def start_podman() -> None:
    """Podman has no engine to start, but a configuration of its own here, and a store."""
    if program("podman") is None:
        raise EngineError("there is no podman: make engine")
    PODMAN.parent.mkdir(exist_ok=True)
    (HOME / "containers.conf").write_text(CONTAINERS)
    for driver in ("overlay", "vfs"):  # the first does not work on every file system
        (HOME / "storage.conf").write_text(STORAGE.format(driver=driver, home=HOME))
        PODMAN.write_text(WRAPPER.format(home=HOME, podman=program("podman")))
        PODMAN.chmod(0o755)
        tried = quiet([str(PODMAN), "info"])
        if tried.returncode == 0:
            break
        shutil.rmtree(HOME / "podman", ignore_errors=True)
    else:
        PODMAN.unlink()
        raise EngineError(f"podman does not work: {tried.stderr.strip()}")
    if not has_image([str(PODMAN)]):
        import_image([str(PODMAN)])
    say(f"Podman is {PODMAN}, with the same image")


def stop() -> None:
    with lock():
        if PODMAN.exists():
            quiet([str(PODMAN), "rm", "--all", "--force", "--time", "0"])
        if (HOME / "pid").exists():
            end(int((HOME / "pid").read_text()))
        elif works():  # somebody else's engine
            quiet([*docker(reachable()), "rmi", "--force", engine_image.NAME])
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in reversed([m for m in mounts if m.startswith(f"{HOME}/")]):
            quiet(["umount", "--lazy", mount])
        shutil.rmtree(HOME)
    say("stopped, and nothing of it is left")


def around(command: list[str]) -> int:
    """Run a command with the engines that can be had without installing anything; end what was started for it."""
    before = find()
    mine = not HOME.exists() and not {"docker", "podman"} <= before.keys()
    try:
        if mine:
            try:
                start(install=False)
            except EngineError as error:
                say(str(error))
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 130
    finally:
        if mine:
            stop()


def install_missing(names: list[str]) -> None:
    if not names:
        return
    packages = sorted({package for name in names for package in PACKAGES[name]})
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise EngineError(f"{' and '.join(names)} missing; as root on Debian: apt-get install {' '.join(packages)}")
    say(f"installing {' '.join(packages)} …")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", "-qq", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        if done.returncode != 0 and arguments != ["update"]:
            raise EngineError(f"apt-get {' '.join(arguments)} failed:\n{(done.stdout + done.stderr).strip()}")


def reachable() -> str | None:
    """Where an engine answers: this checkout's own, else where the client looks by itself."""
    if SOCKET.exists() and answers(f"unix://{SOCKET}") is None:
        return f"unix://{SOCKET}"
    if (problem := answers(None)) is not None:
        raise EngineError(problem)
    return None


def works() -> bool:
    try:
        reachable()
    except EngineError:
        return False
    return True


def answers(host: str | None) -> str | None:
    """Why no engine answers there; None when one does."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    done = quiet([*docker(host), "version", "--format", "{{.Server.Version}}"])
    if done.returncode == 0:
        return None
    return (done.stderr.strip() or "no engine answers").splitlines()[-1]


def docker(host: str | None) -> list[str]:
    return ["docker"] if host is None else ["docker", "--host", host]


def has_image(client: list[str]) -> bool:
    return quiet([*client, "image", "inspect", engine_image.NAME]).returncode == 0


def import_image(client: list[str]) -> None:
    with tempfile.TemporaryFile(dir=HOME) as file:
        engine_image.write(file)
        file.seek(0)
        command = [*client, "import", "--change", f"ENV PATH={engine_image.PATH}", "-", engine_image.NAME]
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EngineError(f"the image could not be imported: {done.stderr.strip()}")


def end(pid: int) -> None:
    """End the engine: by its number, and only if that is still the engine's."""
    try:
        if str(HOME).encode() not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while running(pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        if running(pid):
            os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        return


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def program(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin")


def quiet(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False, cwd="/"
    )


@contextmanager
def lock() -> Iterator[None]:
    """Its folder, and one at a time in it."""
    HOME.mkdir(mode=0o700, exist_ok=True)
    if HOME.is_symlink() or HOME.stat().st_uid != os.geteuid():
        raise EngineError(f"{HOME} belongs to somebody else")
    with open(__file__, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    print(f"engine: {text}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    match arguments:
        case ["start"]:
            start(install=True)
        case ["stop"]:
            stop()
        case ["find"]:
            print(json.dumps(find()))
        case ["while", "--", *command] if command:
            return around(command)
        case _:
            sys.exit("usage: engine.py start|stop|find|while -- COMMAND")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except EngineError as error:
        sys.exit(f"engine: {error}")
